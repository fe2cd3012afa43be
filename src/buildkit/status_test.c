/* SPDX-License-Identifier: Apache-2.0 */
/* Events as messages: what is written by hand is what protobuf-c reads, and would write itself. */
#include "base/limits.h"
#include "buildkit/internal.h"

#include <setjmp.h>

#include <cmocka.h>

#define DIGEST "sha256:7a62c3d5b2c52ca3db11b432d23531d088990ea18ee09388a14796628fd9885d"

static const char *const inputs[] = { DIGEST, "", DIGEST };
static const char *const details[] = { "one", "" };
static const struct llb_range ranges[] = { { 1, 0, 2, 7 }, { 0, 0, -1, 0 } };
static const struct llb_source_info source = {
    .filename = (char *)"Dockerfile", .language = (char *)"", .data = (char *)"FROM x\n", .data_len = 7
};

/* A vertex with all there may be, with nothing, and one of each other kind; not in the order of the message.
 */
static const struct progress_event events[] = {
    { .kind = PROGRESS_LOG,
      .vertex = DIGEST,
      .log = { .stream = 2, .data = "a\0b", .len = 3, .timestamp_ns = -1 } },
    { .kind = PROGRESS_VERTEX,
      .vertex = DIGEST,
      .v = { .name = "[1/2] RUN x",
             .inputs = inputs,
             .input_count = ARRAY_LEN(inputs),
             .cached = true,
             .started_ns = 1700000000000000001,
             .completed_ns = 1700000001000000000,
             .error = "exit code: 1",
             .group_id = "g",
             .group_weak = true } },
    { .kind = PROGRESS_WARNING,
      .vertex = DIGEST,
      .warning = { .level = 1,
                   .short_text = "short",
                   .url = "https://x",
                   .detail = details,
                   .detail_count = ARRAY_LEN(details),
                   .info = &source,
                   .ranges = ranges,
                   .range_count = ARRAY_LEN(ranges) } },
    { .kind = PROGRESS_STATUS,
      .vertex = DIGEST,
      .status = { .id = "sha256:x",
                  .name = "pull",
                  .current = -3,
                  .total = INT64_MAX,
                  .timestamp_ns = 5,
                  .started_ns = 6 } },
    { .kind = PROGRESS_VERTEX, .vertex = "", .v = { .name = "" } },
    { .kind = PROGRESS_WARNING, .vertex = DIGEST },
};

static Bk__StatusResponse *decode(const struct buf *b, struct pb_arena *a)
{
    Bk__StatusResponse *m = NULL;

    assert_null(pb_unpack(&bk__status_response__descriptor, b->data, b->len, a, &m));
    return m;
}

static void encode(struct buf *out)
{
    const struct progress_event *list[ARRAY_LEN(events)];

    for (size_t i = 0; i < ARRAY_LEN(events); i++)
        list[i] = &events[i];
    builder_encode_status(list, ARRAY_LEN(events), out);
}

static void test_same_bytes(void **state)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(buf_deinit) struct buf ours = { 0 }, theirs = { 0 };

    encode(&ours);
    pb_pack(&decode(&ours, &a)->base, &theirs);
    assert_int_equal(ours.len, theirs.len);
    assert_memory_equal(ours.data, theirs.data, ours.len);
}

static void test_vertex(void **state)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(buf_deinit) struct buf b = { 0 };

    encode(&b);
    const Bk__StatusResponse *m = decode(&b, &a);
    const Bk__Vertex *v = m->vertexes[0];

    assert_int_equal(m->n_vertexes, 2);
    assert_string_equal(v->digest, DIGEST);
    assert_string_equal(v->name, "[1/2] RUN x");
    assert_int_equal(v->n_inputs, 3);
    assert_string_equal(v->inputs[1], "");
    assert_true(v->cached);
    assert_int_equal(pb_time_ns(v->started), 1700000000000000001);
    assert_int_equal(pb_time_ns(v->completed), 1700000001000000000);
    assert_string_equal(v->error, "exit code: 1");
    assert_string_equal(v->progress_group->id, "g");
    assert_true(v->progress_group->weak);
    assert_null(m->vertexes[1]->started);
    assert_null(m->vertexes[1]->progress_group);
}

static void test_others(void **state)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(buf_deinit) struct buf b = { 0 };

    encode(&b);
    const Bk__StatusResponse *m = decode(&b, &a);

    assert_int_equal(m->n_logs, 1);
    assert_int_equal(m->logs[0]->stream, 2);
    assert_int_equal(m->logs[0]->msg.len, 3);
    assert_memory_equal(m->logs[0]->msg.data, "a\0b", 3);
    assert_int_equal(m->logs[0]->timestamp->seconds, -1);
    assert_int_equal(m->logs[0]->timestamp->nanos, 999999999);
    assert_int_equal(m->n_statuses, 1);
    assert_int_equal(m->statuses[0]->current, -3);
    assert_int_equal(m->statuses[0]->total, INT64_MAX);
    assert_null(m->statuses[0]->completed);
    assert_int_equal(m->n_warnings, 2);
    assert_int_equal(m->warnings[0]->n_detail, 2);
    assert_int_equal(m->warnings[0]->ranges[0]->end->character, 7);
    assert_int_equal(m->warnings[0]->ranges[1]->end->line, -1);
    assert_string_equal(m->warnings[0]->info->filename, "Dockerfile");
    assert_int_equal(m->warnings[0]->info->data.len, 7);
    assert_null(m->warnings[1]->info);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_vertex),
        cmocka_unit_test(test_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
