/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blob.h - one blob of a registry or of an OCI layout in the client's process, as a file
 *
 * "docker-image+blob://NAME@sha256:.." and "oci-layout+blob://NAME@sha256:..".  Named by digest, so resolving
 * asks nobody; what comes is verified.
 */
#ifndef MINKE_OP_BLOB_H
#define MINKE_OP_BLOB_H

#include "oci/digest.h"
#include "op/op.h"

extern const struct op_impl blob_source;

struct blob_locator {
    bool layout;
    char *name; /* without the digest: a repository, or the layout's store */
    struct digest digest;
};
void blob_locator_deinit(struct blob_locator *l);
struct error *blob_locator_parse(const char *text, struct blob_locator *ret) MUST_CHECK;
/* The verified content into `fd`.  For layouts: `session` "" is any of the build's, `store` "" the locator's
 * name. */
struct error *blob_locator_fetch(struct op_context *c, const struct blob_locator *l, const char *session,
                                 const char *store, int fd) MUST_CHECK;

/* All that comes into a file, hashed on the way; `what` is for messages. */
struct error *blob_receive(struct stream *from, const char *what, int fd, struct digest *ret) MUST_CHECK;

#endif
