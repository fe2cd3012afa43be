/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/subrequest.h"

#include "base/bytes.h"
#include "frontend/dockerfile/answer.h"
#include "frontend/dockerfile/instruction.h"
#include "frontend/dockerfile/outline.h"
#include "frontend/dockerfile/tabwriter.h"
#include "llb/json.h"

static json_t *sources_json(const struct dockerui_source *src)
{
    CLEANUP(buf_deinit) struct buf data = { 0 };

    base64_encode(&data, src->map.data, src->map.data_len);
    return json_pack("[s]", buf_str(&data));
}

/* Columns with `padding` between them. */
static void add_table(struct buf *out, const struct buf *text, size_t padding)
{
    tabwriter_format(out, buf_str(text), padding);
}

/* ---- outline
 * ------------------------------------------------------------------------------------------------------ */

static json_t *outline_json(const struct outline *o, const struct dockerui_source *src)
{
    const struct {
        const char *key;
        const struct outline_list *list;
    } lists[] = { { "args", &o->args }, { "secrets", &o->secrets }, { "ssh", &o->ssh } };
    json_t *j = json_object();

    answer_set_member(j, "name", o->name);
    answer_set_member(j, "description", o->description);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        json_t *items = json_array();

        for (size_t k = 0; k < lists[i].list->len; k++) {
            const struct outline_item *item = &lists[i].list->v[k];
            json_t *one = json_pack("{s:s}", "name", "");

            answer_set_member(one, "name", item->name);
            answer_set_member(one, "description", item->description);
            answer_set_member(one, "value", item->value);
            if (item->required)
                json_object_set_new(one, "required", json_true());
            json_object_set_new(one, "location", answer_location(item->lines));
            json_array_append_new(items, one);
        }
        if (lists[i].list->len > 0)
            json_object_set(j, lists[i].key, items);
        json_decref(items);
    }
    json_object_set_new(j, "sources", sources_json(src));
    return j;
}

static void print_required(struct buf *out, const char *title, const struct outline_list *list)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    if (list->len == 0)
        return;
    buf_addf(&text, "%s\tREQUIRED\n", title);
    for (size_t i = 0; i < list->len; i++)
        buf_addf(&text, "%s\t%s\n", list->v[i].name, list->v[i].required ? "true" : "");
    add_table(out, &text, 3);
    buf_addc(out, '\n');
}

static void print_outline(const struct outline *o, struct buf *out)
{
    CLEANUP(buf_deinit) struct buf head = { 0 }, args = { 0 };

    if (*o->name != '\0' || *o->description != '\0') {
        buf_addf(&head, "TARGET:\t%s\n", *o->name != '\0' ? o->name : "(default)");
        if (*o->description != '\0')
            buf_addf(&head, "DESCRIPTION:\t%s\n", o->description);
        add_table(out, &head, 1);
        buf_addc(out, '\n');
    }
    if (o->args.len > 0) {
        buf_adds(&args, "BUILD ARG\tVALUE\tDESCRIPTION\n");
        for (size_t i = 0; i < o->args.len; i++)
            buf_addf(&args, "%s\t%s\t%s\n", o->args.v[i].name, o->args.v[i].value, o->args.v[i].description);
        add_table(out, &args, 3);
        buf_addc(out, '\n');
    }
    print_required(out, "SECRET", &o->secrets);
    print_required(out, "SSH", &o->ssh);
}

static struct error *outline(struct convert_options o, const struct dockerui_source *src,
                             struct frontend_result *ret)
{
    CLEANUP(outline_deinit) struct outline found = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct convert_result result = { 0 };
    struct error *e;

    o.outline = &found;
    o.only_check = true;
    e = dockerfile_convert(&o, &result);
    convert_result_deinit(&result);
    TRY(e);
    answer_set_json(ret, outline_json(&found, src), "1.0.0");
    print_outline(&found, &text);
    answer_set_text(ret, "result.txt", &text);
    return NULL;
}

/* ---- targets
 * ------------------------------------------------------------------------------------------------------ */

static json_t *target_json(const struct stage *s, bool last)
{
    json_t *j = json_object();

    answer_set_member(j, "name", s->name);
    if (last)
        json_object_set_new(j, "default", json_true());
    answer_set_member(j, "description", s->description);
    answer_set_member(j, "base", s->base);
    answer_set_member(j, "platform", s->platform);
    json_object_set_new(j, "location", answer_location(s->lines));
    return j;
}

static void print_targets(const struct dockerfile *f, struct buf *out)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    buf_adds(&text, "TARGET\tDESCRIPTION\n");
    for (size_t i = 0; i < f->stage_count; i++) {
        const struct stage *s = &f->stages[i];
        bool last = i + 1 == f->stage_count;

        buf_addf(&text, "%s%s%s\t%s\n", s->name, last && *s->name != '\0' ? " " : "", last ? "(default)" : "",
                 s->description);
    }
    add_table(out, &text, 1);
}

static struct error *targets(const struct dockerui_source *src, struct frontend_result *ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct dockerfile f = { 0 };
    CLEANUP(arena_deinit) struct arena mem = { 0 };
    struct df_ast ast = { 0 };
    struct error *e = df_ast_parse(&mem, src->map.data, src->map.data_len, &ast);
    json_t *list;

    if (e == NULL)
        e = dockerfile_parse_stages(&mem, &ast, NULL, &f);
    if (e == NULL) {
        list = f.stage_count == 0 ? json_null() : json_array();
        for (size_t i = 0; i < f.stage_count; i++)
            json_array_append_new(list, target_json(&f.stages[i], i + 1 == f.stage_count));
        answer_set_json(ret, json_pack("{s:o, s:o}", "targets", list, "sources", sources_json(src)), "1.0.0");
        print_targets(&f, &text);
        answer_set_text(ret, "result.txt", &text);
    }
    return e;
}

/* ---- convertllb
 * --------------------------------------------------------------------------------------------------- */

static struct error *convert_llb(const struct convert_options *o, struct frontend_result *ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct go_writer w = { .out = &text, .indent = "  " };
    struct convert_result result = { 0 };
    struct error *e = dockerfile_convert(o, &result);

    if (e == NULL)
        e = llb_def_write_json(result.def, &w);
    if (e == NULL)
        answer_set_document(ret, &text, "0.1.0");
    convert_result_deinit(&result);
    return e;
}

/* ---- describe
 * ------------------------------------------------------------------------------------------------------ */

/* What describe lists; frontend.lint and frontend.convertllb are answered, but not told of. */
static const struct {
    const char *name, *description;
    const char *opts; /* JSON */
} requests[] = {
    { "frontend.outline", "List all parameters current build target supports",
      "[{\"name\":\"target\",\"description\":\"Target build stage\"}]" },
    { "frontend.targets", "List all targets current build supports", "[]" },
    { "frontend.subrequests.describe", "List available subrequest types", "null" },
};

static void describe(struct frontend_result *ret)
{
    CLEANUP(buf_deinit) struct buf table = { 0 }, text = { 0 };
    json_t *list = json_array();

    buf_adds(&table, "NAME\tVERSION\tDESCRIPTION\n");
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:s, s:o, s:n, s:[{s:s, s:s}, {s:s, s:s}], s:n}",
                                        "name", requests[i].name, "version", "1.0.0", "type", "rpc",
                                        "description", requests[i].description, "opts",
                                        json_loads(requests[i].opts, JSON_DECODE_ANY, NULL), "inputs",
                                        "metadata", "name", "result.json", "description", "", "name",
                                        "result.txt", "description", "", "refs"));
        buf_addf(&table, "%s\t1.0.0\t%s\n", str_skip_prefix(requests[i].name, "frontend."),
                 requests[i].description);
    }
    answer_set_json(ret, list, "1.0.0");
    add_table(&text, &table, 1);
    answer_set_text(ret, "result.txt", &text);
}

struct error *subrequest_answer(struct dockerui *ui, const struct dockerui_source *src, const char *request,
                                void (*warn)(void *ctx, const struct lint_warning *w), void *warn_ctx,
                                struct frontend_result *ret, bool *ret_known)
{
    struct convert_options o = answer_conversion(ui, src, warn, warn_ctx);

    *ret_known = true;
    if (streq(request, "frontend.outline"))
        return outline(o, src, ret);
    if (streq(request, "frontend.targets"))
        return targets(src, ret);
    if (streq(request, "frontend.lint"))
        return answer_lint(ui, src, ret);
    if (streq(request, "frontend.convertllb"))
        return convert_llb(&o, ret);
    *ret_known = streq(request, "frontend.subrequests.describe");
    if (*ret_known)
        describe(ret);
    return NULL;
}
