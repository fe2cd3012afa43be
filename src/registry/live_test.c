/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Against the real thing: Debian's docker-registry on loopback, filled by skopeo.  Skipped where they are not
 * installed.
 */
#include "registry/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "io/spawn.h"
#include "task/task.h"

#define LAYER_SIZE 3000000

struct live {
    char root[40];
    int port;
    struct child child;
    struct store *store;
    struct lease *lease;
    struct registry_config config;
    struct registry *registry;
    struct reference ref;
    struct digest layer, manifest, index;
};

static void write_text(struct live *l, const char *name, const void *data, size_t len)
{
    CLEANUP(freep) char *path = xasprintf("%s/%s", l->root, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

static struct digest write_blob(struct live *l, const void *data, size_t len)
{
    struct digest d = digest_of(data, len);
    CLEANUP(freep) char *name = xasprintf("layout/blobs/sha256/%s", digest_hex(&d));

    write_text(l, name, data, len);
    return d;
}

/* An index with one image of one layer. */
static void make_layout(struct live *l)
{
    static const char config[] =
        "{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}";
    CLEANUP(freep) char *layer = xmalloc(LAYER_SIZE);
    CLEANUP(freep) char *blobs = xasprintf("%s/layout/blobs/sha256", l->root);

    assert_int_equal(make_dirs(blobs, 0700), 0);
    random_bytes(layer, LAYER_SIZE);
    l->layer = write_blob(l, layer, LAYER_SIZE);
    struct digest c = write_blob(l, config, sizeof(config) - 1);
    CLEANUP(freep)
    char *manifest = xasprintf("{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":{\"mediaType\":\"%s\","
                               "\"digest\":\"%s\",\"size\":%zu},"
                               "\"layers\":[{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%d}]}",
                               MT_OCI_MANIFEST, MT_OCI_CONFIG, c.s, sizeof(config) - 1, MT_OCI_LAYER,
                               l->layer.s, LAYER_SIZE);

    l->manifest = write_blob(l, manifest, strlen(manifest));
    CLEANUP(freep)
    char *index = xasprintf("{\"schemaVersion\":2,\"mediaType\":\"%s\",\"manifests\":[{\"mediaType\":\"%s\","
                            "\"digest\":\"%s\",\"size\":%zu,"
                            "\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"}}]}",
                            MT_OCI_INDEX, MT_OCI_MANIFEST, l->manifest.s, strlen(manifest));

    l->index = write_blob(l, index, strlen(index));
    CLEANUP(freep)
    char *top =
        xasprintf("{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu,"
                  "\"annotations\":{\"org.opencontainers.image.ref.name\":\"x\"}}]}",
                  MT_OCI_INDEX, l->index.s, strlen(index));

    write_text(l, "layout/index.json", top, strlen(top));
    write_text(l, "layout/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", 30);
}

static int free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void start_registry(struct live *l, bool password)
{
    CLEANUP(freep) char *data = xasprintf("%s/data", l->root);
    CLEANUP(freep) char *config_path = xasprintf("%s/config.yml", l->root);
    CLEANUP(buf_deinit) struct buf config = { 0 };
    const char *argv[] = { "docker-registry", "serve", config_path, NULL };
    struct spawn_options o = { .argv = argv, .pdeathsig = SIGKILL };

    l->port = free_port();
    buf_addf(&config,
             "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "
             "\"127.0.0.1:%d\"}\n",
             data, l->port);
    if (password) {
        static const char line[] = "u:$2y$04$abcdefghijklmnopqrstuufznL8bkzdtHwLhca4To/v9Lo9bA7fR6\n";

        write_text(l, "htpasswd", line, sizeof(line) - 1);
        buf_addf(&config, "auth: {htpasswd: {realm: r, path: %s/htpasswd}}\n", l->root);
    }
    write_text(l, "config.yml", config.data, config.len);
    assert_null(spawn_start(&o, &l->child));
}

static struct error *resolve(struct live *l, const struct registry_auth *auth, struct descriptor *ret)
{
    return registry_resolve(l->registry, &l->ref, auth, l->store, l->lease, ret);
}

/* Until it answers, whatever it answers. */
static void wait_for_registry(struct live *l)
{
    for (int i = 0; i < 500; i++) {
        struct descriptor d = { 0 };
        struct error *e = resolve(l, NULL, &d);
        bool up = err_is(e, ERR_NOT_FOUND) || err_is(e, ERR_UNAUTHORIZED);

        err_free(e);
        if (up)
            return;
        assert_int_equal(task_sleep(20 * NS_PER_MS), 0);
    }
    fail_msg("docker-registry does not answer");
}

static void push(struct live *l, bool password)
{
    CLEANUP(freep) char *from = xasprintf("oci:%s/layout:x", l->root);
    CLEANUP(freep) char *to = xasprintf("docker://localhost:%d/lib/img:latest", l->port);
    CLEANUP(buf_deinit) struct buf err = { 0 };
    const char *argv[] = { "skopeo",
                           "--insecure-policy",
                           "copy",
                           "--all",
                           "--preserve-digests",
                           "--dest-tls-verify=false",
                           password ? "--dest-creds=u:pass" : "--dest-no-creds",
                           from,
                           to,
                           NULL };
    struct spawn_options o = { .argv = argv };
    int status;

    assert_null(spawn_run(&o, NULL, NULL, &err, 65536, &status));
    if (status != 0)
        fail_msg("skopeo: %s", buf_str(&err));
}

static void live_open(struct live *l, bool password)
{
    *l = (struct live){ .root = "/tmp/registry_live.XXXXXX" };
    assert_non_null(mkdtemp(l->root));
    make_layout(l);
    start_registry(l, password);
    CLEANUP(freep) char *root = xasprintf("%s/store", l->root);
    CLEANUP(freep) char *name = xasprintf("localhost:%d/lib/img:latest", l->port);

    assert_null(store_open(root, &l->store));
    assert_null(lease_open(l->store, &l->lease));
    l->config.retry_ns = NS_PER_MS;
    l->registry = registry_new(&l->config);
    assert_null(reference_parse(name, &l->ref));
    wait_for_registry(l);
}

static void live_close(struct live *l)
{
    child_deinit(&l->child);
    registry_free(l->registry);
    lease_close(l->lease);
    store_close(l->store);
    reference_deinit(&l->ref);
    assert_int_equal(path_remove_all(AT_FDCWD, l->root), 0);
}

static void expect_ok(struct error *e)
{
    if (e != NULL)
        fail_msg("unexpected error: %s", e->message);
}

static void pull_all(struct live *l, const struct registry_auth *auth)
{
    struct descriptor top = { 0 };
    struct descriptor manifest = { .media_type = (char *)MT_OCI_MANIFEST, .digest = l->manifest };
    struct descriptor layer = { .media_type = (char *)MT_OCI_LAYER, .digest = l->layer, .size = LAYER_SIZE };
    CLEANUP(freep) char *path = xasprintf("%s/layout/blobs/sha256/%s", l->root, digest_hex(&l->manifest));
    struct stat st;
    struct blob_info info;

    expect_ok(resolve(l, auth, &top));
    assert_string_equal(top.digest.s, l->index.s);
    assert_string_equal(top.media_type, MT_OCI_INDEX);
    descriptor_deinit(&top);
    assert_int_equal(stat(path, &st), 0);
    manifest.size = st.st_size;
    expect_ok(registry_fetch(l->registry, &l->ref, auth, l->store, l->lease, &manifest, NULL));
    expect_ok(registry_fetch(l->registry, &l->ref, auth, l->store, l->lease, &layer, NULL));
    expect_ok(blob_stat(l->store, &l->layer, &info));
    assert_int_equal(info.size, LAYER_SIZE);
}

static void anonymous(void **state)
{
    struct live l;
    struct ingest *in;
    int64_t have;

    live_open(&l, false);
    push(&l, false);
    /* half of the layer is here already: Range */
    CLEANUP(freep) char *path = xasprintf("%s/layout/blobs/sha256/%s", l.root, digest_hex(&l.layer));
    struct buf data = { 0 };

    assert_int_equal(file_read(path, &data, LAYER_SIZE), 0);
    expect_ok(ingest_begin(l.store, l.lease, l.layer.s, &have, &in));
    expect_ok(ingest_write(in, data.data, LAYER_SIZE / 2));
    ingest_close(in, true);
    buf_deinit(&data);
    pull_all(&l, NULL);
    live_close(&l);
}

static struct error *give(void *ctx, const char *host, char **ret_user, char **ret_secret)
{
    *ret_user = xstrdup("u");
    *ret_secret = xstrdup("pass");
    return NULL;
}

static void with_password(void **state)
{
    struct registry_auth auth = { .credentials = give };
    struct descriptor d = { 0 };
    struct live l;

    live_open(&l, true);
    push(&l, true);
    struct error *e = resolve(&l, NULL, &d);

    assert_true(err_is(e, ERR_UNAUTHORIZED));
    err_free(e);
    pull_all(&l, &auth);
    live_close(&l);
}

static bool installed(const char *program)
{
    const char *argv[] = { program, "--version", NULL };
    struct spawn_options o = { .argv = argv };
    int status;
    struct error *e = spawn_run(&o, NULL, NULL, NULL, 65536, &status);

    err_free(e);
    return e == NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(anonymous), cmocka_unit_test(with_password) };

    setenv("no_proxy", "*", 1);
    if (!installed("docker-registry") || !installed("skopeo"))
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
