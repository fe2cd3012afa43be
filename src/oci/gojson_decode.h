/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gojson_decode.h - JSON read as Go's json.Unmarshal reads it into a variable of a known type
 *
 * Clients of Go programs see what its decoder says about their mistakes: "invalid character 'x' looking for
 * beginning of value", "json: cannot unmarshal number into Go struct field Ulimit.Name of type string".
 */
#ifndef MINKE_OCI_GOJSON_DECODE_H
#define MINKE_OCI_GOJSON_DECODE_H

#include "base/base.h"
#include "base/error.h"

#include <jansson.h>

#define GO_JSON_CUT_SHORT "unexpected end of JSON input"

/* What Go says about a text that is no JSON; NULL when it is.  New string.  Objects and arrays may be nested
 * LIMIT_JSON_DEPTH deep. */
char *go_json_syntax_error(const char *text, size_t len);

enum go_kind { GO_STRING, GO_INT64, GO_MAP, GO_SLICE, GO_STRUCT };

struct go_type {
    enum go_kind kind;
    const char *name;         /* as Go prints it: "map[string]string", "units.Ulimit" */
    const struct go_type *of; /* of the values of a map, the elements of a slice */
    const struct go_field *fields;
    size_t field_count;
};
struct go_field {
    const char *name; /* matched without regard to case */
    const struct go_type *type;
};

extern const struct go_type go_string, go_int64;

/* *ret is a new reference: what was said, members of structs under the names of their fields and no others,
 * null where null was said.  ERR_INVALID with Go's text. */
struct error *go_json_decode(const char *text, size_t len, const struct go_type *type,
                             json_t **ret) MUST_CHECK;

#endif
