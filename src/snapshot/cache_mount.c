/* SPDX-License-Identifier: Apache-2.0 */
/* Directories that RUN steps keep between builds, and who may use one at the same time. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "snapshot/internal.h"
#include "task/task.h"

struct cache_mount {
    struct store *store;
    char *id;
    int fd;
};

/* Users of mounts by mount id (unique over all stores): EXCLUSIVE or a count.  `making` keeps two first users
 * of one cache id apart. */
#define EXCLUSIVE ((void *)UINTPTR_MAX)
static struct mutex lock = MUTEX_INIT;
static struct map users;
static struct map making;
static struct cond *changed;

static struct cond *changed_locked(void)
{
    if (changed == NULL) {
        changed = NEW(struct cond);
        cond_init(changed);
    }
    return changed;
}

/* Take one of `ids` when its users allow it; NULL: none. */
static const char *take_locked(const struct strv *ids, enum cache_sharing sharing)
{
    for (size_t i = 0; i < ids->len; i++) {
        uintptr_t count = (uintptr_t)map_get(&users, ids->v[i]);
        bool free_now = count == 0;
        if (sharing == CACHE_SHARED && (void *)count != EXCLUSIVE) {
            map_set(&users, ids->v[i], (void *)(count + 1));
            return ids->v[i];
        }
        if (sharing != CACHE_SHARED && free_now) {
            map_set(&users, ids->v[i], EXCLUSIVE);
            return ids->v[i];
        }
        if (sharing != CACHE_PRIVATE)
            return NULL; /* the first one is everybody's: wait for it */
    }
    return NULL;
}

static void give_back(const char *id)
{
    mutex_lock(&lock);
    uintptr_t count = (uintptr_t)map_get(&users, id);
    if ((void *)count == EXCLUSIVE || count == 1)
        map_remove(&users, id);
    else
        map_set(&users, id, (void *)(count - 1));
    if (users.len == 0)
        map_deinit(&users);
    cond_broadcast(changed_locked());
    mutex_unlock(&lock);
}

static void done_making(const char *cache_id)
{
    mutex_lock(&lock);
    map_remove(&making, cache_id);
    if (making.len == 0)
        map_deinit(&making);
    cond_broadcast(changed_locked());
    mutex_unlock(&lock);
}

static struct error *fill(struct store *s, const char *id, struct snapshot *base)
{
    CLEANUP(freep) char *path = xasprintf("%s/fs", id);
    struct stat st;
    if (mkdirat(store_work_fd(s), id, 0700) < 0 || mkdirat(store_work_fd(s), path, 0755) < 0)
        return err_sys(errno, "create a cache mount");
    CLEANUP(closep) int dst = openat(store_work_fd(s), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dst < 0 || fchmod(dst, 0755) < 0)
        return err_sys(errno, "create a cache mount");
    if (base == NULL)
        return NULL;
    CLEANUP(closep) int src = -1;
    TRY(snapshot_mount_ro(base, &src));
    int r = copy_tree(src, dst);
    if (r == 0)
        r = fstat(src, &st) < 0 ? -errno : copy_metadata(src, &st, dst);
    return r < 0 ? task_error(r, "fill a cache mount") : NULL;
}

/* It is ours before anybody can see its row. */
static struct error *make(struct store *s, const char *cache_id, enum cache_sharing sharing,
                          struct snapshot *base, const char *description, char **ret_id)
{
    char id[LAYER_ID_LEN + 1];
    random_id(id, LAYER_ID_LEN);
    mount_hold(s, id);
    mutex_lock(&lock);
    map_set(&users, id, sharing == CACHE_SHARED ? (void *)1 : EXCLUSIVE);
    mutex_unlock(&lock);
    struct error *e = fill(s, id, base);
    if (e == NULL)
        e = mount_row_put(s, id, id, cache_id, description);
    if (e != NULL) {
        store_discard(s, id);
        mount_release(s, id);
        give_back(id);
        return e;
    }
    *ret_id = xstrdup(id);
    return NULL;
}

/* Held, so that no prune takes it; *ret_stale: one has, since it was listed. */
static struct error *hold_taken(struct store *s, const char *id, bool *ret_stale)
{
    struct error *e = mount_hold_row(s, id);
    if (e != NULL)
        give_back(id);
    *ret_stale = err_is(e, ERR_NOT_FOUND);
    if (*ret_stale)
        err_freep(&e);
    return e;
}

/* With the right to make one: *ret_stale: where there was none when they were listed, somebody has made one.
 */
static struct error *check_first(struct store *s, const char *cache_id, const struct strv *listed,
                                 bool *ret_stale)
{
    CLEANUP(strv_deinit) struct strv now = { 0 };
    struct error *e = listed->len == 0 ? mount_row_list(s, cache_id, &now) : NULL;
    *ret_stale = now.len > 0;
    if (e != NULL || *ret_stale)
        done_making(cache_id);
    return e;
}

/* One that exists, or the right to make one (*ret_id NULL). Waits. */
static struct error *choose(struct store *s, const char *cache_id, enum cache_sharing sharing, char **ret_id)
{
    for (;;) {
        CLEANUP(strv_deinit) struct strv ids = { 0 };
        TRY(mount_row_list(s, cache_id, &ids));
        mutex_lock(&lock);
        const char *id = take_locked(&ids, sharing);
        bool may_make =
            id == NULL && (ids.len == 0 || sharing == CACHE_PRIVATE) && !map_has(&making, cache_id);
        int r = 0;
        if (may_make)
            map_set(&making, cache_id, (void *)1);
        else if (id == NULL)
            r = cond_wait(changed_locked(), &lock);
        mutex_unlock(&lock);
        if (r < 0)
            return task_error(r, "wait for cache mount \"%s\"", cache_id);
        if (id == NULL && !may_make)
            continue;
        bool stale = false;
        struct error *e = id != NULL ? hold_taken(s, id, &stale) : check_first(s, cache_id, &ids, &stale);
        if (e == NULL && stale)
            continue;
        *ret_id = e == NULL ? xstrdup(id) : NULL;
        return e;
    }
}

static struct error *open_mount(struct store *s, char *id, struct cache_mount **ret)
{
    CLEANUP(closep) int path_fd = mount_dir(s, id);
    int fd = path_fd >= 0 ? openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : path_fd;
    if (fd < 0)
        return err_sys(path_fd < 0 ? -path_fd : errno, "open cache mount %s", id);
    struct cache_mount *c = NEW(struct cache_mount);
    c->store = s;
    c->id = id;
    c->fd = fd;
    *ret = c;
    return NULL;
}

struct error *cache_mount_acquire(struct store *s, const char *id, enum cache_sharing sharing,
                                  struct snapshot *base, const char *description, struct cache_mount **ret)
{
    /* the same name over another base is another cache */
    CLEANUP(freep)
    char *cache_id =
        base != NULL && *snapshot_id(base) != '\0' ? xasprintf("%s:%s", id, snapshot_id(base)) : xstrdup(id);
    char *mount_id = NULL;
    TRY(choose(s, cache_id, sharing, &mount_id));
    if (mount_id == NULL) {
        struct error *e = make(s, cache_id, sharing, base, description, &mount_id);
        done_making(cache_id);
        TRY(e);
    }
    struct error *e = open_mount(s, mount_id, ret);
    if (e != NULL) {
        give_back(mount_id);
        mount_release(s, mount_id);
        free(mount_id);
    }
    return e;
}

int cache_mount_fd(const struct cache_mount *c)
{
    return c->fd;
}

void cache_mount_release(struct cache_mount *c)
{
    if (c == NULL)
        return;
    log_err(LOG_WARN, mount_row_used(c->store, c->id), "noting the use of a cache mount");
    close(c->fd);
    mount_release(c->store, c->id);
    give_back(c->id);
    free(c->id);
    free(c);
}

void cache_mount_discard(struct cache_mount *c)
{
    if (c == NULL)
        return;
    log_err(LOG_WARN, mount_remove(c->store, c->id), "removing a cache mount");
    cache_mount_release(c);
}

struct error *cache_mount_forget(struct store *s, const char *id)
{
    CLEANUP(strv_deinit) struct strv ids = { 0 };

    TRY(mount_row_forget(s, id, &ids));
    for (size_t i = 0; i < ids.len; i++) {
        mutex_lock(&lock);
        bool used = map_has(&users, ids.v[i]);
        mutex_unlock(&lock);
        if (!used) /* nobody can begin to use it any more */
            TRY(mount_remove(s, ids.v[i]));
    }
    return NULL;
}
