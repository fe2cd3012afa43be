/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_args.h - ["arguments", "in", "JSON", "form"]
 *
 * Its own reader, for the line between "a bad array" and "a shell command that begins with [" must run where
 * Go's encoding/json draws it.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_JSON_ARGS_H
#define MINKE_FRONTEND_DOCKERFILE_JSON_ARGS_H

#include "base/base.h"
#include "base/vec.h"

/* 0 and the strings appended; -EINVAL not a JSON array; -EDOM an array with other things than strings in it;
 * -EILSEQ a NUL character in a string.  On failure *ret is unchanged. */
int json_string_array(const char *s, size_t len, struct strv *ret) MUST_CHECK;

#endif
