/* SPDX-License-Identifier: Apache-2.0 */
/* classic_args.c - ARG and --build-arg, with the classic builder's rules */
#include "engine/classic_impl.h"

#include "frontend/dockerfile/gotext.h"

static const char *const proxies[] = {
    "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY",
    "ftp_proxy",  "NO_PROXY",   "no_proxy",    "ALL_PROXY",   "all_proxy"
};

void classic_args_init(struct classic_args *a, const struct map *given)
{
    *a = (struct classic_args){ .given = given };
    a->meta.free_value = a->allowed.free_value = free;
}

void classic_args_deinit(struct classic_args *a)
{
    map_deinit(&a->meta);
    map_deinit(&a->allowed);
    map_deinit(&a->referenced);
}

void classic_args_begin_stage(struct classic_args *a)
{
    map_deinit(&a->allowed);
    a->allowed.free_value = free;
}

void classic_args_add(struct classic_args *a, const struct arg_def *arg)
{
    map_set(&a->allowed, arg->key, xstrdup(arg->value));
    map_set(&a->referenced, arg->key, a);
}

void classic_args_add_meta(struct classic_args *a, const struct arg_def *arg)
{
    map_set(&a->meta, arg->key, xstrdup(arg->value));
    map_set(&a->referenced, arg->key, a);
}

static bool is_proxy(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(proxies); i++) {
        if (streq(proxies[i], key))
            return true;
    }
    return false;
}

bool classic_args_is_transparent(const struct classic_args *a, const char *key)
{
    return is_proxy(key) && !map_has(&a->allowed, key);
}

/* What the client gave, else the default, else that of an ARG of this name before FROM; NULL: unset. */
static const char *value_of(const struct classic_args *a, const struct map *declared, const char *key)
{
    const char *given = map_get(a->given, key), *own = map_get(declared, key);

    if (given != NULL)
        return given;
    return own != NULL ? own : map_get(&a->meta, key);
}

static void add_all(const struct classic_args *a, const struct map *declared, struct strv *ret)
{
    for (size_t i = 0; i < declared->len; i++) {
        const char *key = declared->entries[i].key, *value = value_of(a, declared, key);

        if (value != NULL)
            strv_addf(ret, "%s=%s", key, value);
    }
    for (size_t i = 0; i < ARRAY_LEN(proxies); i++) {
        const char *value = value_of(a, declared, proxies[i]);

        if (value != NULL && !map_has(declared, proxies[i]))
            strv_addf(ret, "%s=%s", proxies[i], value);
    }
}

void classic_args_meta_env(const struct classic_args *a, struct strv *ret)
{
    add_all(a, &a->meta, ret);
}

static bool sets(const struct strv *env, const char *pair)
{
    size_t len = strcspn(pair, "=") + 1;

    for (size_t i = 0; i < env->len; i++) {
        if (strncmp(env->v[i], pair, len) == 0)
            return true;
    }
    return false;
}

void classic_args_env(const struct classic_args *a, const struct strv *env, struct strv *ret)
{
    CLEANUP(strv_deinit) struct strv all = { 0 };

    add_all(a, &a->allowed, &all);
    for (size_t i = 0; i < all.len; i++) {
        if (!sets(env, all.v[i]))
            strv_add(ret, all.v[i]);
    }
}

char *classic_args_unused(const struct classic_args *a)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    struct buf text = { 0 };

    for (size_t i = 0; i < a->given->len; i++) {
        const char *key = a->given->entries[i].key;

        if (!is_proxy(key) && !map_has(&a->referenced, key))
            strv_add(&names, key);
    }
    if (names.len == 0)
        return NULL;
    strv_sort(&names);
    buf_add_go_list(&text, &names, false);
    return buf_take(&text);
}
