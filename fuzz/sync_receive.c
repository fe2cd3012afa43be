/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that sends whatever it likes as file sync packets: two bytes of length, then the packet.  The
 * receiver writes below a directory of its own; a file beside it must never change.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "session/pack.h"
#include "task/task.h"

static struct group group;
static struct session_manager *manager;
static struct session *session;
static struct stream *client_end, *daemon_end;
static char root[] = "/tmp/fuzz_sync.XXXXXX";
static int tree = -1, canary = -1, pack_fd = -1;
static const uint8_t *input;
static size_t input_len;
static struct semaphore idle;

static struct error *play(struct rpc_call *call)
{
    const uint8_t *p = input, *end = input + input_len;

    while (end - p >= 2) {
        size_t n = MIN((size_t)p[0] << 8 | p[1], (size_t)(end - p - 2));

        TRY(rpc_send_raw(call, p + 2, n));
        p += 2 + n;
    }
    return err_new(ERR_UNKNOWN, "that was all");
}

static struct error *diff_copy(struct rpc_call *call, void *ctx)
{
    int r = semaphore_acquire(&idle, 1);

    if (r < 0)
        return task_error(r, "begin");
    struct error *e = play(call);

    semaphore_release(&idle, 1);
    return e;
}

static struct error *client(void *arg)
{
    static const struct rpc_method methods[] = { { "DiffCopy", diff_copy } };
    static const struct rpc_service service = { "moby.filesync.v1.FileSync", methods, 1, NULL };
    static const struct rpc_service *const list[] = { &service };
    static const struct rpc_server server = { list, 1 };

    err_free(rpc_serve_stream(&server, client_end));
    return NULL;
}

static struct error *daemon_side(void *arg)
{
    struct strv methods = { 0 };

    strv_add(&methods, "/moby.filesync.v1.FileSync/DiffCopy");
    struct session_hello h = { .id = "fuzz", .methods = &methods };

    err_free(session_serve(manager, &h, daemon_end));
    strv_deinit(&methods);
    return NULL;
}

static void stop(void)
{
    session_unref(session);
    group_cancel(&group);
    err_free(group_join(&group));
    session_manager_free(manager);
    semaphore_deinit(&idle);
    close(tree);
    close(pack_fd);
    close(canary);
    if (path_remove_all(AT_FDCWD, root) < 0)
        perror(root);
}

static int make_dir(const char *name)
{
    CLEANUP(freep) char *path = xasprintf("%s/%s", root, name);

    if (mkdir(path, 0755) < 0)
        abort();
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void start(void)
{
    if (mkdtemp(root) == NULL)
        abort();
    tree = make_dir("tree");
    canary = make_dir("canary");
    pack_fd = openat(tree, "..", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (tree < 0 || pack_fd < 0 || file_write_atomic(canary, "f", "untouched", 9, 0600) < 0)
        abort();
    semaphore_init(&idle, 1);
    manager = session_manager_new();
    stream_pair(&client_end, &daemon_end, 64 * KIB);
    group_open(&group, GROUP_KEEP_GOING);
    if (group_spawn(&group, "client", client, NULL) != NULL ||
        group_spawn(&group, "daemon", daemon_side, NULL) != NULL ||
        session_get(manager, "fuzz", &session) != NULL)
        abort();
    atexit(stop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(sync_pack_deinit) struct sync_pack pack = { .fd = pack_fd };
    struct sync_options o = { .name = "context", .pack = len % 2 == 0 ? &pack : NULL };
    struct sync_index index = { 0 };

    if (session == NULL)
        start();
    input = data;
    input_len = len;
    struct error *e = session_sync_in(session, &o, tree, &index);

    if (e == NULL)
        (void)!sync_pack_lay_out_all(&pack, tree, &index);
    err_free(e);
    sync_index_deinit(&index);
    /* the client's task has seen the input's end */
    if (semaphore_acquire(&idle, 1) < 0)
        abort();
    semaphore_release(&idle, 1);
    assert(path_read_file(canary, "f", &text, 100) == 0 && streq(buf_str(&text), "untouched"));
    return 0;
}
