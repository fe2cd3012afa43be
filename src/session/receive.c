/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "session/receiver.h"
#include "task/task.h"
#include "io/stream.h"

/* ---- packets of ours ---- */

static struct error *send_packet(struct receiver *r, const struct packet *p)
{
    buf_clear(&r->out);
    packet_encode(p, &r->out);
    return rpc_send_raw(r->call, buf_str(&r->out), r->out.len);
}

/* Ask for what is wanted, in batches, so that the peer always has something to send. */
static struct error *request_more(struct receiver *r)
{
    if (r->incoming_count > LIMIT_SYNC_REQUESTS / 2)
        return NULL;
    while (r->wanted_at < r->wanted_count && r->incoming_count < LIMIT_SYNC_REQUESTS) {
        const struct wanted *w = &r->wanted[r->wanted_at++];
        struct packet request = { .type = PACKET_REQ, .id = w->id };

        r->incoming[r->incoming_count++] = (struct incoming){ .id = w->id, .entry = w->entry, .fd = -1 };
        TRY(send_packet(r, &request));
    }
    if (r->wanted_at == r->wanted_count)
        r->wanted_at = r->wanted_count = 0;
    return NULL;
}

/* ---- file content ---- */

static void incoming_deinit(struct incoming *in)
{
    closep(&in->fd);
    hasher_free(in->hash);
    buf_deinit(&in->held);
}

static bool is_checked(const struct receiver *r, const struct incoming *in)
{
    return (r->flags[in->entry] & NEW_CHECKED) != 0;
}

static struct error *begin_file(struct receiver *r, struct incoming *in)
{
    const struct sync_entry *e = &r->new.entries[in->entry];

    in->hash = hasher_new();
    if (is_checked(r, in) || sync_pack_takes(r->o->pack, e))
        return NULL;
    in->fd = place_create(&r->place, e);
    if (in->fd < 0)
        return err_sys(-in->fd, "failed to create %s", e->path);
    return NULL;
}

/* What was held goes into a file of its own. */
static struct error *write_held(struct receiver *r, struct incoming *in)
{
    const struct sync_entry *e = &r->new.entries[in->entry];

    in->fd = place_create(&r->place, e);
    if (in->fd < 0)
        return err_sys(-in->fd, "failed to create %s", e->path);
    TRY_SYS(fd_write_all(in->fd, buf_str(&in->held), in->held.len), "failed to write %s", e->path);
    buf_deinit(&in->held);
    return NULL;
}

/* The directory that holds an entry gets its own time again at the end. */
static void touch_directory(struct receiver *r, const char *path)
{
    const char *slash = strrchr(path, '/');
    CLEANUP(freep) char *dir = slash == NULL ? NULL : xstrndup(path, (size_t)(slash - path));
    const struct sync_entry *e = dir == NULL ? NULL : sync_index_find(&r->new, dir);

    if (e != NULL)
        r->flags[e - r->new.entries] |= NEW_TOUCHED;
}

/* Not what is here: what was held takes its place. */
static struct error *give_up_check(struct receiver *r, struct incoming *in)
{
    struct sync_entry *e = &r->new.entries[in->entry];

    r->flags[in->entry] = (uint8_t)((r->flags[in->entry] & ~NEW_CHECKED) | NEW_CHANGED);
    if (e->packed == 0)
        TRY_DISK(place_remove(&r->place, e->path), "remove", e->path);
    e->packed = 0;
    touch_directory(r, e->path);
    return sync_pack_takes(r->o->pack, e) && in->held.len <= SYNC_PACK_FILE ? NULL : write_held(r, in);
}

static struct error *write_file(struct receiver *r, struct incoming *in, const char *data, size_t len)
{
    const struct sync_entry *e = &r->new.entries[in->entry];

    if (in->received + (int64_t)len > MAX(e->size, INT64_C(0)) + (int64_t)LIMIT_SYNC_GROWTH)
        return err_new(ERR_INVALID, "%s is longer than the %lld bytes that were announced", e->path,
                       (long long)e->size);
    in->received += (int64_t)len;
    hasher_add(in->hash, data, len);
    if (is_checked(r, in) && in->held.len + len > LIMIT_SYNC_HELD)
        TRY(give_up_check(r, in));
    if (in->fd < 0 && !is_checked(r, in) && in->held.len + len > SYNC_PACK_FILE)
        TRY(write_held(r, in)); /* it grew out of the pack */
    if (in->fd < 0)
        buf_add(&in->held, data, len);
    else
        TRY_SYS(fd_write_all(in->fd, data, len), "failed to write %s", e->path);
    return NULL;
}

/* true: the bytes are those that are here. */
static bool is_unchanged(const struct receiver *r, const struct incoming *in, const uint8_t sum[32])
{
    const struct sync_entry *e = &r->new.entries[in->entry];

    return is_checked(r, in) && in->received == e->size && memcmp(sum, e->content, sizeof(e->content)) == 0;
}

static struct error *keep_file(struct receiver *r, struct incoming *in, const uint8_t sum[32])
{
    struct sync_entry *e = &r->new.entries[in->entry];

    if (is_checked(r, in))
        TRY(give_up_check(r, in));
    memcpy(e->content, sum, sizeof(e->content));
    /* a file that changed under way is asked for again next time */
    e->size = in->received;
    if (in->fd >= 0)
        TRY_DISK(place_finish(&r->place, in->fd, e), "set the metadata of", e->path);
    else
        TRY_DISK(sync_pack_add(r->o->pack, buf_str(&in->held), in->held.len, &e->packed), "write", e->path);
    return NULL;
}

static struct error *finish_file(struct receiver *r, struct incoming *in)
{
    uint8_t sum[sizeof(r->new.entries->content)];

    hasher_sum_raw(in->hash, sum);
    if (!is_unchanged(r, in, sum))
        TRY(keep_file(r, in, sum));
    incoming_deinit(in);
    *in = r->incoming[--r->incoming_count];
    return NULL;
}

static struct error *handle_data(struct receiver *r, const struct packet *p)
{
    size_t i = 0;

    while (i < r->incoming_count && r->incoming[i].id != p->id)
        i++;
    if (i == r->incoming_count)
        return err_new(ERR_INVALID, "invalid file request %u", (unsigned)p->id);
    struct incoming *in = &r->incoming[i];

    if (in->hash == NULL)
        TRY(begin_file(r, in));
    return p->len > 0 ? write_file(r, in, p->data, p->len) : finish_file(r, in);
}

/* ---- the end ---- */

static struct error *make_links(struct receiver *r)
{
    for (size_t i = 0; i < r->link_count; i++) {
        struct sync_entry *e = &r->new.entries[r->links[i]];
        struct sync_entry *target = sync_index_find(&r->new, e->linkname);

        if (target->packed != 0)
            TRY_DISK(sync_pack_lay_out(r->o->pack, &r->place, target), "create", target->path);
        TRY_DISK(place_link(&r->place, e), "link", e->path);
        memcpy(e->content, target->content, sizeof(e->content));
    }
    return NULL;
}

static struct error *write_metadata_file(struct receiver *r, struct sync_entry *e)
{
    TRY_DISK(place_remove(&r->place, e->path), "remove", e->path);
    CLEANUP(closep) int fd = place_create(&r->place, e);

    TRY_DISK(fd, "create", e->path);
    TRY_SYS(fd_write_all(fd, buf_str(&r->metadata), r->metadata.len), "failed to write %s",
            SYNC_METADATA_FILE);
    TRY_DISK(place_finish(&r->place, fd, e), "set the metadata of", e->path);
    struct hasher *h = hasher_new();

    hasher_add(h, buf_str(&r->metadata), r->metadata.len);
    hasher_sum_raw(h, e->content);
    hasher_free(h);
    return NULL;
}

/* Put *e (taken) where it belongs in the finished index. */
static void insert_entry(struct sync_index *index, struct sync_entry *e)
{
    size_t at = 0;

    if (index->len == index->cap) {
        index->cap += 16;
        index->entries = xreallocarray(index->entries, index->cap, sizeof(*index->entries));
    }
    while (at < index->len && sync_path_compare(index->entries[at].path, e->path) < 0)
        at++;
    memmove(&index->entries[at + 1], &index->entries[at], (index->len - at) * sizeof(*index->entries));
    index->entries[at] = *e;
    index->len++;
}

static struct error *add_metadata_file(struct receiver *r)
{
    struct sync_entry e = { .path = xstrdup(SYNC_METADATA_FILE),
                            .mode = 0644,
                            .size = (int64_t)r->metadata.len };
    struct error *failure = write_metadata_file(r, &e);

    if (failure != NULL)
        sync_entry_deinit(&e);
    else
        insert_entry(&r->new, &e);
    return failure;
}

static struct error *set_times(struct receiver *r)
{
    for (size_t i = 0; i < r->new.len; i++)
        if ((r->flags[i] & NEW_TOUCHED) != 0)
            TRY_DISK(place_touch(&r->place, &r->new.entries[i]), "set the time of", r->new.entries[i].path);
    return NULL;
}

/* Everything is announced and here. */
static struct error *complete(struct receiver *r)
{
    struct packet fin = { .type = PACKET_FIN };

    TRY(receiver_remove_rest(r));
    if (r->o->pack != NULL)
        TRY_DISK(sync_pack_flush(r->o->pack), "write", "small files");
    TRY(make_links(r));
    TRY(set_times(r));
    if (r->o->metadata_only)
        TRY(add_metadata_file(r));
    r->fin_sent = true;
    return send_packet(r, &fin);
}

/* ---- the loop ---- */

static struct error *handle_packet(struct receiver *r, const struct packet *p)
{
    switch (p->type) {
    case PACKET_STAT:
        if (p->stat != NULL)
            return receiver_stat(r, p->stat, p->stat_len);
        r->all_stats = true;
        return NULL;
    case PACKET_DATA:
        return handle_data(r, p);
    case PACKET_FIN:
        if (!r->fin_sent)
            return err_new(ERR_INVALID, "the sender ended before all files were transferred");
        r->fin_received = true;
        return NULL;
    case PACKET_ERR:
        return err_new(ERR_UNKNOWN, "error from sender: %.*s", (int)MIN(p->len, (size_t)4096),
                       (const char *)p->data);
    default:
        return err_new(ERR_INVALID, "unexpected packet of type %u", (unsigned)p->type);
    }
}

static void report(struct receiver *r, size_t bytes, bool done)
{
    r->progress += (int64_t)bytes;
    if (r->o->progress != NULL)
        r->o->progress(r->o->ctx, r->progress, done);
}

static struct error *receive_all(struct receiver *r)
{
    while (!r->fin_received) {
        struct packet p;
        bool eof = false;

        int64_t since = monotonic_ns();

        TRY(rpc_recv_raw(r->call, &r->message, &eof));
        r->waited_ns += monotonic_ns() - since;
        if (eof)
            return err_new(ERR_UNAVAILABLE, "the file transfer ended early");
        report(r, r->message.len, false);
        if (packet_decode(buf_str(&r->message), r->message.len, &p) < 0)
            return err_new(ERR_INVALID, "malformed packet in a file transfer");
        TRY(handle_packet(r, &p));
        TRY(request_more(r));
        if (r->all_stats && !r->fin_sent && r->incoming_count == 0)
            TRY(complete(r));
    }
    return NULL;
}

/* The peer should know why. */
static void tell(struct receiver *r, const struct error *e)
{
    struct packet p = { .type = PACKET_ERR, .data = e->message, .len = strlen(e->message) };

    if (task_check_sys() == 0 && !err_is(e, ERR_UNAVAILABLE))
        err_free(send_packet(r, &p));
}

static void receiver_deinit(struct receiver *r)
{
    for (size_t i = 0; i < r->incoming_count; i++)
        incoming_deinit(&r->incoming[i]);
    receiver_deinit_levels(r);
    place_deinit(&r->place);
    sync_index_deinit(&r->old);
    sync_index_deinit(&r->new);
    pattern_set_deinit(&r->exceptions);
    pb_arena_deinit(&r->arena);
    buf_deinit(&r->metadata);
    buf_deinit(&r->message);
    buf_deinit(&r->out);
    free(r->flags);
    free(r->wanted);
    free(r->links);
    free(r);
}

static struct error *prepare(struct receiver *r)
{
    const struct strv *x = r->o->metadata_exclude;

    receiver_init_levels(r);
    if (r->o->metadata_only && x != NULL && x->len > 0)
        TRY(pattern_set_init(&r->exceptions, (const char *const *)x->v, x->len));
    if (r->old.len == 0)
        TRY_DISK(place_clear(&r->place), "empty", "the directory");
    return NULL;
}

/* How much of the time was the peer's. */
static void trace(const struct receiver *r, int64_t began_ns)
{
    char us[24], waited[24];

    if (!log_enabled(LOG_DEBUG))
        return;
    snprintf(us, sizeof us, "%lld", (long long)(monotonic_ns() - began_ns) / 1000);
    snprintf(waited, sizeof waited, "%lld", (long long)r->waited_ns / 1000);
    log_debug("files received", "name", r->o->name, "us", us, "waited", waited);
}

struct error *sync_receive(struct rpc_call *c, const struct sync_options *o, int dir_fd,
                           struct sync_index *index)
{
    struct receiver *r = NEW(struct receiver);
    int64_t began_ns = monotonic_ns();

    r->call = c;
    r->o = o;
    r->old = *index;
    *index = (struct sync_index){ 0 };
    place_init(&r->place, dir_fd);
    r->place.changing = o->changing;
    r->place.ctx = o->ctx;
    struct error *e = prepare(r);

    if (e == NULL)
        e = receive_all(r);
    if (e == NULL) {
        report(r, 0, true);
        *index = r->new;
        r->new = (struct sync_index){ 0 };
        trace(r, began_ns);
    } else {
        tell(r, e);
    }
    receiver_deinit(r);
    return e;
}
