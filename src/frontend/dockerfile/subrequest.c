/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/subrequest.h"

#include "base/bytes.h"
#include "frontend/dockerfile/convert.h"
#include "frontend/dockerfile/instruction.h"
#include "oci/gojson.h"

#include <jansson.h>

/* ---- answers ---------------------------------------------------------------------------------------------
 */

static void set_text(struct frontend_result *r, const char *key, const struct buf *b)
{
    frontend_result_set_metadata(r, key, buf_str(b), b->len);
}

/* result.json as MarshalIndent writes it; `j` is taken. */
static void set_json(struct frontend_result *r, json_t *j)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    go_json(&text, j, "  ", false);
    json_decref(j);
    set_text(r, "result.json", &text);
    frontend_result_set_metadata(r, "version", "1.0.0", 5);
}

/* {"start":{"line":3},"end":{"line":3}} for every line. */
static json_t *ranges_json(const struct df_lines *lines, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        for (int n = lines[i].first; n >= 0 && n <= MAX(lines[i].last, lines[i].first); n++)
            json_array_append_new(list,
                                  json_pack("{s:{s:i}, s:{s:i}}", "start", "line", n, "end", "line", n));
    }
    return list;
}

static json_t *location_json(const struct df_lines *lines, size_t count)
{
    return json_pack("{s:o}", "ranges", ranges_json(lines, count));
}

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
    f->v[f->len++] = (struct finding){ w->info, xstrdup(w->text), w->lines };
}

static json_t *warnings_json(const struct findings *f)
{
    json_t *list = f->len == 0 ? json_null() : json_array();

    for (size_t i = 0; i < f->len; i++) {
        const struct finding *w = &f->v[i];
        json_t *j = json_pack("{s:s}", "ruleName", w->info->name);
        if (w->info->description[0] != '\0')
            json_object_set_new(j, "description", json_string(w->info->description));
        if (w->info->url[0] != '\0')
            json_object_set_new(j, "url", json_string(w->info->url));
        if (w->text[0] != '\0')
            json_object_set_new(j, "detail", json_string(w->text));
        json_object_set_new(j, "location", location_json(&w->lines, 1));
        json_array_append_new(list, j);
    }
    return list;
}

/* pb.SourceInfo in JSON: what an error detail says of the file. */
static json_t *source_json(const struct dockerui_source *src)
{
    CLEANUP(buf_deinit) struct buf definition = { 0 };
    CLEANUP(err_freep) struct error *e = err_new(ERR_UNKNOWN, "source");
    struct llb_source_info info = { .filename = (char *)src->map.filename,
                                    .language = (char *)src->map.language,
                                    .data = (void *)src->map.data,
                                    .data_len = src->map.data_len };
    struct llb_range line = { 1, 0, 1, 0 };
    const struct error_detail *d;
    json_t *whole, *j;

    llb_def_encode(src->map.definition, &definition);
    info.definition = definition.data;
    info.definition_len = definition.len;
    llb_add_info_detail(e, &info, &line, 1);
    d = err_find_detail(e, "errdefs.Source+json");
    whole = d == NULL ? NULL : json_loadb(d->value, d->len, 0, NULL);
    j = json_incref(json_object_get(whole, "info"));
    json_decref(whole);
    return j;
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
        for (int l = lines[i].first; l >= 0 && l <= MAX(lines[i].last, lines[i].first); l++) {
            all = xreallocarray(all, n + 1, sizeof(*all));
            all[n++] = l;
        }
    }
    if (n > 0)
        qsort(all, n, sizeof(*all), by_line);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || all[i] != all[i - 1])
            json_array_append_new(
                list, json_pack("{s:{s:i}, s:{s:i}}", "start", "line", all[i], "end", "line", all[i]));
    }
    if (json_array_size(list) == 0) {
        json_decref(list);
        return json_pack("{s:s, s:{}}", "message", e->message, "location");
    }
    return json_pack("{s:s, s:{s:o}}", "message", e->message, "location", "ranges", list);
}

static int by_place(const void *a, const void *b)
{
    const struct finding *x = a, *y = b;
    bool nx = x->lines.first < 0, ny = y->lines.first < 0;

    if (nx && ny)
        return strcmp(x->info->name, y->info->name);
    if (nx || ny)
        return nx ? -1 : 1;
    return x->lines.first - y->lines.first;
}

static void print_findings(struct findings *f, const struct dockerui_source *src, struct buf *out)
{
    CLEANUP(strv_deinit) struct strv text = { 0 };
    CLEANUP(freep) char *data = xstrndup(src->map.data, src->map.data_len);

    strv_split(&text, data, '\n');
    if (f->len > 0)
        qsort(f->v, f->len, sizeof(*f->v), by_place);
    for (size_t i = 0; i < f->len; i++) {
        buf_addf(out, "\nWARNING: %s", f->v[i].info->name);
        if (f->v[i].info->url[0] != '\0')
            buf_addf(out, " - %s", f->v[i].info->url);
        buf_addf(out, "\n%s\n", f->v[i].text);
        print_frame(out, src->map.filename, &text, &f->v[i].lines);
    }
}

static struct error *lint(struct dockerui *ui, const struct dockerui_source *src, struct frontend_result *ret)
{
    CLEANUP(findings_deinit) struct findings found = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(err_freep) struct error *failure = NULL;
    struct convert_result result = { 0 };
    struct convert_options o = { .ui = ui,
                                 .source = &src->map,
                                 .target = ui->target_count > 0 ? &ui->targets[0] : NULL,
                                 .warn = collect,
                                 .warn_ctx = &found,
                                 .all_stages = ui->target[0] == '\0',
                                 .only_check = true };
    json_t *j, *source;

    failure = dockerfile_convert(&o, &result);
    convert_result_deinit(&result);
    if (err_is(failure, ERR_CANCELLED))
        return TAKE(failure);
    source = source_json(src);
    j = json_pack("{s:o, s:[o]}", "warnings", warnings_json(&found), "sources", source);
    if (failure != NULL)
        json_object_set_new(j, "buildError", error_json(failure));
    set_json(ret, j);
    print_findings(&found, src, &text);
    set_text(ret, "result.txt", &text);
    frontend_result_set_metadata(ret, "result.statuscode", found.len > 0 || failure != NULL ? "1" : "0", 1);
    return NULL;
}

/* ---- targets
 * ------------------------------------------------------------------------------------------------------ */

static json_t *target_json(const struct stage *s, bool last)
{
    const struct {
        const char *key, *value;
    } fields[] = { { "description", s->description }, { "base", s->base }, { "platform", s->platform } };
    json_t *j = json_object();

    if (s->name[0] != '\0')
        json_object_set_new(j, "name", json_string(s->name));
    if (last)
        json_object_set_new(j, "default", json_true());
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (fields[i].value[0] != '\0')
            json_object_set_new(j, fields[i].key, json_string(fields[i].value));
    }
    json_object_set_new(j, "location", location_json(&s->lines, 1));
    return j;
}

/* Two columns, the first as wide as its longest cell and a blank. */
static void print_columns(struct buf *out, const struct strv *left, const struct strv *right)
{
    size_t width = 0;

    for (size_t i = 0; i < left->len; i++)
        width = MAX(width, strlen(left->v[i]));
    for (size_t i = 0; i < left->len; i++)
        buf_addf(out, "%-*s %s\n", (int)width, left->v[i], right->v[i]);
}

static void print_targets(const struct dockerfile *f, struct buf *out)
{
    CLEANUP(strv_deinit) struct strv left = { 0 };
    CLEANUP(strv_deinit) struct strv right = { 0 };

    strv_add(&left, "TARGET");
    strv_add(&right, "DESCRIPTION");
    for (size_t i = 0; i < f->stage_count; i++) {
        const struct stage *s = &f->stages[i];
        bool last = i + 1 == f->stage_count;
        if (last)
            strv_addf(&left, "%s%s(default)", s->name, s->name[0] == '\0' ? "" : " ");
        else
            strv_add(&left, s->name);
        strv_add(&right, s->description);
    }
    print_columns(out, &left, &right);
}

static struct error *targets(const struct dockerui_source *src, struct frontend_result *ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(buf_deinit) struct buf data = { 0 };
    struct dockerfile f = { 0 };
    struct df_ast ast = { 0 };
    struct error *e = df_ast_parse(src->map.data, src->map.data_len, &ast);
    json_t *list;

    if (e == NULL)
        e = dockerfile_parse_stages(&ast, NULL, &f);
    if (e == NULL) {
        list = f.stage_count == 0 ? json_null() : json_array();
        for (size_t i = 0; i < f.stage_count; i++)
            json_array_append_new(list, target_json(&f.stages[i], i + 1 == f.stage_count));
        base64_encode(&data, src->map.data, src->map.data_len);
        set_json(ret, json_pack("{s:o, s:[s]}", "targets", list, "sources", buf_str(&data)));
        print_targets(&f, &text);
        set_text(ret, "result.txt", &text);
    }
    dockerfile_deinit(&f);
    df_ast_deinit(&ast);
    return e;
}

/* ---- describe
 * ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *name, *description;
    bool has_opts;
} requests[] = {
    { "frontend.targets", "List all targets current build supports", true },
    { "frontend.subrequests.describe", "List available subrequest types", false },
};

static json_t *request_json(const char *name, const char *description, bool has_opts)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:n, s:[{s:s, s:s}, {s:s, s:s}], s:n}", "name", name,
                     "version", "1.0.0", "type", "rpc", "description", description, "opts",
                     has_opts ? json_array() : json_null(), "inputs", "metadata", "name", "result.json",
                     "description", "", "name", "result.txt", "description", "", "refs");
}

static void describe(struct frontend_result *ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    json_t *list = json_array();

    buf_addf(&text, "%-21s %-7s %s\n", "NAME", "VERSION", "DESCRIPTION");
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        json_array_append_new(list,
                              request_json(requests[i].name, requests[i].description, requests[i].has_opts));
        buf_addf(&text, "%-21s %-7s %s\n", str_skip_prefix(requests[i].name, "frontend."), "1.0.0",
                 requests[i].description);
    }
    set_json(ret, list);
    set_text(ret, "result.txt", &text);
}

struct error *subrequest_answer(struct dockerui *ui, const struct dockerui_source *src, const char *request,
                                struct frontend_result *ret, bool *ret_known)
{
    *ret_known = true;
    if (streq(request, "frontend.lint"))
        return lint(ui, src, ret);
    if (streq(request, "frontend.targets"))
        return targets(src, ret);
    if (streq(request, "frontend.subrequests.describe")) {
        describe(ret);
        return NULL;
    }
    *ret_known = false;
    return NULL;
}
