/* SPDX-License-Identifier: Apache-2.0 */
#include "store/trial.h"

#include "base/bytes.h"
#include "io/path.h"
#include "oci/descriptor.h"
#include "store/layer.h"
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define OLD_IMAGE "docker.io/library/old:latest"
#define NEW_IMAGE "docker.io/library/new:latest"

static const char *root, *after; /* of the trial that runs */

static void expect_ok(struct error *e)
{
    if (e != NULL)
        fail_msg("%s (after a failing %s)", e->message, after);
}

/* ---- the scenario ---- */

static struct error *put_image(struct store *s, const char *name, struct descriptor *ret)
{
    CLEANUP(freep)
    char *config = xasprintf("{\"architecture\":\"amd64\",\"os\":\"linux\",\"author\":\"%s\"}", name);
    struct digest c, m;
    struct lease *l = NULL;

    TRY(lease_open(s, &l));
    struct error *e = blob_put(s, l, config, strlen(config), &c);

    if (e == NULL) {
        CLEANUP(freep)
        char *manifest = xasprintf("{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST
                                   "\",\"config\":{\"mediaType\":\"" MT_OCI_CONFIG
                                   "\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[]}",
                                   c.s, strlen(config));

        e = blob_put(s, l, manifest, strlen(manifest), &m);
        if (e == NULL)
            descriptor_init(ret, MT_OCI_MANIFEST, &m, (int64_t)strlen(manifest));
    }
    if (e == NULL)
        e = image_put(s, name, ret);
    lease_close(l);
    return e;
}

static struct error *pull_blob(struct store *s)
{
    struct digest want = digest_of("abcdef", 6), got;
    struct ingest *i = NULL;
    int64_t have;

    TRY(ingest_begin(s, NULL, want.s, &have, &i));
    struct error *e = ingest_reset(i);

    if (e == NULL)
        e = ingest_write(i, "abcdef", 6);
    if (e == NULL)
        e = ingest_commit(i, &want, 6, &got);
    ingest_close(i, false);
    return e;
}

/* A layer, a snapshot of it, and a record of the solver that leads to it. */
static struct error *make_layer(struct store *s, const char *id)
{
    CLEANUP(freep) char *snapshot = xasprintf("snap-%s", id), *key = xasprintf("key-%s", id);
    CLEANUP(strv_deinit) struct strv layers = { 0 };
    CLEANUP(freep) char *dir = xasprintf("work/%s/fs", id);
    struct layer_row row = { .id = (char *)id,
                             .parent = (char *)"",
                             .chain = (char *)"",
                             .description = (char *)"a layer",
                             .type = (char *)"regular",
                             .size = 4096,
                             .created_ns = 1 };
    int fd = path_mkdirs(store_root_fd(s), dir, 0755);

    if (fd < 0)
        return err_sys(-fd, "make %s", dir);
    close(fd);
    struct error *e = layer_publish(s, NULL, id, &row);

    if (e != NULL) {
        store_discard(s, id);
        return e;
    }
    strv_add(&layers, id);
    TRY(snapshot_row_put(s, snapshot, &layers));
    return cache_put(s, key, snapshot, "why", 3);
}

static struct error *work_in(struct store *s, bool *ret_named)
{
    CLEANUP(descriptor_deinit) struct descriptor image = { 0 };
    struct error *e = put_image(s, NEW_IMAGE, &image);

    *ret_named = e == NULL;
    TRY(e);
    TRY(pull_blob(s));
    TRY(make_layer(s, "new"));
    TRY(fact_put(s, "fact", "new"));
    TRY(build_record_put(s, 1, "ref", "record", 6));
    TRY(store_sync(s));
    return store_collect(s, NULL);
}

struct error *trial_live(const char *dir, bool *ret_named)
{
    struct store *s = NULL;

    root = dir;

    *ret_named = false;
    TRY(store_open(root, &s));
    struct error *e = work_in(s, ret_named);

    store_close(s);
    return e;
}

/* ---- afterwards ---- */

static size_t count_files(const char *sub)
{
    CLEANUP(freep) char *path = path_join(root, sub);
    DIR *d = opendir(path);
    size_t n = 0;

    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2;
}

static bool image_is_whole(struct store *s, const char *name)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct image_record r = { 0 };
    struct error *e = image_get(s, name, &r);

    if (err_is(e, ERR_NOT_FOUND)) {
        err_free(e);
        return false;
    }
    expect_ok(e);
    expect_ok(image_check(s, &r.target));
    expect_ok(blob_read(s, &r.target.digest, 1 << 20, &text));
    image_record_deinit(&r);
    return true;
}

/* Does the record lead to it?  Then all is there. */
static bool layer_is_whole(struct store *s, const char *id)
{
    CLEANUP(freep) char *key = xasprintf("key-%s", id), *snapshot = NULL;
    struct layer_chain *layers;

    expect_ok(cache_find(s, key, &snapshot));
    if (snapshot == NULL)
        return false;
    expect_ok(snapshot_row_hold(s, snapshot, &layers));
    assert_int_equal(layers->count, 1);
    CLEANUP(closep) int fd = layer_dir(s, layers->ids[0]);

    assert_true(fd >= 0);
    layer_chain_release(layers);
    return true;
}

void trial_check(const char *dir, bool named, const char *what)
{
    struct store *s = NULL;
    struct blob_list blobs = { 0 };

    root = dir;
    after = what;

    expect_ok(store_open(root, &s));
    assert_true(image_is_whole(s, OLD_IMAGE));
    if (named)
        assert_true(image_is_whole(s, NEW_IMAGE));
    else
        (void)image_is_whole(s, NEW_IMAGE); /* it may have been named in the end: then whole */
    assert_true(layer_is_whole(s, "old"));
    (void)layer_is_whole(s, "new");
    expect_ok(store_collect(s, NULL));
    expect_ok(blob_list(s, &blobs));
    if (blobs.count != count_files("blobs/sha256"))
        fail_msg("%zu rows and %zu files of blobs after a failing %s", blobs.count,
                 count_files("blobs/sha256"), after);
    free(blobs.list);
    store_close(s);
    if (count_files("work") != 0)
        fail_msg("%zu left in work after a failing %s", count_files("work"), after);
}

void trial_begin(char dir[64])
{
    CLEANUP(descriptor_deinit) struct descriptor old = { 0 };
    struct store *s = NULL;

    snprintf(dir, 64, "/tmp/minke-trial-XXXXXX");
    assert_non_null(mkdtemp(dir));
    root = dir;
    after = "nothing";
    expect_ok(store_open(root, &s));
    expect_ok(put_image(s, OLD_IMAGE, &old));
    expect_ok(make_layer(s, "old"));
    store_close(s);
}
