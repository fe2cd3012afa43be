/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image layers to a snapshot.  All that are missing are unpacked at once, each in a task; then, from the
 * lowest up, what depends on the layers below is fixed and the rows are written.  A layer without such
 * dependences stands anywhere and is found again by its diff ID; the others by diff ID and chain ID.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "snapshot/apply.h"
#include "task/task.h"

#define UNPACK_TASKS 4

/* Hashes what passes. */
struct hashed {
    struct stream base;
    struct stream *below;
    struct hasher *hasher;
    int64_t size;
};

static ssize_t hashed_read(struct stream *base, void *buf, size_t cap)
{
    struct hashed *h = CONTAINER_OF(base, struct hashed, base);
    ssize_t n = stream_read(h->below, buf, cap);
    if (n > 0) {
        hasher_add(h->hasher, buf, (size_t)n);
        h->size += n;
    }
    return n;
}

static ssize_t hashed_write(struct stream *base, const void *buf, size_t len)
{
    return -EBADF;
}

static int hashed_shut(struct stream *base)
{
    return 0;
}

static void hashed_close(struct stream *base)
{
}

static const struct stream_ops hashed_ops = {
    .read = hashed_read, .write = hashed_write, .shut = hashed_shut, .close = hashed_close
};

struct unpack;

struct piece {
    struct unpack *all;
    const struct layer_source *source;
    size_t index;
    struct digest chain;
    char *found;               /* id of a layer that is here already */
    char id[LAYER_ID_LEN + 1]; /* of the one made */
    int fs_fd;
    int64_t tar_size;
    struct apply_result result;
};

struct unpack {
    struct store *store;
    struct lease *lease;
    struct piece *pieces;
    size_t count;
    struct semaphore slots;
    struct strv ids; /* finished, lowest first */
};

static void unpack_deinit(struct unpack *u)
{
    for (size_t i = 0; i < u->count; i++) {
        struct piece *p = &u->pieces[i];
        closep(&p->fs_fd);
        if (p->id[0] != '\0') /* not published */
            store_discard(u->store, p->id);
        free(p->found);
        apply_result_deinit(&p->result);
    }
    free(u->pieces);
    strv_deinit(&u->ids);
    semaphore_deinit(&u->slots);
}

/* ---- one layer -------------------------------------------------------------------------------------------
 */

static struct error *make_place(struct piece *p)
{
    int work_fd = store_work_fd(p->all->store);
    random_id(p->id, LAYER_ID_LEN);
    CLEANUP(freep) char *path = xasprintf("%s/fs", p->id);
    if (mkdirat(work_fd, p->id, 0700) < 0 || mkdirat(work_fd, path, 0755) < 0)
        return err_sys(errno, "create a layer");
    p->fs_fd = openat(work_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->fs_fd < 0 || fchmod(p->fs_fd, 0755) < 0)
        return err_sys(errno, "create a layer");
    return NULL;
}

static struct error *unpack_stream(struct piece *p, struct stream *in)
{
    struct hashed h = { .base = { &hashed_ops }, .below = in, .hasher = hasher_new() };
    struct error *e = apply_tar(p->fs_fd, &h.base, &p->result);
    struct digest got = hasher_sum(h.hasher);
    hasher_free(h.hasher);
    const struct digest *want = &p->source->diff_id;
    TRY(err_wrap(e, "unpack layer %s", want->s));
    if (!digest_eq(&got, want))
        return err_new(ERR_INVALID, "failed to verify layer %s: expected diffID %s, got %s",
                       p->source->blob != NULL ? p->source->blob->digest.s : want->s, want->s, got.s);
    p->tar_size = h.size;
    return NULL;
}

static struct error *unpack_piece(void *arg)
{
    struct piece *p = arg;
    CLEANUP(stream_closep) struct stream *in = NULL;
    /* opened before a slot is taken: downloads are not held up by unpacking */
    TRY(p->source->open(p->source->ctx, p->index, &in));
    int r = semaphore_acquire(&p->all->slots, 1);
    if (r < 0)
        return task_error(r, "wait to unpack");
    struct error *e = make_place(p);
    if (e == NULL)
        e = unpack_stream(p, in);
    semaphore_release(&p->all->slots, 1);
    return e;
}

/* ---- all of them -----------------------------------------------------------------------------------------
 */

/* ChainID(L0) = DiffID(L0); ChainID(Ln) = digest of "ChainID(Ln-1) DiffID(Ln)". */
static void make_chains(struct unpack *u)
{
    for (size_t i = 0; i < u->count; i++) {
        struct piece *p = &u->pieces[i];
        p->chain = p->source->diff_id;
        if (i > 0) {
            CLEANUP(freep) char *text = xasprintf("%s %s", u->pieces[i - 1].chain.s, p->source->diff_id.s);
            p->chain = digest_of(text, strlen(text));
        }
    }
}

static struct error *find_present(struct unpack *u)
{
    for (size_t i = 0; i < u->count; i++) {
        struct piece *p = &u->pieces[i];
        TRY(layer_find_by_diff_id(u->store, &p->source->diff_id, p->chain.s, &p->found));
        if (p->found == NULL)
            continue;
        struct error *e = layer_hold(u->store, p->found);
        if (e != NULL && !err_is(e, ERR_NOT_FOUND))
            return e;
        if (e != NULL) { /* collected in this very moment */
            err_free(e);
            free(TAKE(p->found));
            continue;
        }
        lease_add_layer(u->lease, p->found);
        layer_release(u->store, p->found);
    }
    return NULL;
}

static struct error *unpack_missing(struct unpack *u)
{
    struct group g;
    struct error *e = NULL;
    group_open(&g, 0);
    for (size_t i = 0; e == NULL && i < u->count; i++) {
        if (u->pieces[i].found == NULL)
            e = group_spawn(&g, "unpack", unpack_piece, &u->pieces[i]);
    }
    return group_finish(&g, e);
}

static struct error *fix_piece(struct unpack *u, struct piece *p)
{
    CLEANUP(closep) int lower = -1;
    if (p->result.implied.len == 0 && p->result.linked.len == 0)
        return NULL;
    if (u->ids.len == 0) {
        if (p->result.linked.len > 0)
            return err_new(ERR_INVALID, "layer %s: link \"%s\" to \"%s\": no such file", p->source->diff_id.s,
                           p->result.linked.v[0], p->result.linked.v[1]);
        return NULL;
    }
    TRY(overlay_mount_ids(u->store, &u->ids, &lower));
    return err_wrap(apply_fix(p->fs_fd, lower, &p->result), "layer %s", p->source->diff_id.s);
}

static struct error *publish_piece(struct unpack *u, struct piece *p)
{
    TRY(fix_piece(u, p));
    bool depends = (p->result.implied.len > 0 || p->result.linked.len > 0) && u->ids.len > 0;
    struct layer_row row = { .id = p->id,
                             .parent = u->ids.len > 0 ? u->ids.v[u->ids.len - 1] : (char *)"",
                             .diff_id = p->source->diff_id,
                             .tar_size = p->tar_size,
                             .chain = depends ? p->chain.s : (char *)"",
                             .size = p->result.bytes,
                             .created_ns = p->source->created_ns != 0 ? p->source->created_ns : now_ns(),
                             .description = (char *)p->source->description,
                             .no_record = p->source->description == NULL };
    TRY(layer_publish(u->store, u->lease, p->id, &row));
    strv_add(&u->ids, p->id);
    p->id[0] = '\0';
    return NULL;
}

static struct error *publish_all(struct unpack *u)
{
    for (size_t i = 0; i < u->count; i++) {
        struct piece *p = &u->pieces[i];
        if (p->found == NULL) {
            TRY(publish_piece(u, p));
            if (p->source->blob != NULL) /* of one that was here nobody has seen whether that blob is it */
                TRY(diff_id_blob_put(u->store, &p->source->diff_id, p->source->blob));
        } else {
            strv_add(&u->ids, p->found);
            if (p->source->description != NULL)
                TRY(layer_make_record(u->store, p->found, p->source->description));
        }
    }
    return NULL;
}

static struct error *unpack_all(struct unpack *u, struct snapshot **ret)
{
    make_chains(u);
    TRY(find_present(u));
    TRY(unpack_missing(u));
    TRY(publish_all(u));
    return snapshot_make(u->store, &u->ids, ret);
}

struct error *snapshot_unpack(struct store *s, const struct layer_source *layers, size_t count,
                              struct lease *lease, struct snapshot **ret)
{
    CLEANUP(unpack_deinit) struct unpack u = { .store = s, .lease = lease, .count = count };
    struct lease *own = NULL;
    semaphore_init(&u.slots, UNPACK_TASKS);
    if (count > LIMIT_LAYERS) {
        u.count = 0;
        return err_new(ERR_EXHAUSTED, "image has %zu layers, more than %d", count, LIMIT_LAYERS);
    }
    u.pieces = xcalloc(count > 0 ? count : 1, sizeof(*u.pieces));
    for (size_t i = 0; i < count; i++)
        u.pieces[i] = (struct piece){ .all = &u, .source = &layers[i], .index = i, .fs_fd = -1 };
    if (lease == NULL) {
        struct error *e = lease_open(s, &own);
        if (e != NULL)
            return e;
        u.lease = own;
    }
    struct error *e = unpack_all(&u, ret);
    lease_close(own);
    return e;
}

struct error *snapshot_by_diff_ids(struct store *s, const struct digest *ids, size_t count,
                                   struct snapshot **ret)
{
    CLEANUP(strv_deinit) struct strv layers = { 0 };
    struct digest chain = { "" };
    for (size_t i = 0; i < count; i++) {
        CLEANUP(freep) char *text = i > 0 ? xasprintf("%s %s", chain.s, ids[i].s) : NULL;
        CLEANUP(freep) char *found = NULL;
        chain = i > 0 ? digest_of(text, strlen(text)) : ids[i];
        TRY(layer_find_by_diff_id(s, &ids[i], chain.s, &found));
        if (found == NULL)
            return err_new(ERR_NOT_FOUND, "layer with diff ID %s: not found", ids[i].s);
        strv_add(&layers, found);
    }
    return snapshot_make(s, &layers, ret);
}
