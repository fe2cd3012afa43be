/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "store/internal.h"

struct ingest {
    struct store *store;
    struct lease *lease; /* may be NULL */
    char *key, *name;    /* name: of the file in ingest/ */
    int fd;
    int64_t size;
    struct hasher *hasher;
    bool done;
};

/* One writer per key: wait for the other one to end. */
static struct error *claim(struct store *s, const char *key)
{
    int r = 0;
    mutex_lock(&s->lock);
    while (r == 0 && map_has(&s->ingesting, key))
        r = cond_wait(&s->changed, &s->lock);
    if (r == 0)
        map_set(&s->ingesting, key, (void *)1);
    mutex_unlock(&s->lock);
    return r < 0 ? task_error(r, "wait for ingest \"%s\"", key) : NULL;
}

static void unclaim(struct store *s, const char *key)
{
    mutex_lock(&s->lock);
    map_remove(&s->ingesting, key);
    cond_broadcast(&s->changed);
    mutex_unlock(&s->lock);
}

/* What an earlier attempt left must be hashed again. */
static struct error *hash_existing(struct ingest *i)
{
    CLEANUP(freep) char *chunk = xmalloc(1 << 20);
    ssize_t n;
    while ((n = read(i->fd, chunk, 1 << 20)) > 0) {
        hasher_add(i->hasher, chunk, (size_t)n);
        i->size += n;
        TRY(task_check());
    }
    return n < 0 ? err_sys(errno, "read ingest \"%s\"", i->key) : NULL;
}

static void ingest_free(struct ingest *i)
{
    if (i->fd >= 0)
        close(i->fd);
    hasher_free(i->hasher);
    unclaim(i->store, i->key);
    free(i->key);
    free(i->name);
    free(i);
}

struct error *ingest_begin(struct store *s, struct lease *l, const char *key, int64_t *ret_have_bytes,
                           struct ingest **ret)
{
    TRY(claim(s, key));
    struct ingest *i = NEW(struct ingest);
    struct digest name = digest_of(key, strlen(key)); /* a key may hold anything */
    i->store = s;
    i->lease = l;
    i->key = xstrdup(key);
    i->name = xstrdup(digest_hex(&name));
    i->hasher = hasher_new();
    i->fd = openat(s->ingest_fd, i->name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct error *e = i->fd < 0 ? err_sys(errno, "begin ingest \"%s\"", key) : hash_existing(i);
    if (e != NULL) {
        ingest_free(i);
        return e;
    }
    *ret_have_bytes = i->size;
    *ret = i;
    return NULL;
}

struct error *ingest_write(struct ingest *i, const void *data, size_t len)
{
    const char *p = data;
    size_t left = len;
    while (left > 0) {
        ssize_t n = write(i->fd, p, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(errno, "write ingest \"%s\"", i->key);
        p += n;
        left -= (size_t)n;
    }
    hasher_add(i->hasher, data, len);
    i->size += (int64_t)len;
    return NULL;
}

struct error *ingest_reset(struct ingest *i)
{
    if (ftruncate(i->fd, 0) < 0 || lseek(i->fd, 0, SEEK_SET) < 0)
        return err_sys(errno, "reset ingest \"%s\"", i->key);
    hasher_reset(i->hasher);
    i->size = 0;
    return NULL;
}

struct error *ingest_commit(struct ingest *i, const struct digest *expected, int64_t size, struct digest *ret)
{
    struct digest d = hasher_sum(i->hasher);
    assert(!i->done);
    if (size >= 0 && size != i->size)
        return err_new(ERR_INVALID, "failed size validation: %lld != %lld: failed precondition",
                       (long long)i->size, (long long)size);
    if (expected != NULL && expected->s[0] != '\0' && !digest_eq(expected, &d))
        return err_new(ERR_INVALID,
                       "digest mismatch: unexpected commit digest %s, expected %s: failed precondition", d.s,
                       expected->s);
    if (i->lease != NULL)
        lease_add_blob(i->lease, &d);
    TRY(blob_publish(i->store, i->store->ingest_fd, i->name, &d, i->size));
    i->done = true;
    *ret = d;
    return NULL;
}

void ingest_close(struct ingest *i, bool keep_partial)
{
    if (i == NULL)
        return;
    if (!i->done && !keep_partial)
        unlinkat(i->store->ingest_fd, i->name, 0);
    ingest_free(i);
}

/* ---- what is under way -----------------------------------------------------------------------------------
 */

void ingest_list_deinit(struct ingest_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->list[i].key);
    free(l->list);
    *l = (struct ingest_list){ 0 };
}

static int64_t statx_ns(const struct statx_timestamp *t)
{
    return t->tv_sec * NS_PER_SEC + t->tv_nsec;
}

/* False: it has just ended, or has not begun. */
static bool ingest_stat(const struct store *s, const char *key, struct ingest_info *ret)
{
    struct digest name = digest_of(key, strlen(key));
    struct statx st;

    if (statx(s->ingest_fd, digest_hex(&name), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
        return false;
    ret->size = (int64_t)st.stx_size;
    ret->updated_ns = statx_ns(&st.stx_mtime);
    ret->started_ns = (st.stx_mask & STATX_BTIME) != 0 ? statx_ns(&st.stx_btime) : ret->updated_ns;
    return true;
}

void ingest_list(struct store *s, struct ingest_list *ret)
{
    CLEANUP(strv_deinit) struct strv keys = { 0 };

    mutex_lock(&s->lock);
    for (size_t i = 0; i < s->ingesting.len; i++)
        strv_add(&keys, s->ingesting.entries[i].key);
    mutex_unlock(&s->lock);
    ret->list = xcalloc(keys.len + 1, sizeof(*ret->list));
    for (size_t i = 0; i < keys.len; i++) {
        struct ingest_info *info = &ret->list[ret->count];

        if (!ingest_stat(s, keys.v[i], info))
            continue;
        info->key = xstrdup(keys.v[i]);
        ret->count++;
    }
}
