/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoch.c - SOURCE_DATE_EPOCH: a number, or the name of a source whose time it is
 *
 *   "context"    the main build context
 *   a name       a named context, or a stage that is FROM scratch with one remote ADD
 *
 * A git source is as old as its commit, a download as its Last-Modified, else, when it is an archive, as the
 * newest file in it.  A source that tells no time leaves the epoch unset.
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "frontend/dockerfile/build_stage.h"
#include "frontend/dockerfile/remote_context.h"
#include "oci/compress.h"
#include "oci/tar.h"

#define EPOCH "SOURCE_DATE_EPOCH"
/* More than any clock is off: what is left to the ends of the range of times. */
#define SECONDS_PER_WEEK (7 * 24 * 3600)

/* What is known so far. */
struct epoch_source {
    struct convert *c;
    struct llb_builder *b; /* of its own: the conversion's is not marshalled yet */
    char *log_name;
};

/* ---- stages
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *apply_args(struct convert *c, const struct arg_list *args, const struct llb_env **env)
{
    for (size_t i = 0; i < args->len; i++) {
        const char *given = strmap_get(&c->build_args, args->v[i].key), *value = args->v[i].value;
        CLEANUP(freep) char *expanded = NULL;

        if (given == NULL && value == NULL)
            continue;
        if (given == NULL) {
            struct words_env from = env_of(env);

            TRY(words_expand(&c->words, value, &from, &expanded));
        }
        *env = llb_env_set(c->b, *env, args->v[i].key, given != NULL ? given : expanded);
    }
    return NULL;
}

static struct error *expand(struct convert *c, const char *word, const struct llb_env *env, char **ret)
{
    struct words_env from = env_of(&env);

    return words_expand(&c->words, word, &from, ret);
}

static struct error *git_state(struct epoch_source *x, const struct copy_args *add, const struct git_ref *g,
                               const char *checksum, struct llb_state *ret)
{
    struct llb_git_options o = { .remote = g->remote,
                                 .scheme = g->scheme,
                                 .host = g->host,
                                 .path = g->path,
                                 .ref = g->ref,
                                 .subdir = g->subdir,
                                 .advice = x->c->ui->git_advice,
                                 .checksum = *checksum != '\0' ? checksum : g->checksum,
                                 .keep_git_dir = (add->keep_git_dir_set && add->keep_git_dir) ||
                                                 (g->keep_git_dir_set && g->keep_git_dir),
                                 .skip_submodules = g->submodules_set && !g->submodules };

    *ret = llb_git(x->b, &o, NULL);
    return NULL;
}

static struct error *add_state(struct epoch_source *x, const struct copy_args *add, const struct llb_env *env,
                               struct llb_state *ret)
{
    CLEANUP(git_ref_deinit) struct git_ref git = { 0 };
    CLEANUP(freep) char *src = NULL, *checksum = NULL, *file = NULL;
    CLEANUP(err_freep) struct error *e = NULL;
    bool is_git = false;

    if (add->content_count > 0 || add->paths.len != 1)
        return err_new(ERR_INVALID, EPOCH " stage must contain exactly one remote ADD source");
    TRY(expand(x->c, add->paths.v[0], env, &src));
    TRY(expand(x->c, add->checksum, env, &checksum));
    e = copy_git_source(src, &git, &is_git);
    if (copy_is_url(src) && (e != NULL || !is_git)) {
        if (*checksum != '\0')
            TRY(copy_check_digest(checksum));
        file = remote_filename(src);
        *ret =
            llb_http(x->b, src, &(struct llb_http_options){ .filename = file, .checksum = checksum }, NULL);
        return NULL;
    }
    if (e != NULL && is_git)
        return TAKE(e);
    if (e == NULL && is_git)
        return git_state(x, add, &git, checksum, ret);
    return err_new(ERR_INVALID, EPOCH " stage source must be a single HTTP(S) or Git ADD");
}

static struct error *stage_source(struct epoch_source *x, const struct stage *s, struct llb_state *ret)
{
    struct convert *c = x->c;
    const struct llb_env *env = llb_env_delete(c->b, c->global_args, EPOCH);
    CLEANUP(freep) char *base = NULL;
    bool found = false;

    TRY(err_wrap(expand(c, s->base, env, &base), "failed to process source stage base name \"%s\"", s->base));
    if (!streq(base, "scratch"))
        return err_new(ERR_INVALID, EPOCH " stage must use FROM scratch");
    for (size_t i = 0; i < s->command_count; i++) {
        const struct instruction *ins = s->commands[i];

        if (ins->kind == INSTR_ARG) {
            TRY(apply_args(c, &ins->arg, &env));
            continue;
        }
        if (ins->kind != INSTR_ADD)
            return err_new(ERR_INVALID,
                           EPOCH " stage does not meet source-only requirements: unsupported %s instruction",
                           instruction_kind_name(ins->kind));
        if (found)
            return err_new(ERR_INVALID, EPOCH " stage must contain exactly one remote ADD");
        TRY(add_state(x, &ins->copy, env, ret));
        found = true;
    }
    return found ? NULL : err_new(ERR_INVALID, EPOCH " stage must contain exactly one remote ADD");
}

/* ---- which source
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *named_source(struct epoch_source *x, const char *name, struct llb_state *ret,
                                  bool *ret_found)
{
    struct named_context *nc = NULL;
    struct df_image image;
    bool has_image;

    TRY(named_context_find(x->c->ui, name, &(struct named_context_options){ 0 }, &nc));
    *ret_found = nc != NULL;
    if (nc == NULL)
        return NULL;
    df_image_init(&image);
    struct error *e = named_context_load(x->c->ui, x->b, nc, ret, &image, &has_image);

    df_image_deinit(&image);
    named_context_free(nc);
    x->log_name = xasprintf("[internal] resolve " EPOCH " named context %s", name);
    return e;
}

/* *ret_found false: a local context, which has no time of its own. */
static struct error *find_source(struct epoch_source *x, const char *name, struct llb_state *ret,
                                 bool *ret_found)
{
    struct convert *c = x->c;
    int stage;

    if (streq(name, "context")) {
        *ret_found = c->ui->context_kind != CONTEXT_LOCAL;
        x->log_name = xstrdup("[internal] resolve main build context metadata");
        return *ret_found ? dockerui_main_context(c->ui, x->b, NULL, ret) : NULL;
    }
    TRY(named_source(x, name, ret, ret_found));
    if (*ret_found)
        return NULL;
    stage = dockerfile_find_stage(&c->file, name);
    if (stage < 0)
        return err_new(ERR_INVALID, "invalid " EPOCH ": %s", name);
    *ret_found = true;
    x->log_name = xasprintf("[internal] resolve " EPOCH " source stage %s", c->file.stages[stage].name);
    return df_error_at(stage_source(x, &c->file.stages[stage], ret), c->file.stages[stage].lines);
}

/* ---- its time
 * ----------------------------------------------------------------------------------------------------------
 */

/* The only source op of a definition; NULL when there are others. */
static struct error *only_source(const struct llb_def *def, struct pb_arena *a, const Pb__SourceOp **ret)
{
    *ret = NULL;
    for (size_t i = 0; i < def->op_count; i++) {
        Pb__Op *op;

        TRY(pb_unpack(&pb__op__descriptor, def->ops[i].bytes, def->ops[i].len, a, &op));
        if (op->op_case != PB__OP__OP_SOURCE)
            continue;
        if (*ret != NULL) {
            *ret = NULL;
            return NULL;
        }
        *ret = op->source;
    }
    return NULL;
}

/* The newest regular file; what is no archive has none. */
static void archive_time(const struct buf *data, struct source_time *ret)
{
    CLEANUP(stream_closep) struct stream *plain = NULL;
    struct error *e = decompress_stream(stream_from_memory(data->data, data->len), &plain);
    struct tar_entry *entry = NULL;

    if (e != NULL) {
        err_free(e);
        return;
    }
    CLEANUP(tar_reader_freep) struct tar_reader *r = tar_reader_new(plain);

    while ((e = tar_reader_next(r, &entry)) == NULL && entry != NULL) {
        if (entry->type != TAR_FILE || (ret->known && entry->mtime <= ret->seconds))
            continue;
        ret->seconds = entry->mtime;
        ret->known = true;
    }
    if (e != NULL)
        ret->known = false; /* as BuildKit: a damaged archive is none */
    err_free(e);
}

static struct error *download_time(struct epoch_source *x, const Pb__SourceOp *op, struct source_time *ret)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    CLEANUP(buf_deinit) struct buf data = { 0 };
    const char *file = pb_get_str(op->attrs, op->n_attrs, "http.filename");
    const char *checksum = pb_get_str(op->attrs, op->n_attrs, "http.checksum");
    struct bridge *bridge = x->c->ui->bridge;
    struct ref *ref = NULL;

    if (file == NULL || *file == '\0')
        return NULL;
    struct llb_http_options h = { .filename = file, .checksum = checksum };

    TRY(llb_marshal(x->b, llb_http(x->b, op->identifier, &h, NULL), NULL, &def));
    TRY(bridge->ops->solve(bridge, def, &ref));
    def = NULL; /* taken */
    TRY(dockerui_read_file(x->c->ui, ref, file, &data));
    archive_time(&data, ret);
    return NULL;
}

static struct error *source_epoch(struct epoch_source *x, const char *name, struct source_time *ret)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    struct bridge *bridge = x->c->ui->bridge;
    struct llb_state state = llb_scratch();
    const Pb__SourceOp *op = NULL;
    bool found = false;

    TRY(find_source(x, name, &state, &found));
    if (!found || state.out == NULL)
        return NULL;
    TRY(llb_marshal(x->b, state, NULL, &def));
    TRY(only_source(def, &a, &op));
    if (op == NULL)
        return NULL;
    TRY(bridge->ops->source_time(bridge, op, x->log_name, ret));
    if (ret->known || !copy_is_url(op->identifier))
        return NULL;
    return download_time(x, op, ret);
}

static struct error *epoch_from_source(struct convert *c, const char *name, struct source_time *ret)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    struct epoch_source x = { .c = c, .b = b };
    struct error *e = source_epoch(&x, name, ret);

    free(x.log_name);
    return e;
}

/* ---- the argument
 * ----------------------------------------------------------------------------------------------------------
 */

/* Steps see the number, or nothing, in place of what was given. */
static void replace_epoch(struct convert *c)
{
    CLEANUP(freep) char *number = c->has_epoch ? xasprintf("%lld", (long long)c->epoch) : NULL;

    if (map_has(&c->build_args, EPOCH)) {
        if (number != NULL)
            strmap_set(&c->build_args, EPOCH, number);
        else
            map_remove(&c->build_args, EPOCH);
    }
    if (llb_env_get(c->global_args, EPOCH) != NULL)
        c->global_args = number != NULL ? llb_env_set(c->b, c->global_args, EPOCH, number)
                                        : llb_env_delete(c->b, c->global_args, EPOCH);
}

struct error *resolve_epoch(struct convert *c)
{
    const char *value = strmap_get(&c->build_args, EPOCH);
    struct source_time at = { 0 };

    if (value == NULL) {
        value = llb_env_get(c->global_args, EPOCH);
        if (value == NULL || *value == '\0')
            return NULL;
    }
    if (*value != '\0') {
        if (parse_i64(value, &at.seconds) == 0)
            at.known = true;
        else
            TRY(epoch_from_source(c, value, &at));
    }
    c->has_epoch = at.known;
    c->epoch = at.seconds;
    if (c->has_epoch) {
        if (c->epoch > INT64_MAX / NS_PER_SEC - SECONDS_PER_WEEK ||
            c->epoch < INT64_MIN / NS_PER_SEC + SECONDS_PER_WEEK)
            return err_new(ERR_INVALID, "invalid " EPOCH ": %s", value);
        format_rfc3339_at(c->created, c->epoch * NS_PER_SEC, at.offset);
    }
    replace_epoch(c);
    return NULL;
}
