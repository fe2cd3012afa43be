/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload.h - a build context that came as a request's body
 *
 * The body is kept in a file below the store's work folder and offered to its build as
 * http://build-context-<id>: BuildKit's own way, so that steps and cache behave as with any remote archive.
 * http_source (http.h) hands these addresses to the source here.
 */
#ifndef MINKE_OP_UPLOAD_H
#define MINKE_OP_UPLOAD_H

#include "solver/solver.h"

struct upload;
/* Read `body` to its end.  Errors: ERR_INVALID when it breaks off. */
struct error *upload_receive(struct store *s, struct stream *body, struct upload **ret) MUST_CHECK;
const char *upload_url(const struct upload *u); /* borrowed */
void upload_close(struct upload *u);            /* NULL is fine; the file goes */

bool upload_owns(const char *url); /* is it an address of this kind, here or in a client's session */

/* Source ops of those addresses. */
extern const struct op_impl upload_source;

#endif
