/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container_test.c - containers from creation to removal, as root, in a network namespace of the test's own
 *
 * The image is a layer with busybox.  Skipped (77) without root, busybox or a runtime.
 */
#include "container/container.h"

#include "base/bytes.h"
#include "base/log.h"
#include "io/path.h"
#include "run/process.h"
#include "run/testing.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

static char base_dir[64];
static struct runner *runner;
static struct store *store;
static struct snapshot *image;
static const struct container_defaults defaults = { .stop_timeout = -1 };
static struct containers_config config;
static struct containers *room;
static char container_root[96];

/* ---- the world
 * ----------------------------------------------------------------------------------------------------------------
 */

static struct mutex events_lock = MUTEX_INIT;
static struct buf events;

static void note_event(void *ctx, const char *action, const char *id, const struct map *attributes)
{
    const char *code = strmap_get(attributes, "exitCode");

    mutex_lock(&events_lock);
    buf_addf(&events, "%s%s%s ", action, code != NULL ? "=" : "", code != NULL ? code : "");
    mutex_unlock(&events_lock);
}

static struct error *find_image(void *ctx, const char *name, const char *platform,
                                struct container_image *ret)
{
    if (!streq(name, "busybox"))
        return err_new(ERR_NOT_FOUND, "No such image: %s", name);
    ret->id = xstrdup("sha256:0123456789012345678901234567890123456789012345678901234567890123");
    ret->os = xstrdup("linux");
    ret->config = json_pack("{s:[s], s:[s], s:{s:s}}", "Cmd", "sh", "Env", "FROM_IMAGE=yes", "Labels",
                            "image", "label");
    ret->snapshot = snapshot_ref(image);
    return NULL;
}

static json_t *json_text(const char *text)
{
    json_error_t why;
    json_t *j = json_loads(text, 0, &why);

    if (j == NULL)
        print_message("%s: %s\n", text, why.text);
    assert_non_null(j);
    return j;
}

/* JSON texts for reading: ' stands for a quote, ~ for one inside a string. */
static json_t *json_quoted(const char *text)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };

    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '~')
            buf_adds(&b, "\\\"");
        else
            buf_addc(&b, *p == '\'' ? '"' : *p);
    }
    return json_text(buf_str(&b));
}

static struct error *try_create(const char *name, const char *cfg, const char *host, struct container **ret)
{
    json_t *c = json_quoted(cfg), *h = host != NULL ? json_quoted(host) : NULL, *reply = NULL;
    struct container_request r = { .name = name, .config = c, .host_config = h, .version = 56 };
    struct error *e = container_create(room, &r, &reply);

    if (e == NULL)
        e = container_find(room, json_string_value(json_object_get(reply, "Id")), ret);
    json_decref(reply);
    json_decref(c);
    json_decref(h);
    return e;
}

static struct container *create(const char *name, const char *cfg, const char *host)
{
    struct container *ct = NULL;
    struct error *e = try_create(name, cfg, host, &ct);

    if (e != NULL)
        print_message("create: %s\n", e->message);
    assert_null(e);
    return ct;
}

static void start(struct container *ct)
{
    struct error *e = container_start(ct);

    if (e != NULL)
        print_message("start: %s\n", e->message);
    assert_null(e);
}

static int wait_for(struct container *ct, enum wait_condition condition)
{
    struct container_waiter w;
    char *why = NULL;
    int code = -1;

    container_wait_begin(ct, condition, &w);
    assert_null(container_wait_end(&w, &code, &why));
    free(why);
    return code;
}

static struct error *collect(void *ctx, const struct log_record *r)
{
    buf_addf(ctx, "%s", r->stream == LOG_STDERR ? "E:" : "");
    buf_add(ctx, r->text, r->len);
    return NULL;
}

static void check_logs(struct container *ct, int64_t tail, const char *want)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct log_read o = { .tail = tail, .streams = LOG_STDOUT | LOG_STDERR };

    assert_null(container_logs(ct, &o, collect, &text));
    assert_string_equal(buf_str(&text), want);
}

static void check_path(struct container *ct, const char *first, const char *second, const char *want)
{
    json_t *j = NULL;

    assert_null(container_inspect(ct, false, 56, &j));
    const json_t *v = json_object_get(json_object_get(j, first), second);
    CLEANUP(freep) char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    assert_string_equal(text, want);
    json_decref(j);
}

static void drop(struct container *ct)
{
    struct error *e = container_remove(ct, "c", true);

    if (e != NULL)
        print_message("remove: %s\n", e->message);
    assert_null(e);
    container_unref(ct);
}

/* ---- tests
 * --------------------------------------------------------------------------------------------------------------------
 */

static void test_run_to_the_end(void **state)
{
    struct container *ct =
        create("first", "{'Image':'busybox','Cmd':['sh','-c','echo out; echo err >&2; exit 3']}", NULL);

    check_path(ct, "State", "Status", "\"created\"");
    start(ct);
    assert_int_equal(wait_for(ct, WAIT_NOT_RUNNING), 3);
    check_path(ct, "State", "Status", "\"exited\"");
    check_path(ct, "State", "ExitCode", "3");
    check_path(ct, "Config", "Labels", "{\"image\":\"label\"}");
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct log_read o = { .tail = -1, .streams = LOG_STDOUT };
    assert_null(container_logs(ct, &o, collect, &text));
    assert_string_equal(buf_str(&text), "out\n");
    /* It may run again, with what it wrote still there. */
    start(ct);
    assert_int_equal(wait_for(ct, WAIT_NOT_RUNNING), 3);
    drop(ct);
    assert_int_equal(testing_count_entries(container_root), 0);
}

static void test_writable_layer_stays(void **state)
{
    struct container *ct = create(
        NULL, "{'Image':'busybox','Cmd':['sh','-c','cat /kept 2>/dev/null; echo $FROM_IMAGE >>/kept']}",
        NULL);

    for (int i = 0; i < 3; i++) {
        start(ct);
        assert_int_equal(wait_for(ct, WAIT_NOT_RUNNING), 0);
    }
    check_logs(ct, -1, "yes\nyes\nyes\n");
    check_logs(ct, 1, "yes\n");
    check_logs(ct, 0, "");
    drop(ct);
}

static void test_names_and_lookup(void **state)
{
    struct container *a = create("alpha", "{'Image':'busybox'}", NULL), *b = NULL;
    struct error *e = try_create("alpha", "{'Image':'busybox'}", NULL, &b);
    char prefix[13];

    assert_true(err_is(e, ERR_CONFLICT));
    assert_non_null(strstr(e->message, "The container name \"/alpha\" is already in use by container"));
    err_free(e);
    e = try_create("bad name", "{'Image':'busybox'}", NULL, &b);
    assert_true(err_is(e, ERR_INVALID));
    err_free(e);
    snprintf(prefix, sizeof(prefix), "%.12s", container_id(a));
    assert_null(container_find(room, prefix, &b));
    assert_ptr_equal(a, b);
    container_unref(b);
    assert_null(container_rename(a, "beta"));
    assert_null(container_find(room, "/beta", &b));
    container_unref(b);
    e = container_find(room, "alpha", &b);
    assert_string_equal(e->message, "No such container: alpha");
    err_free(e);
    drop(a);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *config, *host, *text;
        enum error_kind kind;
    } cases[] = {
        { "{'Image':'nope'}", "{}", "No such image: nope", ERR_NOT_FOUND },
        { "{'Image':'busybox','Cmd':'sh'}", "{}", "Config.Cmd", ERR_INVALID },
        { "{'Image':'busybox','WorkingDir':'x'}", "{}", "the working directory 'x' is invalid", ERR_INVALID },
        { "{'Image':'busybox','StopSignal':'SIGNOPE'}", "{}", "invalid signal", ERR_INVALID },
        { "{'Image':'busybox'}", "{'Binds':['data:/data']}", "named volumes are not supported yet: data",
          ERR_UNIMPLEMENTED },
        { "{'Image':'busybox'}", "{'NetworkMode':'mine'}",
          "user-defined networks are not supported yet: mine", ERR_UNIMPLEMENTED },
        { "{'Image':'busybox'}", "{'RestartPolicy':{'Name':'often'}}",
          "invalid restart policy: unknown policy 'often'", ERR_INVALID },
        { "{'Image':'busybox'}", "{'Memory':1000}", "Minimum memory limit allowed is 6MB", ERR_INVALID },
        { "{'Image':'busybox'}", "{'CapAdd':['NOPE']}", "NOPE", ERR_INVALID },
        { "{'Image':'busybox'}", "{'Mounts':[{'Type':'bind','Source':'/does/not/exist','Target':'/x'}]}",
          "bind source path does not exist: /does/not/exist", ERR_INVALID },
        { "{'Image':'busybox'}", "{'Binds':['/tmp:/a','/tmp:/a']}", "Duplicate mount point: /a",
          ERR_INVALID },
        { "{'Image':'busybox'}", "{'LogConfig':{'Type':'json-file','Config':{'nope':'1'}}}",
          "unknown log opt 'nope'", ERR_INVALID },
        { "{'Image':'busybox'}", "{'PortBindings':{'53/udp':[{'HostPort':'53'}]}}", "udp",
          ERR_UNIMPLEMENTED },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct container *ct = NULL;
        struct error *e = try_create(NULL, cases[i].config, cases[i].host, &ct);

        assert_non_null(e);
        if (e->kind != cases[i].kind || strstr(e->message, cases[i].text) == NULL)
            print_message("%zu: %s\n", i, e->message);
        assert_int_equal(e->kind, cases[i].kind);
        assert_non_null(strstr(e->message, cases[i].text));
        err_free(e);
    }
    assert_int_equal(testing_count_entries(container_root), 0);
}

static void test_start_failures(void **state)
{
    struct container *ct = create(NULL, "{'Image':'busybox','Cmd':['no-such-program']}", NULL);
    struct error *e = container_start(ct);

    assert_true(err_is(e, ERR_INVALID));
    assert_non_null(strstr(e->message, "not found in $PATH"));
    err_free(e);
    check_path(ct, "State", "ExitCode", "127");
    check_path(ct, "State", "Status", "\"created\"");
    drop(ct);
}

static void test_stop_and_kill(void **state)
{
    struct container *ct = create("stopper",
                                  "{'Image':'busybox','Cmd':['sh','-c','trap ~exit 9~ TERM; touch /ready; "
                                  "while :; do sleep 0.01; done']}",
                                  NULL);
    CLEANUP(freep) char *ready = xasprintf("%s/%s/upper/ready", container_root, container_id(ct));
    struct error *e = container_stop(ct, NULL, NULL);

    assert_int_equal(e->kind, ERR_NOT_MODIFIED);
    err_free(e);
    e = container_kill(ct, NULL);
    assert_true(err_is(e, ERR_CONFLICT));
    err_free(e);
    start(ct);
    e = container_start(ct);
    assert_int_equal(e->kind, ERR_NOT_MODIFIED);
    err_free(e);
    while (access(ready, F_OK) != 0)
        assert_int_equal(task_sleep(NS_PER_MS), 0);
    e = container_remove(ct, "c", false);
    assert_true(err_is(e, ERR_CONFLICT));
    assert_non_null(
        strstr(e->message, "container is running: stop the container before removing or force remove"));
    err_free(e);
    assert_null(container_stop(ct, NULL, NULL));
    check_path(ct, "State", "ExitCode", "9");
    start(ct);
    assert_null(container_kill(ct, NULL));
    check_path(ct, "State", "ExitCode", "137");
    /* One that does not listen is killed when its time is over. */
    start(ct);
    assert_null(container_stop(ct, "SIGURG", &(int64_t){ 0 }));
    check_path(ct, "State", "ExitCode", "137");
    drop(ct);
}

struct attached {
    struct container *container;
    struct attach_options options;
    struct stream *conn;
};

static struct error *serve_attach(void *arg)
{
    struct attached *a = arg;
    struct error *e = container_attach(a->container, &a->options, a->conn);

    stream_close(a->conn);
    return e;
}

/* Attach, start, send `input`, close our side; the output as it comes. */
static void attach_run(struct container *ct, const char *input, bool multiplexed, struct buf *out)
{
    int fds[2];
    struct group g;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct stream *ours = stream_from_fd(fds[0]);
    struct attached a = { .container = ct,
                          .options = { .want_stdin = input != NULL,
                                       .want_stdout = true,
                                       .want_stderr = true,
                                       .stream = true,
                                       .multiplexed = multiplexed },
                          .conn = stream_from_fd(fds[1]) };
    group_open(&g, 0);
    assert_null(group_spawn(&g, "attach", serve_attach, &a));
    start(ct);
    if (input != NULL)
        assert_int_equal(stream_write_full(ours, input, strlen(input)), 0);
    if (input != NULL && !container_has_tty(ct))
        assert_int_equal(stream_shut(ours), 0);
    assert_int_equal(stream_read_all(ours, out, 1 << 20), 0);
    assert_null(group_join(&g));
    stream_close(ours);
}

static void test_attach(void **state)
{
    struct container *ct = create(
        NULL, "{'Image':'busybox','Cmd':['sh','-c','cat; echo done >&2'],'OpenStdin':true,'StdinOnce':true}",
        NULL);
    CLEANUP(buf_deinit) struct buf out = { 0 };
    static const char hello[] = "\1\0\0\0\0\0\0\6hello\n", done[] = "\2\0\0\0\0\0\0\5done\n";

    attach_run(ct, "hello\n", true, &out);
    /* Two streams have no order. */
    assert_int_equal(out.len, sizeof(hello) + sizeof(done) - 2);
    assert_non_null(memmem(out.data, out.len, hello, sizeof(hello) - 1));
    assert_non_null(memmem(out.data, out.len, done, sizeof(done) - 1));
    assert_int_equal(wait_for(ct, WAIT_NOT_RUNNING), 0);
    drop(ct);
}

static void test_terminal(void **state)
{
    struct container *ct = create(NULL,
                                  "{'Image':'busybox','Cmd':['sh','-c','tty; stty size; read x; echo got "
                                  "$x'],'Tty':true,'OpenStdin':true}",
                                  "{'ConsoleSize':[24,80]}");
    CLEANUP(buf_deinit) struct buf out = { 0 };

    attach_run(ct, "word\n", false, &out);
    assert_non_null(strstr(buf_str(&out), "/dev/pts/0\r\n"));
    assert_non_null(strstr(buf_str(&out), "24 80\r\n"));
    assert_non_null(strstr(buf_str(&out), "got word\r\n"));
    assert_int_equal(wait_for(ct, WAIT_NOT_RUNNING), 0);
    drop(ct);
}

static void test_settings_apply(void **state)
{
    CLEANUP(freep) char *bind = xasprintf("%s/shared", base_dir);
    CLEANUP(freep)
    char *host =
        xasprintf("{'Binds':['%s:/data:ro'],'Tmpfs':{'/"
                  "scratch':'size=1m'},'ReadonlyRootfs':true,'CapDrop':['ALL'],'CapAdd':['NET_ADMIN'],"
                  "'ShmSize':1048576,'Ulimits':[{'Name':'nofile','Soft':99,'Hard':99}],'ExtraHosts':['x."
                  "example:10.9.8.7'],"
                  "'Dns':['10.1.1.1'],'Memory':33554432,'NanoCpus':500000000,'PidsLimit':50}",
                  bind);
    assert_int_equal(mkdir(bind, 0755), 0);
    testing_write(bind, "file", "shared\n");
    struct container *ct =
        create(NULL,
               "{'Image':'busybox','Hostname':'box','User':'app','WorkingDir':'/tmp','Env':['A=b'],"
               "'Cmd':['sh','-c','hostname; id -u; pwd; echo $A; cat /data/file; touch /data/x 2>/dev/null "
               "|| echo ro; "
               "touch /x 2>/dev/null || echo rootro; touch /scratch/x && echo tmp; ulimit -n; "
               "grep CapBnd /proc/self/status | tr -d ~[:blank:]~; grep -c 10.9.8.7 /etc/hosts; cat "
               "/etc/resolv.conf | head -1']}",
               host);

    start(ct);
    assert_int_equal(wait_for(ct, WAIT_NOT_RUNNING), 0);
    check_logs(
        ct, -1,
        "box\n1000\n/tmp\nb\nshared\nro\nrootro\ntmp\n99\nCapBnd:0000000000001000\n1\nnameserver 10.1.1.1\n");
    drop(ct);
    testing_remove(bind);
}

static void test_memory_limit(void **state)
{
    struct container *ct =
        create(NULL, "{'Image':'busybox','Cmd':['sh','-c','head -c 60m /dev/zero | tail -c 50m | wc -c']}",
               "{'Memory':16777216}");

    start(ct);
    wait_for(ct, WAIT_NOT_RUNNING);
    check_path(ct, "State", "OOMKilled", "true");
    drop(ct);
}

static struct error *follow_logs(void *arg)
{
    void **args = arg;
    struct log_read o = { .tail = -1, .streams = LOG_STDOUT | LOG_STDERR, .follow = true };

    return container_logs(args[0], &o, collect, args[1]);
}

static void test_logs_follow_and_rotate(void **state)
{
    struct container *ct = create(
        NULL,
        "{'Image':'busybox','Cmd':['sh','-c','for i in $(seq 1 2000); do echo line $i; done; printf end']}",
        "{'LogConfig':{'Type':'json-file','Config':{'max-size':'20k','max-file':'3'}}}");
    CLEANUP(buf_deinit) struct buf text = { 0 };
    void *args[2] = { ct, &text };
    struct group g;

    start(ct);
    group_open(&g, 0);
    assert_null(group_spawn(&g, "follow", follow_logs, args));
    assert_int_equal(wait_for(ct, WAIT_NOT_RUNNING), 0);
    assert_null(group_join(&g));
    assert_true(str_has_suffix(buf_str(&text), "line 2000\nend"));
    CLEANUP(freep) char *dir = path_join(container_root, container_id(ct));
    CLEANUP(freep) char *second = xasprintf("%s/%s-json.log.2", dir, container_id(ct));
    CLEANUP(freep) char *third = xasprintf("%s/%s-json.log.3", dir, container_id(ct));
    struct stat st;
    assert_int_equal(stat(second, &st), 0);
    assert_true(st.st_size < 21 * 1024);
    assert_int_equal(access(third, F_OK), -1);
    check_logs(ct, 3, "line 1999\nline 2000\nend");
    drop(ct);
}

static void test_auto_remove_and_waiters(void **state)
{
    struct container *ct = create(NULL, "{'Image':'busybox','Cmd':['sh','-c','exit 5']}",
                                  "{'AutoRemove':true}"),
                     *gone = NULL;
    struct container_waiter w;
    char *why = NULL;
    int code;

    container_wait_begin(ct, WAIT_REMOVED, &w);
    start(ct);
    assert_null(container_wait_end(&w, &code, &why));
    assert_null(why);
    assert_int_equal(code, 5);
    struct error *e = container_find(room, container_id(ct), &gone);
    assert_true(err_is(e, ERR_NOT_FOUND));
    err_free(e);
    container_unref(ct);
    assert_int_equal(testing_count_entries(container_root), 0);
}

static void test_published_port(void **state)
{
    if (runner_network(runner) == NULL) {
        print_message("no bridge network here: %s\n", runner_network_failure(runner));
        return;
    }
    struct container *ct = create(NULL,
                                  "{'Image':'busybox','Cmd':['sh','-c','while :; do echo served | nc -l -p "
                                  "80; done'],'ExposedPorts':{'80/tcp':{}}}",
                                  "{'PortBindings':{'80/tcp':[{'HostPort':''}]}}");
    json_t *j = NULL;
    CLEANUP(buf_deinit) struct buf out = { 0 };

    start(ct);
    assert_null(container_inspect(ct, false, 56, &j));
    const json_t *ports = json_object_get(json_object_get(j, "NetworkSettings"), "Ports");
    const char *port =
        json_string_value(json_object_get(json_array_get(json_object_get(ports, "80/tcp"), 0), "HostPort"));
    CLEANUP(freep) char *address = xasprintf("tcp://127.0.0.1:%s", port);
    CLEANUP(freep) char *outside = xasprintf("tcp://%s:%s", network_gateway(runner_network(runner)), port);
    json_decref(j);
    const char *ways[] = { address, outside };
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        /* The server needs a moment to listen. */
        for (int tries = 0; out.len == 0 && tries < 1000; tries++) {
            struct stream *s = NULL;
            struct error *e = stream_dial(ways[i], &s);

            if (e == NULL && stream_read_all(s, &out, 1000) < 0)
                buf_clear(&out);
            err_free(e);
            stream_close(s);
            assert_int_equal(task_sleep(2 * NS_PER_MS), 0);
        }
        assert_string_equal(buf_str(&out), "served\n");
        buf_clear(&out);
    }
    drop(ct);
}

static void test_list_filters(void **state)
{
    struct container *a =
        create("one", "{'Image':'busybox','Labels':{'k':'v'},'Cmd':['sleep','1000']}", NULL);
    struct container *b = create("two", "{'Image':'busybox'}", NULL);
    struct strv label = { 0 }, status = { 0 };
    json_t *j = NULL;

    start(a);
    struct container_filters none = { 0 };
    assert_null(containers_list(room, false, false, 0, &none, 56, &j));
    assert_int_equal(json_array_size(j), 1);
    assert_string_equal(json_string_value(json_array_get(json_object_get(json_array_get(j, 0), "Names"), 0)),
                        "/one");
    json_decref(j);
    assert_null(containers_list(room, true, true, 0, &none, 56, &j));
    assert_int_equal(json_array_size(j), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(json_array_get(j, 0), "Names"), 0)),
                        "/two");
    json_decref(j);
    strv_add(&label, "k=v");
    struct container_filters by_label = { .label = &label };
    assert_null(containers_list(room, true, false, 0, &by_label, 56, &j));
    assert_int_equal(json_array_size(j), 1);
    json_decref(j);
    strv_add(&status, "created");
    struct container_filters by_status = { .status = &status };
    assert_null(containers_list(room, false, false, 0, &by_status, 40, &j));
    assert_int_equal(json_array_size(j), 1);
    json_decref(j);
    strv_deinit(&label);
    strv_deinit(&status);
    assert_null(containers_prune(room, NULL, NULL, 0, &j));
    assert_int_equal(json_array_size(json_object_get(j, "ContainersDeleted")), 1);
    json_decref(j);
    container_unref(b);
    drop(a);
}

static void test_events(void **state)
{
    mutex_lock(&events_lock);
    buf_clear(&events);
    mutex_unlock(&events_lock);
    struct container *ct = create(NULL, "{'Image':'busybox','Cmd':['sh','-c','exit 4']}", NULL);
    start(ct);
    assert_int_equal(wait_for(ct, WAIT_NOT_RUNNING), 4);
    drop(ct);
    mutex_lock(&events_lock);
    assert_string_equal(buf_str(&events), "create start die=4 destroy ");
    mutex_unlock(&events_lock);
}

static void reopen(void)
{
    struct error *e;

    containers_close(room);
    room = NULL;
    e = containers_open(&config, &room);
    if (e != NULL)
        print_message("open: %s\n", e->message);
    assert_null(e);
}

static void test_restart_of_the_daemon(void **state)
{
    struct container *ct = create("survivor",
                                  "{'Image':'busybox','Cmd':['sh','-c','echo before; trap ~exit 6~ TERM; "
                                  "touch /up; while :; do sleep 0.01; done']}",
                                  NULL);
    CLEANUP(freep) char *up = xasprintf("%s/%s/upper/up", container_root, container_id(ct));

    start(ct);
    while (access(up, F_OK) != 0)
        assert_int_equal(task_sleep(NS_PER_MS), 0);
    container_unref(ct);
    reopen();
    assert_null(container_find(room, "survivor", &ct));
    check_path(ct, "State", "Status", "\"exited\"");
    check_path(ct, "State", "ExitCode", "6");
    check_logs(ct, -1, "before\n");
    drop(ct);
}

static void test_no_leaks(void **state)
{
    struct container *ct = create(NULL, "{'Image':'busybox','Cmd':['true']}", NULL);

    start(ct);
    wait_for(ct, WAIT_NOT_RUNNING);
    size_t fds = testing_count_entries("/proc/self/fd");
    for (int i = 0; i < 5; i++) {
        start(ct);
        assert_int_equal(wait_for(ct, WAIT_NOT_RUNNING), 0);
    }
    /* The monitor may still be writing down its end. */
    for (int i = 0; i < 5000 && testing_count_entries("/proc/self/fd") > fds; i++)
        assert_int_equal(task_sleep(NS_PER_MS), 0);
    assert_true(testing_count_entries("/proc/self/fd") <= fds);
    drop(ct);
}

/* ---- frame
 * --------------------------------------------------------------------------------------------------------------------
 */

static void make_image(void)
{
    struct active *a = NULL;
    struct snapshot *empty = snapshot_empty(store);
    char target[32];

    assert_null(active_begin(store, empty, &a));
    fd_path(target, active_fd(a));
    testing_fill_root(target);
    assert_null(active_commit(a, "test image", "regular", &image));
    snapshot_unref(empty);
}

static int set_up(void **state)
{
    snprintf(base_dir, sizeof(base_dir), "/tmp/minke-container-XXXXXX");
    assert_non_null(mkdtemp(base_dir));
    CLEANUP(freep) char *exec_root = path_join(base_dir, "exec");
    CLEANUP(freep) char *data_root = path_join(base_dir, "data");
    struct runner_config c = { .exec_root = exec_root,
                               .userland_network = true,
                               .default_runtime = getenv("MINKE_TEST_RUNTIME") };
    struct error *e = runner_new(&c, &runner);

    if (e == NULL)
        e = runner_warm_up(runner);
    if (e != NULL)
        testing_skip(e->message);
    assert_null(store_open(data_root, &store));
    make_image();
    snprintf(container_root, sizeof(container_root), "%s/containers", data_root);
    config = (struct containers_config){ .root = container_root,
                                         .runner = runner,
                                         .store = store,
                                         .find_image = find_image,
                                         .event = note_event,
                                         .defaults = &defaults };
    e = containers_open(&config, &room);
    assert_null(e);
    return 0;
}

static int tear_down(void **state)
{
    containers_close(room);
    snapshot_unref(image);
    store_close(store);
    runner_free(runner);
    buf_deinit(&events);
    testing_remove(base_dir);
    return 0;
}

int main(void)
{
    testing_need_root("/bin/busybox");
    if (unshare(CLONE_NEWNET) < 0)
        testing_skip("no network namespace of our own");
    testing_loopback_up();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run_to_the_end),
        cmocka_unit_test(test_writable_layer_stays),
        cmocka_unit_test(test_names_and_lookup),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_start_failures),
        cmocka_unit_test(test_stop_and_kill),
        cmocka_unit_test(test_attach),
        cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_settings_apply),
        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_logs_follow_and_rotate),
        cmocka_unit_test(test_auto_remove_and_waiters),
        cmocka_unit_test(test_published_port),
        cmocka_unit_test(test_list_filters),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_restart_of_the_daemon),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
