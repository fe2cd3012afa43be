/* SPDX-License-Identifier: Apache-2.0 */
#include "session/sync.h"

#include <sys/sysmacros.h>

#include "oci/digest.h"
#include "session/pack.h"
#include "session/packet.h"
#include "session/peer_test.h"
#include "session/walk.h"
#include "wire/pb.h"

/* ---- a tree on disk ---- */

/* The tests run twice: with all files in the tree, and with small ones in a pack. */
static bool packing;

struct dirs {
    char root[40];
    int src, dst, canary;
    struct sync_pack pack;
};

static int open_dir(const char *root, const char *name)
{
    CLEANUP(freep) char *path = xasprintf("%s/%s", root, name);

    assert_int_equal(mkdir(path, 0755), 0);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static void put_file(int dir, const char *name, const char *text, mode_t mode)
{
    int fd = openat(dir, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void dirs_init(struct dirs *d)
{
    snprintf(d->root, sizeof(d->root), "/tmp/sync_test.XXXXXX");
    assert_non_null(mkdtemp(d->root));
    d->src = open_dir(d->root, "src");
    d->dst = open_dir(d->root, "dst");
    d->canary = open_dir(d->root, "canary");
    put_file(d->canary, "f", "untouched", 0600);
    CLEANUP(freep) char *pack = xasprintf("%s/pack", d->root);

    d->pack.fd = open(pack, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(d->pack.fd >= 0);
}

static void dirs_deinit(struct dirs *d)
{
    char text[32] = { 0 };
    int fd = openat(d->canary, "f", O_RDONLY | O_CLOEXEC);

    /* whatever the peer did, nothing outside changed */
    assert_int_equal(read(fd, text, sizeof(text)), 9);
    assert_string_equal(text, "untouched");
    assert_true(fgetxattr(fd, "user.evil", text, sizeof(text)) < 0);
    close(fd);
    close(d->src);
    close(d->dst);
    close(d->canary);
    close(d->pack.fd);
    sync_pack_deinit(&d->pack);
    assert_int_equal(path_remove_all(AT_FDCWD, d->root), 0);
}

static void set_time(int dir, const char *name, int64_t ns)
{
    struct timespec t[2] = { { 1, 0 }, { ns / NS_PER_SEC, ns % NS_PER_SEC } };

    assert_int_equal(utimensat(dir, name, t, AT_SYMLINK_NOFOLLOW), 0);
}

/* One of everything; names chosen so that bytewise order and path order differ. */
static void make_tree(int dir)
{
    assert_int_equal(mkdirat(dir, "a", 0755), 0);
    assert_int_equal(mkdirat(dir, "a/sub", 0711), 0);
    put_file(dir, "a/sub/deep", "deep", 0644);
    put_file(dir, "a/z", "", 0400);
    put_file(dir, "a.txt", "beside a", 0644);
    put_file(dir, "a-b", "minus", 04755);
    assert_int_equal(mkdirat(dir, "empty", 0700), 0);
    assert_int_equal(fchmodat(dir, "empty", 01777, 0), 0);
    assert_int_equal(symlinkat("../canary/f", dir, "link"), 0);
    assert_int_equal(symlinkat("nowhere", dir, "a/dangling"), 0);
    put_file(dir, "hard1", "two names", 0644);
    assert_int_equal(linkat(dir, "hard1", dir, "hard2", 0), 0);
    assert_int_equal(mkfifoat(dir, "pipe", 0640), 0);
    if (mknodat(dir, "null", S_IFCHR | 0666, makedev(1, 3)) == 0)
        assert_int_equal(fchmodat(dir, "null", 0666, 0), 0);
    int fd = openat(dir, "xattr", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    if (fsetxattr(fd, "user.b", "2", 1, 0) == 0)
        assert_int_equal(fsetxattr(fd, "user.a", "one", 3, 0), 0);
    close(fd);
    fd = openat(dir, "big", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    char block[4096];

    for (int i = 0; i < 150; i++) {
        memset(block, i, sizeof(block));
        assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
    }
    close(fd);
    put_file(dir, "name with \xc3\xa4 \xff", "odd name", 0644);
    set_time(dir, "a.txt", 1234567890123456789);
    set_time(dir, "link", 1000000000000000001);
    set_time(dir, "a", 1500000000 * NS_PER_SEC + 7);
    set_time(dir, "empty", 0);
}

static void file_digest(int dir, const char *path, uint8_t ret[32])
{
    struct hasher *h = hasher_new();
    char block[8192];
    ssize_t n;
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    while ((n = read(fd, block, sizeof(block))) > 0)
        hasher_add(h, block, (size_t)n);
    close(fd);
    hasher_sum_raw(h, ret);
    hasher_free(h);
}

static void assert_same_entry(const struct sync_entry *a, const struct sync_entry *b)
{
    assert_string_equal(a->path, b->path);
    if (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid || a->size != b->size ||
        a->mtime_ns != b->mtime_ns || a->devmajor != b->devmajor || a->devminor != b->devminor ||
        a->xattrs_len != b->xattrs_len)
        fail_msg("%s differs: mode %o %o size %lld %lld mtime %lld %lld xattrs %u %u", a->path, a->mode,
                 b->mode, (long long)a->size, (long long)b->size, (long long)a->mtime_ns,
                 (long long)b->mtime_ns, a->xattrs_len, b->xattrs_len);
    assert_int_equal(a->linkname != NULL, b->linkname != NULL);
    if (a->linkname != NULL)
        assert_string_equal(a->linkname, b->linkname);
    if (a->xattrs_len > 0)
        assert_memory_equal(a->xattrs, b->xattrs, a->xattrs_len);
}

/* Both trees are equal, and the index says what they hold. */
static void assert_equal_trees(struct dirs *d, const struct sync_index *index)
{
    struct sync_tree ta = { .dir_fd = d->src }, tb = { .dir_fd = d->dst };
    struct walk *a, *b;
    size_t n = 0;

    assert_null(walk_open(&ta, &a));
    assert_null(walk_open(&tb, &b));
    for (;; n++) {
        CLEANUP(sync_entry_deinit) struct sync_entry ea = { 0 };
        CLEANUP(sync_entry_deinit) struct sync_entry eb = { 0 };
        uint8_t sum[32];

        assert_null(walk_next(a, &ea));
        assert_null(walk_next(b, &eb));
        if (ea.path == NULL && eb.path == NULL)
            break;
        if (ea.path == NULL || eb.path == NULL)
            fail_msg("only one tree has %s", ea.path != NULL ? ea.path : eb.path);
        assert_same_entry(&ea, &eb);
        assert_true(n < index->len);
        const struct sync_entry *ei = &index->entries[n];

        assert_same_entry(&ea, ei);
        assert_ptr_equal(sync_index_find(index, ea.path), ei);
        if ((ea.mode & GO_MODE_TYPE) != 0)
            continue;
        file_digest(d->src, ea.path, sum);
        assert_memory_equal(sum, ei->content, 32);
        file_digest(d->dst, ea.path, sum);
        assert_memory_equal(sum, ei->content, 32);
    }
    assert_int_equal(n, index->len);
    walk_close(a);
    walk_close(b);
}

/* The same with what is packed laid out; it is taken away again. */
static void assert_same_trees(struct dirs *d, const struct sync_index *index)
{
    CLEANUP(buf_deinit) struct buf saved = { 0 };
    struct sync_index whole;

    sync_index_save(index, &saved);
    expect_ok(sync_index_load(saved.data, saved.len, &whole));
    assert_int_equal(sync_pack_lay_out_all(&d->pack, d->dst, &whole), 0);
    assert_equal_trees(d, &whole);
    for (size_t i = 0; i < index->len; i++) {
        assert_int_equal(whole.entries[i].packed, 0);
        if (index->entries[i].packed != 0)
            assert_int_equal(unlinkat(d->dst, index->entries[i].path, 0), 0);
    }
    for (size_t i = 0; i < whole.len; i++)
        if ((whole.entries[i].mode & GO_MODE_DIR) != 0)
            set_time(d->dst, whole.entries[i].path, whole.entries[i].mtime_ns);
    sync_index_deinit(&whole);
}

/* ---- the client's side ---- */

struct client {
    struct dirs *d;
    struct sync_send_filter filter;
    const char *prefix;
    int64_t sent_bytes;
    struct strv metadata; /* of the last call: "key=value" */
    /* instead of the real sender: raw packets */
    const struct buf *script;
    size_t script_len;
    bool hang, endless;
    struct semaphore idle; /* taken while a call is served */
};

static void count_sent(void *ctx, int64_t bytes)
{
    ((struct client *)ctx)->sent_bytes = bytes;
}

static struct error *play(struct rpc_call *call, struct client *c)
{
    struct buf in = { 0 };
    bool eof = false;

    for (size_t i = 0; i < c->script_len; i++)
        TRY(rpc_send_raw(call, buf_str(&c->script[i]), c->script[i].len));
    while (c->endless)
        TRY(rpc_send_raw(call, buf_str(&c->script[c->script_len - 1]), c->script[c->script_len - 1].len));
    /* to the receiver's ERR, or its end */
    while (!eof) {
        struct error *e = rpc_recv_raw(call, &in, &eof);

        if (e != NULL) {
            buf_deinit(&in);
            return e;
        }
        if (!c->hang && !eof && in.len > 1 && in.data[0] == 8 && in.data[1] == PACKET_ERR)
            break;
    }
    buf_deinit(&in);
    return NULL;
}

static struct error *serve_call(struct rpc_call *call, void *ctx)
{
    struct client *c = ctx;
    const struct rpc_md *md;

    TRY(rpc_metadata(call, &md));
    strv_clear(&c->metadata);
    for (size_t i = 0; i < md->len; i++)
        strv_addf(&c->metadata, "%s=%s", md->v[i].key, md->v[i].value);
    if (c->script != NULL)
        return play(call, c);
    struct sync_tree tree = { .dir_fd = c->d->src, .prefix = c->prefix, .filter = &c->filter };

    return sync_send(call, &tree, 1, count_sent, c);
}

static struct error *diff_copy(struct rpc_call *call, void *ctx)
{
    struct client *c = ctx;
    int r = semaphore_acquire(&c->idle, 1);

    if (r < 0)
        return task_error(r, "begin");
    struct error *e = serve_call(call, ctx);

    semaphore_release(&c->idle, 1);
    return e;
}

/* The script may be freed: nobody sends it any more. */
static void wait_idle(struct client *c)
{
    assert_int_equal(semaphore_acquire(&c->idle, 1), 0);
    semaphore_release(&c->idle, 1);
}

static const struct rpc_method file_sync_methods[] = { { "DiffCopy", diff_copy } };

struct fixture {
    struct dirs d;
    struct client client;
    struct rpc_service service;
    const struct rpc_service *services[1];
    struct peer peer;
    struct sync_index index;
    int64_t received;
    int changes; /* syncs that were about to change the directory */
};

static void fixture_init(struct fixture *f)
{
    *f = (struct fixture){ 0 };
    dirs_init(&f->d);
    f->client.d = &f->d;
    semaphore_init(&f->client.idle, 1);
    f->service = (struct rpc_service){ "moby.filesync.v1.FileSync", file_sync_methods, 1, &f->client };
    f->services[0] = &f->service;
    peer_init(&f->peer, f->services, 1);
}

static void fixture_deinit(struct fixture *f)
{
    peer_deinit(&f->peer);
    sync_index_deinit(&f->index);
    semaphore_deinit(&f->client.idle);
    strv_deinit(&f->client.metadata);
    dirs_deinit(&f->d);
}

static void on_progress(void *ctx, int64_t bytes, bool done)
{
    ((struct fixture *)ctx)->received = bytes;
}

static int on_change(void *ctx)
{
    ((struct fixture *)ctx)->changes++;
    return 0;
}

static struct error *run_sync(struct fixture *f, struct sync_options *o)
{
    o->progress = on_progress;
    o->changing = on_change;
    o->ctx = f;
    if (o->name == NULL)
        o->name = "context";
    o->pack = packing ? &f->d.pack : NULL;
    f->client.sent_bytes = 0;
    return session_sync_in(f->peer.session, o, f->d.dst, &f->index);
}

/* ---- tests ---- */

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
    ino_t same = packing ? 0 : inode(f.d.dst, "d/same");

    f.changes = 0;
    expect_ok(run_sync(&f, &o));
    assert_int_equal(f.changes, 0);
    put_file(f.d.src, "d/edited", "behind", 0644);
    set_time(f.d.src, "d/edited", NS_PER_SEC);
    expect_ok(run_sync(&f, &o));
    assert_int_equal(f.changes, 1);
    assert_int_equal(f.client.sent_bytes, 10);
    assert_int_equal(sync_index_find(&f.index, "d/same")->packed, packed);
    assert_int_equal(packing ? 0 : inode(f.d.dst, "d/same"), same);
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

/* ---- peers that lie ---- */

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
        cmocka_unit_test(hostile),          cmocka_unit_test(lengths),
        cmocka_unit_test(symlink_xattrs),   cmocka_unit_test(swapped_directory),
        cmocka_unit_test(same_bytes_stay),
    };

    const struct CMUnitTest packed[] = { cmocka_unit_test(index_children), cmocka_unit_test(pack_moves) };
    int failed = cmocka_run_group_tests_name("files", tests, NULL, NULL);

    packing = true;
    failed += cmocka_run_group_tests_name("packed files", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("pack", packed, NULL, NULL);
}
