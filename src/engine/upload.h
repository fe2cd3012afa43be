/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload.h - a build context that came as a request's body
 *
 * The body is kept in a file below the store's work folder and offered to the one build as http://build-context-<id>: BuildKit's
 * own way, so that steps and cache behave as with any remote archive.
 */
#ifndef MINKE_ENGINE_UPLOAD_H
#define MINKE_ENGINE_UPLOAD_H

#include "engine/engine.h"

struct upload;
/* Read `body` to its end. */
struct error *upload_receive(struct engine *e, struct stream *body, struct upload **ret) MUST_CHECK;
const char *upload_url(const struct upload *u);
void upload_close(struct upload *u); /* NULL is fine; the file goes */

#endif
