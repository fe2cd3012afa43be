/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - a definition as people read it: what the subrequest frontend.convertllb answers
 *
 * {"def": {digest: op}, "metadata": {digest: what is said of it}, "source": where each came from}.  Ops and
 * source are in the JSON mapping of protobuf (64-bit numbers and bytes as strings, enums by name, defaults
 * left out), metadata in that of Go's encoding/json; maps are sorted by key.
 */
#ifndef MINKE_LLB_JSON_H
#define MINKE_LLB_JSON_H

#include "llb/llb.h"

#include <jansson.h>

/* How a message is written. */
enum llb_json_style {
    LLB_JSON_PROTO, /* the JSON mapping of protobuf: 64-bit numbers are strings, enums are named; text must be
                       UTF-8 */
    LLB_JSON_GO, /* encoding/json over BuildKit's generated structs: numbers; bytes that are not UTF-8 become
                    U+FFFD */
};

/* A message of package pb. Defaults are left out, maps sorted by key. Errors: ERR_INVALID for text that is
 * not UTF-8, and for definitions nested deeper than LIMIT_LLB_NESTING in each other. */
struct error *llb_message_to_json(const ProtobufCMessage *m, enum llb_json_style style,
                                  json_t **ret) MUST_CHECK;
/* A file in JSON, as error details and answers of checks carry it (LLB_JSON_GO). */
json_t *llb_info_to_json(const struct llb_source_info *info);
/* A definition as frontend.convertllb answers it. The same errors. */
struct error *llb_def_to_json(const struct llb_def *def, json_t **ret) MUST_CHECK;

#endif
