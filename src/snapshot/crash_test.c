/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill -9 of a writer at random moments.  Whenever it happens: every listed image is whole and readable,
 * every cache record leads to layers that are there, what was acknowledged is not lost, and no file lies
 * about that no row names.
 *
 * The writer is this program itself, started with a second argument; it acknowledges each finished round on a
 * pipe.
 */
#include "snapshot/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "oci/image.h"

#define ROUNDS 12

extern char **environ;
static const char *self;

static void must(struct error *e)
{
    if (e == NULL)
        return;
    fprintf(stderr, "%s\n", e->message);
    abort();
}

/* ---- the writer ------------------------------------------------------------------------------------------
 */

static struct snapshot *make_step(struct store *s, struct snapshot *parent, int n)
{
    struct active *a;
    struct snapshot *next;
    char name[32];
    must(active_begin(s, parent, &a));
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "file-%d-%d", n, i);
        CLEANUP(closep) int fd = openat(active_fd(a), name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (write(fd, name, strlen(name)) < 0)
            abort();
    }
    must(active_commit(a, "step", "regular", &next));
    return next;
}

static void name_image(struct store *s, struct snapshot *snap, int n)
{
    struct lease *l;
    struct digest diff_id, config, manifest;
    int64_t size;
    size_t top = snapshot_layer_count(snap) - 1;
    must(lease_open(s, &l));
    must(snapshot_layer_diff_id(snap, top, &diff_id, &size));
    CLEANUP(freep)
    char *c =
        xasprintf("{\"os\":\"linux\",\"architecture\":\"amd64\",\"n\":%d,\"rootfs\":{\"type\":\"layers\","
                  "\"diff_ids\":[\"%s\"]}}",
                  n, diff_id.s);
    must(blob_put(s, l, c, strlen(c), &config));
    CLEANUP(freep)
    char *m = xasprintf("{\"schemaVersion\":2,\"config\":{\"mediaType\":\"" MT_OCI_CONFIG
                        "\",\"digest\":\"%s\",\"size\":%zu},"
                        "\"layers\":[{\"mediaType\":\"" MT_OCI_LAYER "\",\"digest\":\"%s\",\"size\":%lld}]}",
                        config.s, strlen(c), diff_id.s, (long long)size);
    must(blob_put(s, l, m, strlen(m), &manifest));
    CLEANUP(descriptor_deinit) struct descriptor d = { 0 };
    descriptor_init(&d, MT_OCI_MANIFEST, &manifest, (int64_t)strlen(m));
    CLEANUP(freep) char *name = xasprintf("docker.io/library/i%d:latest", n);
    must(image_put(s, name, &d));
    lease_close(l);
}

static int writer(const char *root)
{
    struct store *s;
    must(store_open(root, &s));
    struct snapshot *snap = NULL;
    for (int n = 0;; n++) {
        struct snapshot *next = make_step(s, n % 5 == 0 ? NULL : snap, n);
        snapshot_unref(snap);
        snap = next;
        CLEANUP(freep) char *key = xasprintf("key-%d", n);
        must(cache_put(s, key, snapshot_id(snap), "op x\n", 5));
        name_image(s, snap, n);
        if (n % 7 == 6)
            must(store_collect(s, NULL));
        if (n % 11 == 10) {
            struct prune_options o = { .max_used_bytes = 1 };
            must(store_prune(s, &o, NULL, NULL));
        }
        unsigned char ack = (unsigned char)n;
        if (write(1, &ack, 1) != 1)
            return 1;
    }
}

/* ---- the judge -------------------------------------------------------------------------------------------
 */

static void expect_ok(struct error *e)
{
    if (e != NULL)
        fail_msg("%s", e->message);
}

static void check_images(struct store *s, int acknowledged)
{
    struct image_record *list;
    size_t count;
    expect_ok(image_list(s, &list, &count));
    assert_true((int)count >= acknowledged); /* nothing that was said to be done is lost */
    for (size_t i = 0; i < count; i++) {
        CLEANUP(buf_deinit) struct buf text = { 0 };
        CLEANUP(image_manifest_deinit) struct image_manifest m = { 0 };
        expect_ok(image_check(s, &list[i].target));
        expect_ok(blob_read(s, &list[i].target.digest, LIMIT_MANIFEST, &text));
        expect_ok(image_manifest_parse(text.data, text.len, NULL, &m));
        for (size_t k = 0; k < m.layer_count; k++) { /* a virtual blob is verified as it is read */
            CLEANUP(buf_deinit) struct buf layer = { 0 };
            expect_ok(blob_read(s, &m.layers[k].digest, 1 << 20, &layer));
            assert_int_equal(layer.len, m.layers[k].size);
        }
        image_record_deinit(&list[i]);
    }
    free(list);
}

static bool check_record(void *ctx, const char *key, const char *result, const void *preimage, size_t len)
{
    strv_add(ctx, result);
    return true;
}

static void check_cache(struct store *s)
{
    CLEANUP(strv_deinit) struct strv results = { 0 };
    expect_ok(cache_walk(s, check_record, &results));
    for (size_t i = 0; i < results.len; i++) {
        struct snapshot *snap;
        int fd;
        expect_ok(snapshot_get(s, results.v[i], &snap));
        expect_ok(snapshot_mount_ro(snap, &fd));
        close(fd);
        snapshot_unref(snap);
    }
}

static size_t count_entries(const char *root, const char *sub)
{
    CLEANUP(freep) char *path = xasprintf("%s/%s", root, sub);
    DIR *d = opendir(path);
    const struct dirent *e;
    size_t n = 0;
    if (d == NULL)
        return 0;
    while ((e = readdir(d)) != NULL)
        n += e->d_name[0] != '.' && !streq(e->d_name, "empty");
    closedir(d);
    return n;
}

static void check_files(struct store *s, const char *root)
{
    struct blob_list blobs = { 0 };
    struct usage_record *list;
    size_t count, files = 0;
    expect_ok(blob_list(s, &blobs));
    for (size_t i = 0; i < blobs.count; i++)
        files += blobs.list[i].layer_id[0] == '\0';
    assert_int_equal(count_entries(root, "blobs/sha256"), files);
    free(blobs.list);
    expect_ok(usage_list(s, &list, &count));
    assert_true(count_entries(root, "layers") >= count);
    for (size_t i = 0; i < count; i++)
        usage_record_deinit(&list[i]);
    free(list);
    assert_int_equal(count_entries(root, "work"), 0);
    assert_int_equal(count_entries(root, "trash"), 0);
}

/* Run a writer until it has acknowledged `rounds` rounds, then a while longer, then kill it. */
static int run_and_kill(const char *root, int rounds, int64_t extra_ns)
{
    posix_spawn_file_actions_t fa;
    int fds[2], done = 0, status;
    pid_t pid;
    char *argv[] = { (char *)self, (char *)root, NULL };
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, fds[1], 1);
    assert_int_equal(posix_spawn(&pid, self, &fa, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&fa);
    close(fds[1]);
    unsigned char ack;
    while (done < rounds && read(fds[0], &ack, 1) == 1)
        done++;
    const struct timespec wait = { 0, (long)extra_ns };
    nanosleep(&wait, NULL); /* any moment is as good as any other: nothing is expected of this one */
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    while (read(fds[0], &ack, 1) == 1)
        done++;
    close(fds[0]);
    return done;
}

static void test_kill(void **state)
{
    char root[] = "/tmp/minke-crash-XXXXXX";
    uint32_t x = 1;
    int most = 0;
    assert_non_null(mkdtemp(root));
    random_bytes(&x, sizeof(x));
    print_message("seed %u\n", x);
    for (int i = 0; i < ROUNDS; i++) {
        x = x * 1664525 + 1013904223;
        most = MAX(most, run_and_kill(root, (int)(x >> 28), (x >> 8) % 20000000));
        struct store *s;
        expect_ok(store_open(root, &s));
        check_images(s, most);
        check_cache(s);
        check_files(s, root);
        store_close(s);
    }
    assert_int_equal(path_remove_all(AT_FDCWD, root), 0);
}

static bool can_mount(void)
{
    char root[] = "/tmp/minke-crash-XXXXXX";
    struct store *s;
    int fd;
    if (mkdtemp(root) == NULL)
        return false;
    must(store_open(root, &s));
    struct snapshot *empty = snapshot_empty(s);
    struct error *e = snapshot_mount_ro(empty, &fd);
    if (e == NULL)
        close(fd);
    bool ok = e == NULL;
    err_free(e);
    snapshot_unref(empty);
    store_close(s);
    (void)!path_remove_all(AT_FDCWD, root);
    return ok;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_kill) };
    self = "/proc/self/exe";
    if (argc > 1)
        return writer(argv[1]);
    if (!can_mount())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
