/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/process.h"
#include "base/bytes.h"
#include "base/log.h"
#include "io/path.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The pid in the file, 0 when there is none that makes sense. */
static pid_t pidfile_read(const char *path)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    int64_t pid;

    if (file_read(path, &text, 64) < 0)
        return 0;
    while (text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]) != NULL)
        buf_truncate(&text, text.len - 1);
    return parse_i64(buf_str(&text), &pid) == 0 && pid > 0 && pid < INT32_MAX ? (pid_t)pid : 0;
}

/* A zombie has a pid too, and runs no more. */
static bool is_alive(pid_t pid)
{
    CLEANUP(freep) char *path = xasprintf("/proc/%d/stat", (int)pid);
    CLEANUP(buf_deinit) struct buf stat = { 0 };

    if (kill(pid, 0) < 0 && errno == ESRCH)
        return false;
    if (file_read(path, &stat, 4096) < 0)
        return true;
    const char *end = strrchr(stat.data, ')');

    return end == NULL || end[1] == '\0' || end[2] != 'Z';
}

struct error *pidfile_write(const char *path)
{
    if (*path == '\0')
        return NULL;
    pid_t old = pidfile_read(path);

    if (old > 0 && old != getpid() && is_alive(old))
        return err_new(ERR_CONFLICT,
                       "failed to start daemon, ensure docker is not running or delete %s: process with PID "
                       "%d is still running",
                       path, (int)old);
    CLEANUP(freep) char *dir = path_dir(path), *name = path_base(path);
    int r = make_dirs(dir, 0755);
    CLEANUP(closep) int dir_fd = r < 0 ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (r == 0 && dir_fd < 0)
        r = -errno;
    if (r == 0) {
        char text[16];
        int len = snprintf(text, sizeof(text), "%d", (int)getpid());

        /* a hint for this boot only: no fsync, which would be most of a quick start */
        CLEANUP(closep)
        int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0 || write(fd, text, (size_t)len) != len)
            r = -errno;
    }
    return r < 0 ? err_sys(-r, "failed to start daemon: write the pid file %s", path) : NULL;
}

void pidfile_remove(const char *path)
{
    if (*path != '\0' && pidfile_read(path) == getpid() && unlink(path) < 0)
        log_warn("could not remove the pid file", "path", path);
}

struct error *data_root_lock(const char *root, int *ret_fd)
{
    CLEANUP(freep) char *path = path_join(root, "minke.lock");
    CLEANUP(closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return err_sys(errno, "could not lock %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? err_new(ERR_CONFLICT, "could not lock %s, another instance running?", path)
                   : err_sys(errno, "could not lock %s", path);
    *ret_fd = TAKE_FD(fd);
    return NULL;
}

void service_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (path == NULL || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(address.sun_path))
        return;
    size_t len = strlen(path);

    memcpy(address.sun_path, path, len);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&address,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
        log_warn("could not tell the service manager", "state", state);
}

void service_notify_reloading(void)
{
    CLEANUP(freep) char *text = xasprintf("RELOADING=1\nMONOTONIC_USEC=%" PRId64, monotonic_ns() / 1000);

    service_notify(text);
}
