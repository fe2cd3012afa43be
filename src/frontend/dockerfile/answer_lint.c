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

/* A member that is left out when the text is empty. */
static void write_member(struct go_writer *w, const char *name, const char *text)
{
    if (*text == '\0')
        return;
    go_write_member(w, name, text);
}

static void write_range(struct go_writer *w, int line)
{
    llb_range_write_json(&(struct llb_range){ .start_line = line, .end_line = line }, w);
}

/* {"ranges":[..]}, one for every line. */
static void write_location(struct go_writer *w, struct df_lines lines)
{
    go_write_open(w, '{');
    go_write_name(w, "ranges");
    go_write_open(w, '[');
    for (int n = lines.first;
         n >= 0 && n <= MAX(lines.last, lines.first) && n - lines.first < LIMIT_LOCATION_LINES; n++)
        write_range(w, n);
    go_write_close(w, ']');
    go_write_close(w, '}');
}

static void write_warnings(struct go_writer *w, const struct findings *f)
{
    go_write_name(w, "warnings");
    if (f->len == 0) {
        go_write_null(w);
        return;
    }
    go_write_open(w, '[');
    for (size_t i = 0; i < f->len; i++) {
        const struct finding *x = &f->v[i];

        go_write_open(w, '{');
        go_write_member(w, "ruleName", x->info->name);
        write_member(w, "description", x->info->description);
        write_member(w, "url", x->info->url);
        write_member(w, "detail", x->text);
        go_write_name(w, "location");
        write_location(w, x->lines);
        go_write_close(w, '}');
    }
    go_write_close(w, ']');
}

/* The file, as an error detail has it. */
static void write_source(struct go_writer *w, const struct dockerui_source *src)
{
    CLEANUP(buf_deinit) struct buf definition = { 0 };
    struct llb_source_info info = { .filename = (char *)src->map.filename,
                                    .language = (char *)src->map.language,
                                    .data = (void *)src->map.data,
                                    .data_len = src->map.data_len };

    llb_def_encode(src->map.definition, &definition);
    info.definition = definition.data;
    info.definition_len = definition.len;
    go_write_name(w, "sources");
    go_write_open(w, '[');
    llb_info_write_json(&info, w);
    go_write_close(w, ']');
}

static int by_line(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* The lines of an error, each once, in order. *ret is malloc'd; answers how many there are. */
static size_t error_lines(const struct error *e, int **ret)
{
    size_t count = df_error_lines(e, NULL, 0), n = 0, kept = 0;
    CLEANUP(freep) struct df_lines *lines = xcalloc(count + 1, sizeof(*lines));
    int *all = NULL;

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
            all[kept++] = all[i];
    }
    *ret = all;
    return kept;
}

static void write_error(struct go_writer *w, const struct error *e)
{
    CLEANUP(freep) int *lines = NULL;
    size_t count = error_lines(e, &lines);

    go_write_name(w, "buildError");
    go_write_open(w, '{');
    go_write_member(w, "message", e->message);
    go_write_name(w, "location");
    go_write_open(w, '{');
    if (count > 0) {
        go_write_name(w, "ranges");
        go_write_open(w, '[');
        for (size_t i = 0; i < count; i++)
            write_range(w, lines[i]);
        go_write_close(w, ']');
    }
    go_write_close(w, '}');
    go_write_close(w, '}');
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
    CLEANUP(buf_deinit) struct buf text = { 0 }, document = { 0 };
    struct go_writer w = { .out = &document, .indent = "  " };
    CLEANUP(err_freep) struct error *failure = NULL;
    struct convert_result result = { 0 };
    struct convert_options o = answer_conversion(ui, src, collect, &found);

    o.all_stages = ui->target[0] == '\0';
    o.only_check = true;
    failure = dockerfile_convert(&o, &result);
    convert_result_deinit(&result);
    if (err_is(failure, ERR_CANCELLED))
        return TAKE(failure);
    go_write_open(&w, '{');
    write_warnings(&w, &found);
    write_source(&w, src);
    if (failure != NULL)
        write_error(&w, failure);
    go_write_close(&w, '}');
    answer_set_document(ret, &document, "1.0.0");
    print_findings(&found, src, &text);
    answer_set_text(ret, "result.txt", &text);
    frontend_result_set_metadata(ret, "result.statuscode", found.len > 0 || failure != NULL ? "1" : "0", 1);
    return NULL;
}
