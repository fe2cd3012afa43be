/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dockerui.h - what a client asked for: frontend options, the build context, named contexts
 *
 * Made once for a build and read by the conversions of all its platforms at the same time; what is loaded on
 * demand
 * (.dockerignore, image configs) is loaded once, by whoever asks first, while others wait for it.
 * Option keys: protocol.md section 8.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_DOCKERUI_H
#define MINKE_FRONTEND_DOCKERFILE_DOCKERUI_H

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"
#include "frontend/dockerfile/gitref.h"
#include "frontend/dockerfile/image.h"
#include "frontend/frontend.h"
#include "frontend/sbom.h"
#include "llb/state.h"
#include "task/task.h"

/* One image config that is asked for: by whom first, is answered to all. */
struct resolve_entry {
    struct resolve_entry *next;
    char *key;
    bool done;
    struct error *error;
    struct resolved_image image;
};

struct dockerui {
    struct bridge *bridge;
    struct cache_imports caches;
    struct sbom_options sbom;
    struct map opts;          /* string map; a copy, with arguments that stand for options folded in */
    const struct map *inputs; /* name -> struct llb_def; borrowed */

    struct map build_args, labels; /* string maps */
    char *target, *cache_ns, *cgroup_parent, *hostname;
    char *lint_config; /* BUILDKIT_DOCKERFILE_CHECK, or NULL */
    enum llb_resolve_mode resolve_mode;
    Pb__NetMode network;
    struct llb_host_ip *hosts; /* with their strings */
    size_t host_count;
    struct llb_ulimit *ulimits;
    size_t ulimit_count;
    int64_t shm_size;
    bool has_resources;
    struct llb_resources resources;
    bool git_advice;
    struct platform build_platform;
    struct platform *targets; /* none: the default */
    size_t target_count;
    bool multi_platform;
    bool no_cache_all;
    struct strv no_cache; /* stage names */

    /* the build context, known after dockerui_read_entrypoint */
    char *context_name, *dockerfile_name; /* local sources */
    char *filename;
    bool force_local_dockerfile;
    enum { CONTEXT_LOCAL, CONTEXT_INPUT, CONTEXT_GIT, CONTEXT_FILE, CONTEXT_ARCHIVE } context_kind;
    char *context_url; /* of a repository or a download */
    struct llb_def *context_input,
        *dockerfile_input; /* frontend inputs instead of local sources; references */
    char *context_subdir;  /* of a context that is no local source, or NULL */

    struct group ahead; /* loads what will probably be needed */
    struct mutex lock;
    struct cond changed;
    enum { IGNORE_UNKNOWN, IGNORE_LOADING, IGNORE_LOADED } ignore_state; /* all below: under lock */
    struct buf ignore;
    char *ignore_name;
    struct resolve_entry *resolved;
};

/* Errors: ERR_INVALID with BuildKit's texts for each option. `opts` and `inputs` are borrowed. */
struct error *dockerui_init(struct dockerui *ui, struct bridge *b, const struct map *opts,
                            const struct map *inputs) MUST_CHECK;
void dockerui_deinit(struct dockerui *ui);
const char *dockerui_opt(const struct dockerui *ui, const char *key); /* NULL when not given */
bool dockerui_is_no_cache(const struct dockerui *ui, const char *stage);

/* The Dockerfile, and what it was read from. */
struct dockerui_source {
    struct buf text;
    struct llb_source_map map; /* data points into text */
    struct digest head;        /* vertex that loads it: warnings name it */
};
/* Reads the Dockerfile (and <file>.dockerignore). Waits. `ret` is released with dockerui_source_deinit in
 * either case. */
struct error *dockerui_read_entrypoint(struct dockerui *ui, struct dockerui_source *ret) MUST_CHECK;
void dockerui_source_deinit(struct dockerui_source *s);

/* Load the .dockerignore of a local main context, while there is something else to wait for.  What fails here
 * is tried again, and told, when somebody wants the patterns. */
void dockerui_preload_ignore(struct dockerui *ui);
/* Patterns of the .dockerignore of the main context; none for a context that is no local source. Waits. */
struct error *dockerui_ignore_patterns(struct dockerui *ui, struct strv *ret) MUST_CHECK;
/* The main build context, only `paths` of it (empty: all). Waits. */
struct error *dockerui_main_context(struct dockerui *ui, struct llb_builder *b, const struct strv *paths,
                                    struct llb_state *ret) MUST_CHECK;
/* Image config of `ref`, each asked for once in a build. Waits. `ret` is a copy. */
struct error *dockerui_resolve_image(struct dockerui *ui, const char *ref,
                                     const struct resolve_image_options *o,
                                     struct resolved_image *ret) MUST_CHECK;
/* Read a small file of a ref. Errors: ERR_NOT_FOUND; "%s exceeds maximum allowed size of %d bytes". Waits. */
struct error *dockerui_read_file(struct dockerui *ui, struct ref *ref, const char *name,
                                 struct buf *ret) MUST_CHECK;
/* A session of a local source: its own, or the build's. */
const char *dockerui_local_session(const struct dockerui *ui, const char *local);

/* ---- named contexts
 * ---------------------------------------------------------------------------------------------------- */

/* Paths of a context that turn out to be used, asked for when the definition is marshalled; appended to *ret
 * (none: all). */
typedef void (*used_paths_fn)(void *ctx, struct strv *ret);

struct named_context {
    char *name, *key;                /* key: name, maybe with "::platform" */
    char *input;                     /* "docker-image://..." */
    const struct platform *platform; /* borrowed; may be NULL */
    const char *resolve_mode;        /* borrowed; may be NULL */
    used_paths_fn paths;
    void *paths_ctx;
};
struct named_context_options {
    const struct platform *platform; /* NULL: not asked for one */
    const char *resolve_mode;        /* of images; NULL: the builder's own */
    used_paths_fn paths;
    void *paths_ctx;
};
/* A context that the client gives for this name (stage or image): *ret NULL when there is none. ERR_INVALID
 * for a bad name. */
struct error *named_context_find(struct dockerui *ui, const char *name, const struct named_context_options *o,
                                 struct named_context **ret) MUST_CHECK;
void named_context_free(struct named_context *nc);
/* Its state; *ret_has_image tells whether it came with a config. Waits. */
struct error *named_context_load(struct dockerui *ui, struct llb_builder *b, const struct named_context *nc,
                                 struct llb_state *ret, struct df_image *ret_image,
                                 bool *ret_has_image) MUST_CHECK;

#endif
