/* SPDX-License-Identifier: Apache-2.0 */
/* What all instructions share: step names, history, used paths. */
#include "base/rune.h"
#include "frontend/dockerfile/build_stage.h"
#include "llb/gopath.h"

static const char *env_get(const void *ctx, const char *name)
{
    return llb_env_get(*(const struct llb_env *const *)ctx, name);
}

struct words_env env_of(const struct llb_env *const *env)
{
    return (struct words_env){ env_get, env };
}

/* ---- step names
 * -------------------------------------------------------------------------------------------------------- */

/* The platform that TARGET* arguments name; false when they do not. */
static bool target_of_env(const struct llb_env *env, struct platform *ret)
{
    CLEANUP(strv_deinit) struct strv keys = { 0 };
    bool set = false;

    ret->os = xstrdup("");
    ret->architecture = xstrdup("");
    ret->variant = xstrdup("");
    ret->os_version = xstrdup("");
    llb_env_keys(env, &keys);
    for (size_t i = 0; i < keys.len; i++) {
        const char *key = keys.v[i], *value = llb_env_get(env, key);

        if (streq(key, "TARGETPLATFORM")) {
            struct platform p = { 0 };
            struct error *e = platform_parse(value, &p);

            if (e != NULL) {
                err_free(e);
                continue;
            }
            platform_deinit(ret);
            *ret = p;
            return true;
        }
        if (streq(key, "TARGETOS"))
            str_replace(&ret->os, value);
        else if (streq(key, "TARGETARCH"))
            str_replace(&ret->architecture, value);
        else if (streq(key, "TARGETVARIANT"))
            str_replace(&ret->variant, value);
        else
            continue;
        set = true;
    }
    return set;
}

/* "->arm64" when a step builds for another platform than it runs on. */
static void add_cross_target(struct buf *out, const struct platform *base, const struct llb_env *env)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };

    if (env == NULL || !target_of_env(env, &p))
        return;
    if (*p.os == '\0')
        str_replace(&p.os, base->os);
    if (*p.architecture == '\0')
        str_replace(&p.architecture, base->architecture);
    platform_normalize(&p);
    if (!streq(p.os, base->os)) {
        CLEANUP(freep) char *all = platform_format_all(&p);

        buf_addf(out, "->%s", all);
    } else if (!streq(p.architecture, base->architecture)) {
        buf_addf(out, "->%s%s%s", p.architecture, *p.variant != '\0' ? "/" : "", p.variant);
    }
}

/* The number in a field as wide as `widest` needs. */
static void add_number(struct buf *out, int n, int widest)
{
    char text[16];
    size_t at = sizeof(text);

    for (; widest > 0; widest /= 10, n /= 10)
        text[--at] = n > 0 ? (char)('0' + n % 10) : ' ';
    for (; n > 0; n /= 10)
        text[--at] = (char)('0' + n % 10);
    buf_add(out, text + at, sizeof(text) - at);
}

char *step_name(struct build_stage *s, const char *text, bool platform_prefix, const struct platform *p,
                const struct llb_env *env)
{
    struct buf out = { 0 };

    if (s->cmd_total == 0)
        return xstrdup(text);
    buf_reserve(&out, strlen(text) + 64);
    buf_addc(&out, '[');
    if (platform_prefix && p != NULL) {
        CLEANUP(freep) char *all = platform_format_all(p);

        buf_adds(&out, all);
        add_cross_target(&out, p, env);
        buf_addc(&out, ' ');
    }
    if (*s->name != '\0') {
        buf_adds(&out, s->name);
        buf_addc(&out, ' ');
    }
    s->cmd_index++;
    add_number(&out, s->cmd_index, s->cmd_total);
    buf_addc(&out, '/');
    add_number(&out, s->cmd_total, s->cmd_total);
    buf_adds(&out, s->in_onbuild ? "] ONBUILD " : "] ");
    buf_adds(&out, text);
    return buf_take(&out);
}

char *step_text(const struct words_options *words, const char *code, const struct words_env *env)
{
    CLEANUP(freep) char *text = NULL;
    struct error *e = words_expand(words, code, env, &text);
    size_t len, plain = 0;

    if (e != NULL) {
        err_free(e); /* the name shows it as it was typed */
        text = xstrdup(code);
    }
    len = strcspn(text, " ");
    for (; plain < len && (unsigned char)text[plain] < 0x80; plain++) {
        if (text[plain] >= 'a' && text[plain] <= 'z')
            text[plain] -= 'a' - 'A';
    }
    if (plain < len) {
        CLEANUP(freep) char *keyword = xstrndup(text, len);
        CLEANUP(freep) char *upper = str_upper(keyword);

        return xasprintf("%s%s", upper, text + len);
    }
    return TAKE(text);
}

void options_locate(struct convert *c, struct llb_options *o, struct df_lines lines)
{
    size_t count = lines.first < 0 ? 0 : (size_t)(MAX(lines.last, lines.first) - lines.first) + 1;
    struct llb_range *ranges = llb_alloc(c->b, count * sizeof(*ranges));

    for (size_t i = 0; i < count; i++)
        ranges[i].start_line = ranges[i].end_line = lines.first + (int)i;
    o->source = c->o->source;
    o->ranges = ranges;
    o->range_count = count;
}

/* ---- image
 * -------------------------------------------------------------------------------------------------------------
 */

void stage_history(struct convert *c, struct build_stage *s, struct buf *created_by, bool layer)
{
    if (!c->o->only_check)
        df_image_add_history(&s->image, buf_take(created_by), !layer, c->has_epoch ? c->created : NULL);
}

void with_shell(const struct df_image *image, const struct strv *words, struct strv *ret)
{
    if (image->shell.len > 0) {
        strv_copy(ret, &image->shell);
    } else if (image->platform.os != NULL && streq(image->platform.os, "windows")) {
        strv_add(ret, "cmd");
        strv_add(ret, "/S");
        strv_add(ret, "/C");
    } else {
        strv_add(ret, "/bin/sh");
        strv_add(ret, "-c");
    }
    strv_take(ret, strv_join(words, " "));
}

/* ---- paths
 * -------------------------------------------------------------------------------------------------------------
 */

void set_add(struct map *set, const char *key)
{
    static char present;

    map_set(set, key, &present);
}

void mark_path(const struct convert *c, struct map *paths, const char *path)
{
    CLEANUP(freep) char *joined = NULL;

    if (c->o->only_check)
        return;
    joined = gopath_join("/", path);
    set_add(paths, joined);
}

void used_paths(const struct map *set, struct strv *ret)
{
    if (map_has(set, "/"))
        return;
    for (size_t i = 0; i < set->len; i++)
        strv_add(ret, set->entries[i].key + 1); /* without the slash in front */
    strv_sort(ret);
}
