/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs: files by digest, and virtual ones that are streamed from a layer's directory. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "store/internal.h"
#include "store/layer_tar.h"

void blob_file_name(char dst[65], const struct digest *d)
{
    memcpy(dst, digest_hex(d), 65);
}

static struct error *not_found(const struct digest *d)
{
    return err_new(ERR_NOT_FOUND, "content %s: not found", d->s);
}

/* ---- rows ------------------------------------------------------------------------------------------------
 */

struct found {
    struct blob_info info;
    bool any;
};

static struct error *take_blob(void *ctx, sqlite3_stmt *row)
{
    struct found *f = ctx;
    f->any = true;
    f->info.size = sqlite3_column_int64(row, 0);
    f->info.created_ns = sqlite3_column_int64(row, 1);
    snprintf(f->info.layer_id, sizeof(f->info.layer_id), "%s", db_column(row, 2));
    return NULL;
}

struct error *blob_stat(struct store *s, const struct digest *d, struct blob_info *ret)
{
    struct found f = { 0 };
    f.info.digest = *d;
    if (recall_find_blob(s, d->s, ret))
        return NULL;
    TRY(db_lock(&s->db));
    struct error *e = db_query(&s->db, take_blob, &f,
                               "SELECT size, created_ns, layer FROM blobs WHERE digest = ?", "s", d->s);
    if (e == NULL && f.any)
        recall_blob(s, &f.info);
    db_unlock(&s->db);
    TRY(e);
    if (!f.any)
        return not_found(d);
    *ret = f.info;
    return NULL;
}

struct error *blob_insert(struct store *s, const struct digest *d, int64_t size, const char *layer_id)
{
    recall_forget_blob(s, d->s);
    /* A real file replaces a virtual blob, not the other way round. */
    if (layer_id != NULL)
        return db_exec(&s->db,
                       "INSERT OR IGNORE INTO blobs(digest, size, created_ns, layer) VALUES(?, ?, ?, ?)",
                       "siis", d->s, size, now_ns(), layer_id);
    return db_exec(&s->db,
                   "INSERT OR REPLACE INTO blobs(digest, size, created_ns, layer) VALUES(?, ?, ?, NULL)",
                   "sii", d->s, size, now_ns());
}

static struct error *collect_info(void *ctx, sqlite3_stmt *row)
{
    struct blob_list *l = ctx;
    struct digest d;
    if (digest_parse(db_column(row, 0), &d) < 0)
        return NULL;
    l->list = xreallocarray(l->list, l->count + 1, sizeof(*l->list));
    struct blob_info *i = &l->list[l->count++];
    *i = (struct blob_info){ .digest = d,
                             .size = sqlite3_column_int64(row, 1),
                             .created_ns = sqlite3_column_int64(row, 2) };
    snprintf(i->layer_id, sizeof(i->layer_id), "%s", db_column(row, 3));
    return NULL;
}

struct error *blob_list(struct store *s, struct blob_list *ret)
{
    TRY(db_lock(&s->db));
    struct error *e = db_query(&s->db, collect_info, ret,
                               "SELECT digest, size, created_ns, layer FROM blobs ORDER BY digest", "");
    db_unlock(&s->db);
    return e;
}

/* ---- reading ---------------------------------------------------------------------------------------------
 */

/* A virtual blob is verified as it passes: its last bytes are given only when the digest is right. */
struct verified {
    struct stream base;
    struct stream *below;
    struct hasher *hasher;
    struct digest want;
    int64_t left;
    bool checked;
};

static ssize_t verified_read(struct stream *base, void *buf, size_t cap)
{
    struct verified *v = CONTAINER_OF(base, struct verified, base);
    ssize_t n = stream_read(v->below, buf, cap);
    if (n < 0)
        return n;
    if (n > 0)
        hasher_add(v->hasher, buf, (size_t)n);
    v->left -= n;
    if ((v->left == 0 || n == 0) && !v->checked) {
        struct digest got = hasher_sum(v->hasher);
        if (v->left != 0 || !digest_eq(&got, &v->want))
            return -EBADMSG;
        v->checked = true;
    }
    return v->left < 0 ? -EBADMSG : n;
}

static ssize_t verified_write(struct stream *base, const void *buf, size_t len)
{
    return -EBADF;
}

static int verified_shut(struct stream *base)
{
    return 0;
}

static void verified_close(struct stream *base)
{
    struct verified *v = CONTAINER_OF(base, struct verified, base);
    stream_close(v->below);
    hasher_free(v->hasher);
    free(v);
}

static const struct stream_ops verified_ops = {
    .read = verified_read, .write = verified_write, .shut = verified_shut, .close = verified_close
};

static struct error *open_virtual(struct store *s, const struct blob_info *info, struct stream **ret)
{
    CLEANUP(closep) int fd = layer_dir(s, info->layer_id);
    TRY_SYS(fd, "open layer %s", info->layer_id);
    struct stream *tar = NULL;
    TRY(layer_tar_open(fd, &tar));
    struct verified *v = NEW(struct verified);
    v->base.ops = &verified_ops;
    v->below = tar;
    v->hasher = hasher_new();
    v->want = info->digest;
    v->left = info->size;
    *ret = &v->base;
    return NULL;
}

struct error *blob_open_fd(struct store *s, const struct digest *d, int *ret_fd)
{
    char name[65];
    blob_file_name(name, d);
    int fd = openat(s->blobs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? not_found(d) : err_sys(errno, "open content %s", d->s);
    *ret_fd = fd;
    return NULL;
}

struct error *blob_open(struct store *s, const struct digest *d, struct stream **ret)
{
    struct blob_info info;
    int fd;
    TRY(blob_stat(s, d, &info));
    if (info.layer_id[0] != '\0')
        return open_virtual(s, &info, ret);
    TRY(blob_open_fd(s, d, &fd));
    *ret = stream_from_fd(fd);
    return NULL;
}

struct error *blob_read(struct store *s, const struct digest *d, size_t limit, struct buf *out)
{
    CLEANUP(stream_closep) struct stream *in = NULL;
    TRY(blob_open(s, d, &in));
    int r = stream_read_all(in, out, limit);
    if (r == -EFBIG)
        return err_new(ERR_INVALID, "content %s is larger than %zu bytes", d->s, limit);
    return r < 0 ? task_error(r, "read content %s", d->s) : NULL;
}

/* ---- writing ---------------------------------------------------------------------------------------------
 */

static int write_file(int dir_fd, const char *name, const void *data, size_t len)
{
    CLEANUP(closep) int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    const char *p = data;
    if (fd < 0)
        return -errno;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

struct error *publish_end(struct store *s, struct error *e)
{
    e = db_end(&s->db, e);
    if (e != NULL)
        atomic_store(&s->orphans, true);
    return e;
}

struct error *blob_publish(struct store *s, int dir_fd, const char *name, const struct digest *d,
                           int64_t size)
{
    char file[65];
    blob_file_name(file, d);
    TRY(db_begin(&s->db));
    struct error *e = NULL;
    if (renameat(dir_fd, name, s->blobs_fd, file) < 0)
        e = err_sys(errno, "store content %s", d->s);
    if (e == NULL)
        e = blob_insert(s, d, size, NULL);
    TRY(publish_end(s, e));
    store_mark_unsynced(s);
    return NULL;
}

struct error *blob_put(struct store *s, struct lease *l, const void *data, size_t len, struct digest *ret)
{
    struct digest d = digest_of(data, len);
    struct blob_info info;
    char name[LAYER_ID_LEN + 1];
    if (l != NULL)
        lease_add_blob(l, &d);
    struct error *e = blob_stat(s, &d, &info);
    if (e != NULL && !err_is(e, ERR_NOT_FOUND))
        return e;
    bool known = e == NULL && info.layer_id[0] == '\0';
    err_free(e);
    if (!known) {
        random_id(name, LAYER_ID_LEN);
        int r = write_file(s->work_fd, name, data, len);
        e = r < 0 ? err_sys(-r, "write content %s", d.s)
                  : blob_publish(s, s->work_fd, name, &d, (int64_t)len);
        if (e != NULL) {
            unlinkat(s->work_fd, name, 0);
            return e;
        }
    }
    *ret = d;
    return NULL;
}
