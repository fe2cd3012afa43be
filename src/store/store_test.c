/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "io/path.h"
#include "oci/tar.h"
#include "store/internal.h"
#include "task/task.h"

static char root[64];
static struct store *store;

static void expect_ok(struct error *e)
{
    if (e != NULL)
        fail_msg("%s", e->message);
}

static void expect_kind(struct error *e, enum error_kind kind)
{
    assert_non_null(e);
    if (e->kind != kind)
        fail_msg("%s", e->message);
    err_free(e);
}

static int setup(void **state)
{
    snprintf(root, sizeof(root), "/tmp/minke-store-XXXXXX");
    return mkdtemp(root) != NULL && store_open(root, &store) == NULL ? 0 : -1;
}

static int teardown(void **state)
{
    store_close(store);
    return path_remove_all(AT_FDCWD, root);
}

static void reopen(void)
{
    store_close(store);
    expect_ok(store_open(root, &store));
}

static size_t count_files(const char *sub)
{
    CLEANUP(freep) char *path = xasprintf("%s/%s", root, sub);
    DIR *d = opendir(path);
    size_t n = 0;
    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2;
}

static struct digest put(struct lease *l, const char *text)
{
    struct digest d;
    expect_ok(blob_put(store, l, text, strlen(text), &d));
    return d;
}

static void expect_content(const struct digest *d, const char *text)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    expect_ok(blob_read(store, d, 1 << 20, &b));
    assert_string_equal(buf_str(&b), text);
}

static void test_locked(void **state)
{
    struct store *other;
    expect_kind(store_open(root, &other), ERR_CONFLICT);
}

/* The database is ours alone, whatever the umask and its mode before. */
static void test_private(void **state)
{
    static const char *const files[] = { "minke.db", "minke.db-wal", "minke.db-shm" };
    mode_t before = umask(0);
    struct stat st;

    for (int turn = 0; turn < 2; turn++) {
        expect_ok(fact_put(store, "key", "value"));
        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
            assert_int_equal(fstatat(store_root_fd(store), files[i], &st, 0), 0);
            assert_int_equal(st.st_mode & 0777, 0600);
        }
        store_close(store);
        CLEANUP(freep) char *path = xasprintf("%s/minke.db", root);
        assert_int_equal(chmod(path, 0644), 0);
        expect_ok(store_open(root, &store));
    }
    umask(before);
}

static void test_blobs(void **state)
{
    struct lease *l;
    struct blob_info info;
    expect_ok(lease_open(store, &l));
    struct digest d = put(l, "hello");
    struct digest want = digest_of("hello", 5);
    assert_true(digest_eq(&d, &want));
    expect_ok(blob_stat(store, &d, &info));
    assert_int_equal(info.size, 5);
    put(l, "hello");
    assert_int_equal(count_files("blobs/sha256"), 1);
    CLEANUP(buf_deinit) struct buf b = { 0 };
    expect_kind(blob_read(store, &d, 4, &b), ERR_INVALID);
    struct digest none = digest_of("none", 4);
    struct error *e = blob_stat(store, &none, &info);
    CLEANUP(freep) char *message = xasprintf("content %s: not found", none.s);
    assert_string_equal(e->message, message);
    expect_kind(e, ERR_NOT_FOUND);

    int64_t freed;
    expect_ok(store_collect(store, &freed)); /* held */
    assert_int_equal(freed, 0);
    expect_content(&d, "hello");
    lease_close(l);
    expect_ok(store_collect(store, &freed));
    assert_int_equal(freed, 5);
    assert_int_equal(count_files("blobs/sha256"), 0);
    assert_int_equal(count_files("work"), 0);
    expect_kind(blob_stat(store, &d, &info), ERR_NOT_FOUND);
}

static void test_ingest(void **state)
{
    struct ingest *i;
    struct lease *l;
    int64_t have;
    struct digest d, want = digest_of("abcdef", 6);
    expect_ok(lease_open(store, &l));
    expect_ok(ingest_begin(store, l, want.s, &have, &i));
    assert_int_equal(have, 0);
    expect_ok(ingest_write(i, "abc", 3));
    ingest_close(i, true);
    lease_close(l);
    reopen(); /* a partial one survives */
    expect_ok(ingest_begin(store, NULL, want.s, &have, &i));
    assert_int_equal(have, 3);
    expect_ok(ingest_write(i, "def", 3));
    struct digest wrong = digest_of("x", 1);
    expect_kind(ingest_commit(i, &wrong, -1, &d), ERR_INVALID);
    expect_kind(ingest_commit(i, &want, 7, &d), ERR_INVALID);
    expect_ok(ingest_commit(i, &want, 6, &d));
    ingest_close(i, false);
    expect_content(&want, "abcdef");
    assert_int_equal(count_files("ingest"), 0);

    expect_ok(ingest_begin(store, NULL, "../../escape", &have, &i));
    expect_ok(ingest_write(i, "junk", 4));
    expect_ok(ingest_reset(i));
    expect_ok(ingest_write(i, "x", 1));
    ingest_close(i, false);
    assert_int_equal(count_files("ingest"), 0);
}

/* A small image: *ret_config names its config. */
static struct descriptor make_image(struct lease *l, const char *cmd, struct digest *ret_layer)
{
    CLEANUP(freep) char *layer_text = xasprintf("layer of %s", cmd);
    struct digest layer = put(l, layer_text);
    CLEANUP(freep)
    char *config = xasprintf("{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"%s\"]},"
                             "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}",
                             cmd, layer.s);
    struct digest c = put(l, config);
    CLEANUP(freep)
    char *manifest = xasprintf("{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST
                               "\",\"config\":{\"mediaType\":\"" MT_OCI_CONFIG
                               "\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[{\"mediaType\":\"" MT_OCI_LAYER
                               "\",\"digest\":\"%s\",\"size\":%zu}]}",
                               c.s, strlen(config), layer.s, strlen(layer_text));
    struct digest m = put(l, manifest);
    struct descriptor target;
    descriptor_init(&target, MT_OCI_MANIFEST, &m, (int64_t)strlen(manifest));
    *ret_layer = layer;
    return target;
}

static void test_images(void **state)
{
    struct lease *l;
    struct digest layer, layer2;
    int64_t freed;
    expect_ok(lease_open(store, &l));
    CLEANUP(descriptor_deinit) struct descriptor a = make_image(l, "a", &layer);
    CLEANUP(descriptor_deinit) struct descriptor b = make_image(l, "b", &layer2);
    uint64_t version = images_version(store);
    expect_ok(image_put(store, "docker.io/library/x:latest", &a));
    expect_ok(image_put(store, "docker.io/library/y:latest", &a));
    assert_true(images_version(store) != version);
    lease_close(l);
    expect_ok(store_collect(store, &freed)); /* b goes whole, a stays whole */
    assert_true(freed > 0);
    expect_ok(image_check(store, &a));
    expect_kind(image_check(store, &b), ERR_NOT_FOUND);
    expect_kind(image_put(store, "docker.io/library/z:latest", &b), ERR_NOT_FOUND);

    struct image_record r;
    expect_ok(image_get(store, "docker.io/library/x:latest", &r));
    assert_true(digest_eq(&r.target.digest, &a.digest));
    image_record_deinit(&r);
    struct image_record *list;
    size_t count;
    expect_ok(image_list_by_target(store, &a.digest, &list, &count));
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++)
        image_record_deinit(&list[i]);
    free(list);

    reopen();
    expect_ok(image_list(store, &list, &count));
    assert_int_equal(count, 2);
    assert_string_equal(list[0].name, "docker.io/library/x:latest");
    for (size_t i = 0; i < count; i++)
        image_record_deinit(&list[i]);
    free(list);
    expect_ok(image_remove(store, "docker.io/library/x:latest"));
    expect_kind(image_remove(store, "docker.io/library/x:latest"), ERR_NOT_FOUND);
    expect_ok(store_collect(store, NULL));
    expect_ok(image_check(store, &a));
    expect_ok(image_remove(store, "docker.io/library/y:latest"));
    expect_ok(store_collect(store, NULL));
    assert_int_equal(count_files("blobs/sha256"), 0);
}

/* An index that names `below` thousands of times. */
static struct descriptor wide_index(struct lease *l, const struct descriptor *below)
{
    json_t *list = json_array();
    struct descriptor index = { 0 };
    for (int i = 0; i < 4000; i++)
        json_array_append_new(list, descriptor_to_json(below));
    json_t *j =
        json_pack("{s:i, s:s, s:o}", "schemaVersion", 2, "mediaType", MT_OCI_INDEX, "manifests", list);
    CLEANUP(freep) char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    struct digest d = put(l, text);
    descriptor_init(&index, MT_OCI_INDEX, &d, (int64_t)strlen(text));
    return index;
}

/* 64 billion ways to one manifest. */
static void test_wide_indexes(void **state)
{
    struct lease *l;
    struct digest layer;
    expect_ok(lease_open(store, &l));
    CLEANUP(descriptor_deinit) struct descriptor image = make_image(l, "a", &layer);
    CLEANUP(descriptor_deinit) struct descriptor one = wide_index(l, &image);
    CLEANUP(descriptor_deinit) struct descriptor two = wide_index(l, &one);
    CLEANUP(descriptor_deinit) struct descriptor three = wide_index(l, &two);
    expect_ok(image_put(store, "docker.io/library/wide:latest", &three));
    expect_ok(image_check(store, &three));
    lease_close(l);
    expect_ok(store_collect(store, NULL));
    expect_ok(image_check(store, &three));
}

static void add_build(void *ctx, int64_t id, const void *data, size_t len)
{
    buf_addf(ctx, "%lld=%.*s ", (long long)id, (int)len, (const char *)data);
}

static void test_builds(void **state)
{
    CLEANUP(buf_deinit) struct buf all = { 0 };

    expect_ok(build_record_put(store, 7, "b", "seven", 5));
    expect_ok(build_record_put(store, 2, "a", "two", 3));
    expect_ok(build_record_put(store, 7, "b", "7", 1));
    expect_ok(build_record_put(store, 9, "a", "", 0));
    reopen();
    assert_false(store_is_first_of_boot(store));
    expect_ok(build_record_remove(store, 2));
    expect_ok(build_record_remove(store, 2));
    expect_ok(build_record_walk(store, add_build, &all));
    assert_string_equal(buf_str(&all), "7=7 9= ");
}

static void test_records_and_facts(void **state)
{
    char *text;
    expect_ok(cache_find(store, "k", &text));
    assert_null(text);
    expect_ok(cache_put(store, "k", "result", "pre", 3));
    expect_ok(cache_put(store, "k2", "result2", NULL, 0));
    expect_ok(cache_find(store, "k", &text));
    assert_string_equal(text, "result");
    free(text);
    expect_ok(fact_put(store, "a.1", "one"));
    expect_ok(fact_put(store, "a.2", "two"));
    expect_ok(fact_put(store, "b", "three"));
    reopen();
    expect_ok(fact_get(store, "a.1", &text));
    assert_string_equal(text, "one");
    free(text);
    struct map facts;
    strmap_init(&facts);
    expect_ok(fact_list(store, "a.", &facts));
    assert_int_equal(facts.len, 2);
    map_deinit(&facts);
    expect_ok(fact_put(store, "a.1", NULL));
    expect_ok(fact_get(store, "a.1", &text));
    assert_null(text);
    expect_ok(cache_find(store, "k2", &text));
    assert_string_equal(text, "result2");
    free(text);
}

/* ---- layers ----------------------------------------------------------------------------------------------
 */

static void make_layer(const char *id, const char *parent, const char *description, const char *content)
{
    CLEANUP(freep) char *dir = xasprintf("work/%s/fs", id);
    CLEANUP(closep) int fd = path_mkdirs(store_root_fd(store), dir, 0755);
    assert_true(fd >= 0);
    CLEANUP(closep) int f = openat(fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(f, content, strlen(content)), (ssize_t)strlen(content));
    struct layer_row row = { .id = (char *)id,
                             .parent = (char *)parent,
                             .size = 100,
                             .created_ns = now_ns(),
                             .description = (char *)description,
                             .type = (char *)"regular" };
    expect_ok(layer_publish(store, NULL, id, &row));
    struct strv list = { 0 };
    if (*parent != '\0')
        strv_add(&list, parent);
    strv_add(&list, id);
    CLEANUP(freep) char *snapshot = xasprintf("snap-%s", id);
    expect_ok(snapshot_row_put(store, snapshot, &list));
    strv_deinit(&list);
    CLEANUP(freep) char *key = xasprintf("key-%s", id);
    expect_ok(cache_put(store, key, snapshot, NULL, 0));
}

static void test_virtual_blob(void **state)
{
    make_layer("aaaaaaaaaaaaaaaaaaaaaaaaa", "", "one", "hello");
    struct tar_entry e = { .type = TAR_FILE, .name = (char *)"file", .mode = 0644, .size = 5 };
    CLEANUP(closep) int fs = layer_dir(store, "aaaaaaaaaaaaaaaaaaaaaaaaa");
    struct stat st;
    assert_int_equal(fstatat(fs, "file", &st, 0), 0);
    e.uid = st.st_uid;
    e.gid = st.st_gid;
    e.mode = st.st_mode & 07777;
    e.mtime = st.st_mtime;
    CLEANUP(buf_deinit) struct buf tar = { 0 };
    tar_add_header(&tar, &e);
    buf_add(&tar, "hello", 5);
    for (size_t i = 0; i < tar_padding(5); i++)
        buf_addc(&tar, '\0');
    tar_add_end(&tar);
    struct digest d = digest_of(tar.data, tar.len);
    expect_ok(layer_set_diff_id(store, "aaaaaaaaaaaaaaaaaaaaaaaaa", &d, (int64_t)tar.len, true));
    CLEANUP(buf_deinit) struct buf got = { 0 };
    expect_ok(blob_read(store, &d, 1 << 20, &got));
    assert_int_equal(got.len, tar.len);
    assert_memory_equal(got.data, tar.data, tar.len);

    /* what no longer has the digest is not given out as if it had */
    CLEANUP(closep) int f = openat(fs, "file", O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(f, "HELLO", 5), 5);
    buf_clear(&got);
    expect_kind(blob_read(store, &d, 1 << 20, &got), ERR_INTERNAL);
}

/* What look-ups remember of rows is what the rows say. */
static void test_remembered_rows(void **state)
{
    static const char id[] = "aaaaaaaaaaaaaaaaaaaaaaaaa";
    const struct digest diff_id = digest_of("tar", 3);
    struct layer_row row;
    struct blob_info info;
    struct lease *l;
    bool found;

    make_layer(id, "", "one", "hello");
    expect_ok(layer_get(store, id, &row));
    assert_string_equal(row.diff_id.s, "");
    layer_row_deinit(&row);
    expect_kind(blob_stat(store, &diff_id, &info), ERR_NOT_FOUND);
    expect_ok(layer_set_diff_id(store, id, &diff_id, 3, true));
    expect_ok(layer_set_type(store, id, "internal"));
    for (int i = 0; i < 2; i++) {
        expect_ok(layer_get(store, id, &row));
        assert_string_equal(row.diff_id.s, diff_id.s);
        assert_string_equal(row.type, "internal");
        layer_row_deinit(&row);
        expect_ok(blob_stat(store, &diff_id, &info));
        assert_string_equal(info.layer_id, id);
    }

    CLEANUP(descriptor_deinit) struct descriptor came_as = { 0 }, got = { 0 };
    expect_ok(diff_id_blob_find(store, &diff_id, NULL, &got, &found));
    assert_false(found);
    expect_ok(lease_open(store, &l));
    struct digest blob = put(l, "compressed");
    descriptor_init(&came_as, MT_OCI_LAYER, &blob, 10);
    expect_ok(diff_id_blob_put(store, &diff_id, &came_as));
    for (int i = 0; i < 2; i++) {
        CLEANUP(descriptor_deinit) struct descriptor d = { 0 };
        expect_ok(diff_id_blob_find(store, &diff_id, NULL, &d, &found));
        assert_true(found);
        assert_string_equal(d.digest.s, blob.s);
    }
    lease_close(l);
    expect_ok(store_prune(store, &(struct prune_options){ .all = true }, NULL, NULL));
    expect_kind(layer_get(store, id, &row), ERR_NOT_FOUND);
    expect_kind(blob_stat(store, &blob, &info), ERR_NOT_FOUND);
    expect_ok(diff_id_blob_find(store, &diff_id, NULL, &got, &found));
    assert_false(found);
}

static struct strv removed_ids;

static void note_removed(void *ctx, const struct usage_record *r)
{
    strv_add(&removed_ids, r->id);
}

static size_t record_count(void)
{
    struct usage_record *list;
    size_t count;
    expect_ok(usage_list(store, &list, &count));
    for (size_t i = 0; i < count; i++)
        usage_record_deinit(&list[i]);
    free(list);
    return count;
}

static void test_prune(void **state)
{
    char *text;
    make_layer("a0000000000000000000000aa", "", "base", "1");
    make_layer("b0000000000000000000000bb", "a0000000000000000000000aa", "middle", "2");
    make_layer("c0000000000000000000000cc", "b0000000000000000000000bb", "top", "3");
    make_layer("d0000000000000000000000dd", "", "other", "4");
    assert_int_equal(record_count(), 4);

    struct prune_options o = { 0 };
    strv_add(&o.filters, "description==middle"); /* something stands on it */
    expect_ok(store_prune(store, &o, note_removed, NULL));
    assert_int_equal(removed_ids.len, 0);
    strv_clear(&o.filters);
    strv_add(&o.filters, "description~=^t.p$,immutable");
    expect_ok(store_prune(store, &o, note_removed, NULL));
    assert_int_equal(removed_ids.len, 1);
    assert_string_equal(removed_ids.v[0], "c0000000000000000000000cc");
    expect_ok(cache_find(store, "key-c0000000000000000000000cc", &text));
    assert_null(text);
    expect_ok(cache_find(store, "key-b0000000000000000000000bb", &text));
    assert_non_null(text);
    free(text);
    strv_clear(&o.filters);
    strv_add(&o.filters, "description=oops");
    expect_kind(store_prune(store, &o, NULL, NULL), ERR_INVALID);
    strv_clear(&o.filters);
    strv_add(&o.filters, "description~=\"((((a{1,200}){1,200}){1,200}){1,200})\""); /* 1.6 billion states */
    expect_kind(store_prune(store, &o, NULL, NULL), ERR_INVALID);

    expect_ok(layer_hold(store, "b0000000000000000000000bb")); /* in use: it and what it stands on stay */
    strv_clear(&o.filters);
    strv_add(&o.filters, "");
    strv_clear(&removed_ids);
    expect_ok(store_prune(store, &o, note_removed, NULL));
    assert_int_equal(removed_ids.len, 1);
    assert_string_equal(removed_ids.v[0], "d0000000000000000000000dd");
    layer_release(store, "b0000000000000000000000bb");

    o.keep_ns = 3600 * NS_PER_SEC; /* all are young */
    expect_ok(store_prune(store, &o, note_removed, NULL));
    assert_int_equal(record_count(), 2);
    o.keep_ns = 0;
    o.max_used_bytes = 150; /* the newest-used base stays? only the leaf may go: middle */
    strv_clear(&removed_ids);
    expect_ok(store_prune(store, &o, note_removed, NULL));
    assert_int_equal(removed_ids.len, 1);
    assert_string_equal(removed_ids.v[0], "b0000000000000000000000bb");
    o.max_used_bytes = 0;
    expect_ok(store_prune(store, &o, note_removed, NULL));
    assert_int_equal(record_count(), 0);
    assert_int_equal(count_files("layers"), 0);
    assert_int_equal(count_files("work"), 0);
    strv_deinit(&o.filters);
    strv_deinit(&removed_ids);
}

/* As a killed process leaves it: closed, but no word of a clean end. */
static void store_die(struct store *s)
{
    expect_ok(store_sync(s));
    expect_ok(db_lock(&s->db));
    expect_ok(db_exec(&s->db, "PRAGMA query_only=1", ""));
    db_unlock(&s->db);
    store_close(s);
}

static void test_sweep(void **state)
{
    make_layer("a0000000000000000000000aa", "", "base", "1");
    put(NULL, "blob");
    /* as kill -9 leaves it: no clean end, and things that no row names */
    CLEANUP(closep) UNUSED int junk = path_mkdirs(store_root_fd(store), "layers/junk/fs", 0755);
    CLEANUP(closep) UNUSED int work = path_mkdirs(store_root_fd(store), "work/junk/upper/x", 0755);
    CLEANUP(closep)
    UNUSED int blob = openat(store_root_fd(store), "blobs/sha256/junk", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    reopen();
    assert_int_equal(count_files("layers"), 2); /* a clean end is believed */
    expect_ok(fact_put(store, "x", "y"));
    store_die(store);
    expect_ok(store_open(root, &store));
    assert_int_equal(record_count(), 1);
    assert_int_equal(count_files("layers"), 1);
    assert_int_equal(count_files("blobs/sha256"), 1);
    assert_int_equal(count_files("work"), 0);
}

static void test_quick_open(void **state)
{
    reopen();
    int64_t start = monotonic_ns();
    reopen();
    print_message("open %.2f ms, ", (double)(monotonic_ns() - start) / 1e6);
    start = monotonic_ns();
    expect_ok(fact_put(store, "x", "y"));
    print_message("first use %.2f ms\n", (double)(monotonic_ns() - start) / 1e6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_locked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_private, setup, teardown),
        cmocka_unit_test_setup_teardown(test_blobs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ingest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_images, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wide_indexes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_builds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_records_and_facts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_virtual_blob, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remembered_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sweep, setup, teardown),
        cmocka_unit_test_setup_teardown(test_quick_open, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
