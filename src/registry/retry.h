/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry.h - when and how long to wait before a request is sent again
 *
 * Broken connections, 429 and 5xx are worth another try: after 1, 2 and 4 seconds, or what Retry-After asks
 * for within bounds.
 */
#ifndef MINKE_REGISTRY_RETRY_H
#define MINKE_REGISTRY_RETRY_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"

struct exchange;

struct retry {
    int64_t pause_ns; /* the next pause; 0: the default of 1 s */
    int count;
};
/* May a request that failed with `e` (NULL: it was answered with `status`) be sent again? */
bool retry_worthwhile(const struct retry *r, const struct error *e, int status);
/* Wait for the pause, at least `asked_ns` (bounded). Takes and frees `e`; an error only when cancelled. */
struct error *retry_pause(struct retry *r, struct error *e, int64_t asked_ns) MUST_CHECK;
/* Retry-After of an answer, 0 when absent. */
int64_t retry_after_ns(const struct exchange *x);

/* Read the whole body. Errors: ERR_UNAVAILABLE (errnum ECONNRESET) broken off, ERR_EXHAUSTED longer than the
 * limit. */
struct error *exchange_read_body(struct exchange *x, size_t limit, struct buf *out) MUST_CHECK;
/* "unexpected status from GET request to URL: 403 Forbidden", with what the registry said in `body`. */
struct error *exchange_refusal(const struct exchange *x, const char *method, const char *url,
                               const char *body) MUST_CHECK;

#endif
