/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_packed.c - files of the source that lie in none of its folders (copy.h)
 *
 * Most of the time goes into making them, so folders that are new and have enough of them are filled by a few
 * workers while the walk goes on.  A folder is one worker's: two in the same would only wait for each other.
 */
#include "op/copier.h"

#include "base/bytes.h"
#include "io/path.h"
#include "io/stream.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define WORKERS_MAX 4
#define BATCH_MIN 16   /* files of a folder that are worth handing over */
#define BATCHES_MAX 64 /* folders that wait: each has open descriptors */

struct batch {
    struct batch *next;
    struct frame frame;
    char *path; /* of the folder, below the source */
    struct copy_packed_file *files;
    size_t count;
};

struct workers {
    struct group group;
    const struct copier *copier; /* of the walk: only what does not change */
    struct mutex lock;
    struct cond changed;
    struct batch *first, *last;
    size_t waiting;
    bool ended, failed;
};

struct stat copier_packed_stat(const struct copy_packed_file *f)
{
    struct timespec t = copier_stamp(f->mtime_ns);

    return (struct stat){ .st_mode = f->mode,
                          .st_uid = f->uid,
                          .st_gid = f->gid,
                          .st_size = (off_t)f->size,
                          .st_nlink = 1,
                          .st_atim = t,
                          .st_mtim = t };
}

/* c->path is the file's; `plain`: new files in dst_dir are root's. */
static struct error *make_file(struct copier *c, const struct copy_packed_file *f, int dst_dir,
                               const char *dst, bool plain)
{
    const struct copy_packed *p = c->o->packed;
    struct stat st = copier_packed_stat(f);
    CLEANUP(closep) int to = -1;
    mode_t mode;

    TRY(copier_mode(c, &st, &mode));
    if (c->chunk == NULL)
        c->chunk = xmalloc(COPY_PACKED_MAX);
    int r = p->read(p->ctx, f->id, c->chunk);

    if (r < 0)
        return copier_src_err(c, r, "read");
    to = openat(dst_dir, dst, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & 0777);
    if (to < 0)
        return copier_dst_err(c, -errno, "open");
    r = fd_write_all(to, c->chunk, f->size);
    if (r < 0)
        return copier_dst_err(c, r, "write");
    return copier_set_meta(c, -1, to, &st, plain ? (int)(mode & 0777) : -1);
}

static struct error *is_included(struct copier *c, bool *ret)
{
    CLEANUP(freep) bool *include = NULL;
    CLEANUP(freep) bool *exclude = NULL;
    bool skip;

    TRY(copier_filter(c, &include, &exclude, ret, &skip));
    *ret = *ret && !skip;
    return NULL;
}

/* The walk itself makes it. */
static struct error *make_here(struct copier *c, const struct copy_packed_file *f, const char *dst)
{
    const struct frame *above = c->depth > 0 ? &c->frames[c->depth - 1] : NULL;

    if ((++c->seen & 63) == 0)
        TRY(task_check());
    if (above == NULL || !above->created)
        TRY(copier_clear(c, copier_dst_dir(c), dst, false));
    return make_file(c, f, copier_dst_dir(c), dst, above != NULL && above->plain);
}

struct error *copier_packed_file(struct copier *c, const struct copy_packed_file *f, const char *dst)
{
    bool in;

    TRY(is_included(c, &in));
    if (!in)
        return NULL;
    TRY(copier_make_parents(c));
    return make_here(c, f, dst);
}

/* ---- a folder's files
 * ------------------------------------------------------------------------------------------------------ */

static void push_name(struct copier *c, size_t len, const char *name)
{
    buf_truncate(&c->path, len);
    if (len > 0)
        buf_addc(&c->path, '/');
    buf_adds(&c->path, name);
}

/* Those that are included. */
static struct error *list(struct copier *c, struct batch *b)
{
    const struct copy_packed *p = c->o->packed;
    size_t len = c->frames[c->depth - 1].path_len, at = 0, cap = 0;
    CLEANUP(freep) char *dir = path_join(c->src_real, b->path);
    struct copy_packed_file f;

    while (p->next(p->ctx, streq(dir, ".") ? "" : dir, &at, &f)) {
        bool in;

        push_name(c, len, f.name);
        TRY(is_included(c, &in));
        if (!in)
            continue;
        if (b->count == cap) {
            cap = MAX(cap * 2, (size_t)16);
            b->files = xreallocarray(b->files, cap, sizeof *b->files);
        }
        b->files[b->count++] = f;
    }
    return NULL;
}

static void batch_free(struct batch *b)
{
    free(b->path);
    free(b->files);
    free(b);
}

static void batch_freep(struct batch **b)
{
    if (*b != NULL)
        batch_free(*b);
}

/* ---- workers
 * ---------------------------------------------------------------------------------------------------------------
 */

static struct error *fill(struct copier *c, struct batch *b)
{
    size_t len = strlen(b->path);
    struct error *e = NULL;

    for (size_t i = 0; e == NULL && i < b->count; i++) {
        if ((i & 63) == 0)
            e = task_check();
        push_name(c, len, b->files[i].name);
        if (e == NULL)
            e = make_file(c, &b->files[i], b->frame.dst_fd, b->files[i].name, b->frame.plain);
    }
    buf_truncate(&c->path, len);
    if (e != NULL)
        copier_drop_dir(&b->frame);
    else
        e = copier_finish_dir(c, &b->frame);
    return e;
}

/* The next batch; NULL: there will be none. */
static struct error *next_batch(struct workers *w, struct batch **ret)
{
    int r = 0;

    mutex_lock(&w->lock);
    while (r == 0 && w->first == NULL && !w->ended)
        r = cond_wait(&w->changed, &w->lock);
    struct batch *b = r == 0 ? w->first : NULL;

    if (b != NULL) {
        w->first = b->next;
        w->waiting--;
        cond_broadcast(&w->changed);
    }
    mutex_unlock(&w->lock);
    *ret = b;
    return r < 0 ? task_error(r, "copy") : NULL;
}

static struct error *work(struct workers *w, struct copier *c)
{
    for (;;) {
        CLEANUP(batch_freep) struct batch *b = NULL;

        TRY(next_batch(w, &b));
        if (b == NULL)
            return NULL;
        buf_clear(&c->path);
        buf_adds(&c->path, b->path);
        TRY(fill(c, b));
    }
}

static struct error *worker_task(void *arg)
{
    struct workers *w = arg;
    const struct copier *walk = w->copier;
    struct copier own = { .o = walk->o, .src_path = walk->src_path, .dst_path = walk->dst_path };
    struct error *e = work(w, &own);

    free(own.chunk);
    buf_deinit(&own.path);
    if (e != NULL) {
        mutex_lock(&w->lock);
        w->failed = true;
        cond_broadcast(&w->changed);
        mutex_unlock(&w->lock);
    }
    return e;
}

/* False: no task is to be had now; the walk does it alone. */
static bool start_workers(struct copier *c)
{
    struct workers *w = NEW(struct workers);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN), n = 0;

    w->copier = c;
    mutex_init(&w->lock);
    cond_init(&w->changed);
    group_open(&w->group, 0);
    c->workers = w;
    for (; n < MIN(MAX(cpus, 1L), (long)WORKERS_MAX); n++) {
        struct error *e = group_spawn(&w->group, "copy", worker_task, w);

        err_free(e);
        if (e != NULL)
            break;
    }
    if (n == 0)
        err_free(copier_workers_end(c, NULL)); /* nobody would take what is handed over */
    return n > 0;
}

static void queue_locked(struct workers *w, struct batch *b)
{
    if (w->first == NULL)
        w->first = b;
    else
        w->last->next = b;
    w->last = b;
    w->waiting++;
    cond_broadcast(&w->changed);
}

static void drop_batch(struct batch *b)
{
    copier_drop_dir(&b->frame);
    batch_free(b);
}

/* Waits while too many are under way.  Takes the batch. */
static struct error *hand_over(struct workers *w, struct batch *b)
{
    int r = 0;

    mutex_lock(&w->lock);
    while (r == 0 && w->waiting >= BATCHES_MAX && !w->failed)
        r = cond_wait(&w->changed, &w->lock);
    bool failed = w->failed;

    if (r == 0 && !failed)
        queue_locked(w, TAKE(b));
    mutex_unlock(&w->lock);
    if (b == NULL)
        return NULL;
    drop_batch(b);
    return r < 0 ? task_error(r, "copy")
                 : err_new(ERR_CANCELLED, "context canceled"); /* by what a worker met */
}

struct error *copier_workers_end(struct copier *c, struct error *e)
{
    struct workers *w = TAKE(c->workers);

    if (w == NULL)
        return e;
    mutex_lock(&w->lock);
    w->ended = true;
    cond_broadcast(&w->changed);
    mutex_unlock(&w->lock);
    e = group_finish(&w->group, e);
    while (w->first != NULL) {
        struct batch *b = w->first;

        w->first = b->next;
        drop_batch(b);
    }
    cond_deinit(&w->changed);
    mutex_deinit(&w->lock);
    free(w);
    return e;
}

struct error *copier_packed_dir(struct copier *c, bool *ret_left)
{
    size_t len = c->frames[c->depth - 1].path_len;
    CLEANUP(batch_freep) struct batch *b = NEW(struct batch);

    *ret_left = false;
    b->path = xstrndup(buf_str(&c->path), len);
    TRY(list(c, b));
    buf_truncate(&c->path, len);
    if (b->count == 0)
        return NULL;
    TRY(copier_make_parents(c));
    if (b->count >= BATCH_MIN && c->frames[c->depth - 1].created &&
        (c->workers != NULL || start_workers(c))) {
        b->frame = copier_pop(c);
        *ret_left = true;
        struct error *e = hand_over(c->workers, b);

        b = NULL; /* taken */
        return e;
    }
    for (size_t i = 0; i < b->count; i++) {
        push_name(c, len, b->files[i].name);
        TRY(make_here(c, &b->files[i], b->files[i].name));
    }
    buf_truncate(&c->path, len);
    return NULL;
}
