/* SPDX-License-Identifier: Apache-2.0 */
/* classic_impl.h - a classic build under way, for the files of the classic builder only */
#ifndef MINKE_ENGINE_CLASSIC_IMPL_H
#define MINKE_ENGINE_CLASSIC_IMPL_H

#include "engine/classic.h"
#include "engine/images.h"
#include "frontend/dockerfile/image.h"
#include "frontend/dockerfile/instruction.h"
#include "frontend/dockerfile/words.h"
#include "snapshot/snapshot.h"

#define CLASSIC_SHORT_ID 12
/* Labels of an image's name: what a step started from and what it did. */
#define CLASSIC_FROM_SCRATCH "org.mobyproject.image.fromscratch"
#define CLASSIC_CONFIG "org.mobyproject.image.containerconfig"

/* ---- build arguments (classic_args.c): values are owned strings or NULL */
struct classic_args {
    const struct map *given; /* by the client */
    struct map meta;         /* declared before the first FROM */
    struct map allowed;      /* declared in this stage, in order */
    struct map referenced;   /* a set: declared anywhere */
};
void classic_args_init(struct classic_args *a, const struct map *given);
void classic_args_deinit(struct classic_args *a);
void classic_args_begin_stage(struct classic_args *a);
void classic_args_add(struct classic_args *a, const struct arg_def *arg);
void classic_args_add_meta(struct classic_args *a, const struct arg_def *arg);
/* Variables that FROM sees, as KEY=VALUE; appended. */
void classic_args_meta_env(const struct classic_args *a, struct strv *ret);
/* Arguments that have a value and that `env` does not set, as KEY=VALUE; appended. */
void classic_args_env(const struct classic_args *a, const struct strv *env, struct strv *ret);
/* Proxy variables work without ARG, and leave no trace then. */
bool classic_args_is_transparent(const struct classic_args *a, const char *key);
/* "[a b]" of those given and not used; NULL when there are none. New string. */
char *classic_args_unused(const struct classic_args *a);

/* ---- images (classic_image.c) */
struct classic_image {
    struct digest id;          /* "": none yet */
    struct snapshot *snapshot; /* NULL: no files */
    struct df_image config;
};
void classic_image_init(struct classic_image *i);
void classic_image_deinit(struct classic_image *i);
void classic_image_copy(struct classic_image *dst, const struct classic_image *src);

/* ---- the build */
struct classic_stage {
    struct classic_image image;
    const char *name;
    char *maintainer; /* NULL: none */
    bool cmd_set;     /* by this stage, not the base image */
};

struct classic {
    struct engine *engine;
    const struct classic_options *o;
    const struct classic_output *out;
    struct job *job;
    struct progress_reader *events; /* of the job */
    struct lease *lease;
    struct snapshot *context; /* NULL: there is none */
    struct buf text;          /* the Dockerfile */
    char *dockerfile_name;
    struct arena mem; /* of the file and what is expanded in it */
    struct df_ast ast;
    struct dockerfile file;
    struct words_options words;
    struct platform platform; /* asked for; zeroed: not */
    struct classic_args args;
    struct strv temporary;      /* ids shown as "Running in" by the instruction at hand */
    struct classic_stage *done; /* stages that are built, in order */
    size_t done_count;
    struct classic_image *sources; /* of cache_from */
    size_t source_count;
    bool sources_open; /* this stage agreed with one of them so far */
};

/* {"stream": ..} */
struct error *classic_say(struct classic *c, const char *fmt, ...) PRINTF(2, 3) MUST_CHECK;
struct error *classic_say_bytes(struct classic *c, bool is_stderr, const void *data, size_t len) MUST_CHECK;
/* " ---> Running in <id>"; the id is kept until the instruction ends. */
struct error *classic_say_running(struct classic *c) MUST_CHECK;

/* classic_image.c: an image by name or id; `pull` when it is not here (or always, where the client wants
 * that). */
struct error *classic_image_get(struct classic *c, const char *name, bool pull,
                                const struct platform *platform, struct classic_image *ret) MUST_CHECK;
/* An image that an earlier build made from the same with the same `config`: taken over, "Using cache" said.
 */
struct error *classic_image_probe(struct classic *c, struct classic_stage *s, const struct digest *config,
                                  const char *created_by, bool *ret_hit) MUST_CHECK;
/* The stage's config, with `files` (NULL: as before), as a new image. */
struct error *classic_image_commit(struct classic *c, struct classic_stage *s, struct snapshot *files,
                                   const struct digest *config, const char *created_by) MUST_CHECK;
/* Fill in c->sources. */
struct error *classic_image_sources(struct classic *c) MUST_CHECK;

/* classic_context.c: the context and the Dockerfile's text. */
struct error *classic_context_load(struct classic *c, struct stream *body) MUST_CHECK;
/* A download that failed, in the words and with the status that clients know. Takes `e`; NULL passes through.
 */
struct error *classic_download_error(const char *url, struct error *e) MUST_CHECK;

/* classic_solve.c: run a state; what a process prints is said.  *ret_cached: nothing had to run. */
enum classic_watch { CLASSIC_QUIET, CLASSIC_PROCESS, CLASSIC_DOWNLOAD };
struct error *classic_solve(struct classic *c, struct llb_builder *b, struct llb_state state,
                            enum classic_watch watch, struct snapshot **ret, bool *ret_cached) MUST_CHECK;
/* The stage's files, environment, user and directory as a state. `held` must stay open while it is used. */
struct held;
struct llb_state classic_state(struct classic *c, struct llb_builder *b, const struct classic_stage *s,
                               const struct held *held);
struct platform const *classic_platform(const struct classic *c, const struct classic_stage *s);

/* classic_dispatch.c: what an instruction does */
struct error *classic_dispatch(struct classic *c, struct classic_stage *s,
                               struct instruction *ins) MUST_CHECK;
/* The shell of shell forms, appended. */
void classic_shell(const struct classic_stage *s, struct strv *ret);
/* A step that runs nothing: the image of the same step before, or a new one.  `words` follow the shell in
 * what it was made by; `make_files` (NULL: the step leaves them alone) may give none. */
typedef struct error *(*classic_files_fn)(struct classic *c, struct classic_stage *s, struct snapshot **ret);
struct error *classic_step(struct classic *c, struct classic_stage *s, const struct strv *words,
                           classic_files_fn make_files) MUST_CHECK;
/* Digest of the config that a step's image has in dockerd's sense, with `cmd` as its command. */
struct digest classic_step_config(const struct classic_stage *s, const struct strv *cmd, bool no_entrypoint);

/* classic_host.c: for every step that makes a container in dockerd; errors with its texts. */
struct error *classic_host_check(struct classic *c) MUST_CHECK;
/* For RUN: the network of another container, to be closed after it; NULL: one of the ordinary ones. */
struct held_network;
struct error *classic_host_network(struct classic *c, struct held_network **ret) MUST_CHECK;

/* classic_run.c, classic_copy.c */
struct error *classic_run(struct classic *c, struct classic_stage *s,
                          const struct instruction *ins) MUST_CHECK;
struct error *classic_workdir(struct classic *c, struct classic_stage *s, const char *path) MUST_CHECK;
struct error *classic_copy(struct classic *c, struct classic_stage *s,
                           const struct instruction *ins) MUST_CHECK;
struct error *classic_needs_buildkit(const char *flag) MUST_CHECK;

#endif
