/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toml.h - a strict reader of TOML 1.0, as JSON values
 *
 * Tables become objects, arrays arrays.  Dates and times are refused: no key of ours has one.  A key given
 * twice, a table opened twice and anything left over on a line are errors that name the line.
 */
#ifndef MINKE_DAEMON_TOML_H
#define MINKE_DAEMON_TOML_H

#include "base/base.h"
#include "base/error.h"

#include <jansson.h>

#define TOML_DEPTH 32

/* *ret: a new object. */
struct error *toml_parse(const char *text, json_t **ret) MUST_CHECK;

#endif
