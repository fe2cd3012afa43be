/* SPDX-License-Identifier: Apache-2.0 */
#include "container/root.h"

#include "container/internal.h"
#include "io/path.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int running_root(struct container *ct)
{
    mutex_lock(&ct->lock);
    int fd = ct->state.running && ct->root_fd >= 0 ? fcntl(ct->root_fd, F_DUPFD_CLOEXEC, 3) : -1;
    mutex_unlock(&ct->lock);
    return fd;
}

static struct error *open_stopped(struct container *ct, struct container_root *r)
{
    int wait = semaphore_acquire(&ct->operations, 1);

    if (wait < 0)
        return task_error(wait, "wait for container %s", ct->id);
    r->fd = running_root(ct); /* it was started meanwhile */
    if (r->fd >= 0) {
        semaphore_release(&ct->operations, 1);
        return NULL;
    }
    r->locked = true;
    mutex_lock(&ct->lock);
    bool gone = ct->state.removed || ct->state.dead;
    mutex_unlock(&ct->lock);
    if (gone)
        return err_new(ERR_NOT_FOUND, "No such container: %s", ct->id);
    return container_mount_root(ct, &r->fd);
}

struct error *container_root_open(struct container *ct, struct container_root *ret)
{
    *ret = (struct container_root){ .container = ct, .fd = running_root(ct) };
    TRY(container_mounts_parse(ct->host_config, &ret->mounts));
    struct error *e = ret->fd < 0 ? open_stopped(ct, ret) : NULL;

    if (e != NULL)
        container_root_close(ret);
    return e;
}

void container_root_close(struct container_root *r)
{
    if (r->container == NULL)
        return;
    closep(&r->fd);
    container_mounts_deinit(&r->mounts);
    if (r->locked)
        semaphore_release(&r->container->operations, 1);
    r->container = NULL;
}

/* ---- places
 * ---------------------------------------------------------------------------------------------------------------
 */

void root_place_deinit(struct root_place *p)
{
    closep(&p->fd);
    free(p->path);
}

static int resolve(int root, const char *path, bool follow, char **ret)
{
    CLEANUP(freep) char *clean = path_join("/", path), *dir = NULL, *base = NULL, *parent = NULL;
    int r;

    if (follow || streq(clean, "/"))
        return path_resolve(root, clean, ret);
    dir = path_dir(clean);
    base = path_base(clean);
    r = path_resolve(root, dir, &parent);
    if (r == 0)
        *ret = path_join(parent, base);
    return r;
}

/* What of `path` lies below `dir`; NULL when it does not. */
static const char *below(const char *path, const char *dir)
{
    const char *rest = str_skip_prefix(path, dir);

    return rest != NULL && (*rest == '\0' || *rest == '/') ? rest : NULL;
}

static const struct container_mount *find_mount(const struct container_root *r, const char *path)
{
    const struct container_mount *best = NULL;

    for (size_t i = 0; i < r->mounts.count; i++) {
        const struct container_mount *m = &r->mounts.v[i];

        if (!m->tmpfs && below(path, m->dest) != NULL &&
            (best == NULL || strlen(m->dest) > strlen(best->dest)))
            best = m;
    }
    return best;
}

/* In a bind's source; one that is a file is found in its directory. */
static struct error *in_mount(const struct container_mount *m, const char *path, bool follow,
                              struct root_place *ret)
{
    CLEANUP(freep) char *dir = path_dir(m->source), *base = path_base(m->source);
    const char *rest = below(path, m->dest);
    struct stat st;
    int r;

    ret->mount = m;
    ret->fd = open(m->source, O_PATH | O_CLOEXEC);
    if (ret->fd < 0 || fstat(ret->fd, &st) < 0)
        return err_sys(errno, "open %s", m->source);
    if (!S_ISDIR(st.st_mode)) {
        closep(&ret->fd);
        ret->fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        TRY_SYS(ret->fd < 0 ? -errno : 0, "open %s", dir);
        if (*rest != '\0')
            return err_sys(ENOENT, "%s", path);
        ret->path = path_join("/", base);
        return NULL;
    }
    r = resolve(ret->fd, *rest == '\0' ? "/" : rest, follow, &ret->path);
    TRY_SYS(r, "%s", path);
    return NULL;
}

struct error *container_root_find(const struct container_root *r, const char *path, bool follow,
                                  struct root_place *ret)
{
    CLEANUP(freep) char *real = NULL;
    const struct container_mount *m;
    int n = resolve(r->fd, path, follow, &real);

    *ret = (struct root_place){ .fd = -1 };
    TRY_SYS(n, "%s", path);
    m = find_mount(r, real);
    if (m != NULL)
        return in_mount(m, real, follow, ret);
    ret->fd = fcntl(r->fd, F_DUPFD_CLOEXEC, 3);
    TRY_SYS(ret->fd < 0 ? -errno : 0, "open the container's root");
    ret->path = TAKE(real);
    return NULL;
}
