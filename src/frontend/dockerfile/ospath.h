/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ospath.h - paths of instructions, read as the target system would (linux, or windows with drive letters and
 * backslashes)
 *
 * Pure text. Results are new strings with forward slashes. Errors are ERR_INVALID with BuildKit's texts.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_OSPATH_H
#define MINKE_FRONTEND_DOCKERFILE_OSPATH_H

#include "base/base.h"
#include "base/error.h"

/* Absolute path of `path` seen from `parent`; with keep_slash a trailing "/" or "/." stays. */
struct error *ospath_normalize(const char *parent, const char *path, const char *os, bool keep_slash,
                               char **ret) MUST_CHECK;
/* The same for a working directory, in the system's own separators. */
struct error *ospath_workdir(const char *current, const char *path, const char *os, char **ret) MUST_CHECK;
bool ospath_is_abs(const char *path, const char *os);
char *ospath_to_slash(const char *path, const char *os);
/* windows: check the drive (only C:) and take it off; others: a copy. */
struct error *ospath_strip_drive(const char *path, const char *os, bool keep_slash, char **ret) MUST_CHECK;

#endif
