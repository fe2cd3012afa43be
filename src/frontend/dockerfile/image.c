/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/image.h"

const char *default_path_env(const char *os)
{
    if (os != NULL && streq(os, "windows"))
        return "c:\\Windows\\System32;c:\\Windows;C:\\Windows\\System32\\WindowsPowerShell\\v1.0";
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

void str_replace(char **dst, const char *value)
{
    char *copy = xstrdup(value);

    free(*dst);
    *dst = copy;
}

void df_image_init(struct df_image *i)
{
    *i = (struct df_image){ 0 };
    strmap_init(&i->exposed_ports);
    strmap_init(&i->volumes);
    strmap_init(&i->labels);
}

void df_image_deinit(struct df_image *i)
{
    free(i->created);
    free(i->author);
    platform_deinit(&i->platform);
    free(i->rootfs_type);
    strv_deinit(&i->diff_ids);
    for (size_t k = 0; k < i->history_count; k++) {
        free(i->history[k].created);
        free(i->history[k].created_by);
        free(i->history[k].author);
        free(i->history[k].comment);
    }
    free(i->history);
    free(i->user);
    free(i->working_dir);
    free(i->stop_signal);
    map_deinit(&i->exposed_ports);
    map_deinit(&i->volumes);
    map_deinit(&i->labels);
    strv_deinit(&i->env);
    map_deinit(&i->env_places);
    i->env_indexed = 0;
    strv_deinit(&i->entrypoint);
    strv_deinit(&i->cmd);
    strv_deinit(&i->on_build);
    strv_deinit(&i->shell);
    strv_deinit(&i->health.test);
    df_image_init(i);
}

struct df_history *df_image_push_history(struct df_image *i)
{
    if ((i->history_count & (i->history_count - 1)) == 0) /* grown at powers of two */
        i->history = xreallocarray(i->history, i->history_count == 0 ? 1 : i->history_count * 2,
                                   sizeof(i->history[0]));
    i->history[i->history_count] = (struct df_history){ 0 };
    return &i->history[i->history_count++];
}

void df_image_copy(struct df_image *dst, const struct df_image *src)
{
    df_image_deinit(dst);
    dst->created = xstrdup(src->created);
    dst->author = xstrdup(src->author);
    platform_copy(&dst->platform, &src->platform);
    dst->rootfs_type = xstrdup(src->rootfs_type);
    dst->has_diff_ids = src->has_diff_ids;
    strv_copy(&dst->diff_ids, &src->diff_ids);
    for (size_t k = 0; k < src->history_count; k++) {
        const struct df_history *from = &src->history[k];
        struct df_history *to = df_image_push_history(dst);

        to->created = xstrdup(from->created);
        to->created_by = xstrdup(from->created_by);
        to->author = xstrdup(from->author);
        to->comment = xstrdup(from->comment);
        to->empty_layer = from->empty_layer;
    }
    dst->user = xstrdup(src->user);
    dst->working_dir = xstrdup(src->working_dir);
    dst->stop_signal = xstrdup(src->stop_signal);
    strmap_copy(&dst->exposed_ports, &src->exposed_ports);
    strmap_copy(&dst->volumes, &src->volumes);
    strmap_copy(&dst->labels, &src->labels);
    strv_copy(&dst->env, &src->env);
    strv_copy(&dst->entrypoint, &src->entrypoint);
    strv_copy(&dst->cmd, &src->cmd);
    strv_copy(&dst->on_build, &src->on_build);
    strv_copy(&dst->shell, &src->shell);
    dst->args_escaped = src->args_escaped;
    dst->has_health = src->has_health;
    dst->health = src->health;
    dst->health.test = (struct strv){ 0 };
    strv_copy(&dst->health.test, &src->health.test);
}

void df_image_move(struct df_image *dst, struct df_image *src)
{
    df_image_deinit(dst);
    *dst = *src;
    df_image_init(src);
}

void df_image_init_scratch(struct df_image *i, const struct platform *p)
{
    df_image_init(i);
    platform_copy(&i->platform, p);
    i->rootfs_type = xstrdup("layers");
    i->working_dir = xstrdup("/");
    if (!streq(p->os, "windows"))
        strv_addf(&i->env, "PATH=%s", default_path_env(p->os));
}

void df_image_add_history(struct df_image *i, char *created_by, bool empty_layer, const char *created)
{
    struct df_history *h = df_image_push_history(i);

    h->created_by = created_by;
    h->comment = xstrdup("buildkit.dockerfile.v0");
    h->empty_layer = empty_layer;
    h->created = xstrdup(created);
}

/* What came otherwise than by df_image_set_env; of one name the first entry counts. */
static void index_env(struct df_image *i)
{
    for (; i->env_indexed < i->env.len; i->env_indexed++) {
        const char *e = i->env.v[i->env_indexed];
        CLEANUP(freep) char *name = xstrndup(e, strcspn(e, "="));
        void **place = map_at(&i->env_places, name);

        if (*place == NULL)
            *place = (void *)(uintptr_t)(i->env_indexed + 1);
    }
}

void df_image_set_env(struct df_image *i, const char *key, const char *value)
{
    size_t key_len = strlen(key), len = strlen(value);
    char *pair = xmalloc(key_len + len + 2);
    void **place;

    memcpy(pair, key, key_len);
    pair[key_len] = '=';
    memcpy(pair + key_len + 1, value, len + 1);
    index_env(i);
    place = map_at(&i->env_places, key);
    if (*place == NULL) {
        strv_take(&i->env, pair);
        i->env_indexed = i->env.len;
        *place = (void *)(uintptr_t)i->env.len;
    } else {
        char **old = &i->env.v[(uintptr_t)*place - 1];

        free(*old);
        *old = pair;
    }
}
