/* SPDX-License-Identifier: Apache-2.0 */
/* errdefs.Source as JSON (protocol.md 3.7): what clients draw a code frame from. */
#include "llb/llb.h"

#include "base/bytes.h"

static void add_string(struct buf *out, const char *s)
{
    buf_add_json_string(out, s, strlen(s), true);
}

/* A field of an object, written unless the value is empty. `*first` says whether a comma is due. */
static void begin_field(struct buf *out, bool *first, const char *name)
{
    if (!*first)
        buf_addc(out, ',');
    *first = false;
    buf_addf(out, "\"%s\":", name);
}

static void add_base64(struct buf *out, const void *data, size_t len)
{
    buf_addc(out, '"');
    base64_encode(out, data, len);
    buf_addc(out, '"');
}

static void add_strmap(struct buf *out, const struct map *m)
{
    buf_addc(out, '{');
    for (size_t i = 0; i < m->len; i++) {
        if (i > 0)
            buf_addc(out, ',');
        add_string(out, m->entries[i].key);
        buf_addc(out, ':');
        add_string(out, m->entries[i].value);
    }
    buf_addc(out, '}');
}

static void add_meta(struct buf *out, const struct llb_meta *meta)
{
    bool first = true;

    buf_addc(out, '{');
    if (meta->ignore_cache) {
        begin_field(out, &first, "ignore_cache");
        buf_adds(out, "true");
    }
    if (meta->description.len > 0) {
        begin_field(out, &first, "description");
        add_strmap(out, &meta->description);
    }
    if (meta->caps.len > 0) {
        begin_field(out, &first, "caps");
        for (size_t i = 0; i < meta->caps.len; i++) {
            buf_addc(out, i == 0 ? '{' : ',');
            add_string(out, meta->caps.v[i]);
            buf_adds(out, ":true");
        }
        buf_addc(out, '}');
    }
    buf_addc(out, '}');
}

/* The definition that the file was read from: clients ask it back to re-read the file, so ops and metadata
 * suffice. */
static void add_definition(struct buf *out, const struct llb_def *def)
{
    buf_adds(out, "{\"def\":[");
    for (size_t i = 0; i < def->op_count; i++) {
        if (i > 0)
            buf_addc(out, ',');
        add_base64(out, def->ops[i].bytes, def->ops[i].len);
    }
    buf_adds(out, "],\"metadata\":{");
    for (size_t i = 0; i < def->metadata.len; i++) {
        if (i > 0)
            buf_addc(out, ',');
        add_string(out, def->metadata.entries[i].key);
        buf_addc(out, ':');
        add_meta(out, def->metadata.entries[i].value);
    }
    buf_adds(out, "}}");
}

static void add_info(struct buf *out, const struct llb_source_info *info)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    bool first = true;

    buf_addc(out, '{');
    if (*info->filename != '\0') {
        begin_field(out, &first, "filename");
        add_string(out, info->filename);
    }
    if (info->data_len > 0) {
        begin_field(out, &first, "data");
        add_base64(out, info->data, info->data_len);
    }
    if (info->definition != NULL) {
        struct error *e = llb_def_decode(info->definition, info->definition_len, &def);

        if (e == NULL) {
            begin_field(out, &first, "definition");
            add_definition(out, def);
        }
        err_free(e); /* without it the frame is drawn all the same */
    }
    if (*info->language != '\0') {
        begin_field(out, &first, "language");
        add_string(out, info->language);
    }
    buf_addc(out, '}');
}

static void add_position(struct buf *out, const char *name, int32_t line, int32_t character)
{
    bool first = true;

    buf_addf(out, "\"%s\":{", name);
    if (line != 0) {
        begin_field(out, &first, "line");
        buf_addf(out, "%d", line);
    }
    if (character != 0) {
        begin_field(out, &first, "character");
        buf_addf(out, "%d", character);
    }
    buf_addc(out, '}');
}

void llb_add_info_detail(struct error *e, const struct llb_source_info *info, const struct llb_range *ranges,
                         size_t range_count)
{
    CLEANUP(buf_deinit) struct buf json = { 0 };

    if (e == NULL)
        return;
    buf_adds(&json, "{\"info\":");
    add_info(&json, info);
    for (size_t i = 0; i < range_count; i++) {
        buf_adds(&json, i == 0 ? ",\"ranges\":[{" : ",{");
        add_position(&json, "start", ranges[i].start_line, ranges[i].start_char);
        buf_addc(&json, ',');
        add_position(&json, "end", ranges[i].end_line, ranges[i].end_char);
        buf_addc(&json, '}');
    }
    buf_adds(&json, range_count > 0 ? "]}" : "}");
    err_add_detail(e, "github.com/moby/buildkit/errdefs.Source+json", json.data, json.len);
}

void llb_add_source_detail(struct error *e, const struct llb_def *def, const struct llb_locations *locations)
{
    if (e == NULL || locations == NULL || def->source == NULL)
        return;
    for (size_t i = 0; i < locations->len; i++)
        llb_add_info_detail(e, &def->source->infos[locations->v[i].info], locations->v[i].ranges,
                            locations->v[i].range_count);
}
