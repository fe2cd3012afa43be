/* SPDX-License-Identifier: Apache-2.0 */
/* Layers through overlayfs and back: needs the right to mount (77 without). */
#include "snapshot/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "oci/tar.h"
#include "snapshot/internal.h"
#include "store/layer.h"
#include "store/layer_tar.h"
#include "task/task.h"

#define EMPTY_DIFF_ID "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

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
    snprintf(root, sizeof(root), "/tmp/minke-snap-XXXXXX");
    umask(022);
    return mkdtemp(root) != NULL && store_open(root, &store) == NULL ? 0 : -1;
}

static int teardown(void **state)
{
    store_close(store);
    return path_remove_all(AT_FDCWD, root);
}

/* ---- editing a tree --------------------------------------------------------------------------------------
 */

static void write_file(int dir, const char *path, const char *text)
{
    CLEANUP(closep) int fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void set_time(int dir, const char *path, time_t sec, long nsec)
{
    struct timespec t[2] = { { sec, nsec }, { sec, nsec } };
    assert_int_equal(utimensat(dir, path, t, AT_SYMLINK_NOFOLLOW), 0);
}

static void make_dir(int dir, const char *path)
{
    assert_int_equal(mkdirat(dir, path, 0755), 0);
}

static void remove_path(int dir, const char *path)
{
    assert_int_equal(path_remove_all(dir, path), 0);
}

static bool exists(int dir, const char *path)
{
    struct stat st;
    return fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void expect_file(int dir, const char *path, const char *text)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    int r = path_read_file(dir, path, &b, 1 << 20);
    if (r < 0)
        fail_msg("%s: %s", path, strerror(-r));
    assert_string_equal(buf_str(&b), text);
}

/* ---- snapshots in short ----------------------------------------------------------------------------------
 */

static struct snapshot *step(struct snapshot *parent, void (*edit)(int fd))
{
    struct active *a;
    struct snapshot *s;
    expect_ok(active_begin(store, parent, &a));
    if (edit != NULL)
        edit(active_fd(a));
    expect_ok(active_commit(a, "step", "regular", &s));
    return s;
}

static void edit_base(int fd)
{
    make_dir(fd, "etc");
    write_file(fd, "etc/passwd", "root:x:0:0\n");
    make_dir(fd, "usr");
    make_dir(fd, "usr/lib");
    write_file(fd, "usr/lib/a", "a");
    write_file(fd, "usr/lib/b", "b");
    make_dir(fd, "old");
    write_file(fd, "old/x", "x");
    write_file(fd, "old/keep", "keep");
    set_time(fd, "old/keep", 1000, 5);
    make_dir(fd, "old/sub");
    write_file(fd, "old/sub/deep", "deep");
    assert_int_equal(symlinkat("usr/lib", fd, "lib"), 0);
}

/* Names in the layer's tar, one a line. */
static char *tar_names(struct snapshot *s, size_t layer)
{
    struct stream *in;
    struct tar_entry *e;
    CLEANUP(buf_deinit) struct buf names = { 0 };
    expect_ok(snapshot_layer_open_tar(s, layer, &in));
    struct tar_reader *r = tar_reader_new(in);
    for (;;) {
        expect_ok(tar_reader_next(r, &e));
        if (e == NULL)
            break;
        buf_addf(&names, "%s\n", e->name);
    }
    tar_reader_free(r);
    stream_close(in);
    return buf_take(&names);
}

static void expect_names(struct snapshot *s, size_t layer, const char *want)
{
    CLEANUP(freep) char *names = tar_names(s, layer);
    assert_string_equal(names, want);
}

static void test_commit(void **state)
{
    CLEANUP(snapshot_unrefp) struct snapshot *base = step(NULL, edit_base);
    assert_int_equal(snapshot_layer_count(base), 1);
    expect_names(
        base, 0,
        "etc/\netc/passwd\nlib\nold/\nold/keep\nold/sub/\nold/sub/deep\nold/x\nusr/\nusr/lib/\nusr/lib/a\n"
        "usr/lib/b\n");
    CLEANUP(closep) int view = -1;
    expect_ok(snapshot_mount_ro(base, &view));
    expect_file(view, "lib/a", "a");
    assert_int_equal(mkdirat(view, "new", 0755), -1);
    assert_int_equal(errno, EROFS);

    CLEANUP(snapshot_unrefp) struct snapshot *again = NULL;
    expect_ok(snapshot_get(store, snapshot_id(base), &again));
    assert_string_equal(snapshot_id(again), snapshot_id(base));
    expect_kind(snapshot_get(store, "nonsense", &again), ERR_NOT_FOUND);
}

static void edit_remove(int fd)
{
    remove_path(fd, "usr/lib/a");
    write_file(fd, "usr/lib/c", "c");
}

static void edit_left(int fd)
{
    write_file(fd, "left", "l");
    write_file(fd, "both", "left");
}

static void expect_listed(int dir, const char *path, const char *want)
{
    CLEANUP(closep) int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(strv_deinit) struct strv names = { 0 };
    CLEANUP(buf_deinit) struct buf b = { 0 };
    assert_true(fd >= 0);
    assert_int_equal(list_dir(fd, &names), 0);
    for (size_t i = 0; i < names.len; i++)
        buf_addf(&b, "%s ", names.v[i]);
    assert_string_equal(buf_str(&b), want);
}

static void test_whiteout(void **state)
{
    CLEANUP(snapshot_unrefp) struct snapshot *base = step(NULL, edit_base);
    CLEANUP(snapshot_unrefp) struct snapshot *next = step(base, edit_remove);
    expect_names(next, 1, "usr/\nusr/lib/\nusr/lib/.wh.a\nusr/lib/c\n");
    CLEANUP(closep) int view = -1;
    expect_ok(snapshot_mount_ro(next, &view));
    assert_false(exists(view, "usr/lib/a"));
    expect_file(view, "usr/lib/b", "b");
    expect_file(view, "usr/lib/c", "c");

    /* alone, as a diff, the layer shows no whiteout device */
    CLEANUP(snapshot_unrefp) struct snapshot *diff = NULL;
    expect_ok(snapshot_diff(store, base, next, &diff));
    assert_int_equal(snapshot_layer_count(diff), 1);
    CLEANUP(closep) int alone = -1;
    expect_ok(snapshot_mount_ro(diff, &alone));
    assert_false(exists(alone, "usr/lib/a"));
    expect_file(alone, "usr/lib/c", "c");
    expect_listed(alone, "usr/lib", "c ");

    /* nor with another layer that lacks the directory, nor when the trees were compared */
    CLEANUP(snapshot_unrefp) struct snapshot *other = step(NULL, edit_left);
    CLEANUP(snapshot_unrefp) struct snapshot *both = NULL;
    expect_ok(snapshot_merge(store, (struct snapshot *[]){ other, diff }, 2, &both));
    CLEANUP(closep) int two = -1;
    expect_ok(snapshot_mount_ro(both, &two));
    expect_listed(two, "usr/lib", "c ");
    expect_file(two, "left", "l");
    CLEANUP(snapshot_unrefp) struct snapshot *compared = NULL;
    CLEANUP(snapshot_unrefp) struct snapshot *later = step(next, edit_left);
    expect_ok(snapshot_diff(store, later, base, &compared));
    CLEANUP(closep) int back = -1;
    expect_ok(snapshot_mount_ro(compared, &back));
    expect_listed(back, "usr/lib", "a ");

    /* a step on top sees the same, and the layer is what it was */
    CLEANUP(snapshot_unrefp) struct snapshot *above = step(diff, edit_left);
    CLEANUP(closep) int on_top = -1;
    expect_ok(snapshot_mount_ro(above, &on_top));
    expect_listed(on_top, "usr/lib", "c ");
    expect_names(above, 0, "usr/\nusr/lib/\nusr/lib/.wh.a\nusr/lib/c\n");
}

static void edit_nothing_much(int fd)
{
    CLEANUP(closep) int f = openat(fd, "usr/lib/a", O_RDWR | O_CLOEXEC); /* copied up, not changed */
    assert_true(f >= 0);
    write_file(fd, "usr/lib/temp", "t");
    remove_path(fd, "usr/lib/temp");
    write_file(fd, "temp", "t");
    remove_path(fd, "temp");
    make_dir(fd, "tempdir");
    remove_path(fd, "tempdir");
    assert_int_equal(fchmodat(fd, "etc", 0700, 0), 0);
    assert_int_equal(fchmodat(fd, "etc", 0755, 0), 0);
}

static void test_unchanged_is_empty(void **state)
{
    struct digest d;
    int64_t size;
    CLEANUP(snapshot_unrefp) struct snapshot *base = step(NULL, edit_base);
    CLEANUP(snapshot_unrefp) struct snapshot *next = step(base, edit_nothing_much);
    assert_int_equal(snapshot_layer_count(next), 2);
    expect_names(next, 1, "");
    expect_ok(snapshot_layer_diff_id(next, 1, &d, &size));
    assert_string_equal(d.s, EMPTY_DIFF_ID);
    assert_int_equal(size, 1024);
}

static void edit_replace_dir(int fd)
{
    remove_path(fd, "old");
    make_dir(fd, "old");
    write_file(fd, "old/new", "new");
    write_file(fd, "old/keep", "keep");
    set_time(fd, "old/keep", 1000, 5);
    make_dir(fd, "old/sub");
    write_file(fd, "old/sub/other", "o");
}

/* BuildKit spells an opaque directory out, and an entry that is as before does not show. */
static void test_opaque(void **state)
{
    CLEANUP(snapshot_unrefp) struct snapshot *base = step(NULL, edit_base);
    CLEANUP(snapshot_unrefp) struct snapshot *next = step(base, edit_replace_dir);
    expect_names(next, 1, "old/\nold/new\nold/sub/\nold/sub/.wh.deep\nold/sub/other\nold/.wh.x\n");
    CLEANUP(closep) int view = -1;
    expect_ok(snapshot_mount_ro(next, &view));
    assert_false(exists(view, "old/x"));
    assert_false(exists(view, "old/sub/deep"));
    expect_file(view, "old/new", "new");
    expect_file(view, "old/keep", "keep");
    expect_file(view, "old/sub/other", "o");
}

static void edit_types(int fd)
{
    remove_path(fd, "usr/lib");
    write_file(fd, "usr/lib", "now a file");
    remove_path(fd, "etc/passwd");
    make_dir(fd, "etc/passwd");
    write_file(fd, "etc/passwd/inside", "i");
    assert_int_equal(mkfifoat(fd, "fifo", 0600), 0);
    assert_int_equal(mknodat(fd, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
    write_file(fd, "one", "linked");
    assert_int_equal(linkat(fd, "one", fd, "two", 0), 0);
    assert_int_equal(linkat(fd, "lib", fd, "lib2", 0), 0);
    CLEANUP(closep) int f = openat(fd, "one", O_RDWR | O_CLOEXEC);
    assert_int_equal(fsetxattr(f, "user.note", "hello", 5, 0), 0);
    assert_int_equal(fchmod(f, 04755), 0);
}

/* Two trees are the same when a layer of each would be. */
static void expect_same_tree(int a, int b)
{
    struct digest da, db;
    int64_t sa, sb;
    expect_ok(layer_tar_digest(a, &da, &sa));
    expect_ok(layer_tar_digest(b, &db, &sb));
    assert_string_equal(da.s, db.s);
}

struct opener {
    struct snapshot *from;
    int opened;
};

static struct error *open_layer(void *ctx, size_t index, struct stream **ret)
{
    struct opener *o = ctx;
    __atomic_add_fetch(&o->opened, 1, __ATOMIC_RELAXED);
    return snapshot_layer_open_tar(o->from, index, ret);
}

/* active -> commit -> tar -> unpack in another store -> the same tree and the same diff IDs. */
static void test_round_trip(void **state)
{
    CLEANUP(snapshot_unrefp) struct snapshot *base = step(NULL, edit_base);
    CLEANUP(snapshot_unrefp) struct snapshot *two = step(base, edit_types);
    CLEANUP(snapshot_unrefp) struct snapshot *three = step(two, edit_replace_dir);
    struct opener o = { .from = three };
    struct layer_source sources[3] = { 0 };
    struct digest ids[3];
    for (size_t i = 0; i < 3; i++) {
        int64_t size;
        expect_ok(snapshot_layer_diff_id(three, i, &sources[i].diff_id, &size));
        ids[i] = sources[i].diff_id;
        sources[i].open = open_layer;
        sources[i].ctx = &o;
    }
    char other_root[] = "/tmp/minke-snap2-XXXXXX";
    struct store *other;
    assert_non_null(mkdtemp(other_root));
    expect_ok(store_open(other_root, &other));
    struct snapshot *copy, *again;
    expect_ok(snapshot_unpack(other, sources, 3, NULL, &copy));
    assert_int_equal(o.opened, 3);
    CLEANUP(closep) int a = -1;
    CLEANUP(closep) int b = -1;
    expect_ok(snapshot_mount_ro(three, &a));
    expect_ok(snapshot_mount_ro(copy, &b));
    expect_same_tree(a, b);
    for (size_t i = 0; i < 3; i++) {
        CLEANUP(closep) int dir = layer_dir(other, snapshot_layer(copy, i)->id);
        struct digest d;
        int64_t size;
        expect_ok(layer_tar_digest(dir, &d, &size));
        assert_string_equal(d.s, ids[i].s);
    }
    expect_ok(snapshot_unpack(other, sources, 3, NULL, &again)); /* all there */
    assert_int_equal(o.opened, 3);
    assert_string_equal(snapshot_id(again), snapshot_id(copy));
    snapshot_unref(again);
    expect_ok(snapshot_by_diff_ids(other, ids, 3, &again));
    assert_string_equal(snapshot_id(again), snapshot_id(copy));
    snapshot_unref(again);
    snapshot_unref(copy);
    store_close(other);
    assert_int_equal(path_remove_all(AT_FDCWD, other_root), 0);
}

static void edit_right(int fd)
{
    write_file(fd, "right", "r");
    write_file(fd, "both", "right");
}

static void test_merge_and_diff(void **state)
{
    CLEANUP(snapshot_unrefp) struct snapshot *base = step(NULL, edit_base);
    CLEANUP(snapshot_unrefp) struct snapshot *left = step(base, edit_left);
    CLEANUP(snapshot_unrefp) struct snapshot *right = step(base, edit_right);
    CLEANUP(snapshot_unrefp) struct snapshot *l = NULL;
    CLEANUP(snapshot_unrefp) struct snapshot *r = NULL;
    expect_ok(snapshot_diff(store, base, left, &l));
    expect_ok(snapshot_diff(store, base, right, &r));
    struct snapshot *list[] = { base, l, NULL, r };
    CLEANUP(snapshot_unrefp) struct snapshot *merged = NULL;
    CLEANUP(snapshot_unrefp) struct snapshot *merged2 = NULL;
    expect_ok(snapshot_merge(store, list, 4, &merged));
    expect_ok(snapshot_merge(store, list, 4, &merged2));
    assert_string_equal(snapshot_id(merged), snapshot_id(merged2));
    assert_int_equal(snapshot_layer_count(merged), 3);
    CLEANUP(closep) int view = -1;
    expect_ok(snapshot_mount_ro(merged, &view));
    expect_file(view, "left", "l");
    expect_file(view, "both", "right");
    expect_file(view, "etc/passwd", "root:x:0:0\n");

    /* no prefix: the trees are compared */
    CLEANUP(snapshot_unrefp) struct snapshot *cross = NULL;
    expect_ok(snapshot_diff(store, left, right, &cross));
    expect_names(cross, 0, "both\n.wh.left\nright\n");
    CLEANUP(snapshot_unrefp) struct snapshot *none = NULL;
    expect_ok(snapshot_diff(store, left, left, &none));
    assert_string_equal(snapshot_id(none), "");
    CLEANUP(snapshot_unrefp) struct snapshot *prefix = NULL;
    expect_ok(snapshot_prefix(merged, 1, &prefix));
    assert_string_equal(snapshot_id(prefix), snapshot_id(base));
}

/* A layer may be there twice: what follows a merged beginning is found even where it repeats a part of it. */
static void test_repeated_layers(void **state)
{
    CLEANUP(snapshot_unrefp) struct snapshot *base = step(NULL, edit_base);
    CLEANUP(snapshot_unrefp) struct snapshot *left = step(base, edit_left);
    CLEANUP(snapshot_unrefp) struct snapshot *right = step(base, edit_right);
    CLEANUP(snapshot_unrefp) struct snapshot *merged = NULL;
    CLEANUP(snapshot_unrefp) struct snapshot *rest = NULL;
    struct snapshot *list[] = { left, right };
    expect_ok(snapshot_merge(store, list, 2, &merged));
    assert_int_equal(snapshot_layer_count(merged), 4);
    expect_ok(snapshot_diff(store, left, merged, &rest));
    assert_string_equal(snapshot_id(rest), snapshot_id(right));
    CLEANUP(closep) int view = -1;
    expect_ok(snapshot_mount_ro(merged, &view));
    expect_file(view, "both", "right");

    struct snapshot *many[LIMIT_REPEATED_LAYERS];
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = i % 2 == 0 ? left : right;
    CLEANUP(snapshot_unrefp) struct snapshot *bounded = NULL;
    expect_ok(snapshot_merge(store, many, ARRAY_LEN(many), &bounded));
    assert_int_equal(snapshot_layer_count(bounded), 3);
    CLEANUP(closep) int last = -1;
    expect_ok(snapshot_mount_ro(bounded, &last));
    expect_file(last, "both", "right");
}

static void test_abandon_and_collect(void **state)
{
    struct active *a;
    CLEANUP(snapshot_unrefp) struct snapshot *base = step(NULL, edit_base);
    expect_ok(active_begin(store, base, &a));
    edit_right(active_fd(a));
    CLEANUP(freep) char *target = xasprintf("%s/at", root);
    assert_int_equal(mkdir(target, 0755), 0);
    expect_ok(active_attach(a, target));
    CLEANUP(freep) char *file = xasprintf("%s/right", target);
    assert_int_equal(access(file, F_OK), 0);
    active_abandon(a);
    assert_int_equal(access(file, F_OK), -1);
    struct prune_options o = { .all = true };
    expect_ok(store_prune(store, &o, NULL, NULL)); /* held by the snapshot */
    CLEANUP(closep) int view = -1;
    expect_ok(snapshot_mount_ro(base, &view));
    expect_file(view, "etc/passwd", "root:x:0:0\n");
    close(TAKE_FD(view));
    CLEANUP(freep) char *id = xstrdup(snapshot_id(base));
    snapshot_unref(TAKE(base));
    expect_ok(store_prune(store, &o, NULL, NULL));
    expect_kind(snapshot_get(store, id, &base), ERR_NOT_FOUND);
}

static void test_virtual_blob(void **state)
{
    CLEANUP(snapshot_unrefp) struct snapshot *base = step(NULL, edit_base);
    CLEANUP(descriptor_deinit) struct descriptor d = { 0 };
    expect_ok(snapshot_layer_blob(base, 0, &d));
    assert_string_equal(d.media_type, MT_OCI_LAYER);
    CLEANUP(buf_deinit) struct buf b = { 0 };
    expect_ok(blob_read(store, &d.digest, 1 << 20, &b));
    struct digest got = digest_of(b.data, b.len);
    assert_string_equal(got.s, d.digest.s);
    assert_int_equal(b.len, d.size);
}

/* ---- cache mounts ----------------------------------------------------------------------------------------
 */

static struct error *take_locked(void *arg)
{
    struct cache_mount *c;
    TRY(cache_mount_acquire(store, "locked", CACHE_LOCKED, NULL, "cache", &c));
    __atomic_add_fetch((int *)arg, 1, __ATOMIC_SEQ_CST);
    assert(__atomic_load_n((int *)arg, __ATOMIC_SEQ_CST) == 1);
    int r = task_sleep(NS_PER_MS);
    __atomic_sub_fetch((int *)arg, 1, __ATOMIC_SEQ_CST);
    cache_mount_release(c);
    return r < 0 ? err_sys(-r, "sleep") : NULL;
}

#define ROUNDS 300

static struct error *use_again(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        struct cache_mount *c;
        struct stat st;
        TRY(cache_mount_acquire(store, "pruned", CACHE_SHARED, NULL, "cached mount", &c));
        assert_int_equal(fstat(cache_mount_fd(c), &st), 0);
        assert_true(st.st_nlink > 0); /* nobody removes it while it is in use */
        cache_mount_release(c);
    }
    return NULL;
}

static struct error *prune_again(void *arg)
{
    struct prune_options o = { .all = true };
    for (int i = 0; i < ROUNDS; i++)
        TRY(store_prune(store, &o, NULL, NULL));
    return NULL;
}

/* Between the look at the list and the hold a prune may take one. */
static void test_pruned_cache_mounts(void **state)
{
    struct group g;
    group_open(&g, 0);
    for (int i = 0; i < 3; i++)
        expect_ok(group_spawn(&g, "user", use_again, NULL));
    expect_ok(group_spawn(&g, "prune", prune_again, NULL));
    expect_ok(group_join(&g));
}

static void test_cache_mounts(void **state)
{
    struct cache_mount *a, *b;
    struct stat sa, sb;
    expect_ok(cache_mount_acquire(store, "x", CACHE_SHARED, NULL, "cached mount", &a));
    write_file(cache_mount_fd(a), "file", "kept");
    expect_ok(cache_mount_acquire(store, "x", CACHE_SHARED, NULL, "cached mount", &b));
    expect_file(cache_mount_fd(b), "file", "kept");
    cache_mount_release(a);
    cache_mount_release(b);

    expect_ok(cache_mount_acquire(store, "p", CACHE_PRIVATE, NULL, "private", &a));
    expect_ok(cache_mount_acquire(store, "p", CACHE_PRIVATE, NULL, "private", &b));
    assert_int_equal(fstat(cache_mount_fd(a), &sa), 0);
    assert_int_equal(fstat(cache_mount_fd(b), &sb), 0);
    assert_true(sa.st_ino != sb.st_ino);
    cache_mount_release(a);
    cache_mount_release(b);
    expect_ok(cache_mount_acquire(store, "p", CACHE_PRIVATE, NULL, "private", &a)); /* a free one again */
    assert_int_equal(fstat(cache_mount_fd(a), &sb), 0);
    assert_int_equal(sa.st_ino, sb.st_ino);
    cache_mount_release(a);

    struct group g;
    int inside = 0;
    group_open(&g, 0);
    for (int i = 0; i < 8; i++)
        expect_ok(group_spawn(&g, "locked", take_locked, &inside));
    expect_ok(group_join(&g));

    CLEANUP(snapshot_unrefp) struct snapshot *base = step(NULL, edit_base);
    expect_ok(cache_mount_acquire(store, "x", CACHE_SHARED, base, "filled", &a));
    expect_file(cache_mount_fd(a), "usr/lib/a", "a");
    cache_mount_release(a);

    struct usage_record *list;
    size_t count, mounts = 0;
    expect_ok(usage_list(store, &list, &count));
    for (size_t i = 0; i < count; i++) {
        mounts +=
            streq(list[i].type, "exec.cachemount") && list[i].mutable_ && !list[i].in_use && list[i].size > 0;
        usage_record_deinit(&list[i]);
    }
    free(list);
    assert_int_equal(mounts, 5);
}

static int released;
static void note_release(void *ctx)
{
    released++;
}

static int completed;
static struct error *note_complete(void *ctx)
{
    return completed++ == 0 ? NULL : err_new(ERR_INTERNAL, "cannot be completed");
}

static void test_tree(void **state)
{
    CLEANUP(freep) char *path = xasprintf("%s/tree", root);
    assert_int_equal(mkdir(path, 0755), 0);
    static const struct tree_ops ops = { note_release, note_complete };
    struct snapshot *t = snapshot_from_tree(store, "tree-1", path, &ops, path);
    assert_ptr_equal(snapshot_tree_ctx(t, &ops), path);
    CLEANUP(closep) int view = -1;
    expect_ok(snapshot_mount_ro(t, &view));
    assert_int_equal(mkdirat(view, "x", 0755), -1);
    assert_int_equal(errno, EROFS);
    int again;
    expect_kind(snapshot_open_tree(t, &again), ERR_INTERNAL);
    struct active *a;
    expect_kind(active_begin(store, t, &a), ERR_INVALID);
    snapshot_unref(t);
    assert_int_equal(released, 1);
}

/* ---- speed ------------------------------------------------------------------------------------------------
 */

static void edit_many(int fd)
{
    for (int i = 0; i < 10; i++) {
        char name[32];
        snprintf(name, sizeof(name), "d%d", i);
        make_dir(fd, name);
        for (int k = 0; k < 100; k++) {
            snprintf(name, sizeof(name), "d%d/f%d", i, k);
            write_file(fd, name, "some text in a file");
        }
    }
}

static void edit_large(int fd)
{
    CLEANUP(closep) int f = openat(fd, "large", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    CLEANUP(freep) char *chunk = xcalloc(1, 1 << 20);
    for (int i = 0; i < 50; i++)
        assert_int_equal(write(f, chunk, 1 << 20), 1 << 20);
}

static void time_step(const char *what, void (*edit)(int))
{
    struct active *a;
    struct snapshot *s;
    struct digest d;
    int64_t size;
    expect_ok(active_begin(store, NULL, &a));
    edit(active_fd(a));
    int64_t t0 = monotonic_ns();
    expect_ok(active_commit(a, "step", "regular", &s));
    int64_t t1 = monotonic_ns();
    expect_ok(snapshot_layer_diff_id(s, 0, &d, &size));
    int64_t t2 = monotonic_ns();
    struct opener o = { .from = s };
    print_message("%s: commit %.1f ms, diff id %.1f ms", what, (double)(t1 - t0) / 1e6,
                  (double)(t2 - t1) / 1e6);
    char other_root[] = "/tmp/minke-snap2-XXXXXX";
    struct store *other;
    assert_non_null(mkdtemp(other_root));
    expect_ok(store_open(other_root, &other));
    struct layer_source source = { .diff_id = d, .open = open_layer, .ctx = &o };
    struct snapshot *copy;
    t0 = monotonic_ns();
    expect_ok(snapshot_unpack(other, &source, 1, NULL, &copy));
    print_message(", unpack %.1f ms\n", (double)(monotonic_ns() - t0) / 1e6);
    snapshot_unref(copy);
    store_close(other);
    assert_int_equal(path_remove_all(AT_FDCWD, other_root), 0);
    snapshot_unref(s);
}

static void test_speed(void **state)
{
    time_step("1000 files", edit_many);
    time_step("50 MiB", edit_large);
    int64_t t0 = monotonic_ns();
    CLEANUP(snapshot_unrefp) struct snapshot *s = step(NULL, edit_base);
    for (int i = 0; i < 20; i++) {
        struct snapshot *next = step(s, i % 2 == 0 ? edit_left : edit_right);
        snapshot_unref(s);
        s = next;
    }
    print_message("20 small steps %.1f ms\n", (double)(monotonic_ns() - t0) / 1e6);
}

/* A layer with one file, made without a mount. */
static struct snapshot *plain_layer(const char *file)
{
    char id[LAYER_ID_LEN + 1];
    struct snapshot *s;
    random_id(id, LAYER_ID_LEN);
    CLEANUP(freep) char *path = xasprintf("%s/fs", id);
    CLEANUP(closep) int fs = path_mkdirs(store_work_fd(store), path, 0755);
    assert_true(fs >= 0);
    write_file(fs, file, "l");
    struct layer_row row = { .id = id, .size = 1, .created_ns = now_ns() };
    expect_ok(layer_publish(store, NULL, id, &row));
    expect_ok(snapshot_extend(store, NULL, id, &s));
    return s;
}

/* 500 layers in one mount. */
static void test_many_layers(void **state)
{
    struct snapshot *list[500];
    size_t n = 0;
    list[n++] = step(NULL, edit_base);
    while (n < 500)
        list[n++] = plain_layer("left");
    CLEANUP(snapshot_unrefp) struct snapshot *all = NULL;
    expect_ok(snapshot_merge(store, list, n, &all));
    CLEANUP(closep) int view = -1;
    expect_ok(snapshot_mount_ro(all, &view));
    expect_file(view, "left", "l");
    expect_file(view, "etc/passwd", "root:x:0:0\n");
    CLEANUP(snapshot_unrefp) struct snapshot *more = plain_layer("more");
    struct snapshot *two[] = { all, more };
    CLEANUP(snapshot_unrefp) struct snapshot *over = NULL;
    expect_ok(snapshot_merge(store, two, 2, &over));
    int fd;
    expect_kind(snapshot_mount_ro(over, &fd), ERR_EXHAUSTED);
    for (size_t i = 0; i < n; i++)
        snapshot_unref(list[i]);
}

static bool can_mount(void)
{
    void *unused = NULL;
    int fd;
    if (setup(&unused) < 0)
        return false;
    CLEANUP(snapshot_unrefp) struct snapshot *s = snapshot_empty(store);
    struct error *e = snapshot_mount_ro(s, &fd);
    if (e == NULL)
        close(fd);
    snapshot_unref(TAKE(s));
    teardown(&unused);
    bool ok = e == NULL;
    if (!ok)
        print_message("skipped: %s\n", e->message);
    err_free(e);
    return ok;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_commit),
        T(test_whiteout),
        T(test_unchanged_is_empty),
        T(test_opaque),
        T(test_round_trip),
        T(test_merge_and_diff),
        T(test_repeated_layers),
        T(test_abandon_and_collect),
        T(test_virtual_blob),
        T(test_cache_mounts),
        T(test_pruned_cache_mounts),
        T(test_tree),
        T(test_many_layers),
        T(test_speed),
    };
    if (!can_mount())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
