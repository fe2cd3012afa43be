/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - build definitions in memory: states, operations, and their marshalling
 *
 * A `struct llb_state` is an immutable value: the output of some operation (or scratch) and what later steps
 * inherit (environment, working directory, user, network ...).  Functions take a state and give a new one;
 * copying the struct copies the state. All nodes and strings live in a `struct llb_builder`, which frees them
 * at once; strings given are copied in.
 *
 * Marshalling gives the same bytes as Go's client/llb package of BuildKit v0.34 for the same calls: the order
 * of definitions, inputs, mounts and map keys, the capability ids in the metadata, the source map.  Nothing
 * is marshalled before llb_marshal(), so an output whose vertex is bound later (the build context, whose
 * paths are known at the end) is simply bound before.
 *
 * Nodes may be made from several tasks at once; a node itself is written only by who made it, until it is
 * marshalled.
 */
#ifndef MINKE_LLB_STATE_H
#define MINKE_LLB_STATE_H

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"
#include "llb/llb.h"
#include "oci/platform.h"

struct llb_builder;
struct llb_output; /* what a state points to: one output of one operation */
struct llb_action; /* one action of a file operation; a chain, last one first */

struct llb_builder *llb_builder_new(void);
void llb_builder_free(struct llb_builder *b);
void llb_builder_freep(struct llb_builder **b);
/* Memory of the builder: zeroed, freed with it; NULL for no bytes. */
void *llb_alloc(struct llb_builder *b, size_t size);
char *llb_strdup(struct llb_builder *b, const char *s); /* NULL gives NULL */
char *llb_strndup(struct llb_builder *b, const char *s, size_t len);
char *llb_printf(struct llb_builder *b, const char *fmt, ...) PRINTF(2, 3);
const struct platform *llb_platform_dup(struct llb_builder *b, const struct platform *p);

/* ---- environment: a list, newest first
 * --------------------------------------------------------------------------------- */

struct llb_env {
    const struct llb_env *parent; /* NULL: the empty root */
    const char *key, *value;
    bool deleted;
    uint64_t hash;                 /* of the key */
    const struct llb_names *names; /* the newest entry of each name, from here on down */
};
const struct llb_env *llb_env_set(struct llb_builder *b, const struct llb_env *env, const char *key,
                                  const char *value);
const struct llb_env *llb_env_delete(struct llb_builder *b, const struct llb_env *env, const char *key);
const char *llb_env_get(const struct llb_env *env, const char *key); /* NULL when absent */
/* What is set, as const struct llb_env, in the order of the last setting, oldest first; appended to *ret. */
void llb_env_entries(const struct llb_env *env, struct ptrv *ret);
/* Their keys. */
void llb_env_keys(const struct llb_env *env, struct strv *ret);

/* ---- states
 * ------------------------------------------------------------------------------------------------------------
 */

struct llb_state {
    struct llb_output *out; /* NULL: scratch */
    const struct llb_env *env;
    const char *dir;                             /* "/" of a new state */
    const char *user, *hostname, *cgroup_parent; /* NULL: unset */
    const struct platform *platform;             /* NULL: unset */
    Pb__NetMode network;
};

struct llb_state llb_scratch(void);
struct llb_state llb_new_state(struct llb_output *out); /* values at their defaults, platform of the output */
struct llb_state llb_with_output(struct llb_state s, struct llb_output *out);
/* Environment, working directory and platform of a base image's config (WithImageConfig). ERR_INVALID when it
 * is no JSON. */
struct error *llb_with_image_config(struct llb_builder *b, struct llb_state s, const void *json, size_t len,
                                    struct llb_state *ret) MUST_CHECK;
struct llb_state llb_add_env(struct llb_builder *b, struct llb_state s, const char *key, const char *value);
struct llb_state llb_dir(struct llb_builder *b, struct llb_state s, const char *dir);
struct llb_state llb_set_platform(struct llb_builder *b, struct llb_state s, const struct platform *p);

/* An output that is bound to a state's before marshalling. */
struct llb_output *llb_output_late(struct llb_builder *b);
void llb_output_bind(struct llb_output *late, struct llb_state s);
/* An output whose state is made when it is first needed in marshalling: `make` runs then, in the marshalling
 * task. */
typedef struct llb_state (*llb_make_fn)(struct llb_builder *b, void *ctx);
struct llb_output *llb_output_lazy(struct llb_builder *b, llb_make_fn make, void *ctx);

/* ---- what is said about an operation
 * ----------------------------------------------------------------------------------- */

/* The file that locations point into. Borrowed by all that refer to it: must outlive the builder. */
struct llb_source_map {
    const char *filename, *language;
    const void *data;
    size_t data_len;
    struct llb_def
        *definition; /* of the state that the file was read from, or NULL; a reference of the owner */
};

/* All optional: NULL or false leaves it out. */
struct llb_options {
    const char *custom_name; /* llb.customname */
    const char *command;     /* com.docker.dockerfile.v1.command; "" is present and empty */
    const struct platform *platform;
    bool ignore_cache;
    const char *group_id, *group_name; /* progress group */
    bool group_weak;
    const struct llb_resources *resources;
    const struct llb_source_map *source; /* with `ranges` (may be none) */
    const struct llb_range *ranges;
    size_t range_count;
};

/* ---- sources
 * -----------------------------------------------------------------------------------------------------------
 */

/* A source that its identifier ("scheme://..") says all about. */
struct llb_state llb_source(struct llb_builder *b, const char *id, const struct llb_options *o);

enum llb_resolve_mode { LLB_RESOLVE_DEFAULT, LLB_RESOLVE_PULL, LLB_RESOLVE_LOCAL };
const char *llb_resolve_mode_name(enum llb_resolve_mode mode); /* "default", "pull", "local" */

/* `ref` is normalised and gets :latest; one that does not parse is reported by llb_marshal. */
struct llb_state llb_image(struct llb_builder *b, const char *ref, enum llb_resolve_mode mode,
                           const struct llb_options *o);

/* The same of an image that is a frontend: what it takes on disk is listed as such. */
struct llb_state llb_frontend_image(struct llb_builder *b, const char *ref, enum llb_resolve_mode mode,
                                    const struct llb_options *o);

struct llb_local_options {
    const char *session_id, *shared_key_hint;
    const struct strv *follow_paths, *include_patterns, *exclude_patterns;
    bool differ_none; /* local.differ = none, not required */
};
struct llb_state llb_local(struct llb_builder *b, const char *name, const struct llb_local_options *l,
                           const struct llb_options *o);

struct llb_http_options {
    const char *filename, *checksum;
};
struct llb_state llb_http(struct llb_builder *b, const char *url, const struct llb_http_options *h,
                          const struct llb_options *o);

struct llb_git_options {
    const char *remote; /* as clients may clone it: the part without fragment and query */
    const char *scheme; /* "https", "ssh" ... */
    const char *host, *path;
    const char *ref, *subdir, *checksum, *mtime; /* NULL or "": none */
    bool keep_git_dir, skip_submodules, advice, fetch_by_commit;
};
struct llb_state llb_git(struct llb_builder *b, const struct llb_git_options *g, const struct llb_options *o);

struct llb_state llb_oci_layout(struct llb_builder *b, const char *ref, const char *session_id,
                                const char *store_id, const struct llb_options *o);

/* The state of a definition that a client gave (FrontendInputs); a reference to `def` is taken. ERR_INVALID
 * when it has ops but no terminal input, or unfolds to more than LIMIT_IMPORT_EDGES. */
struct error *llb_from_def(struct llb_builder *b, struct llb_def *def, struct llb_state *ret) MUST_CHECK;

/* ---- file operations
 * --------------------------------------------------------------------------------------------------- */

/* "user[:group]", each a name or a number (root is 0); NULL keeps the default owner. */
struct llb_chown {
    bool has_user, has_group;
    const char *user_name, *group_name; /* NULL or "": by id */
    uint32_t uid, gid;
};
struct llb_chown llb_chown_parse(struct llb_builder *b, const char *s);

struct llb_copy_info {
    bool has_mode;
    uint32_t mode;
    const char *mode_str; /* not "": symbolic, instead of mode */
    bool follow_symlinks, dir_contents_only, attempt_unpack, create_dest_path, allow_wildcard,
        allow_empty_wildcard;
    const struct strv *include_patterns, *exclude_patterns, *required_paths;
    const struct llb_chown *chown;
};
struct llb_action *llb_mkdir(struct llb_builder *b, struct llb_action *prev, const char *path, uint32_t mode,
                             bool parents, const struct llb_chown *chown, const int64_t *created_ns);
struct llb_action *llb_mkfile(struct llb_builder *b, struct llb_action *prev, const char *path, uint32_t mode,
                              const void *data, size_t len);
struct llb_action *llb_copy(struct llb_builder *b, struct llb_action *prev, struct llb_state from,
                            const char *src, const char *dest, const struct llb_copy_info *info);
/* Run the chain of actions on `s`. */
struct llb_state llb_file(struct llb_builder *b, struct llb_state s, struct llb_action *actions,
                          const struct llb_options *o);

/* ---- processes
 * ---------------------------------------------------------------------------------------------------------
 */

struct llb_mount {
    const char *target;
    struct llb_state source;
    const char *selector; /* NULL: whole */
    bool readonly, no_output, tmpfs;
    int64_t tmpfs_size;
    const char *cache_id; /* not NULL: a cache mount */
    Pb__CacheSharing sharing;
};
struct llb_secret {
    const char *id, *target, *env; /* target, env: NULL for none */
    uint32_t uid, gid, mode;
    bool optional;
};
struct llb_ssh {
    const char *id, *target; /* "" takes the default */
    uint32_t uid, gid, mode;
    bool optional;
};
struct llb_device {
    const char *name;
    bool optional;
};
struct llb_proxy {
    const char *http, *https, *ftp, *no_proxy, *all; /* "" or NULL: unset */
};
struct llb_host_ip {
    const char *host, *ip;
};
struct llb_ulimit {
    const char *name;
    int64_t soft, hard;
};
struct llb_run {
    const struct strv *args;
    const struct llb_proxy *proxy; /* NULL: none */
    const struct llb_mount *mounts;
    size_t mount_count;
    const struct llb_secret *secrets;
    size_t secret_count;
    const struct llb_ssh *ssh;
    size_t ssh_count;
    const struct llb_device *devices;
    size_t device_count;
    const struct llb_host_ip *hosts;
    size_t host_count;
    const struct llb_ulimit *ulimits;
    size_t ulimit_count;
    const char *cgroup_parent;
    const char *held_network; /* op/held_network.h; NULL: the state's */
    bool has_network;
    Pb__NetMode network; /* instead of the state's */
    Pb__SecurityMode security;
};
/* The state after the process: root filesystem changed, values as before. */
struct llb_state llb_run(struct llb_builder *b, struct llb_state s, const struct llb_run *run,
                         const struct llb_options *o);
/* What the process left in its writable mount at `target`; `after` is what llb_run() gave. */
struct llb_state llb_run_output(struct llb_builder *b, struct llb_state after, const char *target);

/* ---- graph ops
 * ---------------------------------------------------------------------------------------------------------
 */

/* Scratch inputs fall away; one input left is that input. */
struct llb_state llb_merge(struct llb_builder *b, const struct llb_state *inputs, size_t count,
                           const struct llb_options *o);
struct llb_state llb_diff(struct llb_builder *b, struct llb_state lower, struct llb_state upper,
                          const struct llb_options *o);

/* ---- marshalling
 * ------------------------------------------------------------------------------------------------------- */

/* `platform` is the default of ops without one (NULL: the host's). Scratch gives a definition without ops.
 * Errors: ERR_UNKNOWN with the Go client's texts ("arguments are required" ...). */
struct error *llb_marshal(struct llb_builder *b, struct llb_state s, const struct platform *platform,
                          struct llb_def **ret) MUST_CHECK;

#endif
