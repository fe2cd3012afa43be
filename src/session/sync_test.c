/* SPDX-License-Identifier: Apache-2.0 */
#include "session/packet.h"
#include "session/sync_trial.h"
#include "session/walk.h"
#include "wire/pb.h"

static void round_trip(void **state)
{
    struct sync_options o = { 0 };
    struct fixture f;

    fixture_init(&f);
    make_tree(f.d.src);
    put_file(f.d.dst, "left over", "nobody knows it", 0644); /* nothing is known: it goes */
    expect_ok(run_sync(&f, &o));
    assert_same_trees(&f.d, &f.index);
    assert_true(f.client.sent_bytes > 150 * 4096);
    assert_true(f.received > f.client.sent_bytes);
    struct stat a, b;

    assert_int_equal(fstatat(f.d.dst, "hard1", &a, 0), 0);
    assert_int_equal(fstatat(f.d.dst, "hard2", &b, 0), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    /* the same again: nothing but the announcement travels */
    assert_int_equal(f.changes, 1);
    expect_ok(run_sync(&f, &o));
    assert_same_trees(&f.d, &f.index);
    assert_int_equal(f.client.sent_bytes, 0);
    assert_int_equal(f.changes, 1);
    fixture_deinit(&f);
}

static void changes(void **state)
{
    struct sync_options o = { 0 };
    struct fixture f;

    fixture_init(&f);
    make_tree(f.d.src);
    expect_ok(run_sync(&f, &o));

    put_file(f.d.src, "a.txt", "changed", 0644);
    expect_ok(run_sync(&f, &o));
    assert_same_trees(&f.d, &f.index);
    assert_int_equal(f.client.sent_bytes, 7);

    /* a file becomes a directory, a directory a link, a directory goes, hard links change their inode */
    assert_int_equal(unlinkat(f.d.src, "a-b", 0), 0);
    assert_int_equal(mkdirat(f.d.src, "a-b", 0750), 0);
    put_file(f.d.src, "a-b/inside", "x", 0644);
    assert_int_equal(path_remove_all(f.d.src, "a"), 0);
    assert_int_equal(symlinkat("a.txt", f.d.src, "a"), 0);
    assert_int_equal(unlinkat(f.d.src, "empty", AT_REMOVEDIR), 0);
    put_file(f.d.src, "hard1", "another content", 0640);
    assert_int_equal(fchmodat(f.d.src, "big", 0600, 0), 0);
    expect_ok(run_sync(&f, &o));
    assert_same_trees(&f.d, &f.index);

    /* the link is cut: two files now */
    assert_int_equal(unlinkat(f.d.src, "hard2", 0), 0);
    put_file(f.d.src, "hard2", "two names", 0644);
    expect_ok(run_sync(&f, &o));
    assert_same_trees(&f.d, &f.index);

    /* only a directory's mode, then only its time */
    assert_int_equal(fchmodat(f.d.src, "a-b", 02775, 0), 0);
    expect_ok(run_sync(&f, &o));
    assert_same_trees(&f.d, &f.index);
    set_time(f.d.src, "a-b", 99 * NS_PER_SEC);
    expect_ok(run_sync(&f, &o));
    assert_same_trees(&f.d, &f.index);
    assert_int_equal(f.client.sent_bytes, 0);

    /* all gone */
    assert_int_equal(path_remove_all(f.d.src, "a-b"), 0);
    expect_ok(run_sync(&f, &o));
    assert_same_trees(&f.d, &f.index);
    fixture_deinit(&f);
}

static void differ_none(void **state)
{
    struct sync_options o = { .differ_none = true };
    struct fixture f;

    fixture_init(&f);
    make_tree(f.d.src);
    expect_ok(run_sync(&f, &o));
    int64_t first = f.client.sent_bytes;

    expect_ok(run_sync(&f, &o));
    assert_int_equal(f.client.sent_bytes, first);
    assert_same_trees(&f.d, &f.index);
    fixture_deinit(&f);
}

static ino_t inode(int dir, const char *name)
{
    struct stat st;

    assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st.st_ino;
}

/* All is asked for, and what did not change is not written: no time tells. */
static void same_bytes_stay(void **state)
{
    struct sync_options o = { .differ_none = true };
    struct fixture f;

    fixture_init(&f);
    assert_int_equal(mkdirat(f.d.src, "d", 0755), 0);
    put_file(f.d.src, "d/edited", "before", 0644);
    put_file(f.d.src, "d/same", "same", 0644);
    set_time(f.d.src, "d/edited", NS_PER_SEC);
    expect_ok(run_sync(&f, &o));
    int64_t packed = sync_index_find(&f.index, "d/same")->packed;
    ino_t same = sync_packing ? 0 : inode(f.d.dst, "d/same");

    f.changes = 0;
    expect_ok(run_sync(&f, &o));
    assert_int_equal(f.changes, 0);
    put_file(f.d.src, "d/edited", "behind", 0644);
    set_time(f.d.src, "d/edited", NS_PER_SEC);
    expect_ok(run_sync(&f, &o));
    assert_int_equal(f.changes, 1);
    assert_int_equal(f.client.sent_bytes, 10);
    assert_int_equal(sync_index_find(&f.index, "d/same")->packed, packed);
    assert_int_equal(sync_packing ? 0 : inode(f.d.dst, "d/same"), same);
    assert_same_trees(&f.d, &f.index);
    fixture_deinit(&f);
}

static void many_files(void **state)
{
    struct sync_options o = { 0 };
    struct fixture f;

    fixture_init(&f);
    for (int i = 0; i < 30; i++) {
        char name[32];

        snprintf(name, sizeof(name), "d%d", i);
        assert_int_equal(mkdirat(f.d.src, name, 0755), 0);
        for (int k = 0; k < 50; k++) {
            snprintf(name, sizeof(name), "d%d/f%d", i, k);
            put_file(f.d.src, name, name, 0644);
        }
    }
    expect_ok(run_sync(&f, &o));
    assert_same_trees(&f.d, &f.index);
    put_file(f.d.src, "d7/f7", "new", 0644);
    expect_ok(run_sync(&f, &o));
    assert_int_equal(f.client.sent_bytes, 3);
    assert_same_trees(&f.d, &f.index);
    fixture_deinit(&f);
}

static void index_round_trip(void **state)
{
    struct sync_options o = { 0 };
    struct fixture f;
    struct buf saved = { 0 }, again = { 0 };

    fixture_init(&f);
    make_tree(f.d.src);
    expect_ok(run_sync(&f, &o));
    sync_index_save(&f.index, &saved);
    sync_index_deinit(&f.index);
    expect_ok(sync_index_load(saved.data, saved.len, &f.index));
    assert_same_trees(&f.d, &f.index);
    sync_index_save(&f.index, &again);
    assert_int_equal(saved.len, again.len);
    assert_memory_equal(saved.data, again.data, saved.len);
    expect_ok(run_sync(&f, &o));
    assert_int_equal(f.client.sent_bytes, 0);
    /* cut or flipped anywhere: refused */
    for (size_t i = 0; i < saved.len; i += 7) {
        struct sync_index bad = { 0 };

        expect_error(sync_index_load(saved.data, i, &bad), ERR_DATA_LOSS, "damaged");
        saved.data[i] ^= 1;
        expect_error(sync_index_load(saved.data, saved.len, &bad), ERR_DATA_LOSS, "damaged");
        saved.data[i] ^= 1;
    }
    buf_deinit(&saved);
    buf_deinit(&again);
    fixture_deinit(&f);
}

static void request_metadata(void **state)
{
    char *in[] = { (char *)"*.c", (char *)"d\xc3\xa4 r", NULL }, *out[] = { (char *)"x", NULL };
    struct strv include = { in, 2, 2 }, exclude = { out, 1, 1 };
    struct sync_options o = { .include = &include, .exclude = &exclude, .name = "dockerfile" };
    struct fixture f;

    fixture_init(&f);
    expect_ok(run_sync(&f, &o));
    assert_true(strv_has(&f.client.metadata, "dir-name=dockerfile"));
    assert_true(strv_has(&f.client.metadata, "include-patterns=%2A.c"));
    assert_true(strv_has(&f.client.metadata, "include-patterns=d%C3%A4+r"));
    assert_true(strv_has(&f.client.metadata, "include-patterns-encoded=1"));
    assert_true(strv_has(&f.client.metadata, "exclude-patterns=x"));
    assert_false(strv_has(&f.client.metadata, "exclude-patterns-encoded=1"));
    fixture_deinit(&f);
}

static bool no_pipes(void *ctx, struct sync_entry *e)
{
    return (e->mode & GO_MODE_PIPE) == 0;
}

static void sender_filters(void **state)
{
    char *in[] = { (char *)"a/sub/*", (char *)"hard2", (char *)"pipe", (char *)"*.txt", NULL };
    char *out[] = { (char *)"a.txt", NULL };
    struct strv include = { in, 4, 4 }, exclude = { out, 1, 1 };
    struct sync_options o = { 0 };
    struct fixture f;
    static const char *const expected[] = { "p", "p/q", "p/q/a", "p/q/a/sub", "p/q/a/sub/deep", "p/q/hard2" };

    fixture_init(&f);
    make_tree(f.d.src);
    f.client.filter = (struct sync_send_filter){ .include = &include,
                                                 .exclude = &exclude,
                                                 .set_owner = true,
                                                 .uid = 7,
                                                 .gid = 8,
                                                 .clamp_mtime = true,
                                                 .mtime_ns = 5 * NS_PER_SEC,
                                                 .map = no_pipes };
    f.client.prefix = "p/q";
    expect_ok(run_sync(&f, &o));
    assert_int_equal(f.index.len, ARRAY_LEN(expected));
    assert_int_equal(sync_pack_lay_out_all(&f.d.pack, f.d.dst, &f.index), 0);
    for (size_t i = 0; i < f.index.len; i++) {
        struct stat st;

        assert_string_equal(f.index.entries[i].path, expected[i]);
        assert_int_equal(fstatat(f.d.dst, expected[i], &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_int_equal(st.st_uid, 7);
        assert_int_equal(st.st_gid, 8);
        assert_true(st.st_mtim.tv_sec <= 5);
    }
    /* the first name of the inode was left out: the second is the file */
    assert_null(f.index.entries[5].linkname);
    assert_int_equal(f.index.entries[5].size, 9);
    fixture_deinit(&f);
}

static void only_metadata(void **state)
{
    char *names[] = { (char *)"a/sub", NULL };
    struct strv exceptions = { names, 1, 1 };
    struct sync_options o = { .metadata_only = true, .metadata_exclude = &exceptions };
    struct fixture f;
    struct buf text = { 0 };

    fixture_init(&f);
    make_tree(f.d.src);
    for (int i = 0; i < 2; i++) {
        expect_ok(run_sync(&f, &o));
        static const char *const expected[] = { ".fsutil-metadata", "a", "a/sub", "a/sub/deep" };

        assert_int_equal(f.index.len, ARRAY_LEN(expected));
        for (size_t k = 0; k < f.index.len; k++)
            assert_string_equal(f.index.entries[k].path, expected[k]);
        assert_int_equal(f.client.sent_bytes, i == 0 ? 4 : 0);
    }
    assert_int_equal(path_read_file(f.d.dst, ".fsutil-metadata", &text, MIB), 0);
    size_t count = 0;

    for (size_t at = 0; at < text.len; count++)
        at += 4 + ((uint8_t)text.data[at] | (size_t)(uint8_t)text.data[at + 1] << 8);
    assert_true(count >= 15);
    buf_deinit(&text);
    fixture_deinit(&f);
}

/* Children of a directory, one after the other. */
static void index_children(void **state)
{
    static const struct {
        const char *dir, *names;
    } cases[] = {
        { "", "a a-b a.txt " }, { "a", "a/b a/z " }, { "a/b", "a/b/c " }, { "a/b/c", "" }, { "b", "" }
    };
    struct sync_entry entries[] = { { .path = (char *)"a", .mode = GO_MODE_DIR },
                                    { .path = (char *)"a/b", .mode = GO_MODE_DIR },
                                    { .path = (char *)"a/b/c", .mode = GO_MODE_DIR },
                                    { .path = (char *)"a/z" },
                                    { .path = (char *)"a-b" },
                                    { .path = (char *)"a.txt" } };
    const struct sync_index index = { entries, ARRAY_LEN(entries), ARRAY_LEN(entries) };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_deinit) struct buf names = { 0 };
        const struct sync_entry *e;
        size_t at = 0;

        while ((e = sync_index_next(&index, cases[i].dir, &at)) != NULL)
            buf_addf(&names, "%s ", e->path);
        assert_string_equal(buf_str(&names), cases[i].names);
    }
}

/* What changed leaves gaps behind: moved, it has none. */
static void pack_moves(void **state)
{
    struct sync_options o = { 0 };
    struct fixture f;
    struct stat st;

    fixture_init(&f);
    make_tree(f.d.src);
    expect_ok(run_sync(&f, &o));
    assert_false(sync_pack_is_sparse(&f.d.pack, &f.index));
    for (int i = 0; i < 30; i++) {
        char block[60000] = { 0 };

        memset(block, 'a' + i % 26, sizeof(block) - 1);
        put_file(f.d.src, "a.txt", block, 0644);
        set_time(f.d.src, "a.txt", i);
        expect_ok(run_sync(&f, &o));
    }
    assert_true(sync_pack_is_sparse(&f.d.pack, &f.index));
    CLEANUP(freep) char *path = xasprintf("%s/pack.new", f.d.root);
    int old = f.d.pack.fd, fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_int_equal(sync_pack_move(&f.d.pack, &f.index, fd), 0);
    close(old);
    assert_int_equal(fstat(f.d.pack.fd, &st), 0);
    assert_true(st.st_size < 70000);
    assert_false(sync_pack_is_sparse(&f.d.pack, &f.index));
    assert_same_trees(&f.d, &f.index);
    /* shorter than the index says: an error, not a shorter file */
    assert_int_equal(ftruncate(f.d.pack.fd, 10), 0);
    char chunk[SYNC_PACK_FILE];

    assert_int_equal(sync_pack_read(f.d.pack.fd, sync_index_find(&f.index, "a.txt"), chunk), -EIO);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),       cmocka_unit_test(changes),
        cmocka_unit_test(differ_none),      cmocka_unit_test(many_files),
        cmocka_unit_test(index_round_trip), cmocka_unit_test(request_metadata),
        cmocka_unit_test(sender_filters),   cmocka_unit_test(only_metadata),
        cmocka_unit_test(same_bytes_stay)
    };
    int failed = cmocka_run_group_tests_name("files", tests, NULL, NULL);

    sync_packing = true;
    failed += cmocka_run_group_tests_name("packed files", tests, NULL, NULL);
    const struct CMUnitTest packed[] = { cmocka_unit_test(index_children), cmocka_unit_test(pack_moves) };

    return failed + cmocka_run_group_tests_name("pack", packed, NULL, NULL);
}
