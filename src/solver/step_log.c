/* SPDX-License-Identifier: Apache-2.0 */
#include "solver/step_log.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/vec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_TAIL (256 * KIB)
#define LOG_SPEED ((int64_t)(200 * KIB))

static struct {
    pthread_once_t once;
    int64_t size, speed;
} limits = { PTHREAD_ONCE_INIT, (int64_t)LIMIT_STEP_LOG_SHOWN, LOG_SPEED };

static void limits_read(void)
{
    const char *size = getenv("BUILDKIT_STEP_LOG_MAX_SIZE"), *speed = getenv("BUILDKIT_STEP_LOG_MAX_SPEED");
    int64_t n;

    if (size != NULL && parse_i64(size, &n) == 0 && n >= -1 && n <= INT32_MAX)
        limits.size = n;
    if (speed != NULL && parse_i64(speed, &n) == 0 && n >= -1 && n <= INT32_MAX)
        limits.speed = n;
}

/* "2MiB", "200KiB": shortest form, as Go's units package prints %#g. */
static void add_size(struct buf *b, int64_t n)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB" };
    double v = (double)n;
    size_t i = 0;

    for (; i + 1 < ARRAY_LEN(units) && v >= 1024; i++)
        v /= 1024;
    buf_addf(b, "%g%s", v, units[i]);
}

static void tail_add(struct log_clip *c, const char *data, size_t len)
{
    if (c->tail == NULL)
        c->tail = xmalloc(LOG_TAIL);
    if (len > LOG_TAIL) {
        data += len - LOG_TAIL;
        len = LOG_TAIL;
    }
    for (size_t done = 0; done < len;) {
        size_t n = MIN(len - done, LOG_TAIL - c->tail_next);

        memcpy(c->tail + c->tail_next, data + done, n);
        done += n;
        c->tail_next = (c->tail_next + n) % LOG_TAIL;
        c->tail_full = c->tail_full || c->tail_next == 0;
    }
}

size_t log_clip_take(struct log_clip *c, const void *data, size_t len, int64_t elapsed_ns, struct buf *notice)
{
    int64_t max = -1, before = c->seen;
    bool by_speed = false;
    size_t show = len;

    pthread_once(&limits.once, limits_read);
    if (limits.speed != -1) {
        max = ((elapsed_ns + NS_PER_SEC - 1) / NS_PER_SEC) * limits.speed;
        by_speed = true;
    }
    if (max == -1 || (limits.size != -1 && max > limits.size)) {
        max = limits.size;
        by_speed = false;
    }
    c->seen += (int64_t)len;
    if (max != -1 && before >= max)
        show = 0;
    else if (max != -1 && c->seen > max)
        show = (size_t)(max - before);
    if (c->tail != NULL || show < len)
        tail_add(c, data, len);
    if (show == len) {
        c->clipping = false;
    } else if (!c->clipping) {
        c->clipping = true;
        buf_adds(notice, "\n[output clipped, log limit ");
        add_size(notice, by_speed ? limits.speed : limits.size);
        buf_adds(notice, by_speed ? "/s reached]\n" : " reached]\n");
    }
    return show;
}

void log_clip_flush(struct log_clip *c, struct buf *out)
{
    if (c->tail == NULL)
        return;
    if (c->tail_full)
        buf_add(out, c->tail + c->tail_next, LOG_TAIL - c->tail_next);
    buf_add(out, c->tail, c->tail_next);
    log_clip_deinit(c);
}

void log_clip_deinit(struct log_clip *c)
{
    free(c->tail);
    *c = (struct log_clip){ 0 };
}

/* ---- files
 * ------------------------------------------------------------------------------------------------------------------
 */

/* Names begin with the time, so that the oldest sort first. */
static void drop_old(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct strv names = { 0 };

    if (d == NULL) {
        closep(&fd);
        return;
    }
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (str_has_suffix(e->d_name, ".log"))
            strv_add(&names, e->d_name);
    strv_sort(&names);
    for (size_t i = 0; i + LIMIT_STEP_LOGS <= names.len; i++)
        (void)!unlinkat(dir_fd, names.v[i], 0);
    strv_deinit(&names);
    closedir(d);
}

int step_log_create(int dir_fd, const char *digest)
{
    const char *hex = str_skip_prefix(digest, "sha256:");
    char name[96], salt[9];
    CLEANUP(buf_deinit) struct buf b = { 0 };
    int fd;

    drop_old(dir_fd);
    random_hex(salt, 4);
    buf_addf(&b, "%020lld-%.16s-%s.log", (long long)now_ns(), hex == NULL ? digest : hex, salt);
    if (b.len >= sizeof name)
        return -ENAMETOOLONG;
    memcpy(name, b.data, b.len + 1);
    fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? -errno : fd;
}
