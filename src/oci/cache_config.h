/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_config.h - application/vnd.buildkit.cacheconfig.v0: the records of a distributed build cache
 *
 * A record is a step, named by a digest and, for each of its inputs, by links to the records that may stand
 * there; its results are lists of layers.  A record without results is a key only.  What is parsed comes from
 * outside: every index is in range, but links may form circles, so nobody may follow them without an end.
 */
#ifndef MINKE_OCI_CACHE_CONFIG_H
#define MINKE_OCI_CACHE_CONFIG_H

#include "base/buf.h"
#include "oci/digest.h"

#include <jansson.h>

#define MT_CACHE_CONFIG "application/vnd.buildkit.cacheconfig.v0"

struct cache_layer {
    struct digest blob;
    int64_t parent; /* the layer below; -1: none */
};
struct cache_link {
    size_t record;
    char *selector; /* NULL: none */
};
struct cache_input {
    struct cache_link *links;
    size_t link_count;
};
/* Layers lowest first: `top` and its parents, or those of `list`. */
struct cache_result {
    size_t top;
    size_t *list; /* NULL: by `top` */
    size_t list_len;
    int64_t created_ns;
};
struct cache_record {
    struct digest digest; /* "": one that we cannot have */
    struct cache_input *inputs;
    size_t input_count;
    struct cache_result *results;
    size_t result_count;
};
struct cache_config {
    struct cache_layer *layers;
    size_t layer_count;
    struct cache_record *records;
    size_t record_count;
};
void cache_config_deinit(struct cache_config *c);

/* ---- building one
 * ------------------------------------------------------------------------------------------------------------
 */

struct cache_record *cache_config_add_record(struct cache_config *c,
                                             const struct digest *d); /* borrowed until the next */
void cache_record_set_inputs(struct cache_record *r, size_t count);
/* Once for each (record, selector). */
void cache_input_add(struct cache_input *i, size_t record, const char *selector);
/* The layer with that blob on that parent, made when it is not there. */
size_t cache_config_add_layer(struct cache_config *c, const struct digest *blob, int64_t parent);
void cache_record_add_result(struct cache_record *r, size_t top, int64_t created_ns);
void cache_record_add_list(struct cache_record *r, const size_t *layers, size_t count, int64_t created_ns);

/* ---- JSON
 * --------------------------------------------------------------------------------------------------------------------
 */

/* The whole document, as Go writes it; appended. */
void cache_config_write(const struct cache_config *c, struct buf *out);
/* The array of records alone, as an image config carries it. */
void cache_config_write_records(const struct cache_config *c, struct buf *out);
/* Errors: ERR_INVALID with BuildKit's texts. */
struct error *cache_config_parse(const void *data, size_t len, struct cache_config *ret) MUST_CHECK;
/* An array of records over an image's `layers`, lowest first. */
struct error *cache_config_parse_records(const void *data, size_t len, const struct digest *layers,
                                         size_t layer_count, struct cache_config *ret) MUST_CHECK;

/* The layers of a result as indices, lowest first; *ret is malloc'd.  ERR_INVALID for a loop or too many. */
struct error *cache_config_layers(const struct cache_config *c, const struct cache_result *r, size_t **ret,
                                  size_t *ret_count) MUST_CHECK;

#endif
