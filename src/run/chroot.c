/* SPDX-License-Identifier: Apache-2.0 */
#include "run/chroot.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

enum answer { UNKNOWN, NAMESPACE_ROOT, CHROOT };

static bool same_root(const struct statx *a, const struct statx *b)
{
    return a->stx_mnt_id == b->stx_mnt_id && a->stx_ino == b->stx_ino &&
           a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor;
}

/* Joins the namespace that it is in already, and so gets its root: in a thread that shares its own with no
 * other and ends with that. */
static void *look(void *arg)
{
    const unsigned mask = STATX_INO | STATX_MNT_ID;
    enum answer *ret = arg;
    struct statx before, after;
    int ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);

    if (ns >= 0 && unshare(CLONE_FS) == 0 && statx(AT_FDCWD, "/", 0, mask, &before) == 0 &&
        setns(ns, CLONE_NEWNS) == 0 && statx(AT_FDCWD, "/", 0, mask, &after) == 0)
        *ret = same_root(&before, &after) ? NAMESPACE_ROOT : CHROOT;
    if (ns >= 0)
        close(ns);
    return NULL;
}

static enum answer find_out(void)
{
    enum answer a = UNKNOWN;
    pthread_t thread;

    if (pthread_create(&thread, NULL, look, &a) == 0)
        pthread_join(thread, NULL);
    return a;
}

struct error *chroot_check(void)
{
    static _Atomic enum answer known = UNKNOWN;

    if (atomic_load(&known) == UNKNOWN)
        atomic_store(&known, find_out());
    switch (atomic_load(&known)) {
    case NAMESPACE_ROOT:
        return NULL;
    case CHROOT:
        return err_new(ERR_CONFLICT,
                       "no process can join a container while the daemon runs in a chroot: it would have the "
                       "host's files; use pivot_root or a mount namespace with this root");
    default:
        return err_new(ERR_INTERNAL,
                       "no process can join a container: it is not known whose root it would have");
    }
}
