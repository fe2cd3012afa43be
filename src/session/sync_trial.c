/* SPDX-License-Identifier: Apache-2.0 */
#include "session/sync_trial.h"

#include <sys/sysmacros.h>

#include "oci/digest.h"
#include "session/packet.h"
#include "session/walk.h"
#include "wire/pb.h"

/* ---- a tree on disk ---- */

bool sync_packing;

static int open_dir(const char *root, const char *name)
{
    CLEANUP(freep) char *path = xasprintf("%s/%s", root, name);

    assert_int_equal(mkdir(path, 0755), 0);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

void put_file(int dir, const char *name, const char *text, mode_t mode)
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

void set_time(int dir, const char *name, int64_t ns)
{
    struct timespec t[2] = { { 1, 0 }, { ns / NS_PER_SEC, ns % NS_PER_SEC } };

    assert_int_equal(utimensat(dir, name, t, AT_SYMLINK_NOFOLLOW), 0);
}

/* One of everything; names chosen so that bytewise order and path order differ. */
void make_tree(int dir)
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
void assert_same_trees(struct dirs *d, const struct sync_index *index)
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
void wait_idle(struct client *c)
{
    assert_int_equal(semaphore_acquire(&c->idle, 1), 0);
    semaphore_release(&c->idle, 1);
}

static const struct rpc_method file_sync_methods[] = { { "DiffCopy", diff_copy } };

void fixture_init(struct fixture *f)
{
    *f = (struct fixture){ 0 };
    dirs_init(&f->d);
    f->client.d = &f->d;
    semaphore_init(&f->client.idle, 1);
    f->service = (struct rpc_service){ "moby.filesync.v1.FileSync", file_sync_methods, 1, &f->client };
    f->services[0] = &f->service;
    peer_init(&f->peer, f->services, 1);
}

void fixture_deinit(struct fixture *f)
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

struct error *run_sync(struct fixture *f, struct sync_options *o)
{
    o->progress = on_progress;
    o->changing = on_change;
    o->ctx = f;
    if (o->name == NULL)
        o->name = "context";
    o->pack = sync_packing ? &f->d.pack : NULL;
    f->client.sent_bytes = 0;
    return session_sync_in(f->peer.session, o, f->d.dst, &f->index);
}
