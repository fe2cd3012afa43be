/* SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "io/copy.h"
#include "io/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

/* A folder of our own with root/ (the hostile tree) and canary (what must never be reached). */
struct place {
    char dir[64];
    int dir_fd, root_fd;
};

static void put(int dir_fd, const char *name, const char *text)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* May fail: the swapping test makes it race with itself. */
static void make_link(const char *target, int dir_fd, const char *name)
{
    int r = symlinkat(target, dir_fd, name);

    (void)r;
}

static int make_place(void **state)
{
    struct place *p = NEW(struct place);

    snprintf(p->dir, sizeof(p->dir), "/tmp/minke-path-XXXXXX");
    if (mkdtemp(p->dir) == NULL)
        return -1;
    p->dir_fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    put(p->dir_fd, "canary", "alive");
    mkdirat(p->dir_fd, "root", 0755);
    p->root_fd = openat(p->dir_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
    *state = p;
    return 0;
}

static int remove_place(void **state)
{
    struct place *p = *state;
    int r = path_remove_all(AT_FDCWD, p->dir);

    close(p->dir_fd);
    close(p->root_fd);
    free(p);
    return r;
}

static void assert_canary_lives(const struct place *p)
{
    char text[8] = "";
    int fd = openat(p->dir_fd, "canary", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(read(fd, text, sizeof(text)), 5);
    assert_string_equal(text, "alive");
    close(fd);
}

static void escapes_stay_inside(void **state)
{
    const struct place *p = *state;
    CLEANUP(freep) char *absolute = xasprintf("%s/canary", p->dir);
    static const char *const paths[] = {
        "../canary", "/../canary",   "a/../../canary", "./../../../../../canary",
        "up/canary", "up/up/canary", "outside",        "relative",
    };
    struct stat st;

    mkdirat(p->root_fd, "a", 0755);
    assert_int_equal(symlinkat("..", p->root_fd, "up"), 0);
    assert_int_equal(symlinkat(absolute, p->root_fd, "outside"), 0);
    assert_int_equal(symlinkat("a/../../canary", p->root_fd, "relative"), 0);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        CLEANUP(buf_deinit) struct buf text = { 0 };

        assert_int_equal(path_open(p->root_fd, paths[i], O_RDONLY, 0), -ENOENT);
        assert_int_equal(path_stat(p->root_fd, paths[i], true, &st), -ENOENT);
        assert_int_equal(path_read_file(p->root_fd, paths[i], &text, 100), -ENOENT);
    }
    /* Written through the same links, it lands inside. */
    int fd = path_open(p->root_fd, "relative", O_WRONLY | O_CREAT | O_TRUNC, 0644);

    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(path_stat(p->root_fd, "canary", false, &st), 0);
    assert_canary_lives(p);
}

static void magic_links_are_refused(void **state)
{
    const struct place *p = *state;
    CLEANUP(closep) int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(closep) int target = openat(p->dir_fd, "canary", O_RDONLY | O_CLOEXEC);
    CLEANUP(freep) char *link = xasprintf("self/fd/%d", target);

    assert_int_equal(path_open(proc, link, O_RDONLY, 0), -ELOOP);
    assert_int_equal(path_open(proc, "self/root/etc/passwd", O_RDONLY, 0), -ELOOP);
}

static void special_files_are_not_read(void **state)
{
    const struct place *p = *state;
    CLEANUP(buf_deinit) struct buf text = { 0 };

    mkfifoat(p->root_fd, "fifo", 0600);
    mkdirat(p->root_fd, "dir", 0755);
    assert_int_equal(path_read_file(p->root_fd, "fifo", &text, 100), -EINVAL); /* opening it would hang */
    assert_int_equal(path_read_file(p->root_fd, "dir", &text, 100), -EINVAL);
    put(p->root_fd, "five", "12345");
    assert_int_equal(path_read_file(p->root_fd, "five", &text, 4), -EFBIG);
    assert_int_equal(text.len, 0);
    assert_int_equal(path_read_file(p->root_fd, "five", &text, 5), 0);
    assert_string_equal(text.data, "12345");
}

static void parents_are_made_inside(void **state)
{
    const struct place *p = *state;
    CLEANUP(freep) char *base = NULL, *root_base = NULL;
    struct stat st;

    make_link("/not/there/yet", p->root_fd, "dangling");
    CLEANUP(closep) int fd = path_mkdirs(p->root_fd, "dangling/x", 0750);

    assert_true(fd >= 0);
    assert_int_equal(path_stat(p->root_fd, "not/there/yet/x", false, &st), 0);
    assert_true(S_ISDIR(st.st_mode));
    CLEANUP(closep) int parent = path_open_parent(p->root_fd, "../../b/./c/../d/leaf", true, 0755, &base);

    assert_true(parent >= 0);
    assert_string_equal(base, "leaf");
    assert_int_equal(path_stat(p->root_fd, "b/d", false, &st), 0);
    CLEANUP(closep) int root = path_open_parent(p->root_fd, "..", false, 0, &root_base);

    assert_true(root >= 0);
    assert_string_equal(root_base, ".");
    put(p->root_fd, "file", "");
    assert_int_equal(path_mkdirs(p->root_fd, "file/x", 0755), -ENOTDIR);
    make_link("loop", p->root_fd, "loop");
    assert_int_equal(path_mkdirs(p->root_fd, "loop/x", 0755), -ELOOP);
}

static void resolve_tells_where_it_lies(void **state)
{
    const struct place *p = *state;
    static const char *const cases[][2] = {
        { "/usr/bin/sh", "/usr/bin/sh" },
        { "bin/sh", "/usr/bin/sh" },
        { "bin/../x", "/usr/x" },
        { "bin/none/../y", "/usr/bin/y" },
        { "abs/sh", "/usr/bin/sh" },
        { "../..", "/" },
        { "", "/" },
        { "bin/up/../../z", "/z" },
        { "usr//./bin/", "/usr/bin" },
    };
    CLEANUP(closep) int fd = path_mkdirs(p->root_fd, "usr/bin", 0755);

    assert_true(fd >= 0);
    make_link("usr/bin", p->root_fd, "bin");
    make_link("/usr/bin", p->root_fd, "abs");
    make_link("../../../../..", fd, "up");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(freep) char *resolved = NULL;

        assert_int_equal(path_resolve(p->root_fd, cases[i][0], &resolved), 0);
        assert_string_equal(resolved, cases[i][1]);
    }
    make_link("b", p->root_fd, "a");
    make_link("a", p->root_fd, "b");
    CLEANUP(freep) char *never = NULL;

    assert_int_equal(path_resolve(p->root_fd, "a/x", &never), -ELOOP);
    CLEANUP(freep) char *target = NULL;

    assert_int_equal(path_readlink(p->root_fd, "abs", &target), 0);
    assert_string_equal(target, "/usr/bin");
    assert_int_equal(path_readlink(p->root_fd, "usr", &target), -EINVAL);
}

struct swapper {
    const struct place *p;
    atomic_bool stop;
};

static void *swap_for_ever(void *arg)
{
    struct swapper *s = arg;
    CLEANUP(freep) char *outside = xstrdup(s->p->dir);

    while (!s->stop) {
        unlinkat(s->p->root_fd, "moving", AT_REMOVEDIR);
        make_link(outside, s->p->root_fd, "moving");
        unlinkat(s->p->root_fd, "moving", 0);
        mkdirat(s->p->root_fd, "moving", 0755);
    }
    return NULL;
}

/* A component is a directory at one moment and a link out of the tree at the next. */
static void swapped_components_stay_inside(void **state)
{
    const struct place *p = *state;
    struct swapper swapper = { .p = p };
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, swap_for_ever, &swapper), 0);
    for (int i = 0; i < 3000; i++) {
        CLEANUP(buf_deinit) struct buf text = { 0 };

        assert_true(path_read_file(p->root_fd, "moving/canary", &text, 100) < 0);
        CLEANUP(closep) int fd = path_mkdirs(p->root_fd, "moving/canary", 0755);

        (void)fd; /* it may fail; it may not land outside */
        if (i % 8 == 0)
            assert_true(path_remove_all(p->root_fd, "moving") <= 0);
    }
    swapper.stop = true;
    pthread_join(thread, NULL);
    assert_canary_lives(p);
}

static void trees_are_removed(void **state)
{
    const struct place *p = *state;
    CLEANUP(closep) int fd = path_mkdirs(p->root_fd, "tree/a/b", 0755);
    int deep = openat(p->root_fd, "tree", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat st;

    put(fd, "file", "x");
    make_link("../../../../canary", fd, "link");
    make_link(p->dir, fd, "out");
    for (int depth = 0; depth < 1500; depth++) { /* far deeper than descriptors or a path would reach */
        assert_int_equal(mkdirat(deep, "d", 0755), 0);
        int next = openat(deep, "d", O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (depth % 100 == 0)
            put(next, "f", "x");
        close(deep);
        deep = next;
    }
    close(deep);
    assert_int_equal(path_remove_all(p->root_fd, "tree"), 0);
    assert_int_equal(path_stat(p->root_fd, "tree", false, &st), -ENOENT);
    assert_int_equal(path_remove_all(p->root_fd, "tree"), 0);
    assert_canary_lives(p);
}

static void atomic_write_replaces(void **state)
{
    const struct place *p = *state;
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct stat st;
    int entries = 0;

    put(p->root_fd, "name", "old");
    assert_int_equal(file_write_atomic(p->root_fd, "name", "newer", 5, 0640), 0);
    assert_int_equal(path_read_file(p->root_fd, "name", &text, 100), 0);
    assert_string_equal(text.data, "newer");
    assert_int_equal(path_stat(p->root_fd, "name", false, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    mkdirat(p->root_fd, "directory", 0755);
    put(p->root_fd, "directory/x", "");
    assert_true(file_write_atomic(p->root_fd, "directory", "x", 1, 0644) < 0);
    DIR *dir = fdopendir(openat(p->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

    while (readdir(dir) != NULL)
        entries++;
    closedir(dir);
    assert_int_equal(entries, 4); /* ., .., name, directory: no temporary file stays */
}

static void text_functions_are_those_of_go(void **state)
{
    static const char *const clean[][2] = {
        { "", "." },
        { "/", "/" },
        { "//a//b/", "/a/b" },
        { "a/./b/..", "a" },
        { "../a/../..", "../.." },
        { "/../a", "/a" },
        { "a/..", "." },
        { "./a", "a" },
        { "/a/../..", "/" },
        { "a/../../b", "../b" },
        { "..a/.b", "..a/.b" },
        { "/..", "/" },
        { ".", "." },
        { "../..", "../.." },
    };

    for (size_t i = 0; i < ARRAY_LEN(clean); i++) {
        CLEANUP(freep) char *got = path_clean(clean[i][0]);

        assert_string_equal(got, clean[i][1]);
    }
    static const char *const parts[][3] = {
        { "/a/b", "b", "/a" }, { "a", "a", "." },    { "/", "/", "/" },
        { "", ".", "." },      { "/a/", "a", "/a" }, { "a/b//", "b", "a/b" },
    };

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        CLEANUP(freep) char *base = path_base(parts[i][0]), *dir = path_dir(parts[i][0]);

        assert_string_equal(base, parts[i][1]);
        assert_string_equal(dir, parts[i][2]);
    }
    CLEANUP(freep)
    char *joined = path_join("/a", "../b"), *half = path_join("", "b"), *none = path_join("", "");

    assert_string_equal(joined, "/b");
    assert_string_equal(half, "b");
    assert_string_equal(none, "");
}

/* The table of Go's path package. */
static void patterns_match_as_in_go(void **state)
{
    static const struct {
        const char *pattern, *name;
        int result;
    } cases[] = {
        { "abc", "abc", 1 },
        { "*", "abc", 1 },
        { "*c", "abc", 1 },
        { "a*", "a", 1 },
        { "a*", "abc", 1 },
        { "a*", "ab/c", 0 },
        { "a*/b", "abc/b", 1 },
        { "a*/b", "a/c/b", 0 },
        { "a*b*c*d*e*/f", "axbxcxdxe/f", 1 },
        { "a*b*c*d*e*/f", "axbxcxdxexxx/f", 1 },
        { "a*b*c*d*e*/f", "axbxcxdxe/xxx/f", 0 },
        { "a*b*c*d*e*/f", "axbxcxdxexxx/fff", 0 },
        { "a*b?c*x", "abxbbxdbxebxczzx", 1 },
        { "a*b?c*x", "abxbbxdbxebxczzy", 0 },
        { "ab[c]", "abc", 1 },
        { "ab[b-d]", "abc", 1 },
        { "ab[e-g]", "abc", 0 },
        { "ab[^c]", "abc", 0 },
        { "ab[^b-d]", "abc", 0 },
        { "ab[^e-g]", "abc", 1 },
        { "a\\*b", "a*b", 1 },
        { "a\\*b", "ab", 0 },
        { "a?b",
          "a\xe2\x98\xba"
          "b",
          1 },
        { "a[^a]b",
          "a\xe2\x98\xba"
          "b",
          1 },
        { "a???b",
          "a\xe2\x98\xba"
          "b",
          0 },
        { "a[^a][^a][^a]b",
          "a\xe2\x98\xba"
          "b",
          0 },
        { "[a-\xce\xb6]*", "\xce\xb1", 1 },
        { "*[a-\xce\xb6]", "A", 0 },
        { "a?b", "a/b", 0 },
        { "a*b", "a/b", 0 },
        { "[\\]a]", "]", 1 },
        { "[\\-]", "-", 1 },
        { "[x\\-]", "x", 1 },
        { "[x\\-]", "-", 1 },
        { "[x\\-]", "z", 0 },
        { "[\\-x]", "a", 0 },
        { "[]a]", "]", -EINVAL },
        { "[-]", "-", -EINVAL },
        { "[x-]", "x", -EINVAL },
        { "[-x]", "x", -EINVAL },
        { "\\", "a", -EINVAL },
        { "[a-b-c]", "a", -EINVAL },
        { "[", "a", -EINVAL },
        { "[^", "a", -EINVAL },
        { "[^bc", "a", -EINVAL },
        { "a[", "a", -EINVAL },
        { "a[", "ab", -EINVAL },
        { "a[", "x", -EINVAL },
        { "a/b[", "x", -EINVAL },
        { "*x", "xxx", 1 },
        { "", "", 1 },
        { "", "a", 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (path_match(cases[i].pattern, cases[i].name) != cases[i].result)
            fail_msg("path_match(\"%s\", \"%s\") is not %d", cases[i].pattern, cases[i].name,
                     cases[i].result);
}

static void holes_are_kept(void **state)
{
    const struct place *p = *state;
    CLEANUP(closep) int src = openat(p->root_fd, "src", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    CLEANUP(closep) int dst = openat(p->root_fd, "dst", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    const off_t size = 64 << 20;
    struct stat st;
    char text[4];

    assert_int_equal(pwrite(src, "head", 4, 0), 4);
    assert_int_equal(pwrite(src, "body", 4, 10 << 20), 4);
    assert_int_equal(ftruncate(src, size), 0);
    assert_int_equal(copy_content(src, dst, -1), 0);
    assert_int_equal(fstat(dst, &st), 0);
    assert_int_equal(st.st_size, size);
    assert_true(st.st_blocks * 512 < 1 << 20);
    assert_int_equal(pread(dst, text, 4, 10 << 20), 4);
    assert_memory_equal(text, "body", 4);
    assert_int_equal(pread(dst, text, 4, 5 << 20), 4);
    assert_memory_equal(text, "\0\0\0\0", 4);
}

static void parts_and_pipes_are_copied(void **state)
{
    const struct place *p = *state;
    CLEANUP(closep) int src = openat(p->root_fd, "src", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    CLEANUP(closep) int dst = openat(p->root_fd, "dst", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    char text[16] = "";
    int fds[2];

    assert_int_equal(write(src, "0123456789", 10), 10);
    lseek(src, 2, SEEK_SET);
    assert_int_equal(write(dst, "ab", 2), 2);
    assert_int_equal(copy_content(src, dst, 3), 0);
    assert_int_equal(copy_content(src, dst, -1), 0); /* goes on where the first stopped */
    assert_int_equal(pread(dst, text, sizeof(text), 0), 10);
    assert_string_equal(text, "ab23456789");
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    lseek(src, 0, SEEK_SET);
    assert_int_equal(copy_content(src, fds[1], -1), 0);
    close(fds[1]);
    lseek(dst, 0, SEEK_SET);
    assert_int_equal(copy_content(fds[0], dst, -1), 0);
    close(fds[0]);
    assert_int_equal(pread(dst, text, sizeof(text), 0), 10);
    assert_string_equal(text, "0123456789");
    CLEANUP(closep)
    int status = open("/proc/self/status", O_RDONLY | O_CLOEXEC); /* a regular file of size 0 with content */
    struct stat st;

    assert_int_equal(copy_content(status, dst, -1), 0);
    assert_int_equal(fstat(dst, &st), 0);
    assert_true(st.st_size > 100);
}

static void attributes_are_copied(void **state)
{
    const struct place *p = *state;
    char value[8];

    put(p->root_fd, "src", "");
    put(p->root_fd, "dst", "");
    CLEANUP(closep) int src = openat(p->root_fd, "src", O_PATH | O_CLOEXEC);
    CLEANUP(closep) int dst = openat(p->root_fd, "dst", O_RDONLY | O_CLOEXEC);
    char src_path[32];

    fd_path(src_path, src);
    if (setxattr(src_path, "user.color", "blue", 4, 0) < 0) {
        print_message("skipped: no extended attributes here\n");
        skip();
    }
    bool overlay = setxattr(src_path, "trusted.overlay.opaque", "y", 1, 0) == 0;

    assert_int_equal(copy_xattrs(src, dst), 0);
    assert_int_equal(fgetxattr(dst, "user.color", value, sizeof(value)), 4);
    assert_memory_equal(value, "blue", 4);
    if (overlay)
        assert_true(fgetxattr(dst, "trusted.overlay.opaque", value, sizeof(value)) < 0);
}

static void modes_follow_no_link(void **state)
{
    struct place *p = *state;
    struct stat st;

    put(p->dir_fd, "root/file", "x");
    make_link("../canary", p->dir_fd, "root/link");
    CLEANUP(closep) int root = openat(p->dir_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(path_chmod(root, "file", 04711), 0);
    assert_int_equal(fstatat(root, "file", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 04711);
    assert_int_equal(path_chmod(root, "link", 0), -EOPNOTSUPP);
    assert_int_equal(fstatat(p->dir_fd, "canary", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(path_chmod(root, "gone", 0), -ENOENT);
}

#define IN_PLACE(f) cmocka_unit_test_setup_teardown(f, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(modes_follow_no_link),
        IN_PLACE(escapes_stay_inside),
        IN_PLACE(magic_links_are_refused),
        IN_PLACE(special_files_are_not_read),
        IN_PLACE(parents_are_made_inside),
        IN_PLACE(resolve_tells_where_it_lies),
        IN_PLACE(swapped_components_stay_inside),
        IN_PLACE(trees_are_removed),
        IN_PLACE(atomic_write_replaces),
        cmocka_unit_test(text_functions_are_those_of_go),
        cmocka_unit_test(patterns_match_as_in_go),
        IN_PLACE(holes_are_kept),
        IN_PLACE(parts_and_pipes_are_copied),
        IN_PLACE(attributes_are_copied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
