/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments before the first FROM: those every build has, and those the file declares. */
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
