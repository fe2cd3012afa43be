/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/answer.h"

#include "base/limits.h"
#include "oci/gojson.h"

void answer_set_text(struct frontend_result *r, const char *key, const struct buf *text)
{
    frontend_result_set_metadata(r, key, buf_str(text), text->len);
}

void answer_set_document(struct frontend_result *r, const struct buf *text, const char *version)
{
    answer_set_text(r, "result.json", text);
    frontend_result_set_metadata(r, "version", version, strlen(version));
}

void answer_set_json(struct frontend_result *r, json_t *j, const char *version)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    go_json(&text, j, "  ", false);
    json_decref(j);
    answer_set_document(r, &text, version);
}

void answer_set_member(json_t *j, const char *key, const char *text)
{
    if (text != NULL && *text != '\0')
        json_object_set_new(j, key, go_json_text(text));
}

json_t *answer_range(int line)
{
    json_t *at = line != 0 ? json_pack("{s:i}", "line", line) : json_object();
    json_t *range = json_pack("{s:O, s:O}", "start", at, "end", at);

    json_decref(at);
    return range;
}

json_t *answer_location(struct df_lines lines)
{
    json_t *list = json_array();

    for (int n = lines.first;
         n >= 0 && n <= MAX(lines.last, lines.first) && n - lines.first < LIMIT_LOCATION_LINES; n++)
        json_array_append_new(list, answer_range(n));
    return json_pack("{s:o}", "ranges", list);
}

struct convert_options answer_conversion(struct dockerui *ui, const struct dockerui_source *src,
                                         void (*warn)(void *ctx, const struct lint_warning *w),
                                         void *warn_ctx)
{
    return (struct convert_options){ .ui = ui, .source = &src->map, .warn = warn, .warn_ctx = warn_ctx };
}
