/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two tasks: the reader only reads, so that it can never be stuck behind a writer; the writer announces the
 * whole tree, then sends the files that were asked for, one after the other, and answers FIN with FIN.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/limits.h"
#include "io/path.h"
#include "session/packet.h"
#include "session/sync.h"
#include "session/walk.h"
#include "task/task.h"
#include "wire/pb.h"

#define CHUNK ((ssize_t)(128 * KIB))

/* A regular file that was announced. */
struct offer {
    uint32_t tree;
    char *path; /* in its tree; NULL: asked for already, or no file */
};

struct sender {
    struct rpc_call *call;
    const struct sync_tree *trees;
    size_t count;
    void (*progress)(void *ctx, int64_t bytes);
    void *ctx;
    int64_t sent_bytes;
    struct buf out; /* of the writer */
    char *chunk;    /* of the writer */
    struct mutex lock;
    struct cond changed;
    /* under lock */
    struct offer *offers; /* by id */
    size_t offer_count, offer_cap;
    uint32_t *asked;
    size_t asked_at, asked_count, asked_cap;
    bool fin;
};

/* ---- announcing ---- */

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void stat_xattrs(const struct sync_entry *e, struct pb_arena *a, Fs__Stat *m)
{
    const uint8_t *p = e->xattrs, *end = p + e->xattrs_len;
    size_t n = 0;

    for (const uint8_t *q = p; q < end; n++) {
        q += 4 + get_u32(q);
        q += 4 + get_u32(q);
    }
    m->xattrs = pb_array(a, n);
    for (; p < end; m->n_xattrs++) {
        Kv__Bytes *x = PB_NEW(a, kv__bytes);
        uint32_t key_len = get_u32(p);

        x->key = pb_strf(a, "%.*s", (int)key_len, (const char *)p + 4);
        p += 4 + key_len;
        x->value = pb_bytes(p + 4, get_u32(p));
        p += 4 + get_u32(p);
        m->xattrs[m->n_xattrs] = x;
    }
}

static char *with_prefix(struct pb_arena *a, const char *prefix, const char *path)
{
    return prefix == NULL || *prefix == '\0' ? pb_str(a, path) : pb_strf(a, "%s/%s", prefix, path);
}

static struct error *send_stat(struct sender *s, const char *prefix, const struct sync_entry *e)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Fs__Stat m = FS__STAT__INIT;
    Fs__Packet p = FS__PACKET__INIT;

    m.path = with_prefix(&arena, prefix, e->path);
    m.mode = e->mode;
    m.uid = e->uid;
    m.gid = e->gid;
    m.size = e->size;
    m.mod_time = e->mtime_ns;
    m.devmajor = e->devmajor;
    m.devminor = e->devminor;
    if (e->linkname != NULL)
        m.linkname =
            (e->mode & GO_MODE_SYMLINK) != 0 ? e->linkname : with_prefix(&arena, prefix, e->linkname);
    if (e->xattrs_len > 0)
        stat_xattrs(e, &arena, &m);
    p.type = FS__PACKET_TYPE__STAT;
    p.stat = &m;
    return rpc_send(s->call, &p.base);
}

static void offer(struct sender *s, size_t tree, const struct sync_entry *e)
{
    bool file = (e->mode & GO_MODE_TYPE) == 0;

    mutex_lock(&s->lock);
    if (s->offer_count == s->offer_cap) {
        s->offer_cap = s->offer_cap == 0 ? 256 : s->offer_cap * 2;
        s->offers = xreallocarray(s->offers, s->offer_cap, sizeof(*s->offers));
    }
    s->offers[s->offer_count++] = (struct offer){ (uint32_t)tree, file ? xstrdup(e->path) : NULL };
    mutex_unlock(&s->lock);
}

/* "a", "a/b" before what lies in "a/b". */
static struct error *announce_prefix(struct sender *s, size_t tree)
{
    const struct sync_send_filter *f = s->trees[tree].filter;
    const char *prefix = s->trees[tree].prefix != NULL ? s->trees[tree].prefix : "";

    for (const char *end = prefix; end != NULL && *prefix != '\0';) {
        end = strchr(end, '/');
        CLEANUP(freep) char *path = end != NULL ? xstrndup(prefix, (size_t)(end - prefix)) : xstrdup(prefix);
        struct sync_entry e = { .path = path, .mode = GO_MODE_DIR | 0755 };

        if (f != NULL && f->set_owner) {
            e.uid = f->uid;
            e.gid = f->gid;
        }
        if (f != NULL && (f->set_mtime || f->clamp_mtime))
            e.mtime_ns = f->mtime_ns;
        offer(s, tree, &e);
        TRY(send_stat(s, NULL, &e));
        end = end != NULL ? end + 1 : NULL;
    }
    return NULL;
}

/* One of several trees that are announced as one. */
struct front {
    struct walk *walk;
    struct sync_entry entry; /* the next one; its path is NULL at the end */
};

static struct error *advance(struct front *f)
{
    sync_entry_deinit(&f->entry);
    f->entry = (struct sync_entry){ 0 };
    return walk_next(f->walk, &f->entry);
}

static struct front *first_of(struct front *f, size_t count)
{
    struct front *first = &f[0];

    for (size_t i = 1; i < count; i++) {
        if (first->entry.path == NULL ||
            (f[i].entry.path != NULL && sync_path_compare(f[i].entry.path, first->entry.path) < 0))
            first = &f[i];
    }
    return first;
}

/* The entries of all in one order; a directory that several have is the first one's. */
static struct error *announce_entries(struct sender *s, size_t tree, struct front *f, size_t count)
{
    for (struct front *at; (at = first_of(f, count))->entry.path != NULL;) {
        CLEANUP(freep) char *path = xstrdup(at->entry.path);

        offer(s, tree + (size_t)(at - f), &at->entry);
        TRY(err_wrap(send_stat(s, s->trees[tree].prefix, &at->entry), "failed to send stat %s", path));
        for (size_t i = 0; i < count; i++)
            if (f[i].entry.path != NULL && streq(f[i].entry.path, path))
                TRY(advance(&f[i]));
    }
    return NULL;
}

static struct error *announce_trees(struct sender *s, size_t tree, size_t count)
{
    CLEANUP(freep) struct front *f = xcalloc(count, sizeof(*f));
    struct error *e = announce_prefix(s, tree);

    for (size_t i = 0; e == NULL && i < count; i++) {
        e = walk_open(&s->trees[tree + i], &f[i].walk);
        if (e == NULL)
            e = advance(&f[i]);
    }
    if (e == NULL)
        e = announce_entries(s, tree, f, count);
    for (size_t i = 0; i < count; i++) {
        sync_entry_deinit(&f[i].entry);
        walk_close(f[i].walk);
    }
    return e;
}

static bool same_prefix(const struct sync_tree *a, const struct sync_tree *b)
{
    return streq(a->prefix != NULL ? a->prefix : "", b->prefix != NULL ? b->prefix : "");
}

static struct error *announce_all(struct sender *s)
{
    for (size_t i = 0, n; i < s->count; i += n) {
        for (n = 1; i + n < s->count && same_prefix(&s->trees[i], &s->trees[i + n]); n++)
            ;
        TRY(announce_trees(s, i, n));
    }
    return err_wrap(rpc_send_raw(s->call, "", 0), "failed to send last stat");
}

/* ---- files ---- */

static struct error *send_packet(struct sender *s, const struct packet *p)
{
    buf_clear(&s->out);
    packet_encode(p, &s->out);
    return rpc_send_raw(s->call, buf_str(&s->out), s->out.len);
}

/* -1 when it is no regular file any more, or cannot be read: the receiver gets an empty one, as from the
 * original. */
static int open_file(int dir_fd, const char *path)
{
    struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
    CLEANUP(closep) int fd = (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
    struct stat st;
    char proc[32];

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    fd_path(proc, fd);
    return open(proc, O_RDONLY | O_CLOEXEC | O_NOCTTY);
}

/* The content lies behind room for the packet's head, so that it is copied only once, by the stream. */
static struct error *send_chunk(struct sender *s, uint32_t id, char *chunk, size_t n)
{
    struct packet p = { .type = PACKET_DATA, .id = id, .len = n };

    buf_clear(&s->out);
    packet_encode_head(&p, &s->out);
    assert(s->out.len <= PACKET_HEAD);
    memcpy(chunk + PACKET_HEAD - s->out.len, s->out.data, s->out.len);
    return rpc_send_raw(s->call, chunk + PACKET_HEAD - s->out.len, s->out.len + n);
}

static struct error *send_content(struct sender *s, uint32_t id, int fd)
{
    ssize_t n = CHUNK;

    if (s->chunk == NULL)
        s->chunk = xmalloc(PACKET_HEAD + CHUNK);
    /* a short read is the end: most files take one */
    while (n == CHUNK && (n = read(fd, s->chunk + PACKET_HEAD, CHUNK)) > 0) {
        TRY(send_chunk(s, id, s->chunk, (size_t)n));
        s->sent_bytes += n;
        if (s->progress != NULL)
            s->progress(s->ctx, s->sent_bytes);
    }
    return n < 0 ? err_sys(errno, "read a file that is being sent") : NULL;
}

static struct error *send_file(struct sender *s, uint32_t id, const struct offer *o)
{
    CLEANUP(closep) int fd = open_file(s->trees[o->tree].dir_fd, o->path);
    struct packet end = { .type = PACKET_DATA, .id = id };

    if (fd >= 0)
        TRY(send_content(s, id, fd));
    return send_packet(s, &end);
}

/* The next request; *ret_id is only set when *ret has a path. */
static struct error *next_asked(struct sender *s, uint32_t *ret_id, struct offer *ret)
{
    int r = 0;

    mutex_lock(&s->lock);
    while (s->asked_at == s->asked_count && !s->fin && r == 0)
        r = cond_wait(&s->changed, &s->lock);
    if (s->asked_at < s->asked_count) {
        *ret_id = s->asked[s->asked_at++];
        *ret = s->offers[*ret_id];
        s->offers[*ret_id].path = NULL;
        r = 0;
    }
    mutex_unlock(&s->lock);
    return r < 0 ? task_error(r, "wait for requests") : NULL;
}

static struct error *serve_requests(struct sender *s)
{
    struct packet fin = { .type = PACKET_FIN };

    for (;;) {
        struct offer o = { 0 };
        uint32_t id = 0;

        TRY(next_asked(s, &id, &o));
        if (o.path == NULL)
            return send_packet(s, &fin);
        struct error *e = send_file(s, id, &o);

        free(o.path);
        TRY(e);
    }
}

static struct error *writer(void *arg)
{
    struct sender *s = arg;
    struct error *e = announce_all(s);

    if (e == NULL)
        e = serve_requests(s);
    if (e != NULL && task_check_sys() == 0 && !err_is(e, ERR_UNAVAILABLE)) {
        struct packet p = { .type = PACKET_ERR, .data = e->message, .len = strlen(e->message) };

        err_free(send_packet(s, &p));
    }
    return e;
}

/* ---- reading ---- */

static struct error *ask(struct sender *s, uint32_t id)
{
    struct error *e = NULL;

    mutex_lock(&s->lock);
    if (id >= s->offer_count || s->offers[id].path == NULL || s->asked_count > s->offer_count) {
        e = err_new(ERR_INVALID, "invalid file id %u", (unsigned)id);
    } else {
        if (s->asked_count == s->asked_cap) {
            s->asked_cap = s->asked_cap == 0 ? 256 : s->asked_cap * 2;
            s->asked = xreallocarray(s->asked, s->asked_cap, sizeof(*s->asked));
        }
        s->asked[s->asked_count++] = id;
        cond_signal(&s->changed);
    }
    mutex_unlock(&s->lock);
    return e;
}

static struct error *handle(struct sender *s, const struct packet *p)
{
    switch (p->type) {
    case PACKET_REQ:
        return ask(s, p->id);
    case PACKET_FIN:
        mutex_lock(&s->lock);
        s->fin = true;
        cond_signal(&s->changed);
        mutex_unlock(&s->lock);
        return NULL;
    case PACKET_ERR:
        return err_new(ERR_UNKNOWN, "error from receiver: %.*s", (int)MIN(p->len, (size_t)4096),
                       (const char *)p->data);
    default:
        return err_new(ERR_INVALID, "unexpected packet of type %u", (unsigned)p->type);
    }
}

static struct error *reader(void *arg)
{
    struct sender *s = arg;
    CLEANUP(buf_deinit) struct buf message = { 0 };

    while (!s->fin) { /* only this task sets it */
        struct packet p;
        bool eof = false;

        TRY(rpc_recv_raw(s->call, &message, &eof));
        if (eof)
            return err_new(ERR_UNAVAILABLE, "the file transfer ended early");
        if (packet_decode(buf_str(&message), message.len, &p) < 0)
            return err_new(ERR_INVALID, "malformed packet in a file transfer");
        TRY(handle(s, &p));
    }
    return NULL;
}

/* ---- both ---- */

static void sender_deinit(struct sender *s)
{
    for (size_t i = 0; i < s->offer_count; i++)
        free(s->offers[i].path);
    free(s->offers);
    free(s->asked);
    buf_deinit(&s->out);
    free(s->chunk);
    cond_deinit(&s->changed);
    mutex_deinit(&s->lock);
}

struct error *sync_send(struct rpc_call *c, const struct sync_tree *trees, size_t count,
                        void (*progress)(void *ctx, int64_t bytes), void *ctx)
{
    struct sender s = { .call = c, .trees = trees, .count = count, .progress = progress, .ctx = ctx };
    struct group g;

    mutex_init(&s.lock);
    cond_init(&s.changed);
    group_open(&g, 0);
    struct error *e = group_spawn(&g, "sync reader", reader, &s);

    if (e == NULL)
        e = group_spawn(&g, "sync writer", writer, &s);
    e = group_finish(&g, e);
    sender_deinit(&s);
    return e;
}
