/* SPDX-License-Identifier: Apache-2.0 */
/* gojson.h - JSON written as Go's encoding/json writes it, so that equal documents have equal digests */
#ifndef MINKE_OCI_GOJSON_H
#define MINKE_OCI_GOJSON_H

#include "base/buf.h"

#include <jansson.h>

/* Append `j`: compact (indent NULL) or as MarshalIndent("", indent); members in insertion order, or by name
 * where `sort_top` says so for the outermost object (a Go map); <, > and & escaped. */
void go_json(struct buf *out, const json_t *j, const char *indent, bool sort_top);
/* A JSON string of any text: bytes that are not UTF-8 become U+FFFD. */
json_t *go_json_text(const char *s);
/* A moment as Go writes it; 0 is Go's zero time. */
json_t *go_json_time(int64_t ns);
/* A copy as it would come back from Go's `any`: members by name at every level, numbers as float64. */
json_t *go_json_generic(const json_t *j);

/* JSON text as Go's json.Marshal passes a RawMessage on: without white space, with <, > and & escaped.
 * `text` is valid JSON. */
void go_json_compact(struct buf *out, const char *text, size_t len);
/* ... and as json.Indent breaks it into lines; `text` is compact. */
void go_json_indent(struct buf *out, const char *text, size_t len, const char *indent);

#endif
