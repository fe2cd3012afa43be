/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest.h - SHA-256 digests in OCI form ("sha256:" and 64 lower-case hex digits)
 *
 * A digest that came from outside is validated before it becomes part of a path (security.md K4).  Only
 * sha256 is accepted.
 */
#ifndef MINKE_OCI_DIGEST_H
#define MINKE_OCI_DIGEST_H

#include "base/base.h"

#define DIGEST_LEN 71 /* "sha256:" + 64 */

struct digest {
    char s[DIGEST_LEN + 1]; /* "" = none */
};

bool digest_valid(const char *s);
/* 0 or -EINVAL. */
int digest_parse(const char *s, struct digest *ret) MUST_CHECK;
struct digest digest_of(const void *data, size_t len);
struct digest digest_from_raw(const uint8_t raw[32]);
static inline const char *digest_hex(const struct digest *d)
{
    return d->s + 7;
}
static inline bool digest_eq(const struct digest *a, const struct digest *b)
{
    return strcmp(a->s, b->s) == 0;
}

/* Incremental. */
struct hasher;
struct hasher *hasher_new(void);
/* Load now what the first digest would wait for. */
void digest_warm_up(void);
void hasher_add(struct hasher *h, const void *data, size_t len);
struct digest hasher_sum(struct hasher *h); /* may be called in between: the digest of what came so far */
void hasher_sum_raw(struct hasher *h, uint8_t ret[32]);
void hasher_reset(struct hasher *h); /* as new */
/* digest_of() for many small ones after another: forgets what was added before. */
struct digest hasher_digest(struct hasher *h, const void *data, size_t len);
void hasher_free(struct hasher *h);
void hasher_freep(struct hasher **h);

#endif
