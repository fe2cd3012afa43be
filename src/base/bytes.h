/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bytes.h - hex, base64, random, clocks
 */
#ifndef MINKE_BASE_BYTES_H
#define MINKE_BASE_BYTES_H

#include "base/base.h"
#include "base/buf.h"

#define NS_PER_SEC INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

void hex_encode(char *dst, const void *src, size_t len); /* dst holds 2 * len + 1, lower case */
int hex_digit(int c);                                    /* of either case; -1: none */
int hex_decode(void *dst, const char *src, size_t len); /* len hex digits; 0 or -EINVAL; upper case refused */

void base64_encode(struct buf *out, const void *src, size_t len); /* standard alphabet, padded */
int base64_decode(struct buf *out, const char *src,
                  size_t len); /* standard or URL alphabet, padded or not; 0 or -EINVAL */

void random_bytes(void *p, size_t len);
/* A fresh identifier: `len` characters of [0-9a-z], the first a letter; dst holds len + 1. BuildKit's
 * identity.NewID has 25. */
void random_id(char *dst, size_t len);
/* `bytes` random bytes as lower-case hex; dst holds 2 * bytes + 1. */
void random_hex(char *dst, size_t bytes);

int64_t now_ns(void); /* CLOCK_REALTIME, since the epoch */
int64_t monotonic_ns(void);
/* RFC 3339 in UTC with nanoseconds, trailing zeros cut as Go's RFC3339Nano does: "2026-01-02T03:04:05.5Z".
 * dst holds 40. */
void format_rfc3339(char dst[40], int64_t unix_ns);
/* The same as a clock `offset` seconds east of Greenwich shows it: "2023-11-14T23:13:21+01:00". */
void format_rfc3339_at(char dst[40], int64_t unix_ns, int offset);
/* RFC 3339 or seconds[.fraction] since the epoch. 0 or -EINVAL. */
int parse_time(const char *s, int64_t *ret_ns);
/* Go durations: "1h30m", "500ms", "10s", "1.5h"; days are refused as in Go. 0 or -EINVAL. */
int parse_duration(const char *s, int64_t *ret_ns);

#endif
