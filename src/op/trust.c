/* SPDX-License-Identifier: Apache-2.0 */
#include "op/trust.h"

#include "base/base.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "io/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* BuildKit's places, in its order, and its marks. */
static const char *const bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
};
static const char begin[] = "\n# buildkit proxy CA begin\n", end[] = "# buildkit proxy CA end\n";

static int read_bundle(const struct trust *t, struct buf *ret)
{
    return path_read_file(t->root_fd, t->path, ret, LIMIT_TRUST_BUNDLE);
}

static struct error *bundle_failed(const struct trust *t, int r)
{
    if (r == -EFBIG)
        return err_new(ERR_UNKNOWN, "%s exceeds %zu bytes", t->path + 1, LIMIT_TRUST_BUNDLE);
    return err_sys(-r, "%s", t->path + 1);
}

/* For writing; a device or a FIFO that is there by now is not even opened. */
static int open_bundle(const struct trust *t, int flags, struct stat *st)
{
    CLEANUP(closep) int handle = path_open(t->root_fd, t->path, O_PATH, 0);
    char self[32];

    if (handle < 0)
        return handle;
    if (fstat(handle, st) < 0)
        return -errno;
    if (!S_ISREG(st->st_mode))
        return -EINVAL;
    fd_path(self, handle);
    int fd = open(self, O_WRONLY | flags | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static int set_time(int fd, const struct timespec *t)
{
    const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, *t };

    return futimens(fd, times) < 0 ? -errno : 0;
}

static const char *find_bundle(int root_fd)
{
    for (size_t i = 0; i < ARRAY_LEN(bundles); i++) {
        struct stat st;

        if (path_stat(root_fd, bundles[i], true, &st) == 0 && S_ISREG(st.st_mode))
            return bundles[i];
    }
    return NULL;
}

static int append(struct trust *t)
{
    struct stat st;
    CLEANUP(closep) int fd = open_bundle(t, O_APPEND, &st);
    CLEANUP(freep) char *block = xasprintf("%s%s%s", begin, t->pem, end);
    int r;

    if (fd < 0)
        return fd;
    t->size = st.st_size;
    t->before = st.st_mtim;
    r = fd_write_all(fd, block, strlen(block));
    if (r == 0 && fstat(fd, &st) < 0)
        r = -errno;
    t->after = st.st_mtim;
    return r;
}

struct error *trust_add(struct trust *t, int root_fd, const char *pem)
{
    CLEANUP(buf_deinit) struct buf now = { 0 };

    *t = (struct trust){ .root_fd = root_fd, .path = find_bundle(root_fd), .pem = pem };
    if (t->path == NULL)
        return NULL;
    int r = read_bundle(t, &now);

    if (r == 0 && strstr(buf_str(&now), pem) != NULL) {
        t->path = NULL;
        return NULL;
    }
    if (r == 0)
        r = append(t);
    return r < 0 ? bundle_failed(t, r) : NULL;
}

/* ---- taking it out ---- */

/* Every copy of `part` goes; true: there was one. */
static bool cut(struct buf *b, const char *part)
{
    size_t len = strlen(part), kept = 0;
    bool any = false;

    for (size_t i = 0; i < b->len;) {
        if (b->len - i >= len && memcmp(b->data + i, part, len) == 0) {
            any = true;
            i += len;
            continue;
        }
        b->data[kept++] = b->data[i++];
    }
    buf_truncate(b, kept);
    return any;
}

static int rewrite(struct trust *t, const struct buf *content)
{
    struct stat st;
    CLEANUP(closep) int fd = open_bundle(t, 0, &st);
    int r = 0;

    if (fd < 0)
        return fd;
    bool ours = st.st_mtim.tv_sec == t->after.tv_sec && st.st_mtim.tv_nsec == t->after.tv_nsec &&
                (off_t)content->len == t->size;

    if (!ours) /* somebody rewrote it: what is in front of the certificate may have moved */
        r = fd_write_all(fd, content->data, content->len);
    if (r == 0 && ftruncate(fd, (off_t)content->len) < 0)
        r = -errno;
    return r == 0 && ours ? set_time(fd, &t->before) : r;
}

static int take_out(struct trust *t)
{
    CLEANUP(buf_deinit) struct buf now = { 0 };
    CLEANUP(freep) char *block = xasprintf("%s%s%s", begin, t->pem, end);
    int r = read_bundle(t, &now);

    if (r == -ENOENT || r == -ENOTDIR)
        return 0;
    if (r < 0)
        return r;
    bool marked = cut(&now, block), bare = cut(&now, t->pem);

    return marked || bare ? rewrite(t, &now) : 0;
}

struct error *trust_remove(struct trust *t)
{
    if (t->path == NULL)
        return NULL;
    int r = take_out(t);
    struct error *e = r < 0 ? err_wrap(bundle_failed(t, r), "failed to clean up proxy CA") : NULL;

    t->path = NULL;
    return e;
}
