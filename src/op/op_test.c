/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_test.c - definitions solved with the real store, snapshots and (where a runtime works) processes.  Needs
 * root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "op/testing.h"
#include "session/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* ---- file ops
 * ------------------------------------------------------------------------------------------------------------------
 */

static void test_files(void **state)
{
    struct llb_action *a = llb_mkdir(b, NULL, "/a/b", 0750, true, NULL, NULL);
    struct outcome o;
    struct stat st;

    a = llb_mkfile(b, a, "/a/b/f", 0600, "text", 4);
    a = llb_mkfile(b, a, "/a/b/f", 0640, "other", 5);
    o = solve_ok(llb_file(b, llb_scratch(), a, NULL));
    expect(&o, "/a/b/f", "other");
    assert_int_equal(path_stat(o.fd, "/a/b/f", false, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(path_stat(o.fd, "/a", false, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_int_equal(snapshot_layer_count(o.result), 1); /* one root for all actions */
    outcome_free(&o);
    solve_fails(llb_file(b, llb_scratch(), llb_mkfile(b, NULL, "/", 0600, "", 0), NULL), "is a directory");
    solve_fails(llb_file(b, llb_scratch(), llb_mkdir(b, NULL, "/x/y", 0755, false, NULL, NULL), NULL),
                "/x/y: no such file or directory");
}

/* The second build makes nothing; a changed step and what follows it are made again. */
static void test_cache(void **state)
{
    for (int i = 0; i < 3; i++) {
        struct llb_state s = mkfile(llb_scratch(), "/1", "1", "one");

        s = mkfile(s, "/2", i == 2 ? "changed" : "2", "two");
        s = mkfile(s, "/3", "3", "three");
        struct outcome o = solve_ok(s);

        assert_string_equal(o.log, i == 0   ? "one:DONE two:DONE three:DONE "
                                   : i == 1 ? "one:CACHED two:CACHED three:CACHED "
                                            : "one:CACHED two:DONE three:DONE ");
        expect(&o, "/3", "3");
        outcome_free(&o);
    }
}

/* Which line of its pre-image made a step run again. */
static void test_explain(void **state)
{
    CLEANUP(freep) char *why = NULL;
    CLEANUP(freep) char *first = NULL;

    for (int i = 0; i < 2; i++) {
        struct outcome o =
            solve_ok(mkfile(mkfile(llb_scratch(), "/1", "1", "one"), i ? "/b" : "/a", "2", "two"));

        outcome_free(&o);
    }
    assert_null(solver_explain(solver, "two", &why));
    assert_string_equal(why, "two\n  compared with its run before\n  was path \"/a\"\n  is  path \"/b\"\n");
    struct error *e = solver_explain(solver, "three", &first);
    assert_true(err_is(e, ERR_NOT_FOUND));
    err_free(e);
}

/* COPY --from of a stage that was made anew with what was there before is still cached. */
static void test_content_key(void **state)
{
    for (int i = 0; i < 2; i++) {
        struct llb_state from = mkfile(llb_scratch(), "/d/f", "same", "source");
        struct llb_action *a = llb_mkdir(b, NULL, "/d", 0755, false, NULL, NULL);

        a = llb_mkfile(b, a, "/d/f", 0644, "same", 4);
        a = llb_mkfile(b, a, "/other", 0644, i ? "x" : "y", 1);
        from = llb_file(b, llb_scratch(), a, named("source"));
        struct outcome o =
            solve_ok(copy(mkfile(llb_scratch(), "/base", "", "base"), from, "/d/", "/to/", "copy"));

        expect(&o, "/to/f", "same");
        assert_string_equal(strstr(o.log, "copy:"), i ? "copy:CACHED " : "copy:DONE ");
        outcome_free(&o);
    }
}

static void test_copy_errors(void **state)
{
    struct llb_state from = mkfile(llb_scratch(), "/f", "f", "from");

    solve_fails(copy(llb_scratch(), from, "/gone", "/", "copy"), "\"/gone\": not found");
    solve_fails(copy(llb_scratch(), from, "/gone*", "/", "copy"), "/gone* not found");
}

static void test_copy_owner(void **state)
{
    struct llb_action *a = llb_mkdir(b, NULL, "/etc", 0755, false, NULL, NULL);
    struct llb_state base, from = mkfile(llb_scratch(), "/f", "f", "from");
    struct llb_chown chown = llb_chown_parse(b, "joe:staff");
    struct llb_copy_info i = { .create_dest_path = true, .chown = &chown };
    struct outcome o;
    struct stat st;

    a = llb_mkfile(b, a, "/etc/passwd", 0644, "joe:x:33:44::/:\n", 16);
    a = llb_mkfile(b, a, "/etc/group", 0644, "staff:x:55:\n", 12);
    base = llb_file(b, llb_scratch(), a, NULL);
    o = solve_ok(llb_file(b, base, llb_copy(b, NULL, from, "/f", "/dir/f", &i), NULL));
    assert_int_equal(path_stat(o.fd, "/dir/f", false, &st), 0);
    assert_int_equal(st.st_uid, 33);
    assert_int_equal(st.st_gid, 55);
    outcome_free(&o);
}

static void test_merge_diff(void **state)
{
    struct llb_state x = mkfile(llb_scratch(), "/x", "x", "x"), y = mkfile(llb_scratch(), "/y", "y", "y");
    struct llb_state both[2] = { x, y };
    struct outcome o = solve_ok(llb_merge(b, both, 2, NULL));

    expect(&o, "/x", "x");
    expect(&o, "/y", "y");
    assert_int_equal(snapshot_layer_count(o.result), 2);
    outcome_free(&o);
    o = solve_ok(llb_diff(b, x, mkfile(x, "/z", "z", "z"), NULL));
    expect(&o, "/z", "z");
    assert_false(there(&o, "/x"));
    outcome_free(&o);
}

/* ---- synced trees
 * --------------------------------------------------------------------------------------------------------------
 */

struct tree {
    char *path;
    struct sync_index index;
    int released;
};

static void tree_release(void *arg)
{
    ((struct tree *)arg)->released++;
}

/* What the index says of a tree is what the disk says. */
static void test_tree(void **state)
{
    struct sync_entry entry = { .path = (char *)"f", .mode = 0644, .size = 4 };
    struct tree t = { .path = xasprintf("%s/ctx", top), .index = { &entry, 1, 1 } };
    CLEANUP(freep) char *file = xasprintf("%s/f", t.path);

    assert_int_equal(mkdir(t.path, 0755), 0);
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, "new!", 4), 4);
    close(fd);
    static const struct tree_ops ops = { .release = tree_release };
    struct snapshot *snap = snapshot_from_tree(store, "tree:x", t.path, &ops, &t);
    struct op_input_key k = { .by_content = true };
    struct digest by_index, by_disk;
    struct digest content = digest_of("new!", 4);

    assert_int_equal(hex_decode(entry.content, digest_hex(&content), 64), 0);
    op_input_key_add(&k, "/");
    content_index_add(solver, "tree:x", &t.index);
    assert_null(content_digest(solver, snap, &k, &by_index));
    content_index_remove(solver, "tree:x", &t.index);
    struct snapshot *again = snapshot_from_tree(store, "tree:y", t.path, &ops, &t);
    assert_null(content_digest(solver, again, &k, &by_disk));
    assert_string_equal(by_index.s, by_disk.s);
    snapshot_unref(snap);
    snapshot_unref(again);
    assert_int_equal(t.released, 2);
    op_input_key_deinit(&k);
    free(t.path);
}

/* ---- hostile roots (security.md B10, B19)
 * -------------------------------------------------------------------------------------- */

static struct snapshot *hostile_base(const char *canary)
{
    struct snapshot *s;
    struct active *a;

    assert_null(active_begin(store, NULL, &a));
    int fd = active_fd(a);
    assert_int_equal(symlinkat(canary, fd, "abs"), 0);
    assert_int_equal(symlinkat("../../../../../../../../tmp", fd, "up"), 0);
    assert_int_equal(symlinkat("/", fd, "self"), 0);
    assert_int_equal(mkfifoat(fd, "fifo", 0600), 0);
    assert_int_equal(mknodat(fd, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
    assert_int_equal(mkdirat(fd, "dir", 0755), 0);
    assert_null(active_commit(a, "base", "regular", &s));
    return s;
}

static void test_hostile(void **state)
{
    CLEANUP(freep) char *canary = xasprintf("%s/canary", top);
    CLEANUP(freep) char *file = xasprintf("%s/f", canary);
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct snapshot *base;
    struct stat st;

    assert_int_equal(mkdir(canary, 0755), 0);
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "canary", 6), 6);
    close(fd);
    base = hostile_base(canary);
    struct llb_state s = fixed(base);
    static const char *const paths[] = { "/abs/f", "/up/f", "/self/../../f", "/../../f",
                                         "/fifo",  "/null", "/abs",          "/up" };

    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct llb_action *made = llb_mkfile(b, NULL, paths[i], 0666, "evil", 4);
        struct llb_action *dirs =
            llb_mkdir(b, NULL, llb_printf(b, "%s/x/y", paths[i]), 0777, true, NULL, NULL);
        struct llb_copy_info ci = { .create_dest_path = true };
        struct llb_action *copied =
            llb_copy(b, NULL, mkfile(llb_scratch(), "/e", "evil", "e"), "/e", paths[i], &ci);
        struct llb_action *got = llb_copy(b, NULL, s, paths[i], "/got", &ci);
        struct llb_action *all[] = { made, dirs, copied };

        for (size_t k = 0; k < ARRAY_LEN(all); k++) {
            struct outcome o = solve(llb_file(b, s, all[k], NULL));

            outcome_free(&o);
        }
        struct outcome o = solve(llb_file(b, llb_scratch(), got, NULL));
        if (o.fd >= 0 && path_stat(o.fd, "/got", false, &st) == 0 && S_ISREG(st.st_mode)) {
            buf_clear(&text);
            assert_int_equal(path_read_file(o.fd, "/got", &text, 100), 0);
            assert_string_not_equal(buf_str(&text), "canary");
        }
        outcome_free(&o);
    }
    struct outcome o = solve_ok(llb_file(b, s, llb_mkfile(b, NULL, "/null", 0600, "plain", 5), NULL));
    assert_int_equal(path_stat(o.fd, "/null", false, &st), 0);
    assert_true(S_ISREG(st.st_mode)); /* the device is replaced, not written to */
    outcome_free(&o);
    buf_clear(&text);
    assert_int_equal(file_read(file, &text, 100), 0);
    assert_string_equal(buf_str(&text), "canary");
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    snapshot_unref(base);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, testing_setup, testing_teardown)

/* ---- build ops
 * -----------------------------------------------------------------------------------------------------------------
 */

static struct llb_def *marshalled(struct llb_state s)
{
    struct llb_def *def;

    assert_null(llb_marshal(b, s, NULL, &def));
    return def;
}

/* What is built from the definition in that file of `in`. */
static struct llb_def *built(struct llb_state in, const char *filename)
{
    CLEANUP(llb_def_unrefp) struct llb_def *from = marshalled(in);
    Pb__Op op = PB__OP__INIT, end = PB__OP__INIT;
    Pb__BuildOp build = PB__BUILD_OP__INIT;
    Pb__BuildInputEntry entry = PB__BUILD_INPUT_ENTRY__INIT;
    Pb__BuildInput input = PB__BUILD_INPUT__INIT;
    Pb__Input edges[2] = { PB__INPUT__INIT, PB__INPUT__INIT };
    Pb__Definition all = PB__DEFINITION__INIT;
    Kv__Str attr = KV__STR__INIT;
    struct buf packed[2] = { { 0 }, { 0 } };
    CLEANUP(buf_deinit) struct buf whole = { 0 };
    struct digest head;
    struct llb_def *def;

    assert_null(llb_def_head(from, &head, &edges[0].index));
    edges[0].digest = head.s;
    op.inputs = (Pb__Input *[]){ &edges[0] };
    end.inputs = (Pb__Input *[]){ &edges[1] };
    op.n_inputs = end.n_inputs = 1;
    op.op_case = PB__OP__OP_BUILD;
    op.build = &build;
    build.builder = -1;
    build.n_inputs = 1;
    build.inputs = (Pb__BuildInputEntry *[]){ &entry };
    entry.key = (char *)"buildkit.llb.definition";
    entry.value = &input;
    attr.key = (char *)"llbbuild.filename";
    attr.value = (char *)filename;
    build.n_attrs = filename == NULL ? 0 : 1;
    build.attrs = (Kv__Str *[]){ &attr };
    pb_pack(&op.base, &packed[0]);
    struct digest own = digest_of(packed[0].data, packed[0].len);

    edges[1].digest = own.s;
    pb_pack(&end.base, &packed[1]);
    all.n_def = from->op_count + 1;
    all.def = llb_alloc(b, (from->op_count + 1) * sizeof(*all.def));
    for (size_t i = 0; i + 1 < from->op_count; i++)
        all.def[i] = pb_bytes(from->ops[i].bytes, from->ops[i].len);
    for (size_t i = 0; i < 2; i++)
        all.def[from->op_count - 1 + i] = pb_bytes(packed[i].data, packed[i].len);
    pb_pack(&all.base, &whole);
    assert_null(llb_def_decode(whole.data, whole.len, &def));
    buf_deinit(&packed[0]);
    buf_deinit(&packed[1]);
    return def;
}

/* A file with that definition. */
static struct llb_state definition_file(const struct llb_def *def, const char *path)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    llb_def_encode(def, &text);
    return llb_file(b, llb_scratch(), llb_mkfile(b, NULL, path, 0644, text.data, text.len), named("file"));
}

static void build_fails(struct llb_state in, const char *filename, const char *text)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = built(in, filename);

    solve_def_fails(def, text);
}

static void test_build(void **state)
{
    static const char *const files[] = { NULL, "/sub" };
    CLEANUP(llb_def_unrefp) struct llb_def *inner = marshalled(mkfile(llb_scratch(), "/x", "hello", "inner"));
    CLEANUP(llb_def_unrefp)
    struct llb_def *broken =
        marshalled(copy(llb_scratch(), mkfile(llb_scratch(), "/y", "", "f"), "/nothing", "/", "copy"));

    for (int i = 0; i < 2; i++) {
        const char *path = files[i] == NULL ? "/buildkit.llb.definition" : files[i];
        CLEANUP(llb_def_unrefp) struct llb_def *def = built(definition_file(inner, path), files[i]);
        struct outcome o = solve_def_ok(def);

        expect(&o, "/x", "hello");
        assert_non_null(strstr(o.log, i == 0 ? "inner:DONE" : "inner:CACHED"));
        outcome_free(&o);
    }
    build_fails(mkfile(llb_scratch(), "/x", "", "f"), NULL, "open buildkit.llb.definition: no such file");
    build_fails(mkfile(llb_scratch(), "/x", "\x0a\xff", "f"), "/x", "failed to read definition /x");
    build_fails(definition_file(broken, "/x"), "/x", "/nothing");
}

static void test_build_depth(void **state)
{
    struct llb_def *def = marshalled(mkfile(llb_scratch(), "/x", "deep", "inner"));

    for (int depth = 0; depth <= LIMIT_BUILD_DEPTH; depth++) {
        struct llb_def *outer = built(definition_file(def, "/d"), "/d");

        llb_def_unref(def);
        def = outer;
        if (depth < LIMIT_BUILD_DEPTH) {
            struct outcome o = solve_def_ok(def);

            expect(&o, "/x", "deep");
            outcome_free(&o);
        }
    }
    solve_def_fails(def, "definitions are nested more than");
    llb_def_unref(def);
}

/* A definition that builds itself ends at the limit: it does not wait for itself. */
static void test_build_cycle(void **state)
{
    CLEANUP(snapshot_unrefp) struct snapshot *empty = snapshot_empty(store);
    struct llb_state source = fixed(empty);
    CLEANUP(llb_def_unrefp) struct llb_def *self = built(source, "/d");
    CLEANUP(llb_def_unrefp) struct llb_def *maker = marshalled(definition_file(self, "/d"));
    struct outcome made = solve_def_ok(maker);

    fixed(made.result); /* now the source holds the definition */
    solve_def_fails(self, "definitions are nested more than");
    outcome_free(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_build),      TEST(test_build_depth), TEST(test_build_cycle), TEST(test_files),
        TEST(test_cache),      TEST(test_explain),     TEST(test_content_key), TEST(test_copy_errors),
        TEST(test_copy_owner), TEST(test_merge_diff),  TEST(test_tree),        TEST(test_hostile),
    };

    if (geteuid() != 0)
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
