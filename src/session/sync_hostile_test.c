/* SPDX-License-Identifier: Apache-2.0 */
/* sync_hostile_test.c - peers that lie, and directories that change behind our back */
#include "session/packet.h"
#include "session/sync_trial.h"
#include "session/walk.h"
#include "wire/pb.h"

static void add_stat(struct buf *b, const char *path, uint32_t mode, int64_t size, const char *linkname)
{
    Fs__Stat m = FS__STAT__INIT;
    Fs__Packet p = FS__PACKET__INIT;
    Kv__Bytes x = KV__BYTES__INIT, *xs[] = { &x };

    x.key = (char *)"user.evil";
    x.value = pb_bytes("1", 1);
    m.path = (char *)path;
    m.mode = mode;
    m.size = size;
    m.linkname = (char *)linkname;
    m.xattrs = xs;
    m.n_xattrs = 1;
    p.stat = &m;
    pb_pack(&p.base, b);
}

static void add_packet(struct buf *b, uint32_t type, uint32_t id, const char *data)
{
    struct packet p = { .type = type, .id = id, .data = data, .len = strlen(data) };

    packet_encode(&p, b);
}

/* One line of a script: S path mode size link | D id data | X raw bytes | . (empty stat) | F | E text */
struct line {
    char what;
    const char *text;
    uint32_t number;
    int64_t size;
    const char *link;
};

static const struct {
    const char *name;
    struct line lines[8];
    enum error_kind kind;
    const char *error;
} lies[] = {
    { "order",
      { { 'S', "b", 0644, 0, "" }, { 'S', "a", 0644, 0, "" } },
      ERR_INVALID,
      "changes out of order: \"a\" \"b\"" },
    { "twice",
      { { 'S', "a", 0644, 0, "" }, { 'S', "a", 0644, 0, "" } },
      ERR_INVALID,
      "changes out of order" },
    { "no parent", { { 'S', "d/a", 0644, 0, "" } }, ERR_INVALID, "changes out of order" },
    { "file as parent",
      { { 'S', "d", 0644, 0, "" }, { 'S', "d/a", 0644, 0, "" } },
      ERR_INVALID,
      "changes out of order" },
    { "link as parent",
      { { 'S', "d", GO_MODE_SYMLINK | 0777, 0, "../canary" }, { 'S', "d/f", 0644, 4, "" } },
      ERR_INVALID,
      "changes out of order" },
    { "directory turned link",
      { { 'S', "d", GO_MODE_DIR | 0755, 0, "" }, { 'S', "d", GO_MODE_SYMLINK | 0777, 0, "../canary" } },
      ERR_INVALID,
      "changes out of order" },
    { "back to a directory",
      { { 'S', "d", GO_MODE_DIR | 0755, 0, "" }, { 'S', "e", 0644, 0, "" }, { 'S', "d/f", 0644, 0, "" } },
      ERR_INVALID,
      "changes out of order" },
    { "dotdot", { { 'S', "../canary/f", 0644, 4, "" } }, ERR_INVALID, "escape check" },
    { "dotdot inside", { { 'S', "a/../../canary/f", 0644, 4, "" } }, ERR_INVALID, "escape check" },
    { "dotdot alone", { { 'S', "..", GO_MODE_DIR | 0755, 0, "" } }, ERR_INVALID, "escape check" },
    { "absolute", { { 'S', "/etc/x", 0644, 4, "" } }, ERR_INVALID, "absolute path" },
    { "dot", { { 'S', "./a", 0644, 4, "" } }, ERR_INVALID, "unclean path" },
    { "slashes", { { 'S', "a//b", 0644, 4, "" } }, ERR_INVALID, "unclean path" },
    { "trailing slash", { { 'S', "a/", GO_MODE_DIR | 0755, 0, "" } }, ERR_INVALID, "unclean path" },
    { "empty path", { { 'S', "", 0644, 4, "" } }, ERR_INVALID, "unclean path" },
    { "link to nothing",
      { { 'S', "a", 0644, 0, "b" } },
      ERR_INVALID,
      "invalid link a to unknown path: \"b\"" },
    { "link outside", { { 'S', "a", 0644, 0, "../canary/f" } }, ERR_INVALID, "invalid link" },
    { "link through a link",
      { { 'S', "d", GO_MODE_SYMLINK | 0777, 0, "../canary" }, { 'S', "e", 0644, 0, "d/f" } },
      ERR_INVALID,
      "invalid link" },
    { "link to a symlink",
      { { 'S', "d", GO_MODE_SYMLINK | 0777, 0, "../canary/f" }, { 'S', "e", 0644, 0, "d" } },
      ERR_INVALID,
      "invalid link" },
    { "data nobody asked for",
      { { 'S', "a", 0644, 1, "" }, { 'D', "x", 5, 0, NULL } },
      ERR_INVALID,
      "invalid file request 5" },
    { "data of a directory",
      { { 'S', "a", GO_MODE_DIR | 0755, 1, "" }, { 'D', "x", 0, 0, NULL } },
      ERR_INVALID,
      "invalid file request 0" },
    { "data after the end",
      { { 'S', "a", 0644, 1, "" },
        { 'D', "x", 0, 0, NULL },
        { 'D', "", 0, 0, NULL },
        { 'D', "x", 0, 0, NULL } },
      ERR_INVALID,
      "invalid file request 0" },
    { "fin too early",
      { { 'S', "a", 0644, 1, "" }, { 'F', "", 0, 0, NULL } },
      ERR_INVALID,
      "the sender ended before" },
    { "stat after the last",
      { { 'S', "a", 0644, 1, "" }, { '.', "", 0, 0, NULL }, { 'S', "b", 0644, 1, "" } },
      ERR_INVALID,
      "behind the last one" },
    { "its own error",
      { { 'E', "disk on fire", 0, 0, NULL } },
      ERR_UNKNOWN,
      "error from sender: disk on fire" },
    { "request", { { 'R', "", 0, 0, NULL } }, ERR_INVALID, "unexpected packet of type 1" },
    { "unknown type", { { 'Q', "", 0, 0, NULL } }, ERR_INVALID, "unexpected packet of type 9" },
    { "garbage", { { 'X', "\xff\xff\xff\xff\xff", 0, 0, NULL } }, ERR_INVALID, "malformed packet" },
    { "garbage stat", { { 'X', "\x12\x02\xff\xff", 0, 0, NULL } }, ERR_INVALID, "" },
    { "socket", { { 'S', "s", GO_MODE_SOCKET | 0644, 0, "" } }, ERR_INVALID, "file type" },
    { "all types at once", { { 'S', "s", 0xffffffff, 0, "" } }, ERR_INVALID, "file type" },
};

static void write_line(const struct line *l, struct buf *b)
{
    switch (l->what) {
    case 'S':
        add_stat(b, l->text, l->number, l->size, l->link);
        break;
    case 'D':
        add_packet(b, PACKET_DATA, l->number, l->text);
        break;
    case 'F':
        add_packet(b, PACKET_FIN, 0, "");
        break;
    case 'E':
        add_packet(b, PACKET_ERR, 0, l->text);
        break;
    case 'R':
        add_packet(b, PACKET_REQ, 0, "");
        break;
    case 'Q':
        add_packet(b, 9, 0, "");
        break;
    case 'X':
        buf_adds(b, l->text);
        break;
    default:
        break;
    }
}

static void hostile(void **state)
{
    struct sync_options o = { 0 };
    struct fixture f;

    fixture_init(&f);
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct buf script[8] = { 0 };
        size_t n = 0;

        for (; n < 8 && lies[i].lines[n].what != 0; n++)
            write_line(&lies[i].lines[n], &script[n]);
        f.client.script = script;
        f.client.script_len = n;
        print_message("%s\n", lies[i].name);
        expect_error(run_sync(&f, &o), lies[i].kind, lies[i].error);
        assert_int_equal(f.index.len, 0);
        wait_idle(&f.client);
        for (size_t k = 0; k < n; k++)
            buf_deinit(&script[k]);
    }
    /* the session is as good as before */
    f.client.script = NULL;
    make_tree(f.d.src);
    expect_ok(run_sync(&f, &o));
    assert_same_trees(&f.d, &f.index);
    fixture_deinit(&f);
}

/* A file that is shorter than announced is taken, and asked for again; one without an end is not. */
static void lengths(void **state)
{
    struct sync_options o = { 0 };
    struct fixture f;
    struct buf script[5] = { 0 };

    fixture_init(&f);
    add_stat(&script[0], "a", 0644, 100, "");
    add_packet(&script[2], PACKET_DATA, 0, "short");
    add_packet(&script[3], PACKET_DATA, 0, "");
    add_packet(&script[4], PACKET_FIN, 0, "");
    f.client.script = script;
    f.client.script_len = 4; /* without FIN, and never one: cancelled from outside */
    f.client.hang = true;
    struct deadline d;

    deadline_begin(&d, 300 * NS_PER_MS);
    expect_error(run_sync(&f, &o), ERR_DEADLINE, "");
    deadline_end(&d);
    wait_idle(&f.client);
    f.client.hang = false;
    f.client.script_len = 5;
    expect_ok(run_sync(&f, &o));
    assert_int_equal(f.index.len, 1);
    assert_int_equal(f.index.entries[0].size, 5);
    wait_idle(&f.client);
    for (size_t i = 0; i < 5; i++)
        buf_deinit(&script[i]);

    static char block[1000 * 1000];

    memset(block, 'x', sizeof(block) - 1);
    add_stat(&script[0], "a", 0644, 100, "");
    add_packet(&script[1], PACKET_DATA, 0, block);
    f.client.script_len = 2;
    f.client.endless = true;
    sync_index_deinit(&f.index);
    expect_error(run_sync(&f, &o), ERR_INVALID, "is longer than the 100 bytes");
    wait_idle(&f.client);
    for (size_t i = 0; i < 5; i++)
        buf_deinit(&script[i]);
    fixture_deinit(&f);
}

static void symlink_xattrs(void **state)
{
    struct sync_options o = { 0 };
    struct fixture f;
    struct buf script[3] = { 0 };

    fixture_init(&f);
    add_stat(&script[0], "link", GO_MODE_SYMLINK | 0777, 0, "../canary/f");
    add_packet(&script[2], PACKET_FIN, 0, "");
    f.client.script = script;
    f.client.script_len = 3;
    expect_ok(run_sync(&f, &o)); /* dirs_deinit looks at the canary */
    wait_idle(&f.client);
    for (size_t i = 0; i < 3; i++)
        buf_deinit(&script[i]);
    fixture_deinit(&f);
}

/* Somebody put a link where a directory was, behind our back. */
static void swapped_directory(void **state)
{
    struct sync_options o = { 0 };
    struct fixture f;

    fixture_init(&f);
    make_tree(f.d.src);
    expect_ok(run_sync(&f, &o));
    assert_int_equal(path_remove_all(f.d.dst, "a"), 0);
    assert_int_equal(symlinkat("../canary", f.d.dst, "a"), 0);
    put_file(f.d.src, "a/f", "evil", 0644);
    struct error *e = run_sync(&f, &o);

    assert_non_null(e);
    err_free(e);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(hostile), cmocka_unit_test(lengths),
                                        cmocka_unit_test(symlink_xattrs),
                                        cmocka_unit_test(swapped_directory) };
    int failed = cmocka_run_group_tests_name("files", tests, NULL, NULL);

    sync_packing = true;
    failed += cmocka_run_group_tests_name("packed files", tests, NULL, NULL);
    return failed;
}
