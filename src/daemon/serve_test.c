/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve.h"
#include "base/bytes.h"
#include "base/log.h"
#include "daemon/process.h"
#include "io/path.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char dir[64];
    struct config config;
    atomic_size_t busy;
};

static int make_place(void **state)
{
    struct place *p = NEW(struct place);

    snprintf(p->dir, sizeof(p->dir), "/tmp/minke-serve-XXXXXX");
    if (mkdtemp(p->dir) == NULL)
        return -1;
    p->config.group = xstrdup("");
    p->config.tls_ca = xstrdup("");
    strv_addf(&p->config.hosts, "unix://%s/run/a.sock", p->dir);
    *state = p;
    return 0;
}

static int remove_place(void **state)
{
    struct place *p = *state;
    int r = path_remove_all(AT_FDCWD, p->dir);

    config_deinit(&p->config);
    free(p);
    return r;
}

/* Answers with what it reads. */
static struct error *echo(struct stream *s, void *ctx)
{
    CLEANUP(stream_closep) struct stream *conn = s;

    return stream_copy(conn, conn) < 0 ? task_check() : NULL;
}

static size_t count_busy(void *ctx)
{
    return atomic_load(&((struct place *)ctx)->busy);
}

static void start(struct place *p, struct server *s, struct listeners *l)
{
    const struct service service = { .connection = echo, .busy = count_busy, .ctx = p };

    assert_null(listeners_open(&p->config, l));
    assert_null(server_start(s, &p->config, l, &service));
}

static void ask(const char *address)
{
    struct stream *s = NULL;
    char text[6] = "";

    assert_null(stream_dial(address, &s));
    assert_int_equal(stream_write_full(s, "hello", 5), 0);
    assert_int_equal(stream_read_full(s, text, 5), 0);
    assert_string_equal(text, "hello");
    assert_int_equal(stream_shut(s), 0);
    assert_int_equal(stream_read(s, text, 1), 0);
    stream_close(s);
}

static void connections_are_served(void **state)
{
    struct place *p = *state;
    CLEANUP(freep) char *path = xasprintf("%s/run/a.sock", p->dir);
    struct listeners l;
    struct server s;
    struct stat st;

    strv_add(&p->config.hosts, "tcp://127.0.0.1:0");
    start(p, &s, &l);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    for (int i = 0; i < 20; i++)
        ask(p->config.hosts.v[0]);
    struct stream *idle = NULL;
    char c;

    assert_null(stream_dial(p->config.hosts.v[0], &idle));
    server_stop(&s, 60 * NS_PER_SEC);
    assert_true(stream_read(idle, &c, 1) <=
                0); /* nobody waited for it; a reset when it was not even accepted */
    stream_close(idle);
    assert_int_equal(stat(path, &st), -1);
}

static struct error *finish_work(void *arg)
{
    struct place *p = arg;

    if (task_sleep(20 * NS_PER_MS) == 0)
        atomic_store(&p->busy, 0);
    return NULL;
}

static void work_is_waited_for(void **state)
{
    struct place *p = *state;
    struct listeners l;
    struct server s;
    struct group g;

    start(p, &s, &l);
    atomic_store(&p->busy, 1);
    group_open(&g, 0);
    assert_null(group_spawn(&g, "work", finish_work, p));
    server_stop(&s, 3600 * NS_PER_SEC);
    assert_int_equal(p->busy, 0);
    assert_null(group_join(&g));
    start(p, &s, &l);
    atomic_store(&p->busy, 1);
    server_stop(&s, NS_PER_MS); /* work that does not end does not hold it for ever */
    assert_int_equal(p->busy, 1);
}

static void sockets_are_replaced_only_when_stale(void **state)
{
    struct place *p = *state;
    CLEANUP(freep) char *path = xasprintf("%s/run/a.sock", p->dir);
    struct listeners first, second;

    assert_null(listeners_open(&p->config, &first));
    struct error *e = listeners_open(&p->config, &second);

    assert_true(err_is(e, ERR_CONFLICT));
    err_free(e);
    free(first.v[0].path);
    first.v[0].path = NULL; /* as after kill -9: the socket stays behind */
    listeners_close(&first);
    assert_null(listeners_open(&p->config, &second));
    listeners_close(&second);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    close(fd);
    e = listeners_open(&p->config, &second);
    assert_true(err_is(e, ERR_INVALID));
    err_free(e);
    assert_int_equal(access(path, F_OK), 0);
}

static void plain_tcp_stays_at_home(void **state)
{
    struct place *p = *state;
    static const char *const abroad[] = { "tcp://0.0.0.0:0", "tcp://[::]:0", "tcp://:0" };
    struct listeners l;

    for (size_t i = 0; i < ARRAY_LEN(abroad); i++) {
        strv_clear(&p->config.hosts);
        strv_add(&p->config.hosts, abroad[i]);
        struct error *e = listeners_open(&p->config, &l);

        assert_true(err_is(e, ERR_FORBIDDEN));
        err_free(e);
    }
    strv_clear(&p->config.hosts);
    strv_add(&p->config.hosts, "tcp://[::1]:0");
    struct error *e = listeners_open(&p->config, &l);

    if (e == NULL)
        listeners_close(&l);
    assert_false(err_is(e, ERR_FORBIDDEN)); /* hosts without IPv6 fail otherwise */
    err_free(e);
}

static void passed_sockets_need_a_manager(void **state)
{
    struct place *p = *state;
    struct listeners l;

    strv_clear(&p->config.hosts);
    strv_add(&p->config.hosts, "fd://");
    struct error *e = listeners_open(&p->config, &l);

    assert_non_null(e);
    assert_string_equal(
        e->message, "no sockets found via socket activation: make sure the service was started by systemd");
    err_free(e);
}

/* As systemd does: a listening socket at number 3, and two variables. */
static void passed_sockets_are_served(void **state)
{
    struct place *p = *state;
    CLEANUP(strv_deinit) struct strv hosts = p->config.hosts;
    struct listeners made, passed;
    struct server s;
    const struct service service = { .connection = echo, .busy = count_busy, .ctx = p };
    char pid[16];
    int old = fcntl(3, F_DUPFD_CLOEXEC, 10);

    assert_null(listeners_open(&p->config, &made));
    assert_int_equal(dup2(made.v[0].fd, 3), 3);
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    p->config.hosts = (struct strv){ 0 };
    strv_add(&p->config.hosts, "fd://4");
    for (int round = 0; round < 2; round++) {
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        struct error *e = listeners_open(&p->config, &passed);

        if (round == 0) {
            assert_string_equal(e->message, "too few socket activated files passed in by systemd");
            err_free(e);
            strv_clear(&p->config.hosts);
            strv_add(&p->config.hosts, "fd://");
        } else {
            assert_null(e);
        }
    }
    assert_null(getenv("LISTEN_FDS")); /* children must not take it for theirs */
    assert_null(server_start(&s, &p->config, &passed, &service));
    ask(hosts.v[0]);
    server_stop(&s, 0);
    listeners_close(&made);
    if (old >= 0) {
        dup2(old, 3);
        close(old);
    }
}

static void one_process_per_pidfile_and_root(void **state)
{
    struct place *p = *state;
    CLEANUP(freep) char *path = xasprintf("%s/pid", p->dir);
    CLEANUP(buf_deinit) struct buf text = { 0 };
    FILE *f = fopen(path, "w");

    fprintf(f, "%d\n", (int)getppid());
    fclose(f);
    struct error *e = pidfile_write(path);

    assert_true(err_is(e, ERR_CONFLICT));
    err_free(e);
    pidfile_remove(path); /* names another: stays */
    assert_int_equal(access(path, F_OK), 0);
    f = fopen(path, "w");
    fprintf(f, "999999999");
    fclose(f);
    assert_null(pidfile_write(path));
    assert_int_equal(file_read(path, &text, 100), 0);
    CLEANUP(freep) char *mine = xasprintf("%d", (int)getpid());

    assert_string_equal(text.data, mine);
    pidfile_remove(path);
    assert_int_equal(access(path, F_OK), -1);

    CLEANUP(closep) int lock = -1;
    int second = -1;

    assert_null(data_root_lock(p->dir, &lock));
    e = data_root_lock(p->dir, &second);
    assert_true(err_is(e, ERR_CONFLICT));
    err_free(e);
}

static void manager_is_told(void **state)
{
    struct place *p = *state;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char text[32] = "";

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", p->dir);
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    setenv("NOTIFY_SOCKET", address.sun_path, 1);
    service_notify("READY=1");
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(recv(fd, text, sizeof(text), 0), 7);
    assert_string_equal(text, "READY=1");
}

#define IN_PLACE(f) cmocka_unit_test_setup_teardown(f, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_PLACE(connections_are_served),
        IN_PLACE(work_is_waited_for),
        IN_PLACE(sockets_are_replaced_only_when_stale),
        IN_PLACE(plain_tcp_stays_at_home),
        IN_PLACE(passed_sockets_need_a_manager),
        IN_PLACE(passed_sockets_are_served),
        IN_PLACE(one_process_per_pidfile_and_root),
        IN_PLACE(manager_is_told),
    };

    log_setup(LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
