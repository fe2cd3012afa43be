/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ignore.h - the lines of a .dockerignore file
 *
 * Comments, blank lines and a BOM are skipped; patterns are cleaned and lose a leading '/'; '!' stays in
 * front.  Matching is io/pattern.h.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_IGNORE_H
#define MINKE_FRONTEND_DOCKERFILE_IGNORE_H

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"

/* Append the patterns of a file. Errors: ERR_INVALID "bufio.Scanner: token too long" for a line of 64 KiB. */
struct error *ignore_parse(const char *data, size_t len, struct strv *ret) MUST_CHECK;

#endif
