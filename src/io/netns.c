/* SPDX-License-Identifier: Apache-2.0 */
#include "io/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define OWN "/proc/thread-self/ns/net"

static int open_own(void)
{
    int fd = open(OWN, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

/* A thread that is stuck in the wrong network would send other people's traffic there. */
static void go_home(int home)
{
    if (setns(home, CLONE_NEWNET) < 0)
        abort();
}

int netns_make(int (*fn)(void *ctx), void *ctx, int *ret_fd)
{
    CLEANUP(closep) int home = open_own();
    CLEANUP(closep) int fd = -1;
    int r;

    if (home < 0)
        return home;
    if (unshare(CLONE_NEWNET) < 0)
        return -errno;
    fd = open_own();
    r = fd < 0 ? fd : fn(ctx);
    go_home(home);
    if (r < 0)
        return r;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int netns_socket(int netns_fd, int domain, int type, int protocol)
{
    CLEANUP(closep) int home = open_own();

    if (home < 0)
        return home;
    if (setns(netns_fd, CLONE_NEWNET) < 0)
        return -errno;
    int fd = socket(domain, type, protocol), r = fd < 0 ? -errno : fd;

    go_home(home);
    return r;
}
