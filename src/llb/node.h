/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - operations of a builder before they are marshalled; private to the room
 *
 * A node knows what it will be encoded from.  Marshalling encodes it and fills in its digest, once for each
 * llb_marshal() (they may have different default platforms): `generation` tells which run it belongs to.
 */
#ifndef MINKE_LLB_NODE_H
#define MINKE_LLB_NODE_H

#include "base/arena.h"
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
    const struct llb_meta *meta; /* NULL: none */
};

/* Capabilities that nodes ask for, in the order of their names. */
#define NODE_CAPS(X)                                                                                         \
    X(CAP_DIFFOP, "diffop")                                                                                  \
    X(CAP_EXEC_META_BASE, "exec.meta.base")                                                                  \
    X(CAP_EXEC_META_CDI, "exec.meta.cdi")                                                                    \
    X(CAP_EXEC_META_LINUX_RESOURCES, "exec.meta.linux.resources")                                            \
    X(CAP_EXEC_META_NETWORK, "exec.meta.network")                                                            \
    X(CAP_EXEC_META_PROXYENV, "exec.meta.proxyenv")                                                          \
    X(CAP_EXEC_META_SECURITY, "exec.meta.security")                                                          \
    X(CAP_EXEC_META_SETSDEFAULTPATH, "exec.meta.setsdefaultpath")                                            \
    X(CAP_EXEC_META_ULIMIT, "exec.meta.ulimit")                                                              \
    X(CAP_EXEC_MOUNT_BIND, "exec.mount.bind")                                                                \
    X(CAP_EXEC_MOUNT_CACHE, "exec.mount.cache")                                                              \
    X(CAP_EXEC_MOUNT_CACHE_SHARING, "exec.mount.cache.sharing")                                              \
    X(CAP_EXEC_MOUNT_SECRET, "exec.mount.secret")                                                            \
    X(CAP_EXEC_MOUNT_SELECTOR, "exec.mount.selector")                                                        \
    X(CAP_EXEC_MOUNT_SSH, "exec.mount.ssh")                                                                  \
    X(CAP_EXEC_MOUNT_TMPFS, "exec.mount.tmpfs")                                                              \
    X(CAP_EXEC_MOUNT_TMPFS_SIZE, "exec.mount.tmpfs.size")                                                    \
    X(CAP_EXEC_SECRETENV, "exec.secretenv")                                                                  \
    X(CAP_FILE_BASE, "file.base")                                                                            \
    X(CAP_MERGEOP, "mergeop")                                                                                \
    X(CAP_SOURCE_GIT, "source.git")                                                                          \
    X(CAP_SOURCE_GIT_CHECKSUM, "source.git.checksum")                                                        \
    X(CAP_SOURCE_GIT_FETCHBYCOMMIT, "source.git.fetchbycommit")                                              \
    X(CAP_SOURCE_GIT_FULLURL, "source.git.fullurl")                                                          \
    X(CAP_SOURCE_GIT_KEEPGITDIR, "source.git.keepgitdir")                                                    \
    X(CAP_SOURCE_GIT_KNOWNSSHHOSTS, "source.git.knownsshhosts")                                              \
    X(CAP_SOURCE_GIT_MOUNTSSHSOCK, "source.git.mountsshsock")                                                \
    X(CAP_SOURCE_GIT_MTIME, "source.git.mtime")                                                              \
    X(CAP_SOURCE_GIT_SKIPSUBMODULES, "source.git.skipsubmodules")                                            \
    X(CAP_SOURCE_HTTP, "source.http")                                                                        \
    X(CAP_SOURCE_HTTP_CHECKSUM, "source.http.checksum")                                                      \
    X(CAP_SOURCE_IMAGE, "source.image")                                                                      \
    X(CAP_SOURCE_IMAGE_RESOLVEMODE, "source.image.resolvemode")                                              \
    X(CAP_SOURCE_LOCAL, "source.local")                                                                      \
    X(CAP_SOURCE_LOCAL_EXCLUDEPATTERNS, "source.local.excludepatterns")                                      \
    X(CAP_SOURCE_LOCAL_FOLLOWPATHS, "source.local.followpaths")                                              \
    X(CAP_SOURCE_LOCAL_INCLUDEPATTERNS, "source.local.includepatterns")                                      \
    X(CAP_SOURCE_LOCAL_SESSIONID, "source.local.sessionid")                                                  \
    X(CAP_SOURCE_LOCAL_SHAREDKEYHINT, "source.local.sharedkeyhint")                                          \
    X(CAP_SOURCE_LOCAL_UNIQUE, "source.local.unique")                                                        \
    X(CAP_SOURCE_OCILAYOUT, "source.ocilayout")
#define NODE_CAP_ID(id, name) id,
enum node_cap { NODE_CAPS(NODE_CAP_ID) NODE_CAP_COUNT, CAP_NONE = NODE_CAP_COUNT };

struct llb_node {
    struct llb_node *next; /* the builder's list */
    struct llb_builder *builder;
    enum node_kind kind;
    const char *command, *custom_name; /* of the description; NULL: none */
    bool ignore_cache;
    struct llb_progress_group *progress_group; /* NULL: none */
    struct llb_resources *resources;           /* NULL: none */
    uint64_t caps;                             /* a bit for each node_cap */
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
    unsigned generation; /* of the digest */
    unsigned visited;    /* generation in which it was put in the definition */
    struct digest digest;
};

struct llb_node *node_new(struct llb_builder *b, enum node_kind kind, const struct llb_options *o);
static inline void node_add_cap(struct llb_node *n, enum node_cap cap)
{
    n->caps |= UINT64_C(1) << cap;
}
const struct platform *node_normal_platform(const struct llb_node *n); /* of one that has a platform */
struct llb_output *node_output(struct llb_builder *b, struct llb_node *n, int64_t index,
                               const struct platform *p);
/* The output behind late ones; NULL is scratch. */
struct llb_output *output_resolve(struct llb_builder *b, struct llb_output *o);
/* In the builder's memory: for reading only.  NULL gives an empty one. */
struct strv llb_strv_dup(struct llb_builder *b, const struct strv *v);

/* Inputs of one op. */
struct op_input {
    const struct llb_node *node;
    int64_t index;
};
struct op_inputs {
    struct op_input *v;
    size_t count, cap;
};

/* llb_marshal()'s run. Nodes are encoded one after the other, inputs first, in the same buffers. */
struct marshal {
    struct llb_builder *builder;
    unsigned generation;
    const struct platform *platform;
    char unique_id[26]; /* local.unique of sources without a session */
    struct hasher *hasher;
    struct op_inputs inputs; /* of the node at hand */
    struct buf op, bytes;    /* its op message, and all of it */
    /* Process after process has the same environment: as it was encoded. */
    const struct llb_env *env;
    struct buf env_bytes;
};
void marshal_deinit(struct marshal *m);
/* Digest of a node for this run; m->bytes is what it was made from (not of NODE_DEF). */
struct error *node_marshal(struct marshal *m, struct llb_node *n) MUST_CHECK;
/* Index that refers to an output. */
int64_t output_index(const struct llb_output *o);
/* Outputs that a node depends on, in Go's order. Appended to *ret (unresolved, never NULL). */
void node_dependencies(struct llb_node *n, struct ptrv *ret);

/* One more input of the node at hand; its position, -1 for scratch. With `join`, an equal input is used
 * again.
 */
int64_t op_inputs_add(struct marshal *m, struct llb_output *o, bool join);
/* m->op and the inputs to m->bytes: Op has inputs, platform (NULL: left out), empty constraints, and last the
 * op message at `field`. */
void op_encode(struct marshal *m, unsigned field, const struct platform *p);

struct error *exec_marshal(struct marshal *m, struct llb_node *n) MUST_CHECK;
void file_marshal(struct marshal *m, struct llb_node *n);
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
    pthread_mutex_t lock; /* of all below */
    struct arena mem;
    struct llb_node *nodes;
    struct ptrv imports;
    struct ptrv platforms;                    /* deep copies to free */
    const struct platform *platform, *normal; /* one of those, the last that was normalised, and as such */
    struct map images;                        /* reference of an image -> identifier of its source */
    unsigned generation;
};

#endif
