/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "io/path.h"
#include "op/copy.h"
#include "op/user.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static char top[] = "/tmp/minke-copy-XXXXXX";
static int top_fd, src, dst;

static const struct copy_options plain = { .timestamp_ns = -1, .mode = -1 };
static const struct copy_options contents = {
    .timestamp_ns = -1, .mode = -1, .dir_contents = true, .follow_links = true
};

static int setup(void **state)
{
    memcpy(top, "/tmp/minke-copy-XXXXXX", sizeof top);
    assert_non_null(mkdtemp(top));
    top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(top_fd, "src", 0755), 0);
    assert_int_equal(mkdirat(top_fd, "dst", 0755), 0);
    assert_int_equal(mkdirat(top_fd, "canary", 0755), 0);
    src = openat(top_fd, "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dst = openat(top_fd, "dst", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return 0;
}

static int teardown(void **state)
{
    close(src);
    close(dst);
    assert_int_equal(path_remove_all(AT_FDCWD, top), 0);
    close(top_fd);
    return 0;
}

static void put(int root, const char *path, const char *text, mode_t mode)
{
    CLEANUP(freep) char *base = NULL;
    int dir = path_open_parent(root, path, true, 0755, &base);

    assert_true(dir >= 0);
    int fd = openat(dir, base, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    close(dir);
}

static void expect(const char *path, const char *text)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    int r = path_read_file(dst, path, &b, 1 << 20);

    if (r < 0)
        fail_msg("%s: %s", path, strerror(-r));
    assert_string_equal(buf_str(&b), text);
}

static bool there(const char *path)
{
    struct stat st;

    return path_stat(dst, path, false, &st) == 0;
}

static void fails(struct error *e, const char *text)
{
    assert_non_null(e);
    assert_string_equal(e->message, text);
    err_free(e);
}

static void test_file(void **state)
{
    struct stat a, b;

    put(src, "a", "one", 04755);
    assert_null(copy_path(src, "/a", dst, "/x/y/b", &plain));
    expect("x/y/b", "one");
    assert_int_equal(path_stat(src, "a", false, &a), 0);
    assert_int_equal(path_stat(dst, "x/y/b", false, &b), 0);
    assert_int_equal(b.st_mode, a.st_mode);
    assert_int_equal(b.st_mtim.tv_nsec, a.st_mtim.tv_nsec);
    assert_null(copy_path(src, "/a", dst, "/x/", &plain)); /* into a directory */
    expect("x/a", "one");
    assert_null(copy_path(src, "/a", dst, "/new/", &plain));
    expect("new/a", "one");
    fails(copy_path(src, "/none", dst, "/z", &plain), "lstat /none: no such file or directory");
    fails(copy_path(src, "/a", dst, "/x/a/b", &plain), "mkdir /x/a: not a directory");
}

static void test_dir(void **state)
{
    put(src, "d/f", "f", 0600);
    put(src, "d/sub/g", "g", 0644);
    assert_int_equal(symlinkat("../f", src, "d/sub/l"), 0);
    assert_int_equal(fchmodat(src, "d/sub", 0701, 0), 0);
    assert_null(copy_path(src, "/d", dst, "/to", &contents));
    expect("to/f", "f");
    expect("to/sub/l", "f");
    assert_null(
        copy_path(src, "/d", dst, "/to", &plain)); /* the directory itself, below the one that is there */
    expect("to/d/sub/g", "g");
    struct stat st;
    assert_int_equal(path_stat(dst, "to/sub", false, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0701);
    put(dst, "to/d2", "file", 0644);
    put(src, "e/d2/x", "x", 0644);
    fails(copy_path(src, "/e", dst, "/to", &contents), "cannot copy to non-directory: /to/d2");
    struct copy_options replace = contents;
    replace.always_replace = true;
    assert_null(copy_path(src, "/e", dst, "/to", &replace));
    expect("to/d2/x", "x");
    put(src, "e2/sub", "file over directory", 0644);
    fails(copy_path(src, "/e2", dst, "/to", &contents), "cannot replace to directory /to/sub with file");
}

static void test_meta(void **state)
{
    struct file_owner owner = { 12, 34 };
    struct copy_options o = {
        .owner = &owner, .timestamp_ns = 5 * NS_PER_SEC + 7, .mode = 0640, .dir_contents = true
    };
    struct stat st;

    if (geteuid() != 0)
        skip();
    put(src, "d/f", "f", 0777);
    assert_null(copy_path(src, "/d", dst, "/a/b", &o));
    assert_int_equal(path_stat(dst, "a/b/f", false, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(st.st_uid, 12);
    assert_int_equal(st.st_gid, 34);
    assert_int_equal(st.st_mtim.tv_sec, 5);
    assert_int_equal(path_stat(dst, "a", false, &st), 0);
    assert_int_equal(st.st_uid, 12);
    o.mode = -1;
    o.mode_text = "u=rw,go-rwx,a+X";
    assert_null(copy_path(src, "/d", dst, "/c", &o));
    assert_int_equal(path_stat(dst, "c/f", false, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0711); /* 'X' looks at the mode before all changes */
    o.mode_text = "u?";
    fails(copy_path(src, "/d", dst, "/c", &o), "invalid mode \"u?\"");
}

static void test_patterns(void **state)
{
    struct strv include = { 0 }, exclude = { 0 };
    struct copy_options o = contents;

    put(src, "a/x.go", "1", 0644);
    put(src, "a/x.c", "2", 0644);
    put(src, "b/deep/y.go", "3", 0644);
    put(src, "c/only.c", "4", 0644);
    strv_add(&include, "**/*.go");
    o.include = &include;
    assert_null(copy_path(src, "/", dst, "/i", &o));
    expect("i/a/x.go", "1");
    expect("i/b/deep/y.go", "3");
    assert_false(there("i/a/x.c"));
    assert_false(there("i/c"));
    o.include = NULL;
    strv_add(&exclude, "b");
    strv_add(&exclude, "**/*.c");
    strv_add(&exclude, "!c/only.c");
    o.exclude = &exclude;
    assert_null(copy_path(src, "/", dst, "/e", &o));
    expect("e/a/x.go", "1");
    expect("e/c/only.c", "4");
    assert_false(there("e/a/x.c"));
    assert_false(there("e/b"));
    strv_deinit(&include);
    strv_deinit(&exclude);
}

static void test_hardlinks(void **state)
{
    struct stat a, b;

    put(src, "a", "shared", 0644);
    assert_int_equal(linkat(src, "a", src, "b", 0), 0);
    assert_null(copy_path(src, "/", dst, "/", &contents));
    assert_int_equal(path_stat(dst, "a", false, &a), 0);
    assert_int_equal(path_stat(dst, "b", false, &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    assert_int_equal(path_stat(src, "a", false, &b), 0);
    assert_int_not_equal(a.st_ino, b.st_ino);
}

/* A pattern goes as deep as the tree does, but no deeper than a path: that is an error, not nothing. */
static void test_deep_matches(void **state)
{
    CLEANUP(strv_deinit) struct strv m = { 0 };
    CLEANUP(buf_deinit) struct buf pattern = { 0 };
    int dir = fcntl(src, F_DUPFD_CLOEXEC, 3);

    for (int i = 0; i < LIMIT_PATH_DEPTH + 2; i++) {
        assert_int_equal(mkdirat(dir, "d", 0755), 0);
        int below = openat(dir, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(below >= 0);
        close(dir);
        dir = below;
        buf_adds(&pattern, "/*");
    }
    close(dir);
    struct error *e = copy_matches(src, NULL, pattern.data, false, &m);
    assert_non_null(e);
    err_free(e);
    assert_int_equal(m.len, 0);
}

static void test_matches(void **state)
{
    CLEANUP(strv_deinit) struct strv m = { 0 };

    put(src, "p/a1/x", "", 0644);
    put(src, "p/a2/x", "", 0644);
    put(src, "p/b/x", "", 0644);
    assert_int_equal(symlinkat("p", src, "link"), 0);
    assert_null(copy_matches(src, NULL, "/p/a*/x", false, &m));
    assert_int_equal(m.len, 2);
    assert_string_equal(m.v[1], "/p/a2/x");
    strv_clear(&m);
    assert_null(copy_matches(src, NULL, "/link/b*", false, &m));
    assert_int_equal(m.len, 1);
    assert_string_equal(m.v[0], "/p/b");
    strv_clear(&m);
    assert_null(copy_matches(src, NULL, "/p/z*", false, &m));
    assert_int_equal(m.len, 0);
}

/* Links in source and destination that point out of their roots: everything stays inside, the canary is
 * untouched. */
static void test_hostile(void **state)
{
    static const char *const ways[] = { "../canary", "../../../../../../../..", "/canary", "/",
                                        "..",        "/proc/self/root",         "." };
    CLEANUP(freep) char *outside = xasprintf("%s/canary", top);
    struct stat st;

    put(top_fd, "canary/f", "canary", 0600);
    put(src, "evil", "evil", 0644);
    put(src, "tree/canary/f", "evil", 0644);
    put(src, "tree/f", "evil", 0644);
    for (size_t i = 0; i <= ARRAY_LEN(ways); i++) {
        const char *way = i == ARRAY_LEN(ways) ? outside : ways[i];
        CLEANUP(freep) char *link = xasprintf("l%zu", i);
        CLEANUP(freep) char *to_file = xasprintf("/l%zu/f", i);
        CLEANUP(freep) char *to_deep = xasprintf("/l%zu/canary/f", i);
        CLEANUP(freep) char *to_dir = xasprintf("/l%zu", i);

        assert_int_equal(symlinkat(way, dst, link), 0);
        assert_int_equal(symlinkat(way, src, link), 0);
        err_free(copy_path(src, "/evil", dst, to_file, &plain));
        err_free(copy_path(src, "/evil", dst, to_deep, &plain));
        err_free(copy_path(src, "/tree", dst, to_dir, &contents));
        err_free(copy_mkdirs(dst, to_deep, 0777, NULL, 0));
        err_free(copy_path(src, to_file, dst, "/got", &contents)); /* reads stay inside, too */
        if (there("got")) {
            CLEANUP(buf_deinit) struct buf b = { 0 };

            if (path_read_file(dst, "got", &b, 100) == 0)
                assert_string_not_equal(buf_str(&b), "canary");
            assert_int_equal(path_remove_all(dst, "got"), 0);
        }
    }
    CLEANUP(buf_deinit) struct buf b = { 0 };
    assert_int_equal(path_read_file(top_fd, "canary/f", &b, 100), 0);
    assert_string_equal(buf_str(&b), "canary");
    assert_int_equal(fstatat(top_fd, "canary/f", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(fstatat(top_fd, "canary/canary", &st, 0), -1);
    assert_int_equal(fstatat(top_fd, "f", &st, 0), -1);
}

/* A copy replaces what lies at its target, it never writes through it. */
static void test_special_targets(void **state)
{
    struct stat st;

    put(src, "f", "text", 0644);
    assert_int_equal(mkfifoat(dst, "fifo", 0600), 0);
    assert_null(copy_path(src, "/f", dst, "/fifo", &plain)); /* would hang */
    expect("fifo", "text");
    assert_int_equal(mkfifoat(src, "pipe", 0640), 0);
    assert_null(copy_path(src, "/pipe", dst, "/pipe", &plain));
    assert_int_equal(path_stat(dst, "pipe", false, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    put(top_fd, "canary/f", "canary", 0600);
    CLEANUP(freep) char *outside = xasprintf("%s/canary/f", top);
    assert_int_equal(symlinkat(outside, dst, "link"), 0);
    assert_null(copy_path(src, "/f", dst, "/link", &plain));
    CLEANUP(buf_deinit) struct buf b = { 0 };
    assert_int_equal(path_read_file(top_fd, "canary/f", &b, 100), 0);
    assert_string_equal(buf_str(&b), "canary");
}

/* A deep tree costs neither stack nor recursion. */
static void test_deep(void **state)
{
    struct buf path = { 0 };
    int fd = dup(src);

    for (int i = 0; i < 600; i++) {
        assert_int_equal(mkdirat(fd, "d", 0755), 0);
        int next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(fd);
        fd = next;
        buf_adds(&path, "/d");
    }
    close(fd);
    struct error *e = copy_path(src, "/d", dst, "/out", &contents);
    if (e != NULL)
        fail_msg("%s", e->message);
    buf_deinit(&path);
}

static void test_users(void **state)
{
    struct file_owner o = { 0 };
    uint32_t gid = 0;
    bool found;

    assert_null(user_by_name(src, "x", &o, &found));
    assert_false(found);
    put(src, "etc/passwd", "root:x:0:0::/:/bin/sh\nxy:x:1:1::\nx:x:7:8:c:/:\n", 0644);
    put(src, "etc/group", "g:x:99:\n", 0644);
    assert_null(user_by_name(src, "x", &o, &found));
    assert_true(found);
    assert_int_equal(o.uid, 7);
    assert_int_equal(o.gid, 8);
    assert_null(group_by_name(src, "g", &gid, &found));
    assert_int_equal(gid, 99);
    /* security.md B11: what is no plain file of sane size is refused, at once */
    static const char *const links[] = { "/dev/zero", "/etc" };
    for (size_t i = 0; i < ARRAY_LEN(links); i++) {
        unlinkat(src, "etc/passwd", 0);
        assert_int_equal(symlinkat(links[i], src, "etc/passwd"), 0);
        struct error *e = user_by_name(src, "x", &o, &found);
        assert_true(e != NULL || !found);
        err_free(e);
    }
    unlinkat(src, "etc/passwd", 0);
    assert_int_equal(mkfifoat(src, "etc/passwd", 0600), 0);
    struct error *e = user_by_name(src, "x", &o, &found);
    assert_non_null(e);
    err_free(e);
    unlinkat(src, "etc/passwd", 0);
    put(src, "etc/passwd", "", 0600);
    int fd = openat(src, "etc/passwd", O_WRONLY | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, (off_t)4 << 30), 0);
    close(fd);
    fails(user_by_name(src, "x", &o, &found), "\"/etc/passwd\" exceeds 10485760 bytes");
}

static void test_modes(void **state)
{
    static const struct {
        const char *text;
        uint32_t from, to;
        bool dir;
    } cases[] = {
        { "755", 0, 0755, false },
        { "4755", 0, 04755, false },
        { "u+x", 0644, 0744, false },
        { "+x", 0644, 0755, false },
        { "a=r", 0777, 0444, false },
        { "g=u", 0740, 0770, false },
        { "a+X", 0644, 0644, false },
        { "a+X", 0644, 0755, true },
        { "u+s,g+s", 0755, 06755, false },
        { "o-rwx,u=rwx", 0677, 0770, false },
        { "+t", 0777, 01777, true },
        /* what tools by GNU do otherwise; answers of BuildKit's library */
        { "g+t", 0644, 01644, false },
        { "o+t", 0644, 0644, false },
        { "o+s", 06303, 06303, false },
        { "g=u", 06010, 06000, false },
        { "a=", 01735, 01000, true },
        { "u=gr", 02276, 02476, false },
        { "=rX", 01711, 01555, false },
        { "-x+X", 04652, 04753, false },
        { "-X", 06454, 06444, false },
        { "+rt", 07406, 07406, true },
    };
    uint32_t m;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(mode_apply(cases[i].text, cases[i].from, cases[i].dir, &m), 0);
        assert_int_equal(m, cases[i].to);
    }
    assert_int_equal(mode_apply("u", 0, false, &m), -EINVAL);
    assert_int_equal(mode_apply("99", 0, false, &m), -EINVAL);
    assert_int_equal(mode_apply("u+x,", 0, false, &m), -EINVAL);
}

/* ---- files that lie in no folder */

/* 200 in "many/d0" .. "many/d1", one in the root; bytes of file i: its number. */
enum { PACKED = 200 };
static atomic_int packed_reads;
static size_t packed_broken = SIZE_MAX;

static struct copy_packed_file packed_file(size_t id)
{
    static char names[PACKED + 1][16];

    snprintf(names[id], sizeof names[id], "f%zu", id);
    return (struct copy_packed_file){ .id = id,
                                      .name = names[id],
                                      .mode = S_IFREG | (id % 2 != 0 ? 04755 : 0600),
                                      .uid = (uint32_t)(id % 3),
                                      .gid = 9,
                                      .size = strlen(names[id]),
                                      .mtime_ns = 1500000000 * NS_PER_SEC + (int64_t)id };
}

static bool packed_next(void *ctx, const char *dir, size_t *at, struct copy_packed_file *ret)
{
    size_t from = streq(dir, "many/d0") ? 0 : streq(dir, "many/d1") ? 1 : streq(dir, "") ? PACKED : SIZE_MAX;
    size_t id = from == SIZE_MAX ? from : from + *at * 2;

    if (id > PACKED || (id == PACKED && from != PACKED))
        return false;
    ++*at;
    *ret = packed_file(id);
    return true;
}

static bool packed_find(void *ctx, const char *path, struct copy_packed_file *ret)
{
    for (size_t id = 0; id <= PACKED; id++) {
        CLEANUP(freep)
        char *name = id == PACKED ? xasprintf("f%zu", id) : xasprintf("many/d%zu/f%zu", id % 2, id);

        *ret = packed_file(id);
        if (streq(path, name))
            return true;
    }
    return false;
}

static int packed_read(void *ctx, size_t id, char *dst_bytes)
{
    struct copy_packed_file f = packed_file(id);

    memcpy(dst_bytes, f.name, f.size);
    packed_reads++;
    return id == packed_broken ? -EIO : 0;
}

static const struct copy_packed packed = { packed_next, packed_find, packed_read, NULL };

static void make_packed_source(void)
{
    assert_int_equal(mkdirat(src, "many", 0755), 0);
    assert_int_equal(mkdirat(src, "many/d0", 0755), 0);
    assert_int_equal(mkdirat(src, "many/d1", 0750), 0);
    put(src, "many/d1/own", "own", 0640);
    assert_int_equal(symlinkat("many/d1", src, "link"), 0);
    struct timespec t[2] = { { 5, 6 }, { 7, 8 } };

    assert_int_equal(utimensat(src, "many/d1", t, 0), 0);
}

static void expect_packed(const char *path, size_t id)
{
    struct copy_packed_file f = packed_file(id);
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct stat st;

    assert_int_equal(path_stat(dst, path, false, &st), 0);
    assert_int_equal(st.st_mode, f.mode);
    assert_int_equal(st.st_uid, f.uid);
    assert_int_equal(st.st_gid, f.gid);
    assert_int_equal(st.st_mtim.tv_nsec, f.mtime_ns % NS_PER_SEC);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(path_read_file(dst, path, &text, 100), 0);
    assert_string_equal(buf_str(&text), f.name);
}

static void test_packed(void **state)
{
    struct copy_options o = contents;
    struct stat st;

    o.packed = &packed;
    make_packed_source();
    assert_null(copy_path(src, "/", dst, "/", &o));
    assert_int_equal(packed_reads, PACKED + 1);
    for (size_t i = 0; i < PACKED; i++) {
        CLEANUP(freep) char *path = xasprintf("many/d%zu/f%zu", i % 2, i);

        expect_packed(path, i);
    }
    expect_packed("f200", PACKED);
    assert_int_equal(path_stat(dst, "many/d1/own", false, &st), 0);
    assert_int_equal(path_stat(dst, "many/d1", false, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_int_equal(st.st_mtim.tv_sec, 7);
    /* again, over what is there */
    put(dst, "f200", "in the way", 0600);
    assert_null(copy_path(src, "/", dst, "/", &o));
    expect_packed("f200", PACKED);
    /* one of them, through a link; into a folder that is there */
    assert_null(copy_path(src, "/link/f7", dst, "/one", &o));
    expect_packed("one", 7);
    assert_int_equal(mkdirat(dst, "dir", 0755), 0);
    assert_null(copy_path(src, "/many/d0/f8", dst, "/dir", &o));
    expect_packed("dir/f8", 8);
    fails(copy_path(src, "/many/d0/f9", dst, "/x", &o), "lstat /many/d0/f9: no such file or directory");
}

static void test_packed_patterns(void **state)
{
    char *in[] = { (char *)"many/*/f1*", NULL }, *out[] = { (char *)"**/f11*", NULL };
    struct strv include = { in, 1, 1 }, exclude = { out, 1, 1 };
    CLEANUP(strv_deinit) struct strv found = { 0 };
    struct copy_options o = contents;
    struct stat st;

    o.packed = &packed;
    o.include = &include;
    o.exclude = &exclude;
    make_packed_source();
    assert_null(copy_path(src, "/", dst, "/", &o));
    expect_packed("many/d0/f10", 10);
    expect_packed("many/d1/f199", 199);
    assert_int_equal(path_stat(dst, "many/d1/f111", false, &st), -ENOENT);
    assert_int_equal(path_stat(dst, "many/d0/f2", false, &st), -ENOENT);
    assert_int_equal(path_stat(dst, "f200", false, &st), -ENOENT);
    assert_null(copy_matches(src, &packed, "/many/*/*19", false, &found));
    assert_int_equal(found.len, 2);
    assert_string_equal(found.v[0], "/many/d1/f119");
    assert_null(copy_matches(src, &packed, "/f*", false, &found));
    assert_int_equal(found.len, 3);
}

/* What a worker meets is what the copy fails with, and everything ends. */
static void test_packed_failure(void **state)
{
    struct copy_options o = contents;

    o.packed = &packed;
    make_packed_source();
    packed_broken = 101;
    fails(copy_path(src, "/", dst, "/", &o), "read /many/d1/f101: input/output error");
    packed_broken = SIZE_MAX;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_file),
        TEST(test_dir),
        TEST(test_meta),
        TEST(test_patterns),
        TEST(test_hardlinks),
        TEST(test_matches),
        TEST(test_deep_matches),
        TEST(test_hostile),
        TEST(test_special_targets),
        TEST(test_deep),
        TEST(test_users),
        TEST(test_modes),
        TEST(test_packed),
        TEST(test_packed_patterns),
        TEST(test_packed_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
