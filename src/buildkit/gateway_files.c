/* SPDX-License-Identifier: Apache-2.0 */
/* gateway_files.c - LLBBridge's reads: files of a ref, files of a container's mount */
#include "buildkit/build_container.h"
#include "buildkit/files.h"
#include "buildkit/internal.h"

static Fs__Stat *stat_message(struct pb_arena *a, const struct file_stat *s)
{
    Fs__Stat *m = PB_NEW(a, fs__stat);

    m->path = pb_str(a, s->path);
    m->mode = s->mode;
    m->uid = s->uid;
    m->gid = s->gid;
    m->size = s->size;
    m->mod_time = s->mtime_ns;
    m->linkname = pb_str(a, s->linkname);
    m->devmajor = s->devmajor;
    m->devminor = s->devminor;
    return m;
}

/* ---- answers
 * ---------------------------------------------------------------------------------------------------------------
 */

static struct error *send_data(struct rpc_call *call, const struct buf *data)
{
    Gw__ReadFileResponse m = GW__READ_FILE_RESPONSE__INIT;

    m.data = pb_bytes(data->data, data->len);
    return rpc_send(call, &m.base);
}

/* Takes the entries. */
static struct error *send_entries(struct rpc_call *call, struct pb_arena *a, struct file_stat *v, size_t n)
{
    Gw__ReadDirResponse m = GW__READ_DIR_RESPONSE__INIT;

    m.entries = pb_array(a, n);
    for (size_t i = 0; i < n; i++) {
        m.entries[m.n_entries++] = stat_message(a, &v[i]);
        file_stat_deinit(&v[i]);
    }
    free(v);
    return rpc_send(call, &m.base);
}

static struct error *send_stat(struct rpc_call *call, struct pb_arena *a, struct file_stat *st)
{
    Gw__StatFileResponse m = GW__STAT_FILE_RESPONSE__INIT;

    m.stat = stat_message(a, st);
    file_stat_deinit(st);
    return rpc_send(call, &m.base);
}

static struct read_file_options range_of(const Gw__ReadFileRequest *q)
{
    return q->range == NULL
               ? (struct read_file_options){ 0 }
               : (struct read_file_options){ q->range->offset, q->range->length == 0 ? 1 : q->range->length };
}

/* A range of no bytes: still an error when there is no such file. */
static bool asks_for_nothing(const Gw__ReadFileRequest *q)
{
    return q->range != NULL && q->range->length == 0;
}

/* ---- of a ref
 * ---------------------------------------------------------------------------------------------------------------
 */

struct error *gateway_read_file(struct rpc_call *call, void *door)
{
    BRIDGE_CALL;
    CLEANUP(buf_deinit) struct buf out = { 0 };
    Gw__ReadFileRequest *q;
    struct ref *ref;

    TRY(rpc_recv_one(call, &gw__read_file_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, door, &c));
    TRY(bridge_call_ref(&c, q->ref, &ref));
    struct bridge *b = bridge_call_bridge(&c);
    struct read_file_options o = range_of(q);
    TRY(bridge_call_failure(ref, b->ops->read_file(b, ref, q->file_path, &o, &out)));
    if (asks_for_nothing(q))
        buf_clear(&out);
    return send_data(call, &out);
}

struct error *gateway_read_dir(struct rpc_call *call, void *door)
{
    BRIDGE_CALL;
    Gw__ReadDirRequest *q;
    struct file_stat *v = NULL;
    struct ref *ref;
    size_t n = 0;

    TRY(rpc_recv_one(call, &gw__read_dir_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, door, &c));
    TRY(bridge_call_ref(&c, q->ref, &ref));
    struct bridge *b = bridge_call_bridge(&c);
    TRY(bridge_call_failure(ref, b->ops->read_dir(b, ref, q->dir_path, q->include_pattern, &v, &n)));
    return send_entries(call, &c.arena, v, n);
}

struct error *gateway_stat_file(struct rpc_call *call, void *door)
{
    BRIDGE_CALL;
    struct file_stat st = { 0 };
    Gw__StatFileRequest *q;
    struct ref *ref;

    TRY(rpc_recv_one(call, &gw__stat_file_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, door, &c));
    TRY(bridge_call_ref(&c, q->ref, &ref));
    struct bridge *b = bridge_call_bridge(&c);
    TRY(bridge_call_failure(ref, b->ops->stat_file(b, ref, q->path, &st)));
    return send_stat(call, &c.arena, &st);
}

/* ---- of a container
 * ---------------------------------------------------------------------------------------------------------------
 */

/* Held until drop(). */
static struct error *find_mount(const struct bridge_call *c, const char *id, int32_t index,
                                struct build_container **ret, int *ret_fd)
{
    *ret = gateway_hold_container(c->gateway, id);
    if (*ret == NULL)
        return err_new(ERR_UNKNOWN, "container details for %s@%d not found", id, index);
    return build_container_mount_fd(*ret, index, ret_fd);
}

static void drop(struct build_container **c)
{
    if (*c != NULL)
        build_container_drop(*c);
}

struct error *gateway_read_file_container(struct rpc_call *call, void *door)
{
    BRIDGE_CALL;
    CLEANUP(drop) struct build_container *container = NULL;
    CLEANUP(buf_deinit) struct buf out = { 0 };
    Gw__ReadFileRequest *q;
    int fd;

    TRY(rpc_recv_one(call, &gw__read_file_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, door, &c));
    TRY(find_mount(&c, q->ref, q->mount_index, &container, &fd));
    struct read_file_options o = range_of(q);
    TRY(files_read(fd, q->file_path, &o, &out));
    if (asks_for_nothing(q))
        buf_clear(&out);
    return send_data(call, &out);
}

struct error *gateway_read_dir_container(struct rpc_call *call, void *door)
{
    BRIDGE_CALL;
    CLEANUP(drop) struct build_container *container = NULL;
    Gw__ReadDirRequest *q;
    struct file_stat *v = NULL;
    size_t n = 0;
    int fd;

    TRY(rpc_recv_one(call, &gw__read_dir_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, door, &c));
    TRY(find_mount(&c, q->ref, q->mount_index, &container, &fd));
    TRY(files_list(fd, q->dir_path, q->include_pattern, &v, &n));
    return send_entries(call, &c.arena, v, n);
}

struct error *gateway_stat_file_container(struct rpc_call *call, void *door)
{
    BRIDGE_CALL;
    CLEANUP(drop) struct build_container *container = NULL;
    struct file_stat st = { 0 };
    Gw__StatFileRequest *q;
    int fd;

    TRY(rpc_recv_one(call, &gw__stat_file_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, door, &c));
    TRY(find_mount(&c, q->ref, q->mount_index, &container, &fd));
    TRY(files_stat_through(fd, q->path, &st));
    return send_stat(call, &c.arena, &st);
}
