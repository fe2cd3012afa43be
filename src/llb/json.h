/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - messages of a definition as people read them, in provenance, error details and what the subrequest
 * frontend.convertllb answers:
 *
 * {"def": {digest: op}, "metadata": {digest: what is said of it}, "source": where each came from}.  Ops and
 * source are in the JSON mapping of protobuf (64-bit numbers and bytes as strings, enums by name, defaults
 * left out), metadata in that of Go's encoding/json; maps are sorted by key.
 */
#ifndef MINKE_LLB_JSON_H
#define MINKE_LLB_JSON_H

#include "llb/llb.h"
#include "oci/gojson.h"

/* How a message is written. */
enum llb_json_style {
    LLB_JSON_PROTO, /* the JSON mapping of protobuf: 64-bit numbers are strings, enums are named; text must be
                       UTF-8 */
    LLB_JSON_GO, /* encoding/json over BuildKit's generated structs: numbers; bytes that are not UTF-8 become
                    U+FFFD */
    LLB_JSON_GO_MAP, /* the same by way of a Go map: members by name, numbers as float64 */
};

/* Writes messages of package pb in one style; it keeps what it found out about their types. */
struct llb_json {
    enum llb_json_style style;
    struct go_writer *out;
    unsigned depth; /* definitions within definitions */
    struct message_shape *shapes;
    struct pb_arena arena; /* of the shapes */
};
void llb_json_init(struct llb_json *j, enum llb_json_style style,
                   struct go_writer *out); /* `out` is borrowed */
void llb_json_deinit(struct llb_json *j);
/* Defaults are left out, maps sorted by key. Errors: ERR_INVALID for text that is not UTF-8, and for
 * definitions nested deeper than LIMIT_LLB_NESTING in each other; what was written until then is no document.
 */
struct error *llb_json_write(struct llb_json *j, const ProtobufCMessage *m) MUST_CHECK;

/* A file in JSON, as error details and answers of checks carry it (LLB_JSON_GO). */
void llb_info_write_json(const struct llb_source_info *info, struct go_writer *w);
/* pb.Range of a source, as LLB_JSON_GO; and an array of them. */
void llb_range_write_json(const struct llb_range *r, struct go_writer *w);
void llb_ranges_write_json(const struct llb_range *ranges, size_t count, struct go_writer *w);
/* A definition as frontend.convertllb answers it. The same errors. */
struct error *llb_def_write_json(const struct llb_def *def, struct go_writer *out) MUST_CHECK;

#endif
