/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments before the first FROM: those every build has, those the file declares, and SOURCE_DATE_EPOCH. */
#include "base/bytes.h"
#include "frontend/dockerfile/build_stage.h"

struct error *meta_args_apply(struct convert *c, const struct llb_env *env, const struct map *build_args,
                              struct map *ret_names, const struct llb_env **ret)
{
    for (size_t i = 0; i < c->file.meta_arg_count; i++) {
        const struct instruction *ins = c->file.meta_args[i];

        for (size_t k = 0; k < ins->arg.len; k++) {
            const struct arg_def *arg = &ins->arg.v[k];
            const char *value = build_args != NULL ? strmap_get(build_args, arg->key) : NULL;
            CLEANUP(freep) char *expanded = NULL;

            if (value == NULL && arg->value != NULL) {
                struct words_env from = env_of(&env);

                TRY(df_error_at(words_expand(&c->words, arg->value, &from, &expanded), ins->lines));
                value = expanded;
            }
            if (value != NULL)
                env = llb_env_set(c->b, env, arg->key, value);
            if (ret_names != NULL)
                set_add(ret_names, arg->key);
        }
    }
    *ret = env;
    return NULL;
}

static const struct llb_env *add_default(struct convert *c, const struct llb_env *env, const char *key,
                                         const char *value)
{
    const char *given = strmap_get(&c->build_args, key);

    return llb_env_set(c->b, env, key, given != NULL ? given : value);
}

const struct llb_env *default_args(struct convert *c, const char *target)
{
    const struct platform *bp = c->build, *tp = c->target;
    CLEANUP(freep) char *build = platform_format(bp), *all = platform_format_all(tp);
    const struct llb_env *env = NULL;

    env = add_default(c, env, "BUILDPLATFORM", build);
    env = add_default(c, env, "BUILDOS", bp->os);
    env = add_default(c, env, "BUILDOSVERSION", bp->os_version);
    env = add_default(c, env, "BUILDARCH", bp->architecture);
    env = add_default(c, env, "BUILDVARIANT", bp->variant);
    env = add_default(c, env, "TARGETPLATFORM", all);
    env = add_default(c, env, "TARGETOS", tp->os);
    env = add_default(c, env, "TARGETOSVERSION", tp->os_version);
    env = add_default(c, env, "TARGETARCH", tp->architecture);
    env = add_default(c, env, "TARGETVARIANT", tp->variant);
    return add_default(c, env, "TARGETSTAGE", *target != '\0' ? target : "default");
}

/* ---- SOURCE_DATE_EPOCH
 * ------------------------------------------------------------------------------------------------- */

#define EPOCH "SOURCE_DATE_EPOCH"

/* A value that names where the time comes from.  A local context has none. */
static struct error *epoch_from_source(struct convert *c, const char *value)
{
    CLEANUP(freep) char *opt = xasprintf("context:%s", value);

    bool fetched = c->ui->context_kind != CONTEXT_LOCAL && c->ui->context_kind != CONTEXT_INPUT;

    if (streq(value, "context") && !fetched)
        return NULL;
    if (streq(value, "context") || dockerui_opt(c->ui, opt) != NULL ||
        dockerfile_find_stage(&c->file, value) >= 0)
        return err_new(ERR_UNIMPLEMENTED, "SOURCE_DATE_EPOCH from a remote source is not supported yet: %s",
                       value);
    return err_new(ERR_INVALID, "invalid SOURCE_DATE_EPOCH: %s", value);
}

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

    if (value == NULL) {
        value = llb_env_get(c->global_args, EPOCH);
        if (value == NULL || *value == '\0')
            return NULL;
    }
    if (*value != '\0') {
        if (parse_i64(value, &c->epoch) == 0)
            c->has_epoch = true;
        else
            TRY(epoch_from_source(c, value));
    }
    if (c->has_epoch) {
        if (c->epoch > INT64_MAX / NS_PER_SEC || c->epoch < INT64_MIN / NS_PER_SEC)
            return err_new(ERR_INVALID, "invalid SOURCE_DATE_EPOCH: %s", value);
        format_rfc3339(c->created, c->epoch * NS_PER_SEC);
    }
    replace_epoch(c);
    return NULL;
}
