/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A build definition (security.md B9).  The first byte chooses: raw bytes as pb.Definition, or ops that are
 * put together from the bytes so that digests agree and inputs are found - then only counts, indices and
 * shapes are wild.
 */
#include "fuzz.h"

#include "llb/encode.h"
#include "llb/llb.h"
#include "llb/state.h"

struct bytes {
    const uint8_t *p;
    size_t len;
};

static unsigned take(struct bytes *b)
{
    if (b->len == 0)
        return 0;
    b->len--;
    return *b->p++;
}

static int64_t take_index(struct bytes *b)
{
    static const int64_t wild[] = { -1, -2, INT64_MIN, INT64_MAX, 1000000, INT32_MAX, -100, 64 };
    unsigned v = take(b);

    return v < 200 ? (int64_t)(v % 6) : wild[v % ARRAY_LEN(wild)];
}

/* ChownOpt with a name or a number. */
static void add_owner(struct buf *out, unsigned field, struct bytes *b)
{
    CLEANUP(buf_deinit) struct buf owner = { 0 }, opt = { 0 }, named = { 0 };

    for (unsigned part = 1; part <= take(b) % 3; part++) {
        if (take(b) % 2 == 0) {
            pbw_str(&named, 1, "me");
            pbw_int(&named, 2, take_index(b));
            pbw_message(&opt, 1, &named);
        } else {
            pbw_uint_always(&opt, 2, take(b));
        }
        pbw_message(&owner, part, &opt);
    }
    pbw_message(out, field, &owner);
}

static void add_actions(struct buf *out, struct bytes *b)
{
    CLEANUP(buf_deinit) struct buf action = { 0 }, body = { 0 };

    for (unsigned i = 0, n = take(b) % 4; i < n; i++) {
        unsigned kind = take(b) % 6;

        pbw_int(&action, 1, take_index(b));
        pbw_int(&action, 2, take_index(b));
        pbw_int(&action, 3, take_index(b));
        pbw_str(&body, 1, "/a/../..");
        if (kind < 5 && take(b) % 2 == 0)
            add_owner(&body, kind == 0 || kind == 4 ? 3 : 4, b);
        if (kind < 5)
            pbw_message(&action, 4 + kind, &body);
        buf_clear(&body);
        pbw_message(out, 2, &action);
    }
}

static void add_mounts(struct buf *out, struct bytes *b)
{
    CLEANUP(buf_deinit) struct buf mount = { 0 };

    for (unsigned i = 0, n = take(b) % 4; i < n; i++) {
        pbw_int(&mount, 1, take_index(b));
        pbw_str(&mount, 3, take(b) % 3 == 0 ? "/x" : "/");
        pbw_int(&mount, 4, take_index(b));
        pbw_int(&mount, 6, take(b) % 7);
        pbw_message(out, 2, &mount);
    }
}

static void add_body(struct buf *op, struct bytes *b)
{
    CLEANUP(buf_deinit) struct buf body = { 0 }, sub = { 0 };
    unsigned field = 2 + take(b) % 8;

    switch (field) {
    case 2:
        pbw_str(&sub, 1, "true");
        if (take(b) % 8 != 0)
            pbw_message(&body, 1, &sub);
        add_mounts(&body, b);
        break;
    case 3:
        pbw_str(&body, 1, "docker-image://busybox");
        break;
    case 4:
        add_actions(&body, b);
        break;
    case 6:
        for (unsigned i = 0, n = take(b) % 5; i < n; i++) {
            pbw_int(&sub, 1, take_index(b));
            pbw_message(&body, 1, &sub);
        }
        break;
    case 7:
        for (unsigned side = 1; side <= take(b) % 3; side++) {
            pbw_int(&sub, 1, take_index(b));
            pbw_message(&body, side, &sub);
        }
        break;
    case 5:
        pbw_int(&body, 1, take_index(b));
        break;
    case 8:
        pbw_str(&body, 1, "id");
        pbw_int(&body, 2, take_index(b));
        break;
    default:
        return;
    }
    pbw_message(op, field, &body);
}

static void make(struct bytes *b, struct buf *def)
{
    CLEANUP(buf_deinit) struct buf op = { 0 }, input = { 0 };
    struct digest made[64];
    size_t count = 0;

    while (b->len > 0 && count < ARRAY_LEN(made)) {
        for (unsigned i = 0, n = take(b) % 4; i < n && count > 0; i++) {
            unsigned which = take(b);

            pbw_str(&input, 1, which == 255 ? "sha256:none" : made[which % count].s);
            pbw_int(&input, 2, take_index(b));
            pbw_message(&op, 1, &input);
        }
        if (take(b) % 8 != 0)
            add_body(&op, b);
        made[count++] = digest_of(op.data, op.len);
        pbw_bytes_always(def, 1, op.data, op.len);
        buf_clear(&op);
    }
}

/* What llb.h promises of every vertex. */
static void check(const struct llb_graph *g)
{
    for (size_t i = 0; i < g->vertex_count; i++) {
        const struct llb_vertex *v = &g->vertices[i];

        assert(v->position == i && v->name != NULL && v->meta != NULL && v->input_count == v->op->n_inputs);
        for (size_t k = 0; k < v->input_count; k++)
            assert(v->inputs[k].vertex->position < i && v->inputs[k].index >= 0);
        if (v->op->op_case == PB__OP__OP_EXEC) {
            for (size_t k = 0; k < v->op->exec->n_mounts; k++)
                assert(v->op->exec->mounts[k]->input >= -1 &&
                       v->op->exec->mounts[k]->input < (int64_t)v->input_count);
        }
        if (v->op->op_case == PB__OP__OP_FILE) {
            for (size_t k = 0; k < v->op->file->n_actions; k++)
                assert(v->op->file->actions[k]->input < (int64_t)(v->input_count + k));
        }
    }
    assert(g->result.vertex != NULL && g->result.index >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(buf_deinit) struct buf built = { 0 }, encoded = { 0 };
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL, *again = NULL;
    CLEANUP(llb_graph_freep) struct llb_graph *graph = NULL;
    struct bytes b = { data, len };
    struct error *e;

    if (take(&b) % 2 == 0) {
        buf_add(&built, b.p, b.len);
    } else {
        make(&b, &built);
    }
    e = llb_def_decode(built.data, built.len, &def);
    if (e != NULL) {
        err_free(e);
        return 0;
    }
    llb_def_encode(def, &encoded);
    e = llb_def_decode(encoded.data, encoded.len, &again);
    assert(e == NULL && again->op_count == def->op_count);
    e = llb_load(def, &graph);
    if (e == NULL) {
        CLEANUP(llb_builder_freep) struct llb_builder *builder = llb_builder_new();
        struct llb_def *round = NULL;
        struct llb_state st;

        check(graph);
        e = llb_from_def(builder, llb_def_ref(def), &st);
        if (e == NULL)
            e = llb_marshal(builder, st, NULL, &round);
        assert(e == NULL && round->op_count >= 2);
        llb_def_unref(round);
    }
    err_free(e);
    return 0;
}
