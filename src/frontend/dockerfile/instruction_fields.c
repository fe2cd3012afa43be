/* SPDX-License-Identifier: Apache-2.0 */
/* What goes through all fields of an instruction: freeing and expanding. */
#include "frontend/dockerfile/instruction.h"
#include "frontend/dockerfile/run_options.h"

static void free_copy(struct copy_args *c)
{
    strv_deinit(&c->paths);
    for (size_t k = 0; k < c->content_count; k++) {
        free(c->contents[k].path);
        free(c->contents[k].data);
    }
    free(c->contents);
    free(c->dest);
    free(c->chown);
    free(c->chmod);
    strv_deinit(&c->exclude);
    free(c->from);
    free(c->checksum);
}

static void free_command_line(struct command_line *l)
{
    strv_deinit(&l->args);
    for (size_t k = 0; k < l->file_count; k++) {
        free(l->files[k].name);
        free(l->files[k].data);
    }
    free(l->files);
}

static void free_mounts(struct run_args *r)
{
    for (size_t k = 0; k < r->mount_count; k++)
        run_mount_deinit(&r->mounts[k]);
    free(r->mounts);
}

static void free_run(struct run_args *r)
{
    free_command_line(&r->line);
    strv_deinit(&r->mount_flags);
    free_mounts(r);
    for (size_t k = 0; k < r->device_count; k++)
        free(r->devices[k].name);
    free(r->devices);
}

static void free_args(struct arg_list *a)
{
    for (size_t k = 0; k < a->len; k++) {
        free(a->v[k].key);
        free(a->v[k].value);
        free(a->v[k].description);
    }
    free(a->v);
}

static void free_key_values(struct key_value_list *kv)
{
    for (size_t k = 0; k < kv->len; k++) {
        free(kv->v[k].key);
        free(kv->v[k].value);
    }
    free(kv->v);
}

static void free_fields(struct instruction *i)
{
    switch (i->kind) {
    case INSTR_ADD:
    case INSTR_COPY:
        free_copy(&i->copy);
        break;
    case INSTR_ARG:
        free_args(&i->arg);
        break;
    case INSTR_CMD:
    case INSTR_ENTRYPOINT:
        free_command_line(&i->line);
        break;
    case INSTR_ENV:
    case INSTR_LABEL:
        free_key_values(&i->kv);
        break;
    case INSTR_EXPOSE:
    case INSTR_VOLUME:
    case INSTR_SHELL:
        strv_deinit(&i->words);
        break;
    case INSTR_FROM:
        free(i->from.base);
        free(i->from.stage_name);
        free(i->from.platform);
        free(i->from.description);
        break;
    case INSTR_HEALTHCHECK:
        strv_deinit(&i->health.test);
        break;
    case INSTR_RUN:
        free_run(&i->run);
        break;
    case INSTR_MAINTAINER:
    case INSTR_ONBUILD:
    case INSTR_STOPSIGNAL:
    case INSTR_USER:
    case INSTR_WORKDIR:
        free(i->text);
        break;
    }
}

void instruction_free(struct instruction *i)
{
    if (i == NULL)
        return;
    free_fields(i);
    free(i->name);
    free(i->code);
    strv_deinit(&i->comments);
    free(i);
}

void instruction_freep(struct instruction **i)
{
    instruction_free(*i);
    *i = NULL;
}

/* ---- expansion ---- */

struct expander {
    word_expander expand;
    void *ctx;
};

static struct error *expand_string(const struct expander *x, char **field)
{
    char *value = NULL;

    TRY(x->expand(x->ctx, *field, &value));
    free(*field);
    *field = value;
    return NULL;
}

static struct error *expand_strv(const struct expander *x, struct strv *v)
{
    for (size_t k = 0; k < v->len; k++)
        TRY(expand_string(x, &v->v[k]));
    return NULL;
}

static struct error *expand_copy(const struct expander *x, struct copy_args *c, bool add)
{
    TRY(expand_string(x, &c->chown));
    TRY(expand_string(x, &c->chmod));
    if (add)
        TRY(expand_string(x, &c->checksum));
    TRY(expand_strv(x, &c->paths));
    return expand_string(x, &c->dest);
}

static struct error *expand_key_values(const struct expander *x, struct key_value_list *kv)
{
    for (size_t k = 0; !kv->no_expand && k < kv->len; k++) {
        TRY(expand_string(x, &kv->v[k].key));
        TRY(expand_string(x, &kv->v[k].value));
    }
    return NULL;
}

static struct error *expand_args(const struct expander *x, struct arg_list *a)
{
    for (size_t k = 0; k < a->len; k++) {
        TRY(expand_string(x, &a->v[k].key));
        if (a->v[k].value != NULL)
            TRY(expand_string(x, &a->v[k].value));
    }
    return NULL;
}

static struct error *expand_mounts(const struct expander *x, struct run_args *r)
{
    for (size_t k = 0; k < r->mount_count; k++) {
        struct mount_flag m;
        TRY(run_mount_parse(r->mount_flags.v[k], x->expand, x->ctx, &m));
        run_mount_deinit(&r->mounts[k]);
        r->mounts[k] = m;
    }
    return NULL;
}

struct error *instruction_expand(struct instruction *i, word_expander expand, void *ctx)
{
    struct expander x = { expand, ctx };

    switch (i->kind) {
    case INSTR_ADD:
    case INSTR_COPY:
        return expand_copy(&x, &i->copy, i->kind == INSTR_ADD);
    case INSTR_ARG:
        return expand_args(&x, &i->arg);
    case INSTR_ENV:
    case INSTR_LABEL:
        return expand_key_values(&x, &i->kv);
    case INSTR_RUN:
        return expand_mounts(&x, &i->run);
    case INSTR_VOLUME:
        return expand_strv(&x, &i->words);
    case INSTR_STOPSIGNAL:
    case INSTR_USER:
    case INSTR_WORKDIR:
        return expand_string(&x, &i->text);
    default:
        return NULL;
    }
}

struct error *instruction_expand_raw(struct instruction *i, word_expander expand, void *ctx)
{
    struct expander x = { expand, ctx };

    if (i->kind != INSTR_ADD && i->kind != INSTR_COPY)
        return NULL;
    for (size_t k = 0; k < i->copy.content_count; k++) {
        if (i->copy.contents[k].expand)
            TRY(expand_string(&x, &i->copy.contents[k].data));
    }
    return NULL;
}
