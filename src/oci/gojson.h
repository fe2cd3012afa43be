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

/* ---- a document written piece by piece: the text that go_json() makes of the same values, without the
 * values ---- */

/* Zeroed but for `out` and `indent`, it is at the start of a document. Every value in an object follows its
 * name. */
struct go_writer {
    struct buf *out;
    const char *indent; /* NULL: compact */
    unsigned depth;     /* open objects and arrays */
    bool filled;        /* the innermost of them holds a value */
    bool named;         /* a name waits for its value */
};
void go_write_open(struct go_writer *w, char bracket);  /* '{' or '[' */
void go_write_close(struct go_writer *w, char bracket); /* '}' or ']' */
void go_write_name(struct go_writer *w, const char *name);
/* Any text.  What is not UTF-8 becomes U+FFFD: written out, as go_json_text(), or as encoding/json does,
 * escaped. */
void go_write_text(struct go_writer *w, const char *s);
void go_write_escaped(struct go_writer *w, const char *s);
void go_write_int(struct go_writer *w, int64_t v);
void go_write_float(struct go_writer *w, double v);
void go_write_bool(struct go_writer *w, bool v);
void go_write_null(struct go_writer *w);
void go_write_time(struct go_writer *w, int64_t ns); /* as go_json_time() */
void go_write_json(struct go_writer *w, const json_t *j);
/* The text of a value that was written at this depth before. */
void go_write_raw(struct go_writer *w, const struct buf *value);
/* Members: a name and its value.  The first is text. */
void go_write_member(struct go_writer *w, const char *name, const char *s);
void go_write_member_int(struct go_writer *w, const char *name, int64_t v);
void go_write_member_bool(struct go_writer *w, const char *name, bool v);
void go_write_member_time(struct go_writer *w, const char *name, int64_t ns);
void go_write_member_json(struct go_writer *w, const char *name, const json_t *j);

/* ---- text to text ---- */

/* JSON text as Go's json.Marshal passes a RawMessage on: without white space, with <, > and & escaped.
 * `text` is valid JSON. */
void go_json_compact(struct buf *out, const char *text, size_t len);
/* ... and as json.Indent breaks it into lines; `text` is compact. */
void go_json_indent(struct buf *out, const char *text, size_t len, const char *indent);

#endif
