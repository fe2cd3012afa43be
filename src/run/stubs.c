/* SPDX-License-Identifier: Apache-2.0 */
#include "run/stubs.h"

#include "io/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void stubs_init(struct stubs *s, int root_fd)
{
    memset(s, 0, sizeof(*s));
    s->root_fd = root_fd;
}

void stubs_deinit(struct stubs *s)
{
    strv_deinit(&s->paths);
    strv_deinit(&s->above);
}

int open_dir_no_links(int root_fd, const char *path)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
    };
    const char *relative = path + strspn(path, "/");
    int fd = (int)syscall(SYS_openat2, root_fd, *relative != '\0' ? relative : ".", &how, sizeof(how));

    return fd < 0 ? -errno : fd;
}

/* Is there nothing at all at this place? */
static bool is_missing(int root_fd, const char *path)
{
    struct stat st;
    int r = path_stat(root_fd, path, false, &st);

    return r == -ENOENT || r == -ENOTDIR;
}

void stubs_note(struct stubs *s, const char *dest, bool parents)
{
    CLEANUP(freep) char *clean = path_join("/", dest);
    CLEANUP(freep) char *path = NULL;
    bool mount_point = true;

    if (path_resolve(s->root_fd, clean, &path) < 0)
        return;
    while (!streq(path, "/") && is_missing(s->root_fd, path)) {
        char *parent = path_dir(path);

        /* Shared parents come again with every mount below them, so that the last one finds them empty. */
        if (parents || mount_point)
            strv_add(&s->paths, path);
        if (!mount_point)
            strv_add(&s->above, path);
        mount_point = false;
        free(path);
        path = parent;
    }
}

static bool still_empty(int dir_fd, const char *name, int *ret_flags)
{
    struct stat st;

    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISLNK(st.st_mode))
        return false;
    *ret_flags = S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0;
    return S_ISDIR(st.st_mode) || st.st_size == 0;
}

static void remove_stub(int root_fd, const char *path)
{
    CLEANUP(freep) char *parent = path_dir(path);
    CLEANUP(freep) char *name = path_base(path);
    CLEANUP(closep) int dir_fd = open_dir_no_links(root_fd, parent);
    struct stat st;
    int flags;

    if (dir_fd < 0 || fstat(dir_fd, &st) < 0 || !still_empty(dir_fd, name, &flags))
        return;
    /* A directory that is not empty any more refuses by itself. */
    if (unlinkat(dir_fd, name, flags) == 0)
        futimens(dir_fd, (struct timespec[]){ st.st_atim, st.st_mtim });
}

/* A directory that crun made and the step put something into looks as one that runc made. */
static void set_usual_mode(int root_fd, const char *path)
{
    CLEANUP(closep) int fd = open_dir_no_links(root_fd, path);
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 01755)
        (void)!fchmod(fd, 0755);
}

void stubs_clean(struct stubs *s)
{
    for (size_t i = 0; i < s->paths.len; i++)
        remove_stub(s->root_fd, s->paths.v[i]);
    for (size_t i = 0; i < s->above.len; i++)
        set_usual_mode(s->root_fd, s->above.v[i]);
}
