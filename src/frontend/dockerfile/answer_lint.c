/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/answer.h"

#include "base/limits.h"
#include "llb/json.h"
#include "oci/gojson.h"

/* ---- the code frame, as errdefs.Source prints it
 * ------------------------------------------------------------ */

static bool in_lines(const struct df_lines *l, int n)
{
    return l->first >= 0 && n >= l->first && n <= MAX(l->last, l->first);
}

static void print_frame(struct buf *out, const char *filename, const struct strv *text,
                        const struct df_lines *l)
{
    int count = (int)text->len, start = l->first, end = MIN(MAX(l->last, l->first), count), pad, done = 0;

    if (start < 1 || start > count)
        return;
    pad = end == start ? 4 : 2;
    buf_addf(out, "%s:%d\n--------------------\n", filename, l->first);
    for (; done < pad; done++) {
        if (start > 1) {
            start--;
            done++;
        }
        if (end != count) {
            end++;
            done++;
        }
    }
    for (int n = start; n <= end; n++)
        buf_addf(out, " %3d | %s %s\n", n, in_lines(l, n) ? ">>>" : "   ", text->v[n - 1]);
    buf_adds(out, "--------------------\n");
}

/* ---- lint
 * -------------------------------------------------------------------------------------------------------- */

struct finding {
    const struct lint_rule_info *info;
    char *text;
    struct df_lines lines;
    size_t position; /* in which it was found */
};
struct findings {
    struct finding *v;
    size_t len, cap;
};

static void findings_deinit(struct findings *f)
{
    for (size_t i = 0; i < f->len; i++)
        free(f->v[i].text);
    free(f->v);
}

static void collect(void *ctx, const struct lint_warning *w)
{
    struct findings *f = ctx;

    if (f->len == f->cap) {
        f->cap = MAX((size_t)16, f->cap * 2);
        f->v = xreallocarray(f->v, f->cap, sizeof(*f->v));
    }
    f->v[f->len] = (struct finding){ w->info, xstrdup(w->text), w->lines, f->len };
    f->len++;
}

static json_t *warnings_json(const struct findings *f)
{
    json_t *list = f->len == 0 ? json_null() : json_array();

    for (size_t i = 0; i < f->len; i++) {
        const struct finding *w = &f->v[i];
        json_t *j = json_pack("{s:s}", "ruleName", w->info->name);

        answer_set_member(j, "description", w->info->description);
        answer_set_member(j, "url", w->info->url);
        answer_set_member(j, "detail", w->text);
        json_object_set_new(j, "location", answer_location(w->lines));
        json_array_append_new(list, j);
    }
    return list;
}

/* The file, as an error detail has it. */
static json_t *source_json(const struct dockerui_source *src)
{
    CLEANUP(buf_deinit) struct buf definition = { 0 };
    struct llb_source_info info = { .filename = (char *)src->map.filename,
                                    .language = (char *)src->map.language,
                                    .data = (void *)src->map.data,
                                    .data_len = src->map.data_len };

    llb_def_encode(src->map.definition, &definition);
    info.definition = definition.data;
    info.definition_len = definition.len;
    return llb_info_to_json(&info);
}

static int by_line(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* The places of an error, each line once. */
static json_t *error_json(const struct error *e)
{
    size_t count = df_error_lines(e, NULL, 0), n = 0;
    CLEANUP(freep) struct df_lines *lines = xcalloc(count + 1, sizeof(*lines));
    CLEANUP(freep) int *all = NULL;
    json_t *list = json_array();

    df_error_lines(e, lines, count);
    for (size_t i = 0; i < count; i++) {
        for (int l = lines[i].first;
             l >= 0 && l <= MAX(lines[i].last, lines[i].first) && l - lines[i].first < LIMIT_LOCATION_LINES;
             l++) {
            all = xreallocarray(all, n + 1, sizeof(*all));
            all[n++] = l;
        }
    }
    if (n > 0)
        qsort(all, n, sizeof(*all), by_line);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || all[i] != all[i - 1])
            json_array_append_new(list, answer_range(all[i]));
    }
    if (json_array_size(list) == 0) {
        json_decref(list);
        return json_pack("{s:o, s:{}}", "message", go_json_text(e->message), "location");
    }
    return json_pack("{s:o, s:{s:o}}", "message", go_json_text(e->message), "location", "ranges", list);
}

static int by_place(const void *a, const void *b)
{
    const struct finding *x = a, *y = b;
    bool nx = x->lines.first < 0, ny = y->lines.first < 0;

    if (nx && ny)
        return strcmp(x->info->name, y->info->name);
    if (nx || ny)
        return nx ? -1 : 1;
    if (x->lines.first != y->lines.first)
        return x->lines.first - y->lines.first;
    return x->position < y->position ? -1 : 1;
}

static void print_findings(struct findings *f, const struct dockerui_source *src, struct buf *out)
{
    CLEANUP(strv_deinit) struct strv text = { 0 };
    CLEANUP(freep) char *data = NULL;

    if (f->len == 0)
        return;
    data = xstrndup(src->map.data, src->map.data_len);
    strv_split(&text, data, '\n');
    qsort(f->v, f->len, sizeof(*f->v), by_place);
    for (size_t i = 0; i < f->len; i++) {
        buf_addf(out, "\nWARNING: %s", f->v[i].info->name);
        if (f->v[i].info->url[0] != '\0')
            buf_addf(out, " - %s", f->v[i].info->url);
        buf_addf(out, "\n%s\n", f->v[i].text);
        print_frame(out, src->map.filename, &text, &f->v[i].lines);
    }
}

struct error *answer_lint(struct dockerui *ui, const struct dockerui_source *src, struct frontend_result *ret)
{
    CLEANUP(findings_deinit) struct findings found = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(err_freep) struct error *failure = NULL;
    struct convert_result result = { 0 };
    struct convert_options o = answer_conversion(ui, src, collect, &found);
    json_t *j, *source;

    o.all_stages = ui->target[0] == '\0';
    o.only_check = true;
    failure = dockerfile_convert(&o, &result);
    convert_result_deinit(&result);
    if (err_is(failure, ERR_CANCELLED))
        return TAKE(failure);
    source = source_json(src);
    j = json_pack("{s:o, s:[o]}", "warnings", warnings_json(&found), "sources", source);
    if (failure != NULL)
        json_object_set_new(j, "buildError", error_json(failure));
    answer_set_json(ret, j, "1.0.0");
    print_findings(&found, src, &text);
    answer_set_text(ret, "result.txt", &text);
    frontend_result_set_metadata(ret, "result.statuscode", found.len > 0 || failure != NULL ? "1" : "0", 1);
    return NULL;
}
