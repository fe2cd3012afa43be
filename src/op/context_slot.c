/* SPDX-License-Identifier: Apache-2.0 */
#include "op/context_slot.h"

#include "base/limits.h"
#include "io/path.h"
#include "io/stream.h"
#include "session/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_LIMIT (4 * GIB)

static_assert(SYNC_PACK_FILE <= COPY_PACKED_MAX, "a packed file fits a copy's buffer");

void context_slot_free(struct context_slot *s)
{
    closep(&s->tree_fd);
    closep(&s->pack.fd);
    sync_pack_deinit(&s->pack);
    sync_index_deinit(&s->index);
    buf_deinit(&s->saved);
    cond_deinit(&s->changed);
    mutex_deinit(&s->lock);
    if (s->broken)
        context_slot_discard(s);
    if (s->mount != NULL)
        cache_mount_release(s->mount);
    free(s);
}

void context_slot_discard(struct context_slot *s)
{
    if (s->mount != NULL)
        cache_mount_discard(TAKE(s->mount));
}

/* ---- on disk
 * -----------------------------------------------------------------------------------------------------------------
 */

/* Of this boot: page cache and disk may differ after another one. */
static const char *index_name(char dst[64])
{
    snprintf(dst, 64, "index-%s", boot_id());
    return dst;
}

static int open_tree_dir(struct context_slot *s)
{
    s->tree_fd = openat(cache_mount_fd(s->mount), "tree", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return s->tree_fd < 0 ? -errno : 0;
}

static int open_pack(struct context_slot *s, int flags)
{
    struct stat st;

    s->pack.fd = openat(cache_mount_fd(s->mount), "pack", O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
    if (s->pack.fd < 0)
        return -errno;
    if (fstat(s->pack.fd, &st) < 0)
        return -errno;
    s->pack.end = st.st_size;
    return 0;
}

static int empty_slot(struct context_slot *s)
{
    int dir = cache_mount_fd(s->mount), r;

    closep(&s->tree_fd);
    closep(&s->pack.fd);
    s->tree_fd = s->pack.fd = -1;
    sync_index_deinit(&s->index);
    buf_clear(&s->saved);
    r = path_remove_all(dir, "tree");
    if (r == 0 && mkdirat(dir, "tree", 0755) < 0)
        r = -errno;
    if (r == 0)
        r = open_tree_dir(s);
    return r == 0 ? open_pack(s, O_CREAT | O_TRUNC) : r;
}

/* The tree and the pack of the index that was found. */
static int open_known(struct context_slot *s)
{
    int r = open_tree_dir(s);

    if (r == 0)
        r = open_pack(s, 0);
    return r == -ENOENT && s->tree_fd >= 0 ? 0 /* laid out */ : r;
}

/* What is there with what is known of it; without an index it is emptied. */
static struct error *load(struct context_slot *s)
{
    int dir = cache_mount_fd(s->mount), r;
    struct error *e = NULL;
    char name[64];

    r = path_read_file(dir, index_name(name), &s->saved, INDEX_LIMIT);
    if (r == 0)
        e = sync_index_load(s->saved.data, s->saved.len, &s->index);
    if (r == 0 && e == NULL)
        r = open_known(s);
    if (r == 0 && e == NULL)
        return NULL;
    err_free(e);
    (void)!unlinkat(dir, name, 0);
    TRY_SYS(empty_slot(s), "empty the context's directory");
    return NULL;
}

int context_slot_set_aside(struct context_slot *s)
{
    int dir = cache_mount_fd(s->mount);
    char name[64];

    if (s->saved.len == 0 || s->aside)
        return 0; /* there is none */
    s->aside = true;
    return renameat(dir, index_name(name), dir, "index.old") < 0 ? -errno : 0;
}

/* A pack that is mostly of no use is written anew. */
static int tidy_pack(struct context_slot *s)
{
    int dir = cache_mount_fd(s->mount);
    CLEANUP(closep) int old = -1;

    if (s->pack.fd < 0 || !sync_pack_is_sparse(&s->pack, &s->index))
        return 0;
    int r = context_slot_set_aside(s); /* its offsets are the old pack's */
    int fd = r < 0 ? -1 : openat(dir, "pack.new", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return r < 0 ? r : -errno;
    old = s->pack.fd;
    r = sync_pack_move(&s->pack, &s->index, fd);
    return r == 0 && renameat(dir, "pack.new", dir, "pack") < 0 ? -errno : r;
}

/* Written anew only when it changed. */
static int save_index(struct context_slot *s)
{
    CLEANUP(buf_deinit) struct buf now = { 0 };
    CLEANUP(closep) int fd = -1;
    int dir = cache_mount_fd(s->mount), r;
    char name[64];

    index_name(name);
    sync_index_save(&s->index, &now);
    if (now.len == s->saved.len && memcmp(now.data, s->saved.data, now.len) == 0 &&
        (!s->aside || renameat(dir, "index.old", dir, name) == 0)) {
        s->aside = false;
        return 0;
    }
    fd = openat(dir, "index.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    r = fd_write_all(fd, now.data, now.len);
    if (r == 0 && renameat(dir, "index.new", dir, name) < 0)
        r = -errno;
    if (r == 0) {
        buf_deinit(&s->saved);
        s->saved = now;
        now = (struct buf){ 0 };
        s->aside = false;
    }
    return r;
}

struct error *context_slot_save(struct context_slot *s)
{
    int r = tidy_pack(s);

    if (r == 0)
        r = save_index(s);
    return r < 0 ? task_error(r, "keep the index of a context") : NULL;
}

struct error *context_slot_acquire(struct store *store, const char *key, const char *what,
                                   struct context_slot **ret)
{
    struct context_slot *s = NEW(struct context_slot);
    struct error *e;

    s->tree_fd = s->pack.fd = -1;
    mutex_init(&s->lock);
    cond_init(&s->changed);
    e = cache_mount_acquire(store, key, CACHE_PRIVATE, NULL, what, &s->mount);
    if (e == NULL)
        e = load(s);
    if (e != NULL)
        context_slot_free(s);
    else
        *ret = s;
    return e;
}

/* ---- all of it as a tree, or what is packed
 * ---------------------------------------------------------------------------------- */

static struct error *lay_out(struct context_slot *s)
{
    int dir = cache_mount_fd(s->mount);
    int r = context_slot_set_aside(s);

    if (r == 0)
        r = sync_pack_lay_out_all(&s->pack, s->tree_fd, &s->index);
    if (r == 0 && unlinkat(dir, "pack", 0) < 0)
        r = -errno;
    close(TAKE_FD(s->pack.fd));
    if (r == 0)
        r = save_index(s);
    return r < 0 ? task_error(r, "lay out the context") : NULL;
}

/* Wait until nobody lays it out (nor copies, if that matters). Locked. */
static struct error *wait_locked(struct context_slot *s, bool for_copies)
{
    int r = 0;

    while (r == 0 && (s->laying_out || (for_copies && s->copies > 0)))
        r = cond_wait(&s->changed, &s->lock);
    if (r < 0)
        return task_error(r, "wait for the context");
    return s->broken ? err_new(ERR_INTERNAL, "the context could not be laid out") : NULL;
}

struct error *context_slot_lay_out(struct context_slot *s)
{
    mutex_lock(&s->lock);
    struct error *e = wait_locked(s, true);
    bool mine = s->laying_out = e == NULL && s->pack.fd >= 0;

    mutex_unlock(&s->lock);
    if (!mine)
        return e;
    e = lay_out(s);
    mutex_lock(&s->lock);
    s->laying_out = false;
    s->broken = e != NULL;
    cond_broadcast(&s->changed);
    mutex_unlock(&s->lock);
    return e;
}

static const struct sync_entry *entry_of(const struct context_slot *s, size_t id)
{
    return &s->index.entries[id];
}

static struct copy_packed_file as_file(const struct context_slot *s, const struct sync_entry *e)
{
    const char *slash = strrchr(e->path, '/');

    return (struct copy_packed_file){ .id = (size_t)(e - s->index.entries),
                                      .name = slash != NULL ? slash + 1 : e->path,
                                      .mode = go_mode_to_stat(e->mode),
                                      .uid = e->uid,
                                      .gid = e->gid,
                                      .size = (size_t)e->size,
                                      .mtime_ns = e->mtime_ns };
}

static bool packed_next(void *ctx, const char *dir, size_t *at, struct copy_packed_file *ret)
{
    const struct context_slot *s = ctx;
    const struct sync_entry *e;

    while ((e = sync_index_next(&s->index, dir, at)) != NULL && e->packed == 0)
        ;
    if (e != NULL)
        *ret = as_file(s, e);
    return e != NULL;
}

static bool packed_find(void *ctx, const char *path, struct copy_packed_file *ret)
{
    const struct context_slot *s = ctx;
    const struct sync_entry *e = sync_index_find(&s->index, path);

    if (e == NULL || e->packed == 0)
        return false;
    *ret = as_file(s, e);
    return true;
}

static int packed_read(void *ctx, size_t id, char *dst)
{
    const struct context_slot *s = ctx;

    return sync_pack_read(s->pack.fd, entry_of(s, id), dst);
}

struct error *context_slot_copy_begin(struct context_slot *s, struct copy_packed *packed, bool *ret)
{
    mutex_lock(&s->lock);
    struct error *e = wait_locked(s, false);

    *ret = e == NULL && s->pack.fd >= 0;
    if (*ret)
        s->copies++;
    mutex_unlock(&s->lock);
    *packed = (struct copy_packed){ packed_next, packed_find, packed_read, s };
    return e;
}

void context_slot_copy_end(struct context_slot *s)
{
    mutex_lock(&s->lock);
    s->copies--;
    cond_broadcast(&s->changed);
    mutex_unlock(&s->lock);
}
