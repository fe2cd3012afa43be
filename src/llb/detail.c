/* SPDX-License-Identifier: Apache-2.0 */
/* errdefs.Source as JSON (protocol.md 3.7): what clients draw a code frame from. */
#include "llb/def.h"
#include "llb/json.h"

static struct error *write_info(const struct llb_source_info *info, struct go_writer *out)
{
    CLEANUP(buf_deinit) struct buf encoded = { 0 };
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    CLEANUP(llb_json_deinit) struct llb_json j;
    Pb__SourceInfo *m;

    llb_json_init(&j, LLB_JSON_GO, out);
    source_info_encode(&encoded, info);
    TRY(pb_unpack(&pb__source_info__descriptor, encoded.data, encoded.len, &arena, &m));
    return llb_json_write(&j, &m->base);
}

/* pb.SourceInfo in JSON; without its definition when that does not decode: the frame is drawn all the same.
 */
void llb_info_write_json(const struct llb_source_info *from, struct go_writer *w)
{
    const struct go_writer before = *w;
    struct llb_source_info info = *from;
    size_t start = w->out->len;

    for (int i = 0; i < 2; i++) {
        struct error *e = write_info(&info, w);

        if (e == NULL)
            return;
        err_free(e);
        buf_truncate(w->out, start);
        *w = before;
        info.definition = NULL;
        info.definition_len = 0;
    }
    go_write_open(w, '{');
    go_write_close(w, '}');
}

static void write_position(struct go_writer *w, const char *name, int32_t line, int32_t character)
{
    go_write_name(w, name);
    go_write_open(w, '{');
    if (line != 0)
        go_write_member_int(w, "line", line);
    if (character != 0)
        go_write_member_int(w, "character", character);
    go_write_close(w, '}');
}

void llb_range_write_json(const struct llb_range *r, struct go_writer *w)
{
    go_write_open(w, '{');
    write_position(w, "start", r->start_line, r->start_char);
    write_position(w, "end", r->end_line, r->end_char);
    go_write_close(w, '}');
}

void llb_ranges_write_json(const struct llb_range *ranges, size_t count, struct go_writer *w)
{
    go_write_open(w, '[');
    for (size_t i = 0; i < count; i++)
        llb_range_write_json(&ranges[i], w);
    go_write_close(w, ']');
}

void llb_add_info_detail(struct error *e, const struct llb_source_info *info, const struct llb_range *ranges,
                         size_t range_count)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct go_writer w = { .out = &text };

    if (e == NULL)
        return;
    go_write_open(&w, '{');
    go_write_name(&w, "info");
    llb_info_write_json(info, &w);
    if (range_count > 0) {
        go_write_name(&w, "ranges");
        llb_ranges_write_json(ranges, range_count, &w);
    }
    go_write_close(&w, '}');
    err_add_detail(e, "github.com/moby/buildkit/errdefs.Source+json", text.data, text.len);
}

void llb_add_source_detail(struct error *e, const struct llb_def *def, const struct llb_locations *locations)
{
    if (e == NULL || locations == NULL || def->source == NULL)
        return;
    /* the last one first, as BuildKit's nested errors come out */
    for (size_t i = locations->len; i-- > 0;)
        llb_add_info_detail(e, &def->source->infos[locations->v[i].info], locations->v[i].ranges,
                            locations->v[i].range_count);
}
