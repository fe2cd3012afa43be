/* SPDX-License-Identifier: Apache-2.0 */
/*
 * build_stage.h - stages while they are converted; private to the convert half of this folder
 *
 * A build stage is a stage of the file, or one made for `--from=image`.  Stages and strings live as long as
 * the conversion: in its arena, as the parsed file does, or in the builder's memory.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_BUILD_STAGE_H
#define MINKE_FRONTEND_DOCKERFILE_BUILD_STAGE_H

#include "frontend/dockerfile/convert.h"
#include "frontend/dockerfile/gitref.h"
#include "frontend/dockerfile/instruction.h"
#include "frontend/dockerfile/words.h"
#include "io/pattern.h"

struct build_stage;

struct build_command {
    struct instruction *ins;
    struct build_stage **sources; /* COPY --from: one; RUN: one for each mount */
    size_t source_count;
    bool onbuild; /* from a trigger of the base image */
};

struct stage_dep {
    struct build_stage *stage;
    const struct instruction *by;
};

/* An ARG of a stage, with the value it had. */
struct build_arg {
    const char *key, *value; /* value NULL: unset */
};

/* Where an instruction that counts once was last seen. */
struct seen_at {
    bool set;
    struct df_lines lines;
};

struct build_stage {
    const struct stage *parsed; /* NULL: made for --from=image */
    const char *name;           /* as shown in step names: "stage-1" when not named */
    const char *base_name;      /* image or stage; canonical once resolved */
    const char *code;           /* its FROM as typed */
    struct df_lines lines;
    struct build_stage *base; /* another stage */
    struct named_context *named;

    struct llb_state state;
    struct df_image image;
    const struct df_image *base_image; /* one of the conversion's; NULL: none */
    const struct platform *platform;   /* NULL: not known yet */

    struct stage_dep *deps;
    size_t dep_count;
    struct build_command *commands;
    size_t command_count;
    struct build_arg *args;
    size_t arg_count;
    struct map own_paths; /* set: paths of this stage that are used ... */
    struct map *paths;    /* ... shared with the base stage */

    enum { STAGE_UNSEEN, STAGE_OPEN, STAGE_DONE } visit; /* search for cycles */
    bool reached;                                        /* of the last stages_reachable */
    bool dispatched, resolved, onbuild_done, unregistered, ignore_cache, workdir_set;
    bool in_onbuild; /* the command at hand */
    int cmd_index, cmd_total;
    struct seen_at seen_cmd, seen_entrypoint, seen_healthcheck;
};

struct convert {
    const struct convert_options *o;
    struct dockerui *ui;
    struct llb_builder *b;
    struct arena mem; /* the file and all that is made of it besides the definition */
    struct df_ast ast;
    struct dockerfile file;
    struct ptrv base_images; /* struct df_image: what stages start from, each once */
    struct lint lint;
    struct words_options words;

    const struct platform *target, *build;
    bool implicit_target;
    struct map build_args; /* string map: a copy */
    struct map meta_args;  /* set: names that ARGs before FROM declare */
    const struct llb_env *global_args;
    bool has_epoch;
    int64_t epoch;    /* seconds */
    char created[40]; /* of history entries; "" without an epoch */

    struct ptrv stages;         /* struct build_stage, in order */
    struct map by_name;         /* lower-case name -> struct build_stage */
    struct llb_output *context; /* the main context, bound at the end */
    struct map ctx_paths;       /* set: what of it is used */
    struct pattern_set ignore;  /* of the main context */
    bool has_ignore;
    const struct llb_proxy *proxy; /* NULL: none */
};

/* ---- stages (build_stage.c)
 * -------------------------------------------------------------------------------------------- */

/* All stages of the file, names and platforms expanded. */
struct error *stages_build(struct convert *c) MUST_CHECK;
/* Commands of all stages with the stages they copy from; refuses cycles. */
struct error *stages_link(struct convert *c) MUST_CHECK;
/* Stages that `target` needs, itself first; sets `reached` of all stages. */
void stages_reachable(struct convert *c, struct build_stage *target, struct ptrv *ret);
struct build_stage *stage_find(const struct convert *c, const char *name); /* NULL when there is none */
/* Take over what a stage has from its base stage. */
void stage_inherit(struct convert *c, struct build_stage *s);
/* One more ARG. Strings are borrowed. */
void stage_add_arg(struct convert *c, struct build_stage *s, const char *key, const char *value);
void stage_free(struct build_stage *s);
/* Commands of ONBUILD triggers in front of the stage's own. *ret_new_deps: some copy from other stages. */
struct error *stage_add_triggers(struct convert *c, struct build_stage *s, const struct strv *triggers,
                                 bool *ret_new_deps) MUST_CHECK;

/* ---- base images (base_image.c)
 * ---------------------------------------------------------------------------------------- */

/* Resolve what reachable stages start from, until triggers bring nothing new.  Waits. Afterwards
 * `reached` tells the stages that are needed. */
struct error *stages_resolve(struct convert *c, struct build_stage *target) MUST_CHECK;

/* ---- instructions (dispatch*.c)
 * ---------------------------------------------------------------------------------------- */

struct error *stage_start(struct convert *c, struct build_stage *s) MUST_CHECK; /* from the image config */
struct error *stage_dispatch(struct convert *c, struct build_stage *s, struct build_command *cmd) MUST_CHECK;

struct error *dispatch_run(struct convert *c, struct build_stage *s, struct build_command *cmd) MUST_CHECK;
struct error *dispatch_copy(struct convert *c, struct build_stage *s, struct build_command *cmd,
                            struct lint *lint) MUST_CHECK;
struct error *dispatch_expose(struct convert *c, struct build_stage *s, struct build_command *cmd,
                              struct lint *lint) MUST_CHECK;

/* ---- helpers (step.c)
 * -------------------------------------------------------------------------------------------------- */

struct words_env env_of(const struct llb_env *const *env);
/* "[stage-1 2/5] " and the text; counts the step. `env` tells the target platform of cross builds, NULL:
 * none. */
char *step_name(struct build_stage *s, const char *text, bool platform_prefix, const struct platform *p,
                const struct llb_env *env);
/* First word in upper case; variables expanded where that works. New string. */
char *step_text(const struct words_options *words, const char *code, const struct words_env *env);
/* The lines as ranges, one each, in the builder's memory. */
void options_locate(struct convert *c, struct llb_options *o, struct df_lines lines);
/* Takes what is in `created_by`. */
void stage_history(struct convert *c, struct build_stage *s, struct buf *created_by, bool layer);
/* The shell and the words as one string; appended to *ret. */
void with_shell(const struct df_image *image, const struct strv *words, struct strv *ret);
void set_add(struct map *set, const char *key);
/* "/" and the path, clean. Nothing in a check: nobody will read the context. */
void mark_path(const struct convert *c, struct map *paths, const char *path);
/* What a local source must transfer: nothing appended for "all". */
void used_paths(const struct map *set, struct strv *ret);

/* Is this source of ADD a download? */
bool copy_is_url(const char *src);
/* Is the source of an ADD a git repository?  Errors: of the reference's query. */
struct error *copy_git_source(const char *src, struct git_ref *ret, bool *ret_yes) MUST_CHECK;
/* A --checksum for a download.  ERR_INVALID "unsupported digest algorithm" and the like. */
struct error *copy_check_digest(const char *s) MUST_CHECK;

/* ---- checks (checks.c)
 * ------------------------------------------------------------------------------------------------- */

void check_stage_names(struct convert *c);
void check_casing(struct convert *c);
void check_base_defaults(struct convert *c, const struct llb_env *defaults);
void check_unused_from_args(struct convert *c, struct lint *lint, const struct words_result *r,
                            struct df_lines lines);
void check_from_platform(struct convert *c, struct lint *lint, const struct stage *st,
                         const struct words_result *r);
void check_base_platform(struct convert *c, const char *name, const struct platform *expected,
                         const struct platform *actual, struct df_lines lines);
void check_unmatched(struct build_stage *s, const struct llb_env *env, struct lint *lint,
                     const struct strv *unmatched, struct df_lines lines);
void check_used_once(struct seen_at *seen, const struct instruction *ins, struct lint *lint);
void check_secret_key(const char *instruction, const char *key, struct df_lines lines, struct lint *lint);
void check_copy_source(struct convert *c, struct lint *lint, bool add, const char *src,
                       struct df_lines lines);
/* (did you mean X?) of the first of `keys` that has a suggestion among the environment's names. */
struct error *suggest_any(struct error *e, const struct strv *keys, const struct llb_env *env) MUST_CHECK;

/* ---- meta arguments (meta_args.c)
 * -------------------------------------------------------------------------------------- */

/* ARGs before the first FROM on top of `env`; `build_args` NULL: none given; `ret_names` may be NULL. */
struct error *meta_args_apply(struct convert *c, const struct llb_env *env, const struct map *build_args,
                              struct map *ret_names, const struct llb_env **ret) MUST_CHECK;
const struct llb_env *default_args(struct convert *c, const char *target);
/* SOURCE_DATE_EPOCH (epoch.c).  May wait for a remote source. */
struct error *resolve_epoch(struct convert *c) MUST_CHECK;

#endif
