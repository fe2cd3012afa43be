/* SPDX-License-Identifier: Apache-2.0 */
#include "io/copy.h"
#include "io/path.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/limits.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#define KERNEL_CHUNK                                                                                         \
    ((size_t)16 * 1024 * 1024) /* one copy_file_range: short enough to be cancelled between two */
#define USER_CHUNK ((size_t)128 * 1024)

/* A copy in progress: positions are ours, so that the file offsets need not agree. */
struct copy {
    int src_fd, dst_fd;
    off_t src_at, dst_at;
    bool by_hand; /* the kernel cannot copy between these two */
    char *chunk;  /* made on first use */
};

static bool means_by_hand(int errnum)
{
    return errnum == EXDEV || errnum == EINVAL || errnum == ENOSYS || errnum == EOPNOTSUPP ||
           errnum == EBADF || errnum == EPERM || errnum == EIO;
}

static int write_at(struct copy *c, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = pwrite(c->dst_fd, data, len, c->dst_at);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
            c->dst_at += n;
        }
    }
    return 0;
}

/* Move at most `len` bytes: how many, 0 at the end of the source, or a negative errno. */
static ssize_t copy_some(struct copy *c, size_t len)
{
    int r = task_check_sys();

    if (r < 0)
        return r;
    if (!c->by_hand) {
        ssize_t n = copy_file_range(c->src_fd, &c->src_at, c->dst_fd, &c->dst_at, MIN(len, KERNEL_CHUNK), 0);

        if (n > 0)
            return n;
        if (n < 0 && !means_by_hand(errno))
            return -errno;
        c->by_hand = true; /* also at 0: files of /proc have no size and still content */
    }
    if (c->chunk == NULL)
        c->chunk = xmalloc(USER_CHUNK);
    ssize_t n;

    do
        n = pread(c->src_fd, c->chunk, MIN(len, USER_CHUNK), c->src_at);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? -errno : 0;
    c->src_at += n;
    r = write_at(c, c->chunk, (size_t)n);
    return r < 0 ? r : n;
}

static int copy_range(struct copy *c, off_t len)
{
    while (len > 0) {
        ssize_t n = copy_some(c, (size_t)len);

        if (n <= 0)
            return (int)n;
        len -= n;
    }
    return 0;
}

/* From hole to hole.  A filesystem that knows no holes reports one piece of data. */
static int copy_data_pieces(struct copy *c, off_t end)
{
    off_t shift = c->dst_at - c->src_at;

    while (c->src_at < end) {
        off_t data = lseek(c->src_fd, c->src_at, SEEK_DATA);

        if (data < 0 && errno == ENXIO)
            break; /* a hole to the end */
        off_t hole = data < 0 ? -1 : lseek(c->src_fd, data, SEEK_HOLE);

        if (data < 0 || hole < 0)
            return copy_range(c, end - c->src_at);
        if (data >= end)
            break;
        c->src_at = data;
        c->dst_at = data + shift;
        int r = copy_range(c, MIN(hole, end) - data);

        if (r < 0)
            return r;
        if (c->src_at < MIN(hole, end))
            break; /* it shrank under us */
    }
    c->src_at = end;
    c->dst_at = end + shift;
    return 0;
}

static int copy_regular(struct copy *c, off_t end)
{
    struct stat st;

    if (c->src_at == 0 && c->dst_at == 0 && ioctl(c->dst_fd, FICLONE, c->src_fd) == 0) {
        c->src_at = c->dst_at = end;
        return ftruncate(c->dst_fd, end) < 0 ? -errno : 0;
    }
    int r = copy_data_pieces(c, end);

    if (r < 0)
        return r;
    if (fstat(c->dst_fd, &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode) && st.st_size < c->dst_at) /* the last piece was a hole */
        return ftruncate(c->dst_fd, c->dst_at) < 0 ? -errno : 0;
    return 0;
}

/* A pipe or a socket on either side: no positions. */
static int copy_sequential(int src_fd, int dst_fd, int64_t size)
{
    CLEANUP(freep) char *chunk = xmalloc(USER_CHUNK);

    while (size != 0) {
        int r = task_check_sys();

        if (r < 0)
            return r;
        ssize_t n = read(src_fd, chunk, size < 0 ? USER_CHUNK : (size_t)MIN(size, (int64_t)USER_CHUNK));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(dst_fd, chunk + done, (size_t)(n - done));

            if (w < 0 && errno != EINTR)
                return -errno;
            done += MAX(w, (ssize_t)0);
        }
        size -= size > 0 ? n : 0;
    }
    return 0;
}

int copy_content(int src_fd, int dst_fd, int64_t size)
{
    struct copy c = { .src_fd = src_fd, .dst_fd = dst_fd };
    struct stat st;

    if (fstat(src_fd, &st) < 0)
        return -errno;
    c.src_at = lseek(src_fd, 0, SEEK_CUR);
    c.dst_at = lseek(dst_fd, 0, SEEK_CUR);
    if (!S_ISREG(st.st_mode) || c.src_at < 0 || c.dst_at < 0 || st.st_size == 0)
        return copy_sequential(src_fd, dst_fd, size);
    off_t left = MAX(st.st_size - c.src_at, (off_t)0);
    int r = copy_regular(&c, c.src_at + (size >= 0 ? MIN((off_t)size, left) : left));

    free(c.chunk);
    if (r < 0)
        return r;
    if (lseek(src_fd, c.src_at, SEEK_SET) < 0 || lseek(dst_fd, c.dst_at, SEEK_SET) < 0)
        return -errno;
    return 0;
}

/* ---- extended attributes ---- */

static bool is_local(const char *name)
{
    return str_has_prefix(name, "trusted.overlay.") || streq(name, "security.selinux");
}

static int copy_xattr(const char *src, const char *dst, const char *name, char *value, size_t cap)
{
    ssize_t n = getxattr(src, name, value, cap);

    if (n < 0)
        return errno == ENODATA ? 0 : -errno; /* removed since it was listed */
    if (setxattr(dst, name, value, (size_t)n, 0) < 0 && errno != ENOTSUP)
        return -errno;
    return 0;
}

int copy_xattrs(int src_fd, int dst_fd)
{
    char src[32], dst[32]; /* descriptors may be O_PATH, which the f* calls refuse */

    fd_path(src, src_fd);
    fd_path(dst, dst_fd);
    ssize_t len = listxattr(src, NULL, 0);

    if (len <= 0)
        return len == 0 || errno == ENOTSUP ? 0 : -errno;
    CLEANUP(freep) char *names = xmalloc(XATTR_LIST_MAX), *value = NULL;

    len = listxattr(src, names, XATTR_LIST_MAX);
    if (len < 0)
        return -errno;
    value = xmalloc(XATTR_SIZE_MAX);
    for (const char *name = names; name < names + len; name += strlen(name) + 1) {
        int r = is_local(name) ? 0 : copy_xattr(src, dst, name, value, XATTR_SIZE_MAX);

        if (r < 0)
            return r;
    }
    return 0;
}
