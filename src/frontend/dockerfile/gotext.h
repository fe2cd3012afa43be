/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gotext.h - values printed as Go prints them, where that text reaches image configs and error messages
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_GOTEXT_H
#define MINKE_FRONTEND_DOCKERFILE_GOTEXT_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/vec.h"

/* time.Duration.String: "1h0m30s", "500ms", "0s". */
void buf_add_go_duration(struct buf *b, int64_t ns);
/* A []string by %v: "[a b]"; by %q: "[\"a\" \"b\"]". */
void buf_add_go_list(struct buf *b, const struct strv *v, bool quoted);
/* An RFC 3339 time as time.Time prints it back in JSON: fraction without zeros at its end, "Z" for no offset;
 * new string. ERR_INVALID when it is none. */
struct error *go_time_normalize(const char *s, char **ret) MUST_CHECK;
/* strconv.ParseInt / ParseUint in base 10: `strconv.ParseInt: parsing "x": invalid syntax` or `value out of
 * range`. */
struct error *go_parse_int(const char *s, int64_t *ret) MUST_CHECK;
struct error *go_parse_uint(const char *s, uint64_t *ret) MUST_CHECK;

#endif
