/* SPDX-License-Identifier: Apache-2.0 */
/*
 * changes.c - the container's writable directory, as overlayfs keeps it, beside its image
 *
 * A whiteout is a deletion, an opaque directory hides what the image had in it.  Paths that were made only to
 * mount on are none of the container's doing.
 */
#include "container/changes.h"

#include "base/limits.h"
#include "container/internal.h"
#include "io/path.h"
#include "oci/gojson.h"
#include "oci/tar.h"
#include "store/layer_tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#define HELD_MAX 4 /* how deep they lie in each other */

enum change_kind { CHANGE_MODIFIED, CHANGE_ADDED, CHANGE_DELETED };

struct walk {
    struct map changes; /* path -> kind + 1 */
};

static void walk_deinit(struct walk *w)
{
    map_deinit(&w->changes);
}

static int open_upper(struct container *ct)
{
    CLEANUP(freep) char *path = path_join(ct->dir, "upper");
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    return fd < 0 ? -errno : fd;
}

/* What every container gets to mount on, in dockerd's as a layer of its own: empty, it is none of its doing.
 */
static bool is_stub(const char *path)
{
    static const char *const stubs[] = { "/.dockerenv",      "/dev",       "/dev/console",
                                         "/dev/pts",         "/dev/shm",   "/etc",
                                         "/etc/hostname",    "/etc/hosts", "/etc/mtab",
                                         "/etc/resolv.conf", "/proc",      "/sys" };

    for (size_t i = 0; i < ARRAY_LEN(stubs); i++) {
        if (streq(path, stubs[i]))
            return true;
    }
    return false;
}

/* ---- docker diff
 * -----------------------------------------------------------------------------------------------------------
 */

static void note(struct walk *w, const char *path, enum change_kind kind)
{
    map_set(&w->changes, path, (void *)(uintptr_t)(kind + 1));
}

static bool is_opaque(int fd)
{
    char value = 0;

    return fgetxattr(fd, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

/* The same directory in the image; -1 when it is none there.  Level by level, so that no link of the image
 * leads elsewhere. */
static int open_below(int lower, const char *name)
{
    return lower < 0 ? -1 : openat(lower, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* A stream of its own on a directory that stays open. */
static DIR *read_from_start(int fd)
{
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = own < 0 ? NULL : fdopendir(own);

    if (dir == NULL && own >= 0)
        close(own);
    return dir;
}

/* What the image had in a directory that hides it. */
static void note_hidden(struct walk *w, int upper, int lower, const char *path)
{
    DIR *dir = read_from_start(lower);
    struct dirent *e;

    while (dir != NULL && (e = readdir(dir)) != NULL) {
        CLEANUP(freep) char *sub = path_join(path, e->d_name);

        if (!streq(e->d_name, ".") && !streq(e->d_name, "..") &&
            faccessat(upper, e->d_name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
            note(w, sub, CHANGE_DELETED);
    }
    if (dir != NULL)
        closedir(dir);
}

static struct error *walk_dir(struct walk *w, int fd, int lower, const char *path, int depth);

/* A directory's own change, and those in it; `old` is what the image has there, NULL for nothing. */
static struct error *walk_subdir(struct walk *w, int fd, int lower, const struct stat *old, const char *path,
                                 int depth)
{
    size_t before = w->changes.len;
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_sys(errno, "stat %s", path);
    if (lower >= 0 && is_opaque(fd))
        note_hidden(w, fd, lower, path);
    TRY(walk_dir(w, fd, lower, path, depth + 1));
    bool same =
        lower >= 0 && old->st_mode == st.st_mode && old->st_uid == st.st_uid && old->st_gid == st.st_gid;
    if (w->changes.len > before || (!same && !is_stub(path)))
        note(w, path, old != NULL ? CHANGE_MODIFIED : CHANGE_ADDED);
    return NULL;
}

/* `lower`: the image's directory that `dir` stands for; -1: none. */
static struct error *walk_entry(struct walk *w, int dir, int lower, const char *name, const char *path,
                                int depth)
{
    struct stat st, old;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? NULL : err_sys(errno, "stat %s", path);
    if (S_ISCHR(st.st_mode) && st.st_rdev == 0) {
        note(w, path, CHANGE_DELETED);
        return NULL;
    }
    bool was = lower >= 0 && fstatat(lower, name, &old, AT_SYMLINK_NOFOLLOW) == 0;
    if (!S_ISDIR(st.st_mode)) {
        if (!is_stub(path) || st.st_size > 0)
            note(w, path, was ? CHANGE_MODIFIED : CHANGE_ADDED);
        return NULL;
    }
    CLEANUP(closep) int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? NULL : err_sys(errno, "open %s", path);
    CLEANUP(closep) int below = was ? open_below(lower, name) : -1;
    return walk_subdir(w, fd, below, was ? &old : NULL, path, depth);
}

static struct error *walk_dir(struct walk *w, int fd, int lower, const char *path, int depth)
{
    DIR *dir = read_from_start(fd);
    struct error *e = NULL;
    struct dirent *entry;

    if (dir == NULL)
        return err_sys(errno, "read %s", path);
    if (depth > LIMIT_PATH_DEPTH)
        e = err_new(ERR_INVALID, "%s: too deep", path);
    while (e == NULL && (entry = readdir(dir)) != NULL) {
        CLEANUP(freep) char *sub = path_join(path, entry->d_name);

        if (!streq(entry->d_name, ".") && !streq(entry->d_name, ".."))
            e = walk_entry(w, fd, lower, entry->d_name, sub, depth);
    }
    closedir(dir);
    return e != NULL ? e : task_check();
}

static struct error *open_lower(struct container *ct, int *ret)
{
    *ret = -1;
    return ct->snapshot == NULL || snapshot_layer_count(ct->snapshot) == 0
               ? NULL
               : snapshot_mount_ro(ct->snapshot, ret);
}

struct error *container_changes(struct container *ct, json_t **ret)
{
    CLEANUP(walk_deinit) struct walk w = { 0 };
    CLEANUP(closep) int upper = open_upper(ct);
    CLEANUP(closep) int lower = -1;
    json_t *list = NULL;

    TRY_SYS(upper, "open the container's files");
    TRY(open_lower(ct, &lower));
    TRY(walk_dir(&w, upper, lower, "/", 0));
    map_sort(&w.changes);
    for (size_t i = 0; i < w.changes.len; i++) {
        if (list == NULL)
            list = json_array();
        json_array_append_new(list, json_pack("{s:o, s:i}", "Path", go_json_text(w.changes.entries[i].key),
                                              "Kind", (int)(uintptr_t)w.changes.entries[i].value - 1));
    }
    *ret = list != NULL ? list : json_null();
    return NULL;
}

/* ---- the layer
 * -------------------------------------------------------------------------------------------------------------
 */

struct writer {
    int fd;
    struct hasher *hash;
    struct tar_entry
        held[HELD_MAX]; /* directories to mount in: written when something of the container's follows */
    size_t held_count;
    char chunk[65536];
};

static struct error *put(struct writer *w, const void *data, size_t len)
{
    const char *p = data;

    hasher_add(w->hash, data, len);
    while (len > 0) {
        ssize_t n = write(w->fd, p, len);

        if (n < 0 && errno != EINTR)
            return err_sys(errno, "keep the container's changes");
        p += MAX(n, (ssize_t)0);
        len -= (size_t)MAX(n, (ssize_t)0);
    }
    return NULL;
}

static bool is_for_mounts(const struct tar_entry *e)
{
    CLEANUP(freep) char *path = path_join("/", e->name);

    return (e->type == TAR_DIR || (e->type == TAR_FILE && e->size == 0)) && is_stub(path);
}

static void drop_held(struct writer *w, size_t count)
{
    while (w->held_count > count)
        tar_entry_deinit(&w->held[--w->held_count]);
}

static struct error *put_held(struct writer *w)
{
    CLEANUP(buf_deinit) struct buf headers = { 0 };

    for (size_t i = 0; i < w->held_count; i++)
        tar_add_header(&headers, &w->held[i]);
    drop_held(w, 0);
    return put(w, headers.data, headers.len);
}

/* Directories that this entry is not in stay away for good.  True: the entry itself waits, or goes. */
static bool hold(struct writer *w, struct tar_entry *e)
{
    size_t inside = 0;

    while (inside < w->held_count && str_has_prefix(e->name, w->held[inside].name))
        inside++;
    drop_held(w, inside);
    if (!is_for_mounts(e))
        return false;
    if (e->type == TAR_DIR && w->held_count < HELD_MAX) {
        w->held[w->held_count++] = *e;
        *e = (struct tar_entry){ 0 };
    }
    return true;
}

static struct error *put_entry(struct writer *w, struct tar_reader *t, struct tar_entry *e)
{
    static const char zeros[TAR_BLOCK];
    CLEANUP(buf_deinit) struct buf header = { 0 };
    ssize_t n;

    tar_add_header(&header, e);
    TRY(put(w, header.data, header.len));
    while ((n = tar_reader_read(t, w->chunk, sizeof(w->chunk))) > 0)
        TRY(put(w, w->chunk, (size_t)n));
    if (n < 0)
        return task_error((int)n, "read the container's changes");
    return e->type == TAR_FILE ? put(w, zeros, tar_padding(e->size)) : NULL;
}

static struct error *copy_tar(struct writer *w, struct stream *in)
{
    CLEANUP(tar_reader_freep) struct tar_reader *t = tar_reader_new(in);
    CLEANUP(buf_deinit) struct buf end = { 0 };
    struct tar_entry *e;

    for (;;) {
        TRY(tar_reader_next(t, &e));
        if (e == NULL)
            break;
        if (hold(w, e))
            continue;
        TRY(put_held(w));
        TRY(put_entry(w, t, e));
    }
    tar_add_end(&end);
    return put(w, end.data, end.len);
}

struct error *container_changes_tar(struct container *ct, int fd, struct digest *ret)
{
    CLEANUP(closep) int upper = open_upper(ct);
    CLEANUP(stream_closep) struct stream *in = NULL;
    CLEANUP(freep) struct writer *w = xcalloc(1, sizeof(*w));
    struct error *e;

    TRY_SYS(upper, "open the container's files");
    TRY(layer_tar_open_live(upper, &in));
    w->fd = fd;
    w->hash = hasher_new();
    e = copy_tar(w, in);
    drop_held(w, 0);
    *ret = hasher_sum(w->hash);
    hasher_free(w->hash);
    return e;
}
