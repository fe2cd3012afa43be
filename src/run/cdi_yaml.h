/* SPDX-License-Identifier: Apache-2.0 */
/* cdi_yaml.h - a YAML document as JSON; libyaml is loaded at the first call */
#ifndef MINKE_RUN_CDI_YAML_H
#define MINKE_RUN_CDI_YAML_H

#include "base/base.h"
#include "base/error.h"

#include <jansson.h>

/* The first document.  Plain scalars are null, booleans, integers or text.  Errors: ERR_INVALID with the
 * line; anchors and aliases, and what is nested deeper than LIMIT_YAML_DEPTH, are refused; ERR_UNIMPLEMENTED
 * where the library is missing. */
struct error *yaml_to_json(const char *text, size_t len, json_t **ret) MUST_CHECK;

#endif
