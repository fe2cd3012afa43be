/* SPDX-License-Identifier: Apache-2.0 */
#include "container/logfile.h"

#include "base/bytes.h"
#include "base/log.h"
#include "io/path.h"
#include "task/task.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES ((size_t)16 * 1024)
#define READ_CHUNK ((size_t)64 * 1024)
#define MAX_FILES 1000

struct logfile {
    atomic_uint refs;
    struct mutex lock;
    struct cond changed;
    char *path;
    struct logfile_options options;
    int fd;
    int64_t size;
    uint64_t generation;   /* rotations so far; guarded by lock */
    uint64_t written;      /* records so far; guarded by lock */
    bool ended;            /* guarded by lock */
    struct buf pending[2]; /* an unfinished line each; writer only */
};

/* ---- options
 * ------------------------------------------------------------------------------------------------------------------
 */

/* "10m", "1g", "500k", "1048576". */
static int parse_size(const char *text, int64_t *ret)
{
    static const char units[] = "bkmgt";
    CLEANUP(freep) char *low = str_lower(text);
    size_t len = strlen(low);
    int shift = 0;

    if (len > 1 && low[len - 1] == 'b' && !isdigit((unsigned char)low[len - 2]))
        low[--len] = '\0';
    const char *unit = len > 0 ? strchr(units, low[len - 1]) : NULL;
    if (unit != NULL && *unit != '\0') {
        shift = 10 * (int)(unit - units);
        low[len - 1] = '\0';
    }
    int64_t n;
    if (parse_i64(low, &n) < 0 || n <= 0 || n > INT64_MAX >> shift)
        return -EINVAL;
    *ret = n << shift;
    return 0;
}

struct error *logfile_options_parse(const void *json_object, struct logfile_options *ret)
{
    static const char *const silent[] = { "labels", "labels-regex", "env",  "env-regex",
                                          "tag",    "compress",     "mode", "max-buffer-size" };
    const char *key;
    json_t *value;

    *ret = (struct logfile_options){ .max_files = 1 };
    json_object_foreach((json_t *)json_object, key, value)
    {
        const char *text = json_string_value(value);
        uint64_t n;
        bool known = false;

        if (text == NULL)
            return err_new(ERR_INVALID, "log opt '%s' is not a string", key);
        for (size_t i = 0; i < ARRAY_LEN(silent); i++)
            known |= streq(key, silent[i]);
        if (streq(key, "max-size")) {
            if (parse_size(text, &ret->max_size) < 0)
                return err_new(ERR_INVALID, "invalid value for max-size: %s", text);
        } else if (streq(key, "max-file")) {
            if (parse_u64(text, &n) < 0 || n < 1 || n > MAX_FILES)
                return err_new(ERR_INVALID, "max-file cannot be less than 1");
            ret->max_files = (int)n;
        } else if (!known) {
            return err_new(ERR_INVALID, "unknown log opt '%s' for json-file log driver", key);
        }
    }
    if (ret->max_files > 1 && ret->max_size == 0)
        return err_new(ERR_INVALID, "max-file cannot be used without max-size");
    return NULL;
}

/* ---- writing
 * ------------------------------------------------------------------------------------------------------------------
 */

static int open_append(struct logfile *l)
{
    struct stat st;
    int fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

    if (fd < 0)
        return -errno;
    l->size = fstat(fd, &st) == 0 ? st.st_size : 0;
    return fd;
}

struct error *logfile_open(const char *path, const struct logfile_options *o, struct logfile **ret)
{
    struct logfile *l = NEW(struct logfile);

    atomic_init(&l->refs, 1);
    mutex_init(&l->lock);
    cond_init(&l->changed);
    l->path = xstrdup(path);
    l->options = *o;
    l->fd = open_append(l);
    if (l->fd < 0) {
        struct error *e = err_sys(-l->fd, "open %s", path);

        logfile_unref(l);
        return e;
    }
    *ret = l;
    return NULL;
}

struct logfile *logfile_ref(struct logfile *l)
{
    atomic_fetch_add(&l->refs, 1);
    return l;
}

void logfile_unref(struct logfile *l)
{
    if (l == NULL || atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    closep(&l->fd);
    for (size_t i = 0; i < ARRAY_LEN(l->pending); i++)
        buf_deinit(&l->pending[i]);
    free(l->path);
    cond_deinit(&l->changed);
    mutex_deinit(&l->lock);
    free(l);
}

/* x.log.2 -> x.log.3, x.log.1 -> x.log.2, x.log -> x.log.1; the oldest goes.  With one file it starts anew.
 */
static struct error *rotate_locked(struct logfile *l)
{
    for (int i = l->options.max_files - 1; i >= 1; i--) {
        CLEANUP(freep) char *from = i > 1 ? xasprintf("%s.%d", l->path, i - 1) : xstrdup(l->path);
        CLEANUP(freep) char *to = xasprintf("%s.%d", l->path, i);

        if (rename(from, to) < 0 && errno != ENOENT)
            return err_sys(errno, "rotate %s", from);
    }
    if (l->options.max_files == 1 && unlink(l->path) < 0 && errno != ENOENT)
        return err_sys(errno, "remove %s", l->path);
    int fd = open_append(l);
    if (fd < 0)
        return err_sys(-fd, "open %s", l->path);
    close(l->fd);
    l->fd = fd;
    l->generation++;
    return NULL;
}

static struct error *append_locked(struct logfile *l, const struct buf *record)
{
    if (l->options.max_size > 0 && l->size >= l->options.max_size)
        TRY(rotate_locked(l));
    for (size_t done = 0; done < record->len;) {
        ssize_t n = write(l->fd, record->data + done, record->len - done);

        if (n < 0 && errno != EINTR) {
            int errnum = errno;

            (void)!ftruncate(l->fd, l->size); /* half a record would spoil the next one */
            return err_sys(errnum, "write %s", l->path);
        }
        done += n > 0 ? (size_t)n : 0;
    }
    l->size += (int64_t)record->len;
    l->written++;
    return NULL;
}

static struct error *write_record(struct logfile *l, enum log_stream stream, const char *text, size_t len)
{
    CLEANUP(buf_deinit) struct buf record = { 0 };
    char time[40];

    format_rfc3339(time, now_ns());
    buf_adds(&record, "{\"log\":");
    buf_add_json_string(&record, text, len, true);
    buf_addf(&record, ",\"stream\":\"%s\",\"time\":\"%s\"}\n", stream == LOG_STDERR ? "stderr" : "stdout",
             time);
    mutex_lock(&l->lock);
    struct error *e = append_locked(l, &record);
    cond_broadcast(&l->changed);
    mutex_unlock(&l->lock);
    return e;
}

struct error *logfile_write(struct logfile *l, enum log_stream stream, const void *data, size_t len)
{
    struct buf *pending = &l->pending[stream == LOG_STDERR];
    struct error *first = NULL;
    const char *p = data;

    while (len > 0) {
        const char *end = memchr(p, '\n', len);
        size_t line = end != NULL ? (size_t)(end - p) + 1 : len;
        size_t n = MIN(line, LINE_MAX_BYTES - pending->len);

        buf_add(pending, p, n);
        p += n;
        len -= n;
        if (pending->data[pending->len - 1] == '\n' || pending->len >= LINE_MAX_BYTES) {
            struct error *e = write_record(l, stream, pending->data, pending->len);

            buf_clear(pending);
            if (first == NULL)
                first = e;
            else
                err_free(e);
        }
    }
    return first;
}

void logfile_end(struct logfile *l)
{
    for (size_t i = 0; i < ARRAY_LEN(l->pending); i++) {
        struct buf *b = &l->pending[i];

        if (b->len > 0)
            log_err(LOG_WARN, write_record(l, i == 0 ? LOG_STDOUT : LOG_STDERR, b->data, b->len),
                    "cannot write a container's log");
        buf_clear(b);
    }
    mutex_lock(&l->lock);
    l->ended = true;
    cond_broadcast(&l->changed);
    mutex_unlock(&l->lock);
}

/* ---- reading
 * ------------------------------------------------------------------------------------------------------------------
 */

struct reader {
    const struct log_read *options;
    log_fn fn;
    void *ctx;
    struct buf rest; /* the beginning of a line that is not whole yet */
    bool past_until;
};

static void reader_deinit(struct reader *r)
{
    buf_deinit(&r->rest);
}

static struct error *emit_line(struct reader *r, const char *line, size_t len)
{
    json_t *o = json_loadb(line, len, JSON_ALLOW_NUL, NULL);
    json_t *text = json_object_get(o, "log");
    const char *stream = json_string_value(json_object_get(o, "stream"));
    const char *time = json_string_value(json_object_get(o, "time"));
    struct log_record record = { 0 };
    struct error *e = NULL;

    /* A line cut by a crash, or foreign: passed over. */
    if (json_is_string(text) && stream != NULL && time != NULL && parse_time(time, &record.time_ns) == 0) {
        record.stream = streq(stream, "stderr") ? LOG_STDERR : LOG_STDOUT;
        record.text = json_string_value(text);
        record.len = json_string_length(text);
        r->past_until = r->options->until_ns != 0 && record.time_ns > r->options->until_ns;
        if (!r->past_until && (r->options->streams & record.stream) != 0 &&
            record.time_ns >= r->options->since_ns)
            e = r->fn(r->ctx, &record);
    }
    json_decref(o);
    return e;
}

/* The whole lines of r->rest; what begins behind them stays. */
static struct error *emit_lines(struct reader *r)
{
    const char *at = buf_str(&r->rest), *stop = at + r->rest.len, *end;
    struct error *e = NULL;

    while (e == NULL && !r->past_until && (end = memchr(at, '\n', (size_t)(stop - at))) != NULL) {
        e = emit_line(r, at, (size_t)(end - at));
        at = end + 1;
    }
    buf_drop(&r->rest, (size_t)(at - buf_str(&r->rest)));
    return e;
}

/* Everything from the current offset to the end that is there now. */
static struct error *read_available(struct reader *r, int fd)
{
    CLEANUP(freep) char *chunk = xmalloc(READ_CHUNK);

    for (;;) {
        ssize_t n = read(fd, chunk, READ_CHUNK);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? err_sys(errno, "read the container's log") : NULL;
        buf_add(&r->rest, chunk, (size_t)n);
        TRY(emit_lines(r));
        if (r->past_until)
            return NULL;
    }
}

/* How many bytes from the end hold the last `lines` lines; *lines is lowered by what was found. */
static int64_t tail_offset(int fd, int64_t *lines)
{
    CLEANUP(freep) char *chunk = xmalloc(READ_CHUNK);
    int64_t end = lseek(fd, 0, SEEK_END), at = end;

    while (at > 0) {
        size_t want = (size_t)MIN(at, (int64_t)READ_CHUNK);

        at -= (int64_t)want;
        if (pread(fd, chunk, want, at) != (ssize_t)want)
            return 0;
        for (size_t i = want; i-- > 0;) {
            /* The line feed at the very end ends the last line, it does not begin one. */
            if (chunk[i] != '\n' || at + (int64_t)i + 1 == end)
                continue;
            if (--*lines <= 0)
                return at + (int64_t)i + 1;
        }
    }
    if (end > 0)
        --*lines;
    return 0;
}

struct files {
    int fd[MAX_FILES]; /* oldest first */
    size_t count;
};

static void files_close(struct files *f)
{
    for (size_t i = 0; i < f->count; i++)
        close(f->fd[i]);
    free(f);
}

static void files_closep(struct files **f)
{
    if (*f != NULL)
        files_close(*f);
}

static struct files *open_files(const char *path)
{
    struct files *f = NEW(struct files);
    int last = 0;

    while (last + 1 < MAX_FILES) {
        CLEANUP(freep) char *name = xasprintf("%s.%d", path, last + 1);

        if (access(name, F_OK) < 0)
            break;
        last++;
    }
    for (int i = last; i >= 0; i--) {
        CLEANUP(freep) char *name = i > 0 ? xasprintf("%s.%d", path, i) : xstrdup(path);
        int fd = open(name, O_RDONLY | O_CLOEXEC);

        if (fd >= 0)
            f->fd[f->count++] = fd;
    }
    return f;
}

/* Put every file to where reading begins. */
static void seek_tail(struct files *f, int64_t tail)
{
    size_t first = f->count;

    if (tail < 0)
        return;
    while (first > 0 && tail > 0) {
        int64_t at = tail_offset(f->fd[--first], &tail);

        (void)lseek(f->fd[first], at, SEEK_SET);
    }
    for (size_t i = 0; i < f->count; i++)
        if (i < first)
            (void)lseek(f->fd[i], 0, SEEK_END);
}

/* Wait for more than `*seen` records; false when there will be none. */
static struct error *wait_for_more(struct logfile *live, uint64_t *seen, uint64_t *ret_generation,
                                   bool *ret_more)
{
    int r = 0;

    mutex_lock(&live->lock);
    while (r == 0 && live->written == *seen && !live->ended)
        r = cond_wait(&live->changed, &live->lock);
    *ret_more = live->written != *seen;
    *seen = live->written;
    *ret_generation = live->generation;
    mutex_unlock(&live->lock);
    return r < 0 ? task_error(r, "wait for the container's log") : NULL;
}

/* `fd` is the current file, taken.  Rotated files are read to their end before the next one is opened; one
 * that was rotated twice in between is lost to a reader that slow. */
static struct error *follow(struct reader *r, const char *path, struct logfile *live, int fd, uint64_t seen,
                            uint64_t generation)
{
    CLEANUP(closep) int current = fd;
    bool more = true;

    while (!r->past_until) {
        uint64_t now;

        TRY(wait_for_more(live, &seen, &now, &more));
        TRY(read_available(r, current));
        if (now != generation) {
            int next = open(path, O_RDONLY | O_CLOEXEC);

            if (next < 0)
                return err_sys(errno, "open %s", path);
            close(current);
            current = next;
            generation = now;
            TRY(read_available(r, current));
        }
        if (!more)
            break;
    }
    return NULL;
}

struct error *logfile_read(const char *path, struct logfile *live, const struct log_read *o, log_fn fn,
                           void *ctx)
{
    CLEANUP(reader_deinit) struct reader r = { .options = o, .fn = fn, .ctx = ctx };
    CLEANUP(files_closep) struct files *files = NULL;
    uint64_t seen = 0, generation = 0;

    if (live != NULL) {
        /* Files and position are of one moment. */
        mutex_lock(&live->lock);
        seen = live->written;
        generation = live->generation;
        files = open_files(path);
        mutex_unlock(&live->lock);
    } else {
        files = open_files(path);
    }
    seek_tail(files, o->tail);
    for (size_t i = 0; i < files->count && !r.past_until; i++)
        TRY(read_available(&r, files->fd[i]));
    if (live == NULL || !o->follow || files->count == 0 || r.past_until)
        return NULL;
    return follow(&r, path, live, files->fd[--files->count], seen, generation);
}
