/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - operations of a builder before they are marshalled; private to the room
 *
 * A node knows what it will be encoded from.  Marshalling fills in digest and bytes, once for each
 * llb_marshal() (they may have different default platforms): `generation` tells which run they belong to.
 */
#ifndef MINKE_LLB_NODE_H
#define MINKE_LLB_NODE_H

#include "base/buf.h"
#include "llb/state.h"

#include <pthread.h>

enum node_kind { NODE_SOURCE, NODE_EXEC, NODE_FILE, NODE_MERGE, NODE_DIFF, NODE_DEF };

struct llb_node;

struct llb_output {
    struct llb_node *node;
    const struct node_mount *mount; /* of an exec: which output is counted when marshalling */
    int64_t index;                  /* else */
    const struct platform *platform;
    bool late; /* bound later: */
    bool bound;
    struct llb_output *target; /* NULL: scratch */
    llb_make_fn make;          /* NULL: bound by llb_output_bind */
    void *make_ctx;
};

struct node_location {
    const struct llb_source_map *map;
    const struct llb_range *ranges;
    size_t range_count;
};

struct node_source {
    const char *id;
    struct map attrs;
    const char *error; /* reported when marshalled */
};

struct node_mount {
    const char *target, *selector, *cache_id;
    struct llb_output *source;
    bool readonly, no_output, tmpfs;
    int64_t tmpfs_size;
    Pb__CacheSharing sharing;
};
struct node_exec {
    struct strv args;
    const struct llb_env *env;
    const char *dir, *user, *hostname, *cgroup_parent;
    const struct platform *base_platform;
    Pb__NetMode network;
    Pb__SecurityMode security;
    const struct llb_proxy *proxy;
    const struct node_mount **mounts; /* sorted by target */
    size_t mount_count;
    struct llb_run run; /* secrets, ssh, devices, hosts, ulimits: copies in the builder's memory */
};

struct llb_action {
    enum { ACTION_MKDIR, ACTION_MKFILE, ACTION_COPY } kind;
    struct llb_action *prev;
    const char *path; /* destination of a copy */
    uint32_t mode;
    bool make_parents;
    bool has_chown;
    struct llb_chown chown;
    int64_t timestamp; /* -1: keep */
    const void *data;
    size_t len;
    const char *src; /* of a copy, absolute and clean */
    struct llb_output *from;
    bool follow_symlinks, dir_contents_only, attempt_unpack, create_dest_path, allow_wildcard,
        allow_empty_wildcard;
    bool has_mode;
    const char *mode_str;
    struct strv include_patterns, exclude_patterns, required_paths;
};
struct node_file {
    struct llb_output *base;
    const char *dir;
    struct llb_action **actions; /* oldest first */
    size_t action_count;
};

struct node_inputs { /* merge; diff: lower, upper (either may be NULL) */
    struct llb_output **v;
    size_t count;
};

struct node_def {
    struct node_import *import;
    const struct llb_op *op;
};

struct llb_node {
    struct llb_node *next; /* the builder's list */
    struct llb_builder *builder;
    enum node_kind kind;
    struct llb_meta meta;
    const struct platform *platform;
    struct node_location *locations;
    size_t location_count;
    union {
        struct node_source source;
        struct node_exec exec;
        struct node_file file;
        struct node_inputs inputs;
        struct node_def def;
    };
    unsigned generation; /* of digest and bytes */
    unsigned visited;    /* generation in which it was put in the definition */
    struct digest digest;
    struct buf bytes;
    struct strv caps; /* of this generation */
};

struct llb_node *node_new(struct llb_builder *b, enum node_kind kind, const struct llb_options *o);
void node_add_cap(struct llb_node *n, const char *cap);
struct llb_output *node_output(struct llb_builder *b, struct llb_node *n, int64_t index,
                               const struct platform *p);
/* The output behind late ones; NULL is scratch. */
struct llb_output *output_resolve(struct llb_builder *b, struct llb_output *o);
void strv_dup_into(struct strv *dst, const struct strv *src); /* src may be NULL */

/* llb_marshal()'s run. */
struct marshal {
    struct llb_builder *builder;
    unsigned generation;
    const struct platform *platform;
    char unique_id[26]; /* local.unique of sources without a session */
};
/* Digest, bytes and caps of a node for this run. */
struct error *node_marshal(struct marshal *m, struct llb_node *n) MUST_CHECK;
/* Digest and index that refer to an output (not scratch). */
struct error *output_input(struct marshal *m, struct llb_output *o, struct digest *ret,
                           int64_t *ret_index) MUST_CHECK;
/* Outputs that a node depends on, in Go's order. Appended to *ret (unresolved, never NULL). */
void node_dependencies(struct llb_node *n, struct ptrv *ret);

/* Inputs of one op, equal ones joined. */
struct op_inputs {
    struct digest *digests;
    int64_t *indices;
    size_t count;
};
void op_inputs_deinit(struct op_inputs *in);
/* *ret_position: -1 for scratch. With `join`, an equal input is used again. */
struct error *op_inputs_add(struct marshal *m, struct op_inputs *in, struct llb_output *o, bool join,
                            int64_t *ret_position) MUST_CHECK;
/* Op: inputs, the op message at `field`, platform (NULL: left out), empty constraints. */
void op_encode(struct buf *out, const struct op_inputs *in, unsigned field, struct buf *op,
               const struct platform *p);

struct error *exec_marshal(struct marshal *m, struct llb_node *n) MUST_CHECK;
struct error *file_marshal(struct marshal *m, struct llb_node *n) MUST_CHECK;
void exec_dependencies(struct llb_node *n, struct ptrv *ret);
void file_dependencies(struct llb_node *n, struct ptrv *ret);
int64_t exec_output_index(const struct llb_node *n, const struct node_mount *mount);

/* An imported definition: its nodes by digest and index. */
struct node_import {
    struct llb_def *def;
    struct map nodes;            /* "digest/index" -> struct llb_node */
    struct map ops;              /* digest -> struct llb_op */
    struct llb_source_map *maps; /* of def->source->infos */
};
void import_free(struct node_import *i);
void import_dependencies(struct llb_node *n, struct ptrv *ret);
/* The bytes of a source info's definition that were imported as such (NULL: none); `map` may be any. */
const struct llb_source_info *import_source_info(struct llb_builder *b, const struct llb_source_map *map);

struct llb_builder {
    pthread_mutex_t lock; /* chunks, nodes, imports */
    struct llb_chunk *chunks;
    struct llb_node *nodes;
    struct ptrv imports;
    struct ptrv platforms; /* deep copies to free */
    struct ptrv indexes;   /* struct map of environments */
    unsigned generation;
};

#endif
