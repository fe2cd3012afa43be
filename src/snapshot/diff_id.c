/* SPDX-License-Identifier: Apache-2.0 */
/* The diff ID of a layer, made when first asked for; equal calls at the same time wait for one walk. */
#include "base/limits.h"
#include "snapshot/internal.h"
#include "store/layer_tar.h"
#include "task/task.h"

#include <unistd.h>

/* Layer ids that somebody hashes; ids are unique over all stores. */
static struct mutex lock = MUTEX_INIT;
static struct map hashing;
static struct cond *changed; /* made with the first waiter's need: conds have no static form */

static struct cond *changed_locked(void)
{
    if (changed == NULL) {
        changed = NEW(struct cond);
        cond_init(changed);
    }
    return changed;
}

/* Become the one who hashes `id`; waits for another one to end. */
static struct error *claim(const char *id)
{
    int r = 0;
    mutex_lock(&lock);
    while (r == 0 && map_has(&hashing, id))
        r = cond_wait(changed_locked(), &lock);
    if (r == 0)
        map_set(&hashing, id, (void *)1);
    mutex_unlock(&lock);
    return r < 0 ? task_error(r, "wait for the digest of layer %s", id) : NULL;
}

static void unclaim(const char *id)
{
    mutex_lock(&lock);
    map_remove(&hashing, id);
    cond_broadcast(changed_locked());
    if (hashing.len == 0)
        map_deinit(&hashing);
    mutex_unlock(&lock);
}

static struct error *known(struct store *s, const char *id, struct digest *ret, int64_t *ret_size)
{
    struct layer_row row;
    TRY(layer_get(s, id, &row));
    *ret = row.diff_id;
    *ret_size = row.tar_size;
    layer_row_deinit(&row);
    return NULL;
}

static struct error *make(struct store *s, const char *id, struct digest *ret, int64_t *ret_size)
{
    TRY(known(s, id, ret, ret_size)); /* by the one we waited for */
    if (ret->s[0] != '\0')
        return NULL;
    CLEANUP(closep) int fd = layer_dir(s, id);
    TRY_SYS(fd, "open layer %s", id);
    TRY(err_wrap(layer_tar_digest(fd, ret, ret_size), "layer %s", id));
    return layer_set_diff_id(s, id, ret, *ret_size, true);
}

struct error *snapshot_layer_diff_id(struct snapshot *s, size_t i, struct digest *ret, int64_t *ret_tar_size)
{
    struct digest d;
    int64_t size;
    assert(i < s->count);
    const char *id = s->layers[i];
    TRY(known(s->store, id, &d, &size));
    if (d.s[0] == '\0') {
        TRY(claim(id));
        struct error *e = make(s->store, id, &d, &size);
        unclaim(id);
        TRY(e);
    }
    *ret = d;
    *ret_tar_size = size;
    return NULL;
}

struct error *snapshot_layer_open_tar(struct snapshot *s, size_t i, struct stream **ret)
{
    assert(i < s->count);
    CLEANUP(closep) int fd = layer_dir(s->store, s->layers[i]);
    TRY_SYS(fd, "open layer %s", s->layers[i]);
    return err_wrap(layer_tar_open(fd, ret), "layer %s", s->layers[i]);
}

struct error *snapshot_layer_blob(struct snapshot *s, size_t i, struct descriptor *ret)
{
    struct digest diff_id;
    struct blob_info info;
    int64_t size;
    bool found;
    TRY(snapshot_layer_diff_id(s, i, &diff_id, &size));
    TRY(diff_id_blob_find(s->store, &diff_id, NULL, ret, &found));
    if (found)
        return NULL;
    struct error *e = blob_stat(s->store, &diff_id, &info);
    if (err_is(e, ERR_NOT_FOUND)) {
        /* a pulled layer whose blob was not kept: its directory serves, if our tar has the same bytes */
        err_free(e);
        CLEANUP(closep) int fd = layer_dir(s->store, s->layers[i]);
        struct digest own;
        TRY_SYS(fd, "open layer %s", s->layers[i]);
        TRY(layer_tar_digest(fd, &own, &size));
        if (!digest_eq(&own, &diff_id))
            return err_new(ERR_NOT_FOUND, "content of layer %s: not found", diff_id.s);
        TRY(layer_set_diff_id(s->store, s->layers[i], &diff_id, size, true));
        info.size = size;
        e = NULL;
    }
    TRY(e);
    descriptor_init(ret, MT_OCI_LAYER, &diff_id, info.size);
    return NULL;
}
