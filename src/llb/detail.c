/* SPDX-License-Identifier: Apache-2.0 */
/* errdefs.Source as JSON (protocol.md 3.7): what clients draw a code frame from. */
#include "llb/def.h"
#include "llb/json.h"
#include "oci/gojson.h"

/* pb.SourceInfo in JSON; without its definition when that does not decode: the frame is drawn all the same.
 */
json_t *llb_info_to_json(const struct llb_source_info *from)
{
    struct llb_source_info info = *from;
    json_t *j = NULL;

    for (int i = 0; j == NULL && i < 2; i++) {
        CLEANUP(buf_deinit) struct buf encoded = { 0 };
        CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
        Pb__SourceInfo *m;
        struct error *e;

        source_info_encode(&encoded, &info);
        e = pb_unpack(&pb__source_info__descriptor, encoded.data, encoded.len, &arena, &m);
        if (e == NULL)
            e = llb_message_to_json(&m->base, LLB_JSON_GO, &j);
        err_free(e);
        info.definition = NULL;
        info.definition_len = 0;
    }
    return j != NULL ? j : json_object();
}

static json_t *position_json(int32_t line, int32_t character)
{
    json_t *j = json_object();

    if (line != 0)
        json_object_set_new(j, "line", json_integer(line));
    if (character != 0)
        json_object_set_new(j, "character", json_integer(character));
    return j;
}

void llb_add_info_detail(struct error *e, const struct llb_source_info *info, const struct llb_range *ranges,
                         size_t range_count)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    json_t *j, *list;

    if (e == NULL)
        return;
    j = json_pack("{s:o}", "info", llb_info_to_json(info));
    list = json_array();
    for (size_t i = 0; i < range_count; i++)
        json_array_append_new(list, json_pack("{s:o, s:o}", "start",
                                              position_json(ranges[i].start_line, ranges[i].start_char),
                                              "end", position_json(ranges[i].end_line, ranges[i].end_char)));
    if (range_count > 0)
        json_object_set(j, "ranges", list);
    json_decref(list);
    go_json(&text, j, NULL, false);
    json_decref(j);
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
