/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads.h - contexts that come by a request of their own
 *
 * A client that has the context on its standard input (docker CLI 20.10: `docker build -`) asks for a build
 * with remote=upload-request and sends the archive by a second POST /build whose buildid is
 * "upload-request:<id>" (protocol.md 1.5).  The two may come in either order and wait UPLOAD_WAIT_NS for each
 * other.  Thread-safe.
 */
#ifndef MINKE_ENGINE_UPLOADS_H
#define MINKE_ENGINE_UPLOADS_H

#include "op/upload.h"

struct uploads;
struct uploads *uploads_new(void);
void uploads_free(struct uploads *u); /* NULL is fine; nobody uses it any more */

/* The upload's side: read `body` for build `id` and wait until the build has taken it.
 * Errors: of reading; ERR_EXISTS when there is one for this build; ERR_DEADLINE when no build asks for it. */
struct error *uploads_bring(struct uploads *u, const char *id, struct store *s,
                            struct stream *body) MUST_CHECK;
/* The build's side: wait until it has begun to come, then for all of it.  *ret is the caller's.
 * Errors: ERR_DEADLINE; ERR_INVALID when the upload broke off. */
struct error *uploads_take(struct uploads *u, const char *id, struct upload **ret) MUST_CHECK;

#endif
