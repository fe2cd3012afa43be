/* SPDX-License-Identifier: Apache-2.0 */
/* Expanding: variables in all fields of an instruction that take them. */
#include "frontend/dockerfile/instruction.h"
#include "frontend/dockerfile/run_options.h"

struct expander {
    struct arena *mem;
    word_expander expand;
    void *ctx;
};

static struct error *expand_string(const struct expander *x, const char **field)
{
    return x->expand(x->ctx, x->mem, *field, field);
}

static struct error *expand_strv(const struct expander *x, struct strv *v)
{
    for (size_t k = 0; k < v->len; k++)
        TRY(expand_string(x, (const char **)&v->v[k]));
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
    for (size_t k = 0; k < r->mount_count; k++)
        TRY(run_mount_parse(x->mem, r->mount_flags.v[k], x->expand, x->ctx, &r->mounts[k]));
    return NULL;
}

struct error *instruction_expand(struct arena *mem, struct instruction *i, word_expander expand, void *ctx)
{
    struct expander x = { mem, expand, ctx };

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

struct error *instruction_expand_raw(struct arena *mem, struct instruction *i, word_expander expand,
                                     void *ctx)
{
    struct expander x = { mem, expand, ctx };

    if (i->kind != INSTR_ADD && i->kind != INSTR_COPY)
        return NULL;
    for (size_t k = 0; k < i->copy.content_count; k++) {
        if (i->copy.contents[k].expand)
            TRY(expand_string(&x, &i->copy.contents[k].data));
    }
    return NULL;
}
