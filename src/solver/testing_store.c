/* SPDX-License-Identifier: Apache-2.0 */
/* testing_store.c - a store and snapshots that are only names */
#include "solver/testing.h"

struct snapshot {
    atomic_uint refs;
    char *id;
};
atomic_int snapshots_live;
atomic_uint calls_left;
struct map records;
struct digests digests;
static struct mutex store_lock;

struct error *maybe_fail(const char *call)
{
    unsigned now = atomic_load(&calls_left);

    while (now != 0 && !atomic_compare_exchange_weak(&calls_left, &now, now - 1))
        ;
    return now == 1 ? err_new(ERR_EXHAUSTED, "%s: no space left on device", call) : NULL;
}

struct snapshot *snapshot_named(const char *id)
{
    struct snapshot *s = NEW(struct snapshot);

    atomic_init(&s->refs, 1);
    s->id = xstrdup(id);
    atomic_fetch_add(&snapshots_live, 1);
    return s;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void snapshot_unref(struct snapshot *s)
{
    if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    atomic_fetch_sub(&snapshots_live, 1);
    free(s->id);
    free(s);
}

const char *snapshot_id(const struct snapshot *s)
{
    return s->id;
}

struct error *snapshot_load(struct snapshot *s)
{
    return NULL;
}

bool snapshot_is_tree(const struct snapshot *s)
{
    return str_has_prefix(s->id, "tree:");
}

struct error *snapshot_find(struct store *s, const char *id, struct snapshot **ret)
{
    TRY(maybe_fail("get a snapshot"));
    *ret = snapshot_named(id);
    return NULL;
}

struct error *snapshot_mount_ro(struct snapshot *s, int *ret_fd)
{
    return err_new(ERR_UNIMPLEMENTED, "no mounts here");
}

/* Each has one layer. */
size_t snapshot_layer_count(const struct snapshot *s)
{
    return 1;
}

struct error *snapshot_layer_diff_id(struct snapshot *s, size_t i, struct digest *ret, int64_t *ret_tar_size)
{
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&digests.lock);
    int r = 0;

    assert_int_equal(i, 0);
    strv_add(&digests.asked, s->id);
    cond_broadcast(&digests.changed);
    while (digests.closed && r == 0)
        r = cond_wait(&digests.changed, &digests.lock);
    if (r < 0)
        return task_error(r, "hash");
    strv_add(&digests.made, s->id);
    cond_broadcast(&digests.changed);
    return NULL;
}

void await_digests(const struct strv *v, size_t count)
{
    mutex_lock(&digests.lock);
    while (v->len < count)
        assert_int_equal(cond_wait(&digests.changed, &digests.lock), 0);
    mutex_unlock(&digests.lock);
}

struct error *cache_put(struct store *s, const char *key, const char *result_id, const void *preimage,
                        size_t len)
{
    TRY(maybe_fail("put a record"));
    mutex_lock(&store_lock);
    strmap_set(&records, key, result_id);
    mutex_unlock(&store_lock);
    return NULL;
}

struct error *cache_find(struct store *s, const char *key, char **ret)
{
    TRY(maybe_fail("find a record"));
    mutex_lock(&store_lock);
    *ret = xstrdup(strmap_get(&records, key));
    mutex_unlock(&store_lock);
    return NULL;
}

struct error *cache_walk(struct store *s,
                         bool (*fn)(void *ctx, const char *key, const char *result, const void *preimage,
                                    size_t len),
                         void *ctx)
{
    return NULL;
}

struct error *fact_get(struct store *s, const char *key, char **ret)
{
    return NULL;
}

struct error *fact_put(struct store *s, const char *key, const char *value)
{
    return NULL;
}

struct error *lease_open(struct store *s, struct lease **ret)
{
    return err_new(ERR_UNIMPLEMENTED, "no leases here");
}

void lease_close(struct lease *l)
{
}

int store_root_fd(const struct store *s)
{
    return -1;
}

void forget_records(void)
{
    map_deinit(&records);
    strmap_init(&records);
}

void testing_store_setup(void)
{
    mutex_init(&store_lock);
    strmap_init(&records);
    mutex_init(&digests.lock);
    cond_init(&digests.changed);
    digests.closed = false;
}

void testing_store_teardown(void)
{
    map_deinit(&records);
    strv_deinit(&digests.asked);
    strv_deinit(&digests.made);
}
