/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference.h - image references, normalised as docker does (distribution/reference)
 */
#ifndef MINKE_OCI_REFERENCE_H
#define MINKE_OCI_REFERENCE_H

#include "base/base.h"
#include "base/error.h"

/* "busybox" -> domain docker.io, path library/busybox.  Owned; tag and digest may be NULL. */
struct reference {
    char *domain, *path, *tag, *digest;
};
void reference_deinit(struct reference *r);
void reference_copy(struct reference *dst, const struct reference *src); /* dst is overwritten, not freed */
/* Errors: ERR_INVALID with distribution's texts ("invalid reference format", "repository name must be
 * lowercase" ...). */
struct error *reference_parse(const char *s, struct reference *ret) MUST_CHECK;
bool reference_tag_valid(const char *tag);
void reference_add_default_tag(struct reference *r);      /* :latest unless it has a tag or a digest */
char *reference_string(const struct reference *r);        /* docker.io/library/busybox:latest[@sha256:..] */
char *reference_name(const struct reference *r);          /* docker.io/library/busybox */
char *reference_familiar(const struct reference *r);      /* busybox:latest */
char *reference_familiar_name(const struct reference *r); /* busybox */

#endif
