/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fd.c - streams over descriptors, and dialling
 *
 * Descriptors are non-blocking: a call is tried first, and only when it would block does the task wait.
 */
#include "base/bytes.h"
#include "io/stream.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int fd_write_all(int fd, const void *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, (const char *)data + done, len - done);
        int r = n < 0 && errno == EAGAIN ? task_wait_fd(fd, POLLOUT) : 0;

        if (r < 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return r < 0 ? r : -errno;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

struct fd_stream {
    struct stream base;
    int read_fd, write_fd; /* may be the same */
    bool read_tty;         /* a terminal ends with EIO */
    bool write_socket;
};

static ssize_t fd_read(struct stream *s, void *buf, size_t cap)
{
    struct fd_stream *f = CONTAINER_OF(s, struct fd_stream, base);
    int r = task_check_sys();

    if (f->read_fd < 0)
        return -EBADF;
    while (r == 0) {
        ssize_t n = read(f->read_fd, buf, cap);

        if (n >= 0)
            return n;
        if (errno == EIO && f->read_tty)
            return 0;
        if (errno == EAGAIN)
            r = task_wait_fd(f->read_fd, POLLIN);
        else if (errno != EINTR)
            r = -errno;
    }
    return r;
}

static ssize_t fd_write(struct stream *s, const void *buf, size_t len)
{
    struct fd_stream *f = CONTAINER_OF(s, struct fd_stream, base);
    int r = task_check_sys();

    if (f->write_fd < 0)
        return -EBADF;
    while (r == 0) {
        ssize_t n =
            f->write_socket ? send(f->write_fd, buf, len, MSG_NOSIGNAL) : write(f->write_fd, buf, len);

        if (n > 0)
            return n;
        if (n == 0 || errno == EAGAIN)
            r = task_wait_fd(f->write_fd, POLLOUT);
        else if (errno != EINTR)
            r = -errno;
    }
    return r;
}

static int fd_shut(struct stream *s)
{
    struct fd_stream *f = CONTAINER_OF(s, struct fd_stream, base);

    if (f->write_fd < 0)
        return 0;
    if (f->write_socket)
        return shutdown(f->write_fd, SHUT_WR) < 0 && errno != ENOTCONN ? -errno : 0;
    if (f->write_fd != f->read_fd) {
        int fd = TAKE_FD(f->write_fd);

        return close(fd) < 0 ? -errno : 0;
    }
    return 0; /* a terminal or a file has no half to close */
}

static void fd_close(struct stream *s)
{
    struct fd_stream *f = CONTAINER_OF(s, struct fd_stream, base);

    if (f->write_fd == f->read_fd)
        f->write_fd = -1;
    closep(&f->read_fd);
    closep(&f->write_fd);
    free(f);
}

static int fd_fd(struct stream *s)
{
    struct fd_stream *f = CONTAINER_OF(s, struct fd_stream, base);

    if (f->read_fd == f->write_fd || f->write_fd < 0)
        return f->read_fd;
    return f->read_fd < 0 ? f->write_fd : -1;
}

static const struct stream_ops fd_ops = {
    .read = fd_read,
    .write = fd_write,
    .shut = fd_shut,
    .close = fd_close,
    .fd = fd_fd,
};

/* Non-blocking unless it is a regular file; its type. */
static mode_t prepare(int fd)
{
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return 0;
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        int flags = fcntl(fd, F_GETFL);

        if (flags >= 0 && (flags & O_NONBLOCK) == 0)
            (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    }
    return st.st_mode & S_IFMT;
}

struct stream *stream_from_fds(int read_fd, int write_fd)
{
    struct fd_stream *f = NEW(struct fd_stream);

    f->base.ops = &fd_ops;
    f->read_fd = read_fd;
    f->write_fd = write_fd;
    f->read_tty = prepare(read_fd) == S_IFCHR;
    f->write_socket = prepare(write_fd) == S_IFSOCK;
    return &f->base;
}

struct stream *stream_from_fd(int fd)
{
    int mode = fcntl(fd, F_GETFL) & O_ACCMODE;
    struct stat st;
    bool fifo = fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);

    /* One end of a pipe has one direction: then shutting it means closing it. */
    if (fifo && mode == O_WRONLY)
        return stream_from_fds(-1, fd);
    if (fifo && mode == O_RDONLY)
        return stream_from_fds(fd, -1);
    return stream_from_fds(fd, fd);
}

/* ---- dialling ---- */

static int finish_connect(int fd)
{
    int r = task_wait_fd(fd, POLLOUT), error = 0;
    socklen_t len = sizeof(error);

    if (r < 0)
        return r;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    return -error;
}

/* A connected socket or a negative errno. */
static int dial(const struct sockaddr *address, socklen_t len)
{
    CLEANUP(closep) int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    for (;;) {
        int r = task_check_sys();

        if (r == 0 && connect(fd, address, len) < 0)
            r = -errno;
        if (r == -EINPROGRESS || r == -EINTR)
            r = finish_connect(fd);
        if (r == -EAGAIN && address->sa_family == AF_UNIX) {
            /* The listener's queue is full, and a unix socket offers nothing to poll for then. */
            r = task_sleep(5 * NS_PER_MS);
            if (r == 0)
                continue;
        }
        return r < 0 ? r : TAKE_FD(fd);
    }
}

static int dial_unix(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t len = strlen(path);

    if (len == 0)
        return -EINVAL;
    if (len >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    return dial((struct sockaddr *)&address,
                (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '@' ? 0 : 1)));
}

/* "host:port" or "[v6]:port" in two. */
static int split_host(const char *s, char **ret_host, char **ret_port)
{
    const char *colon = strrchr(s, ':');
    size_t len = colon != NULL ? (size_t)(colon - s) : 0;

    if (colon == NULL || colon[1] == '\0')
        return -EINVAL;
    if (len >= 2 && s[0] == '[' && s[len - 1] == ']') {
        s++;
        len -= 2;
    }
    *ret_host = xstrndup(s, len);
    *ret_port = xstrdup(colon + 1);
    return 0;
}

/* Names are looked up by the C library, which cannot be cancelled; addresses are not looked up. */
static struct error *dial_tcp(const char *host_port, int *ret_fd)
{
    CLEANUP(freep) char *host = NULL, *port = NULL;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG }, *list;
    int r = -EADDRNOTAVAIL, one = 1;

    if (split_host(host_port, &host, &port) < 0)
        return err_new(ERR_INVALID, "dial tcp: address \"%s\": missing port in address", host_port);
    int failure = getaddrinfo(host[0] != '\0' ? host : "localhost", port, &hints, &list);

    if (failure != 0)
        return err_new(ERR_UNAVAILABLE, "dial tcp: lookup %s: %s", host, gai_strerror(failure));
    for (const struct addrinfo *a = list; a != NULL && r < 0 && r != -ECANCELED; a = a->ai_next)
        r = dial(a->ai_addr, a->ai_addrlen);
    freeaddrinfo(list);
    if (r < 0)
        return task_error(r, "dial tcp %s", host_port);
    (void)setsockopt(r, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    *ret_fd = r;
    return NULL;
}

struct error *stream_dial(const char *address, struct stream **ret)
{
    const char *path = str_skip_prefix(address, "unix://"), *host_port = str_skip_prefix(address, "tcp://");
    int fd = -1;

    if (path != NULL) {
        fd = dial_unix(path);
        if (fd < 0)
            return task_error(fd, "dial unix %s", path);
    } else if (host_port != NULL) {
        TRY(dial_tcp(host_port, &fd));
    } else {
        return err_new(ERR_INVALID, "dial \"%s\": only unix:// and tcp:// addresses are known", address);
    }
    *ret = stream_from_fd(fd);
    return NULL;
}
