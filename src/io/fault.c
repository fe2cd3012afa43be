/* SPDX-License-Identifier: Apache-2.0 */
#include "io/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_uint left; /* calls until the failure; 0: not armed */
static atomic_bool fired;
static atomic_int number; /* errno */
static char name[128];    /* written once a scenario */

void fault_arm(unsigned n, int errnum)
{
    atomic_store(&fired, false);
    atomic_store(&number, errnum);
    atomic_store(&left, n);
}

bool fault_disarm(void)
{
    atomic_store(&left, 0);
    return atomic_load(&fired);
}

const char *fault_name(void)
{
    return name;
}

bool fault_hit(const char *call)
{
    unsigned now = atomic_load(&left);

    do {
        if (now == 0)
            return false;
    } while (!atomic_compare_exchange_weak(&left, &now, now - 1));
    if (now != 1)
        return false;
    (void)snprintf(name, sizeof(name), "%s", call);
    atomic_store(&fired, true);
    errno = atomic_load(&number);
    return true;
}

size_t count_open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    assert(dir != NULL);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

/* clang-format off */
#define WRAP(type, call, params, args)                  \
    type __real_##call params;                          \
    type __wrap_##call params;                          \
    type __wrap_##call params                           \
    {                                                   \
        return fault_hit(#call) ? (type)-1 : __real_##call args; \
    }

WRAP(ssize_t, read, (int fd, void *p, size_t n), (fd, p, n))
WRAP(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
WRAP(ssize_t, pread64, (int fd, void *p, size_t n, off_t at), (fd, p, n, at))
WRAP(ssize_t, pwrite64, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))
WRAP(ssize_t, copy_file_range, (int a, off_t *at_a, int b, off_t *at_b, size_t n, unsigned f), (a, at_a, b, at_b, n, f))
WRAP(off_t, lseek64, (int fd, off_t at, int whence), (fd, at, whence))
WRAP(int, ftruncate64, (int fd, off_t n), (fd, n))
WRAP(int, fstat64, (int fd, struct stat *st), (fd, st))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(int, chmod, (const char *p, mode_t mode), (p, mode))
WRAP(int, chown, (const char *p, uid_t u, gid_t g), (p, u, g))
WRAP(int, mkdir, (const char *p, mode_t mode), (p, mode))
WRAP(int, mkdirat, (int fd, const char *p, mode_t mode), (fd, p, mode))
WRAP(int, unlink, (const char *p), (p))
WRAP(int, unlinkat, (int fd, const char *p, int f), (fd, p, f))
WRAP(int, renameat, (int a, const char *p, int b, const char *q), (a, p, b, q))
WRAP(ssize_t, readlinkat, (int fd, const char *p, char *to, size_t n), (fd, p, to, n))
WRAP(int, pipe2, (int fds[2], int f), (fds, f))
WRAP(int, eventfd, (unsigned n, int f), (n, f))
WRAP(int, socket, (int d, int t, int p), (d, t, p))
WRAP(int, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(int, listen, (int fd, int n), (fd, n))
WRAP(int, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
/* clang-format on */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    va_list ap;

    va_start(ap, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return fault_hit("open") ? -1 : __real_open64(path, flags, mode);
}

int __real_openat64(int fd, const char *path, int flags, ...);
int __wrap_openat64(int fd, const char *path, int flags, ...);
int __wrap_openat64(int fd, const char *path, int flags, ...)
{
    va_list ap;

    va_start(ap, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return fault_hit("openat") ? -1 : __real_openat64(fd, path, flags, mode);
}

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    return fault_hit("pthread_create") ? EAGAIN : __real_pthread_create(t, a, fn, arg);
}

int __real___clone(int (*fn)(void *), void *stack, int flags, void *arg, int *pidfd);
int __wrap___clone(int (*fn)(void *), void *stack, int flags, void *arg, int *pidfd);
int __wrap___clone(int (*fn)(void *), void *stack, int flags, void *arg, int *pidfd)
{
    return fault_hit("clone") ? -1 : __real___clone(fn, stack, flags, arg, pidfd);
}

/* Bare system calls: openat2, and those of a child before it execs (which shares our counter). */
long __real_syscall(long call, ...);
long __wrap_syscall(long call, ...);
long __wrap_syscall(long call, ...)
{
    long a[6];
    va_list ap;

    va_start(ap, call);
    for (size_t i = 0; i < ARRAY_LEN(a); i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    bool counted = call == SYS_openat2 || call == SYS_fcntl || call == SYS_dup3 || call == SYS_close_range ||
                   call == SYS_openat || call == SYS_chdir || call == SYS_execve || call == SYS_setsid;

    return counted && fault_hit("syscall") ? -1 : __real_syscall(call, a[0], a[1], a[2], a[3], a[4], a[5]);
}
