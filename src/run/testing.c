/* SPDX-License-Identifier: Apache-2.0 */
#include "run/testing.h"

#include "io/copy.h"
#include "io/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSYBOX "/bin/busybox"

void testing_skip(const char *why)
{
    printf("skipped: %s\n", why);
    exit(77);
}

void testing_need_root(const char *busybox)
{
    if (geteuid() != 0)
        testing_skip("needs root");
    if (access(busybox, X_OK) != 0)
        testing_skip("needs busybox-static");
}

void testing_loopback_up(void)
{
    struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    CLEANUP(closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        abort();
}

void testing_write(const char *dir, const char *name, const char *text)
{
    CLEANUP(freep) char *path = path_join(dir, name);
    CLEANUP(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        abort();
}

static void copy_program(const char *root, const char *from, const char *name)
{
    CLEANUP(freep) char *path = path_join(root, name);
    CLEANUP(closep) int in = from == NULL ? -1 : open(from, O_RDONLY | O_CLOEXEC);
    CLEANUP(closep) int out = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);

    if (in < 0 || out < 0 || copy_content(in, out, -1) < 0)
        abort();
}

void testing_fill_root(const char *root)
{
    static const char *const dirs[] = { "bin", "etc", "proc", "sys", "dev", "tmp", "run", "mnt", "root" };
    static const char *const programs[] = {
        "sh",    "ls",  "cat",  "echo",   "id",    "grep", "stat",   "mount", "unshare", "true",     "sleep",
        "touch", "mv",  "ln",   "mkdir",  "mknod", "head", "wc",     "tr",    "env",     "hostname", "ip",
        "ping",  "sed", "nc",   "setsid", "kill",  "test", "printf", "pwd",   "httpd",   "tail",     "mktemp",
        "seq",   "ps",  "wget", "stty",   "tty",   "rm",   "date",   "trap",  "yes"
    };

    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        CLEANUP(freep) char *path = path_join(root, dirs[i]);

        if (make_dirs(path, 0755) < 0)
            abort();
    }
    if (chmod(root, 0755) < 0)
        abort();
    copy_program(root, BUSYBOX, "bin/busybox");
    copy_program(root, getenv("MINKE_TEST_CLIENT"), "bin/client");
    for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
        CLEANUP(freep) char *path = xasprintf("%s/bin/%s", root, programs[i]);

        if (symlink("busybox", path) < 0)
            abort();
    }
    testing_write(root, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n");
    testing_write(root, "etc/group", "root:x:0:\nsudo:x:27:root,app\nvideo:x:28:app\napp:x:1000:\n");
    testing_write(root, "etc/marker", "inside\n");
}

int testing_mount(const char *path)
{
    return open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

int testing_open(const char *path)
{
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void testing_remove_at(int dir_fd, const char *name)
{
    if (path_remove_all(dir_fd, name) < 0)
        abort();
}

void testing_remove(const char *path)
{
    testing_remove_at(AT_FDCWD, path);
}

size_t testing_count_entries(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    size_t count = 0;

    while (d != NULL && (entry = readdir(d)) != NULL)
        count += entry->d_name[0] != '.';
    if (d != NULL)
        closedir(d);
    return count;
}

static bool has_argument(const char *pid, const char *needle)
{
    CLEANUP(freep) char *path = xasprintf("/proc/%s/cmdline", pid);
    CLEANUP(buf_deinit) struct buf text = { 0 };

    if (file_read(path, &text, 1 << 16) < 0)
        return false;
    for (size_t i = 0; i < text.len; i += strlen(text.data + i) + 1)
        if (streq(text.data + i, needle))
            return true;
    return false;
}

size_t testing_count_processes(const char *needle)
{
    DIR *d = opendir("/proc");
    struct dirent *entry;
    size_t count = 0;

    while (d != NULL && (entry = readdir(d)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            count += has_argument(entry->d_name, needle);
    if (d != NULL)
        closedir(d);
    return count;
}

bool testing_kill_parent_of(const char *needle)
{
    DIR *d = opendir("/proc");
    struct dirent *entry;
    bool killed = false;

    while (d != NULL && !killed && (entry = readdir(d)) != NULL) {
        CLEANUP(buf_deinit) struct buf stat = { 0 };
        CLEANUP(freep) char *path = xasprintf("/proc/%s/stat", entry->d_name);
        int parent = 0;

        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !has_argument(entry->d_name, needle) ||
            file_read(path, &stat, 4096) < 0)
            continue;
        const char *p = strrchr(buf_str(&stat), ')');
        killed = p != NULL && sscanf(p, ") %*c %d", &parent) == 1 && parent > 1 && kill(parent, SIGKILL) == 0;
    }
    if (d != NULL)
        closedir(d);
    return killed;
}
