/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Archives that want out of the layer (security.md M5).  Whatever becomes of one - accepted or refused - the
 * tree beside the store is as before, nothing is left in work/, and the store still works.
 */
#include "snapshot/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "io/path.h"
#include "oci/tar.h"
#include "store/layer.h"
#include "store/layer_tar.h"

static char top[64];
static struct store *store;
static struct digest canary_digest;

static void expect_ok(struct error *e)
{
    if (e != NULL)
        fail_msg("%s", e->message);
}

static struct digest digest_tree(const char *sub)
{
    struct digest d;
    int64_t size;
    CLEANUP(freep) char *path = xasprintf("%s/%s", top, sub);
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    expect_ok(layer_tar_digest(fd, &d, &size));
    return d;
}

static void write_canary(const char *name)
{
    CLEANUP(freep) char *path = xasprintf("%s/canary/%s", top, name);
    CLEANUP(closep) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    assert_int_equal(write(fd, "canary", 6), 6);
}

static int setup(void **state)
{
    snprintf(top, sizeof(top), "/tmp/minke-hostile-XXXXXX");
    if (mkdtemp(top) == NULL)
        return -1;
    CLEANUP(freep) char *root = xasprintf("%s/store", top);
    CLEANUP(freep) char *canary = xasprintf("%s/canary/empty", top);
    assert_int_equal(make_dirs(canary, 0755), 0);
    write_canary("f");
    write_canary(".wh.f");
    canary_digest = digest_tree("canary");
    return store_open(root, &store) == NULL ? 0 : -1;
}

static int teardown(void **state)
{
    store_close(store);
    return path_remove_all(AT_FDCWD, top);
}

/* ---- archives --------------------------------------------------------------------------------------------
 */

/* One entry: a file holds "evil"; `link` for links. %C stands for the canary's path without its first slash.
 */
struct item {
    char type;
    const char *name, *link;
};
struct archive {
    struct item items[6];
};

static char *expand(const char *s)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    for (; s != NULL && *s != '\0'; s++) {
        if (s[0] == '%' && s[1] == 'C') {
            buf_addf(&b, "%s/canary", top + 1);
            s++;
        } else {
            buf_addc(&b, *s);
        }
    }
    return buf_take(&b);
}

static void add_item(struct buf *tar, const struct item *i)
{
    CLEANUP(freep) char *name = expand(i->name);
    CLEANUP(freep) char *link = expand(i->link);
    struct tar_entry e = { .type = (enum tar_type)i->type, .name = name, .linkname = link, .mode = 04777 };
    e.size = i->type == TAR_FILE ? 4 : 0;
    tar_add_header(tar, &e);
    if (i->type != TAR_FILE)
        return;
    char block[TAR_BLOCK] = "evil";
    buf_add(tar, block, sizeof(block));
}

static struct error *open_archive(void *ctx, size_t index, struct stream **ret)
{
    const struct buf *tar = (const struct buf *)ctx + index;
    *ret = stream_from_memory(tar->data, tar->len);
    return NULL;
}

static size_t count_entries(const char *sub)
{
    CLEANUP(freep) char *path = xasprintf("%s/store/%s", top, sub);
    DIR *d = opendir(path);
    const struct dirent *e;
    size_t n = 0;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL)
        n += e->d_name[0] != '.' && !streq(e->d_name, "empty");
    closedir(d);
    return n;
}

static void expect_contained(size_t which)
{
    struct digest now = digest_tree("canary");
    if (!digest_eq(&now, &canary_digest))
        fail_msg("archive %zu changed the tree outside", which);
    if (count_entries("work") != 0)
        fail_msg("archive %zu left something in work/", which);
}

/* Unpacked on its own and over a layer of links.  Was it accepted? */
static bool unpack_over(const struct buf *tars, size_t count)
{
    struct layer_source sources[2] = { 0 };
    struct snapshot *s;
    for (size_t i = 0; i < count; i++) {
        sources[i].diff_id = digest_of(tars[i].data, tars[i].len);
        sources[i].open = open_archive;
        sources[i].ctx = (void *)tars;
    }
    struct error *e = snapshot_unpack(store, sources, count, NULL, &s);
    if (e == NULL)
        snapshot_unref(s);
    err_free(e);
    return e == NULL;
}

static void links_below(struct buf *tar)
{
    static const struct item items[] = { { TAR_SYMLINK, "abs", "/%C" },
                                         { TAR_SYMLINK, "rel", "../../../../../../../../../%C" },
                                         { TAR_SYMLINK, "dir", "/" },
                                         { TAR_FILE, "plain", NULL } };
    for (size_t i = 0; i < ARRAY_LEN(items); i++)
        add_item(tar, &items[i]);
    tar_add_end(tar);
}

#define UP "../../../../../../../../../../"
static const struct archive corpus[] = {
    /* symbolic links, and what comes behind them */
    { { { '2', "l", "/%C" }, { '0', "l/f", NULL } } },
    { { { '2', "l", UP "%C" }, { '0', "l/f", NULL } } },
    { { { '2', "l", "/%C/f" }, { '0', "l", NULL } } },
    { { { '2', "l", "/%C" }, { '5', "l/", NULL }, { '0', "l/f", NULL } } },
    { { { '2', "l", "/%C" }, { '5', "l/empty/", NULL } } },
    { { { '2', "l", "/%C" }, { '2', "l/new", "x" } } },
    { { { '2', "l", "/%C" }, { '1', "l/new", "l/f" } } },
    { { { '2', "l", "/%C" }, { '3', "l/dev", NULL } } },
    { { { '2', "l", "/%C" }, { '6', "l/fifo", NULL } } },
    { { { '2', "a", "b" }, { '2', "b", "a" }, { '0', "a/x", NULL } } },
    { { { '2', "a", "." }, { '0', "a/a/a/a/x", NULL } } },
    { { { '2', "a", ".." }, { '0', "a/a/a/%C/f", NULL } } },
    { { { '2', "d/l", UP "%C" }, { '0', "d/l/f", NULL } } },
    { { { '5', "d/", NULL }, { '2', "d", "/%C" }, { '0', "d/f", NULL } } },
    { { { '0', "d/x", NULL }, { '2', "d", "/%C" }, { '0', "d/f", NULL } } },
    { { { '5', "d/", NULL },
        { '0', "d/x", NULL },
        { '2', "d", "/%C" },
        { '5', "d/", NULL },
        { '0', "d/f", NULL } } },
    { { { '2', "l", "" }, { '0', "l/f", NULL } } },
    { { { '2', "proc", "/proc/self/root" }, { '0', "proc/%C/f", NULL } } },
    { { { '2', "p", "/proc/self/cwd" }, { '0', "p/x", NULL } } },
    { { { '2', "p", "/proc/self/fd/3" }, { '0', "p/x", NULL } } },
    /* hard links */
    { { { '1', "h", "/%C/f" }, { '0', "h", NULL } } },
    { { { '1', "h", UP "%C/f" }, { '0', "h", NULL } } },
    { { { '1', "h", "%C/f" } } },
    { { { '2', "l", "/%C" }, { '1', "h", "l/f" }, { '0', "h", NULL } } },
    { { { '2', "l", "/%C/f" }, { '1', "h", "l" }, { '0', "h", NULL } } },
    { { { '1', "h", "h" } } },
    { { { '1', "h", "." } } },
    { { { '1', "h", "" } } },
    { { { '1', "h", ".." } } },
    { { { '5', "d/", NULL }, { '1', "h", "d" } } },
    { { { '0', "x", NULL }, { '1', "x", "x" } } },
    { { { '0', "x", NULL }, { '1', "y", "x" }, { '1', "x", "y" } } },
    { { { '1', "h", "missing" } } },
    { { { '1', "h", "missing/deep/er" } } },
    /* names */
    { { { '0', UP "%C/f", NULL } } },
    { { { '0', "/%C/f", NULL } } },
    { { { '0', "a/../../../../../%C/f", NULL } } },
    { { { '0', "..", NULL } } },
    { { { '0', ".", NULL } } },
    { { { '0', "/", NULL } } },
    { { { '0', "//", NULL } } },
    { { { '5', "../", NULL } } },
    { { { '5', "./", NULL } } },
    { { { '2', ".", "/%C" } } },
    { { { '2', "..", "/%C" } } },
    { { { '1', ".", "/%C/f" } } },
    { { { '0', "./././x", NULL } } },
    { { { '0', "x/", NULL } } },
    { { { '0', "x", NULL }, { '0', "x/y", NULL } } },
    { { { '6', "x", NULL }, { '0', "x/y", NULL } } },
    { { { '6', "x", NULL }, { '0', "x", NULL } } },
    { { { '3', "x", NULL }, { '0', "x", NULL } } },
    { { { '3', "x", NULL }, { '0', "x/y", NULL } } },
    { { { '0', "a\nb", NULL }, { '0', "a\\..\\b", NULL }, { '0', "...", NULL }, { '0', ".. ", NULL } } },
    /* whiteouts */
    { { { '0', ".wh.", NULL } } },
    { { { '0', ".wh..", NULL } } },
    { { { '0', ".wh...", NULL } } },
    { { { '0', "a/.wh..", NULL } } },
    { { { '0', "a/.wh...", NULL } } },
    { { { '0', ".wh....", NULL } } },
    { { { '0', UP ".wh.%C", NULL } } },
    { { { '0', UP "%C/.wh.f", NULL } } },
    { { { '2', "l", "/%C" }, { '0', "l/.wh.f", NULL } } },
    { { { '2', "l", "/%C" }, { '0', "l/.wh..wh..opq", NULL } } },
    { { { '2', "l", "/%C" }, { '0', ".wh.l", NULL } } },
    { { { '2', "l", "/%C" }, { '0', "l/.wh.empty", NULL } } },
    { { { '0', ".wh..wh..opq", NULL }, { '0', ".wh..wh..opq", NULL } } },
    { { { '5', ".wh..wh..opq/", NULL } } },
    { { { '2', ".wh..wh..opq", "/%C" } } },
    { { { '2', ".wh.x", "/%C/f" } } },
    { { { '1', ".wh.x", "/%C/f" } } },
    { { { '0', ".wh.x", NULL }, { '0', "x", NULL } } },
    { { { '0', "x", NULL }, { '0', ".wh.x", NULL } } },
    { { { '0', ".wh.x", NULL }, { '5', "x/", NULL }, { '0', "x/y", NULL } } },
    { { { '0', ".wh.x", NULL }, { '0', "x/y", NULL } } },
    { { { '0', ".wh..wh.plnk", NULL }, { '5', ".wh..wh.aufs/", NULL } } },
    { { { '0', "a/.wh..wh..opq", NULL }, { '2', "a", "/%C" }, { '0', "a/.wh.f", NULL } } },
    /* through the links of the layer below */
    { { { '0', "abs/f", NULL } } },
    { { { '0', "rel/f", NULL } } },
    { { { '0', "dir/%C/f", NULL } } },
    { { { '5', "abs/", NULL }, { '0', "abs/f", NULL } } },
    { { { '0', "abs/.wh.f", NULL } } },
    { { { '0', "rel/.wh..wh..opq", NULL } } },
    { { { '1', "h", "abs/f" } } },
    { { { '1', "h", "rel/f" } } },
    { { { '1', "h", "dir/%C/f" } } },
    { { { '1', "h", "abs" }, { '0', "h", NULL } } },
    { { { '1', "abs/new", "plain" } } },
    { { { '1', "new", "plain" }, { '0', "new", NULL } } },
    { { { '0', "abs/empty/x", NULL } } },
    { { { '0', "plain/x", NULL } } },
};

static void test_corpus(void **state)
{
    CLEANUP(buf_deinit) struct buf below = { 0 };
    size_t accepted = 0;
    links_below(&below);
    for (size_t i = 0; i < ARRAY_LEN(corpus); i++) {
        struct buf tars[2] = { 0 };
        buf_add(&tars[0], below.data, below.len);
        for (size_t k = 0; k < ARRAY_LEN(corpus[i].items) && corpus[i].items[k].name != NULL; k++)
            add_item(&tars[1], &corpus[i].items[k]);
        tar_add_end(&tars[1]);
        accepted += unpack_over(tars + 1, 1);
        expect_contained(i);
        accepted += unpack_over(tars, 2);
        expect_contained(i);
        buf_deinit(&tars[0]);
        buf_deinit(&tars[1]);
    }
    assert_true(accepted > 40); /* most are odd rather than malformed */
    expect_ok(store_collect(store, NULL));
    assert_int_equal(count_entries("layers"), 0);
}

/* Attributes of overlayfs's own must not come from an archive. */
static void test_overlay_attributes(void **state)
{
    struct buf tar = { 0 };
    struct tar_entry e = { .type = TAR_DIR, .name = (char *)"d/", .mode = 0755 };
    char value[8];
    tar_entry_add_xattr(&e, "trusted.overlay.redirect", "/etc", 4);
    tar_entry_add_xattr(&e, "trusted.overlay.opaque", "y", 1);
    tar_entry_add_xattr(&e, "user.kept", "yes", 3);
    tar_add_header(&tar, &e);
    tar_add_end(&tar);
    free(e.xattrs[0].name), free(e.xattrs[0].value), free(e.xattrs[1].name), free(e.xattrs[1].value);
    free(e.xattrs[2].name), free(e.xattrs[2].value), free(e.xattrs);

    struct layer_source source = { .diff_id = digest_of(tar.data, tar.len),
                                   .open = open_archive,
                                   .ctx = &tar };
    struct snapshot *s;
    expect_ok(snapshot_unpack(store, &source, 1, NULL, &s));
    CLEANUP(closep) int fs = layer_dir(store, snapshot_layer(s, 0)->id);
    CLEANUP(closep) int d = openat(fs, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(fgetxattr(d, "trusted.overlay.redirect", value, sizeof(value)), -1);
    assert_int_equal(fgetxattr(d, "trusted.overlay.opaque", value, sizeof(value)), -1);
    assert_int_equal(fgetxattr(d, "user.kept", value, sizeof(value)), 3);
    snapshot_unref(s);
    buf_deinit(&tar);
}

/* A tar that is not what its diff ID says, or is cut short, leaves nothing behind. */
static void test_wrong_content(void **state)
{
    struct buf tar = { 0 };
    struct snapshot *s;
    static const struct item file = { TAR_FILE, "f", NULL };
    add_item(&tar, &file);
    tar_add_end(&tar);
    struct layer_source source = { .diff_id = digest_of("x", 1), .open = open_archive, .ctx = &tar };
    for (size_t len = tar.len; len > 300; len -= 300) {
        struct error *e = snapshot_unpack(store, &source, 1, NULL, &s);
        assert_non_null(e);
        err_free(e);
        tar.len = len;
    }
    assert_int_equal(count_entries("work"), 0);
    assert_int_equal(count_entries("layers"), 0);
    buf_deinit(&tar);
}

/* An image that says a layer that is here comes as some other blob: an image made of the layer must not get
 * it. */
static void test_wrong_blob(void **state)
{
    static const struct item names[] = { { TAR_FILE, "f", NULL }, { TAR_FILE, "g", NULL } };
    struct buf tars[2] = { 0 };
    struct layer_source sources[2] = { 0 };
    struct descriptor evil = { 0 }, got = { 0 };
    struct digest d;
    struct snapshot *s;
    struct lease *lease;
    bool found;

    expect_ok(lease_open(store, &lease));
    for (size_t i = 0; i < 2; i++) {
        add_item(&tars[i], &names[i]);
        tar_add_end(&tars[i]);
        sources[i] = (struct layer_source){ .diff_id = digest_of(tars[i].data, tars[i].len),
                                            .open = open_archive,
                                            .ctx = tars };
    }
    expect_ok(snapshot_unpack(store, sources, 1, lease, &s));
    snapshot_unref(s);
    expect_ok(blob_put(store, lease, "evil", 4, &d));
    descriptor_init(&evil, MT_OCI_LAYER_GZIP, &d, 4);
    sources[0].blob = &evil;
    expect_ok(snapshot_unpack(store, sources, 2, lease, &s));
    expect_ok(diff_id_blob_find(store, &sources[0].diff_id, NULL, &got, &found));
    assert_false(found);
    expect_ok(snapshot_layer_blob(s, 0, &got));
    assert_string_equal(got.digest.s, sources[0].diff_id.s);
    descriptor_deinit(&got);
    descriptor_deinit(&evil);
    snapshot_unref(s);
    lease_close(lease);
    buf_deinit(&tars[0]);
    buf_deinit(&tars[1]);
}

/* An entry for a hard link describes the file once more; of a link to a symbolic link it changes nothing. */
static void test_described_twice(void **state)
{
    struct buf tar = { 0 };
    const struct tar_entry all[] = {
        { .type = TAR_FILE, .name = (char *)"f", .mode = 04755, .uid = 5, .gid = 6, .mtime = 1000 },
        { .type = TAR_HARDLINK,
          .name = (char *)"h",
          .linkname = (char *)"f",
          .mode = 0640,
          .uid = 7,
          .mtime = 2000 },
        { .type = TAR_SYMLINK,
          .name = (char *)"s",
          .linkname = (char *)"f",
          .mode = 0777,
          .uid = 8,
          .mtime = 3000 },
        { .type = TAR_HARDLINK,
          .name = (char *)"l",
          .linkname = (char *)"s",
          .mode = 0600,
          .uid = 9,
          .mtime = 4000 },
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        tar_add_header(&tar, &all[i]);
    tar_add_end(&tar);
    struct layer_source source = { .diff_id = digest_of(tar.data, tar.len),
                                   .open = open_archive,
                                   .ctx = &tar };
    struct snapshot *s;
    struct stat st;
    expect_ok(snapshot_unpack(store, &source, 1, NULL, &s));
    CLEANUP(closep) int fs = layer_dir(store, snapshot_layer(s, 0)->id);
    assert_int_equal(fstatat(fs, "f", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(st.st_uid, 7);
    assert_int_equal(st.st_gid, 0);
    assert_int_equal(st.st_mtime, 2000);
    assert_int_equal(fstatat(fs, "s", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_nlink, 2);
    assert_int_equal(st.st_uid, 8);
    snapshot_unref(s);
    buf_deinit(&tar);
}

/* Implied directories look as those below; a link to a file below brings it up. */
static void test_depends_on_below(void **state)
{
    struct buf tars[2] = { 0 };
    struct tar_entry d = {
        .type = TAR_DIR, .name = (char *)"d/", .mode = 0711, .uid = 7, .gid = 8, .mtime = 1000
    };
    struct tar_entry f = {
        .type = TAR_FILE, .name = (char *)"d/f", .mode = 0600, .uid = 9, .size = 4, .mtime = 1001
    };
    tar_add_header(&tars[0], &d);
    tar_add_header(&tars[0], &f);
    char block[TAR_BLOCK] = "evil";
    buf_add(&tars[0], block, sizeof(block));
    tar_add_end(&tars[0]);
    struct tar_entry n = { .type = TAR_FILE, .name = (char *)"d/new", .mode = 0600 };
    struct tar_entry h = {
        .type = TAR_HARDLINK, .name = (char *)"h", .linkname = (char *)"d/f", .mode = 0600
    };
    tar_add_header(&tars[1], &n);
    tar_add_header(&tars[1], &h);
    tar_add_end(&tars[1]);

    struct layer_source sources[2] = { 0 };
    struct snapshot *s;
    struct stat st, st2;
    for (size_t i = 0; i < 2; i++)
        sources[i] = (struct layer_source){ .diff_id = digest_of(tars[i].data, tars[i].len),
                                            .open = open_archive,
                                            .ctx = tars };
    expect_ok(snapshot_unpack(store, sources, 2, NULL, &s));
    CLEANUP(closep) int fs = layer_dir(store, snapshot_layer(s, 1)->id);
    assert_int_equal(fstatat(fs, "d", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_mode & 07777, 0711);
    assert_int_equal(st.st_uid, 7);
    assert_int_equal(st.st_gid, 8);
    assert_int_equal(st.st_mtime, 1000);
    assert_int_equal(fstatat(fs, "h", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(fstatat(fs, "d/f", &st2, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_ino, st2.st_ino);
    assert_int_equal(st.st_uid, 9);
    assert_int_equal(st.st_size, 4);
    snapshot_unref(s);
    buf_deinit(&tars[0]);
    buf_deinit(&tars[1]);
}

/* A link to a file below, by way of a link there: what is brought up lies where it lay, in folders as they
 * were. */
static void test_link_through_link(void **state)
{
    struct buf tars[2] = { 0 };
    const struct tar_entry lower[] = {
        { .type = TAR_DIR, .name = (char *)"usr/", .mode = 0750, .uid = 5, .mtime = 900 },
        { .type = TAR_DIR, .name = (char *)"usr/lib/", .mode = 0711, .uid = 7, .mtime = 1000 },
        { .type = TAR_SYMLINK, .name = (char *)"lib", .linkname = (char *)"usr/lib", .mode = 0777 },
        { .type = TAR_FILE, .name = (char *)"usr/lib/f", .mode = 0600, .uid = 9, .mtime = 1001 },
    };
    for (size_t i = 0; i < ARRAY_LEN(lower); i++)
        tar_add_header(&tars[0], &lower[i]);
    tar_add_end(&tars[0]);
    tar_add_header(
        &tars[1], &(struct tar_entry){
                      .type = TAR_HARDLINK, .name = (char *)"h", .linkname = (char *)"lib/f", .mode = 0600 });
    tar_add_end(&tars[1]);
    struct layer_source sources[2] = { 0 };
    struct snapshot *s;
    struct stat st, st2;
    for (size_t i = 0; i < 2; i++)
        sources[i] = (struct layer_source){ .diff_id = digest_of(tars[i].data, tars[i].len),
                                            .open = open_archive,
                                            .ctx = tars };
    expect_ok(snapshot_unpack(store, sources, 2, NULL, &s));
    CLEANUP(closep) int fs = layer_dir(store, snapshot_layer(s, 1)->id);
    assert_int_equal(fstatat(fs, "lib", &st, AT_SYMLINK_NOFOLLOW), -1);
    assert_int_equal(fstatat(fs, "h", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(fstatat(fs, "usr/lib/f", &st2, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_ino, st2.st_ino);
    assert_int_equal(fstatat(fs, "usr/lib", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_mode & 07777, 0711);
    assert_int_equal(st.st_uid, 7);
    assert_int_equal(st.st_mtime, 1000);
    assert_int_equal(fstatat(fs, "usr", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_int_equal(st.st_mtime, 900);
    snapshot_unref(s);
    buf_deinit(&tars[0]);
    buf_deinit(&tars[1]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = { T(test_corpus),           T(test_overlay_attributes),
                                        T(test_wrong_content),    T(test_wrong_blob),
                                        T(test_depends_on_below), T(test_link_through_link),
                                        T(test_described_twice) };
    if (geteuid() != 0)
        return 77; /* devices, owners, overlayfs */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
