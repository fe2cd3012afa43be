/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_test.c - steps in a real OCI runtime, as root, in a network namespace of the test's own
 *
 * The root is a directory with busybox.  Skipped (77) without root, busybox or a runtime.
 */
#include "run/run.h"

#include "base/bytes.h"
#include "base/log.h"
#include "io/path.h"
#include "io/spawn.h"
#include "run/netlink.h"
#include "run/network.h"
#include "run/process.h"
#include "run/strays.h"
#include "run/testing.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

static char base_dir[64];
static struct runner *runner;

struct outcome {
    int code;
    struct error *error;
    struct buf out;
};

static void outcome_deinit(struct outcome *o)
{
    err_free(o->error);
    buf_deinit(&o->out);
}

static struct error *read_pipe(void *arg)
{
    void **args = arg;
    struct stream *s = args[0];

    if (stream_read_all(s, args[1], 1 << 20) < 0)
        return err_new(ERR_INTERNAL, "read the step's output");
    return NULL;
}

/* Run `spec` with its output in o->out. */
static void run_step(struct run_spec *s, struct outcome *o)
{
    int fds[2];
    struct group g;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    struct stream *reader = stream_from_fd(fds[0]);
    void *args[2] = { reader, &o->out };

    s->stdin_fd = -1;
    s->stdout_fd = s->stderr_fd = fds[1];
    group_open(&g, 0);
    assert_null(group_spawn(&g, "reader", read_pipe, args));
    o->error = runner_run(runner, s, &o->code);
    close(fds[1]);
    assert_null(group_join(&g));
    stream_close(reader);
    if (o->error != NULL)
        print_message("error: %s\n", o->error->message);
}

static const char *const step_env[] = { "PATH=/bin:/usr/bin", "HOME=/root", NULL };

/* A fresh root for every test. */
struct root {
    char path[128];
    int fd;
};

static void root_new(struct root *r)
{
    snprintf(r->path, sizeof(r->path), "%s/rootXXXXXX", base_dir);
    assert_non_null(mkdtemp(r->path));
    testing_fill_root(r->path);
    r->fd = testing_open(r->path);
    assert_true(r->fd >= 0);
}

static void root_drop(struct root *r)
{
    close(r->fd);
    testing_remove(r->path);
}

static struct run_spec spec_for(const struct root *r, const char *const *args)
{
    return (struct run_spec){
        .rootfs_fd = r->fd,
        .args = args,
        .env = step_env,
        .cwd = "/",
        .stdin_fd = -1,
        .stdout_fd = -1,
        .stderr_fd = -1,
    };
}

/* Run a shell line in a fresh root; the output must be exactly `want` (NULL: any). */
static void check_shell_with(struct run_spec *extra, const char *script, int code, const char *want)
{
    const char *const args[] = { "/bin/sh", "-c", script, NULL };
    struct root r;
    struct outcome o = { 0 };

    root_new(&r);
    struct run_spec s = extra != NULL ? *extra : (struct run_spec){ 0 };
    s.rootfs_fd = r.fd;
    s.args = args;
    s.env = step_env;
    if (s.cwd == NULL)
        s.cwd = "/";
    run_step(&s, &o);
    assert_null(o.error);
    if (want != NULL)
        assert_string_equal(buf_str(&o.out), want);
    assert_int_equal(o.code, code);
    outcome_deinit(&o);
    root_drop(&r);
}

static void check_shell(const char *script, int code, const char *want)
{
    check_shell_with(NULL, script, code, want);
}

/* ---- tests
 * --------------------------------------------------------------------------------------------------------------------
 */

static void test_exit_codes(void **state)
{
    check_shell("echo hello", 0, "hello\n");
    check_shell("exit 7", 7, "");
    check_shell("sh -c 'kill -TERM $$'; exit $?", 128 + SIGTERM, NULL);
    check_shell("sh -c 'kill -9 $$'; exit $?", 128 + SIGKILL, NULL);
}

static void test_command_not_found(void **state)
{
    const char *const args[] = { "no-such-program", NULL };
    struct root r;
    struct outcome o = { 0 };

    root_new(&r);
    struct run_spec s = spec_for(&r, args);
    run_step(&s, &o);
    assert_null(o.error);
    assert_int_not_equal(o.code, 0);
    assert_non_null(strstr(buf_str(&o.out), "not found in $PATH"));
    outcome_deinit(&o);
    root_drop(&r);
}

static void test_identity(void **state)
{
    struct run_spec s = { .user = "app" };

    check_shell("id -u; id -g; id -G", 0, "0\n0\n0 27\n");
    check_shell_with(&s, "id -u; id -g; id -G; echo $HOME", 0, "1000\n1000\n1000 27 28\n/root\n");
    s.user = "12:34";
    check_shell_with(&s, "id -u; id -g; id -G", 0, "12\n34\n34\n");
    s.user = "77";
    check_shell_with(&s, "id -u; id -g", 0, "77\n0\n");
}

static void test_only_three_descriptors(void **state)
{
    /* The fourth is ls's own. */
    check_shell("ls /proc/self/fd | tr '\\n' ' '", 0, "0 1 2 3 ");
    check_shell("cat /proc/self/fdinfo/3 2>&1 | grep -c 'No such'", 0, "1\n");
}

static void test_privileges(void **state)
{
    check_shell("grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status", 0,
                "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:"
                "\t00000000a80425fb\n"
                "CapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n");
    check_shell("mount -t tmpfs none /mnt 2>/dev/null && echo mounted; unshare -U true 2>/dev/null && echo "
                "user; true",
                0, "");
}

static void test_insecure(void **state)
{
    struct run_spec s = { .insecure = true };

    check_shell_with(&s,
                     "grep Seccomp: /proc/self/status; mount -t tmpfs none /mnt && echo mounted; test -w "
                     "/proc/sys/kernel && echo w",
                     0, "Seccomp:\t0\nmounted\nw\n");
}

static void test_masks(void **state)
{
    check_shell(
        "stat -c '%F %t %T' /proc/interrupts; cat /proc/interrupts | wc -c; for f in kcore keys timer_list; "
        "do test ! -e /proc/$f || "
        "test $(head -c 9 /proc/$f | wc -c) = 0 || echo $f; done; ls /sys/firmware 2>/dev/null | wc -l",
        0, "character special file 1 3\n0\n0\n");
    check_shell("echo x 2>/dev/null > /proc/sys/kernel/core_pattern && echo written; "
                "echo h 2>/dev/null >/proc/sysrq-trigger && echo written; for d in /sys/fs/cgroup/*/; do "
                "mkdir $d/x 2>/dev/null && echo made $d; done; true",
                0, "");
}

static void test_device_rules(void **state)
{
    check_shell("mknod /dev/x c 1 6 && (cat /dev/x) 2>&1 | grep -o 'Operation not permitted'; head -c 3 "
                "/dev/zero | wc -c; "
                "mknod /dev/full2 c 1 7 && (echo x > /dev/full2) 2>&1 | grep -o 'No space'",
                0, "Operation not permitted\n3\nNo space\n");
}

static void test_names(void **state)
{
    struct run_host hosts[] = { { "db.example", "10.1.2.3" } };
    struct run_spec s = { .hosts = hosts, .host_count = 1 };

    check_shell(
        "hostname; cat /etc/hosts", 0,
        "buildkitsandbox\n127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    s.hostname = "other";
    check_shell_with(&s, "hostname; cat /etc/hosts", 0,
                     "other\n127.0.0.1\tlocalhost other\n::1\tlocalhost ip6-localhost "
                     "ip6-loopback\n10.1.2.3\tdb.example\n");
    check_shell("grep -q nameserver /etc/resolv.conf && echo x >/etc/hosts", 1, NULL);
}

static void test_cwd(void **state)
{
    struct run_spec s = { .cwd = "/deep/er/place", .user = "app" };

    check_shell_with(&s, "pwd; stat -c '%U %a' /deep /deep/er/place", 0,
                     "/deep/er/place\napp 755\napp 755\n");
    s.cwd = "/etc/passwd";
    check_shell_with(&s, "true", 1, NULL);
}

static void test_ulimit_and_env(void **state)
{
    struct run_ulimit u[] = { { "nofile", 321, 321 }, { "core", 0, -1 } };
    struct run_spec s = { .ulimits = u, .ulimit_count = 2 };

    check_shell_with(&s, "ulimit -n; env | grep -c PATH=", 0, "321\n1\n");
}

static void test_tmpfs_and_binds(void **state)
{
    struct root other;
    CLEANUP(freep) char *sub = NULL;

    root_new(&other);
    sub = xasprintf("%s/sub/dir", other.path);
    assert_int_equal(make_dirs(sub, 0755), 0);
    testing_write(other.path, "sub/dir/file", "content\n");
    assert_int_equal(symlinkat("/sub/dir", other.fd, "link"), 0);
    assert_int_equal(symlinkat("../../../../../../../../etc", other.fd, "evil"), 0);
    struct run_mount mounts[] = {
        { .dest = "/t", .source_fd = -1, .tmpfs = true, .tmpfs_size = 1 << 20 },
        { .dest = "/ro", .source_fd = other.fd, .selector = "/sub/dir", .readonly = true },
        { .dest = "/rw", .source_fd = other.fd, .selector = "link" },
        { .dest = "/one", .source_fd = other.fd, .selector = "sub/dir/file", .readonly = true },
        { .dest = "/evil", .source_fd = other.fd, .selector = "evil" },
    };
    struct run_spec s = { .mounts = mounts, .mount_count = ARRAY_LEN(mounts) };

    check_shell_with(
        &s,
        "cat /ro/file /one; echo more >/rw/new; cat /ro/new; touch /ro/x 2>/dev/null || echo readonly; "
        "grep -c ' /t tmpfs rw,nosuid' /proc/mounts; head -c 2000000 /dev/zero >/t/big 2>/dev/null || echo "
        "full; "
        "cat /evil/marker",
        0, "content\ncontent\nmore\nreadonly\n1\nfull\ninside\n");
    struct run_mount missing = { .dest = "/x", .source_fd = other.fd, .selector = "/nowhere" };
    struct run_spec s2 = spec_for(&other, (const char *const[]){ "/bin/true", NULL });
    s2.mounts = &missing;
    s2.mount_count = 1;
    int code;
    struct error *e = runner_run(runner, &s2, &code);
    assert_true(err_is(e, ERR_NOT_FOUND));
    err_free(e);
    root_drop(&other);
}

/* Roots and sources as the snapshot room gives them: mounts that are in nobody's table. */
static void test_detached_mounts(void **state)
{
    struct root r, other;
    struct outcome o = { 0 };

    root_new(&r);
    root_new(&other);
    testing_write(other.path, "etc/extra", "extra\n");
    CLEANUP(closep) int root_fd = testing_mount(r.path);
    CLEANUP(closep) int source_fd = testing_mount(other.path);
    struct run_mount mounts[] = {
        { .dest = "/whole", .source_fd = source_fd, .readonly = true },
        { .dest = "/part", .source_fd = source_fd, .selector = "/etc", .readonly = true },
        { .dest = "/file", .source_fd = source_fd, .selector = "etc/extra", .readonly = true },
    };
    struct run_spec s = spec_for(
        &r,
        (const char *const[]){
            "/bin/sh", "-c",
            "cat /whole/etc/extra /part/extra /file; touch /made; touch /part/x 2>/dev/null || echo readonly",
            NULL });
    s.rootfs_fd = root_fd;
    s.mounts = mounts;
    s.mount_count = ARRAY_LEN(mounts);
    run_step(&s, &o);
    assert_null(o.error);
    assert_string_equal(buf_str(&o.out), "extra\nextra\nextra\nreadonly\n");
    /* The root is still reachable through its descriptor. */
    struct stat st;
    assert_int_equal(fstatat(root_fd, "made", &st, 0), 0);
    outcome_deinit(&o);
    root_drop(&other);
    root_drop(&r);
}

static void test_secrets(void **state)
{
    struct run_secret_file f = { "/run/secrets/deep/key", "hunter2", 7, 1000, 1000, 0400 };
    struct run_spec s = { .secrets = &f, .secret_count = 1, .remove_mount_stubs = true };

    check_shell_with(&s,
                     "cat /run/secrets/deep/key; echo; stat -c '%u %g %a' /run/secrets/deep/key; grep -c "
                     "'secrets/deep/key tmpfs' /proc/mounts",
                     0, "hunter2\n1000 1000 400\n1\n");
    CLEANUP(buf_deinit) struct buf mounts = { 0 };
    assert_int_equal(file_read("/proc/self/mountinfo", &mounts, 1 << 20), 0);
    assert_null(strstr(buf_str(&mounts), base_dir));
}

static struct error *echo_upper(void *ctx, struct stream *conn)
{
    char text[16] = { 0 };
    ssize_t n = stream_read(conn, text, sizeof(text) - 1);

    for (ssize_t i = 0; i < n; i++)
        text[i] = (char)(text[i] - 32);
    int r = n > 0 ? stream_write_full(conn, text, (size_t)n) : 0;
    stream_close(conn);
    return r < 0 ? err_sys(-r, "write") : NULL;
}

static void test_sockets(void **state)
{
    struct run_socket k = {
        .dest = "/run/agent.sock", .uid = 0, .gid = 0, .mode = 0600, .serve = echo_upper
    };
    struct run_spec s = { .sockets = &k, .socket_count = 1 };

    check_shell_with(&s, "stat -c '%F %a' /run/agent.sock; /bin/client /run/agent.sock ping", 0,
                     "socket 600\nPING");
}

static void expect_file(const struct root *r, const char *path, bool there)
{
    struct stat st;
    int n = fstatat(r->fd, path, &st, AT_SYMLINK_NOFOLLOW);

    if ((n == 0) != there)
        print_message("%s\n", path);
    assert_int_equal(n == 0, there);
}

static void run_script(const struct root *r, struct run_spec *s, const char *script)
{
    const char *const args[] = { "/bin/sh", "-c", script, NULL };
    struct outcome o = { 0 };

    s->rootfs_fd = r->fd;
    s->args = args;
    s->env = step_env;
    s->cwd = "/";
    run_step(s, &o);
    assert_null(o.error);
    assert_string_equal(buf_str(&o.out), "");
    assert_int_equal(o.code, 0);
    outcome_deinit(&o);
}

static void test_stubs_go(void **state)
{
    struct run_mount m[] = { { .dest = "/a/b/c", .source_fd = -1, .tmpfs = true },
                             { .dest = "/a/b/d", .source_fd = -1, .tmpfs = true },
                             { .dest = "/keep/me", .source_fd = -1, .tmpfs = true } };
    struct run_spec s = { .mounts = m, .mount_count = 3, .remove_mount_stubs = true };
    struct root r;
    struct stat st;

    root_new(&r);
    run_script(&r, &s, "echo 1 > /keep/file; touch -d '2001-01-01 00:00:00' / /etc");
    expect_file(&r, "a", false);
    expect_file(&r, "keep/me", false);
    expect_file(&r, "keep/file", true);
    assert_int_equal(fstatat(r.fd, "etc", &st, 0), 0);
    assert_int_equal(st.st_mtime, 978307200);
    expect_file(&r, "etc/resolv.conf", false);
    root_drop(&r);
}

/* The step turns the way to its mount points into links: nothing outside or elsewhere may go. */
static void test_stub_attacks(void **state)
{
    struct root r;
    char canary[128];
    CLEANUP(freep) char *script = NULL;
    struct run_mount m[] = { { .dest = "/a/b/c", .source_fd = -1, .tmpfs = true },
                             { .dest = "/f/g", .source_fd = -1, .tmpfs = true } };
    struct run_spec s = { .mounts = m, .mount_count = 2, .remove_mount_stubs = true };
    struct stat st;

    snprintf(canary, sizeof(canary), "%s/canary", base_dir);
    assert_int_equal(mkdir(canary, 0755), 0);
    testing_write(canary, "c", "");
    testing_write(canary, "g", "");
    root_new(&r);
    /* Mount points are busy: the step moves them aside through a second look at its root, which it does not
     * have; it can replace what lies above them only by renaming. */
    script = xasprintf(
        "mv /a /moved && ln -s %s /a; mv /f /moved2 && ln -s ../../../../../../../..%s /f; ln -s %s /moved/x",
        canary, canary, canary);
    run_script(&r, &s, script);
    assert_int_equal(fstatat(AT_FDCWD, canary, &st, 0), 0);
    CLEANUP(freep) char *c = path_join(canary, "c"), *g = path_join(canary, "g");
    assert_int_equal(access(c, F_OK), 0);
    assert_int_equal(access(g, F_OK), 0);
    expect_file(&r, "moved/b/c", true);
    root_drop(&r);
    testing_remove(canary);
}

struct cancel_args {
    struct scope *scope;
    struct run_spec *spec;
    struct outcome *outcome;
};

static struct error *run_cancelled(void *arg)
{
    struct cancel_args *a = arg;

    a->outcome->error = runner_run(runner, a->spec, &a->outcome->code);
    return NULL;
}

static void test_cancel_kills_the_tree(void **state)
{
    /* The step says when it is there, so that nothing is timed but the kill. */
    const char *const args[] = { "/bin/sh", "-c",
                                 "(setsid sleep 54321 &) ; touch /ready; trap '' TERM INT; sleep 54321",
                                 NULL };
    struct outcome o = { 0 };
    struct group g;
    struct root r;
    CLEANUP(freep) char *ready = NULL;

    root_new(&r);
    ready = path_join(r.path, "ready");
    struct run_spec s = spec_for(&r, args);
    group_open(&g, 0);
    struct scope *scope = scope_new(g.scope);
    struct cancel_args a = { scope, &s, &o };
    assert_null(group_spawn_scope(&g, "run", scope, run_cancelled, &a));
    while (access(ready, F_OK) != 0)
        assert_int_equal(task_sleep(NS_PER_MS), 0);
    int64_t begin = monotonic_ns();
    scope_cancel(scope, NULL);
    assert_null(group_join(&g));
    int64_t took = monotonic_ns() - begin;
    print_message("cancelled in %lld ms\n", (long long)(took / NS_PER_MS));
    assert_true(err_is(o.error, ERR_CANCELLED));
    assert_int_equal(testing_count_processes("54321"), 0);
    assert_true(took < NS_PER_SEC);
    outcome_deinit(&o);
    scope_unref(scope);
    root_drop(&r);
}

static void test_network(void **state)
{
    struct run_spec none = { .network = RUN_NET_NONE };

    check_shell(
        "ip -o -4 addr show eth0 | grep -c 'inet 172'; ip route | grep -c '^default via 172.*dev eth0'; "
        "ip link show lo | grep -c 'LOOPBACK,UP'; ping -c 1 -W 2 -q $(ip route | sed -n 's/^default via "
        "\\([0-9.]*\\).*/\\1/p') "
        "| grep -c ' 0% packet loss'",
        0, "1\n1\n1\n1\n");
    check_shell_with(&none, "ip link | grep -c eth0; true", 0, "0\n");
    struct run_spec host = { .network = RUN_NET_HOST };
    check_shell_with(&host, "ip link | grep -c '^[0-9]*: minke0:'", 0, "1\n");
}

static void test_proc_self_fd_cwd(void **state)
{
    struct root r;
    int code;

    root_new(&r);
    assert_int_equal(symlinkat("/proc/self/fd/7", r.fd, "w"), 0);
    static const char *const dirs[] = { "/proc/self/fd/7", "/w", "/w/../..", "/proc/1/root" };
    for (size_t i = 0; i < 2; i++) {
        struct run_spec s = spec_for(&r, (const char *const[]){ "/bin/true", NULL });

        s.cwd = dirs[i];
        struct error *e = runner_run(runner, &s, &code);
        assert_true(err_is(e, ERR_INVALID));
        err_free(e);
    }
    root_drop(&r);
}

/* A mount may bring a link that points to a descriptor of the runtime: for every number the host must stay
 * out of sight. */
static void test_cwd_through_a_mount(void **state)
{
    struct root other;

    root_new(&other);
    for (int i = 3; i < 24; i++) {
        char target[32], name[16], cwd[32];

        snprintf(target, sizeof(target), "/proc/self/fd/%d", i);
        snprintf(name, sizeof(name), "l%d", i);
        snprintf(cwd, sizeof(cwd), "/m/l%d", i);
        assert_int_equal(symlinkat(target, other.fd, name), 0);
        struct run_mount m = { .dest = "/m", .source_fd = other.fd };
        struct root r;
        struct outcome o = { 0 };
        struct run_spec s;

        root_new(&r);
        s = spec_for(&r, (const char *const[]){
                             "/bin/sh", "-c",
                             "cat ../../../../../../../../../etc/hostname 2>/dev/null; cat ./cgroup.procs "
                             "2>/dev/null; ls -d ../../../../tasks ./tasks 2>/dev/null; true",
                             NULL });
        s.mounts = &m;
        s.mount_count = 1;
        s.cwd = cwd;
        run_step(&s, &o);
        if (o.error == NULL && o.code == 0)
            assert_string_equal(buf_str(&o.out), "");
        outcome_deinit(&o);
        root_drop(&r);
    }
    root_drop(&other);
}

static void test_hostile_root(void **state)
{
    /* What the runtime prepares must not follow the image's links out of the root. */
    static const char *const names[] = { "dev", "proc", "sys", "etc" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct root r;
        struct outcome o = { 0 };
        char canary[128], name[32];

        root_new(&r);
        snprintf(canary, sizeof(canary), "%s/canary2", base_dir);
        assert_int_equal(mkdir(canary, 0755), 0);
        snprintf(name, sizeof(name), "%s", names[i]);
        testing_remove_at(r.fd, name);
        assert_int_equal(symlinkat(canary, r.fd, name), 0);
        struct run_spec s = spec_for(&r, (const char *const[]){ "/bin/true", NULL });
        run_step(&s, &o);
        assert_int_equal(testing_count_entries(canary), 0);
        outcome_deinit(&o);
        root_drop(&r);
        testing_remove(canary);
    }
}

static void test_no_leaks(void **state)
{
    struct root r;
    char bundle_dir[128];

    root_new(&r);
    struct run_spec s = spec_for(&r, (const char *const[]){ "/bin/true", NULL });
    size_t fds = testing_count_entries("/proc/self/fd");
    int64_t begin = monotonic_ns();
    for (int i = 0; i < 20; i++) {
        int code = -1;

        assert_null(runner_run(runner, &s, &code));
        assert_int_equal(code, 0);
    }
    print_message("%.1f ms a step\n", (double)(monotonic_ns() - begin) / 20e6);
    assert_int_equal(testing_count_entries("/proc/self/fd"), fds);
    snprintf(bundle_dir, sizeof(bundle_dir), "%s/exec/bundle", base_dir);
    assert_int_equal(testing_count_entries(bundle_dir), 0);
    root_drop(&r);
}

struct parallel {
    struct root root;
    struct run_mount shared;
    struct outcome outcome;
};

static struct error *run_parallel(void *arg)
{
    /* All eight are there at the same time. */
    static const char script[] = "ip -o -4 addr show eth0 >/ip; mktemp /shared/XXXXXX >/dev/null; "
                                 "while test $(ls /shared | wc -l) -lt 8; do sleep 0.01; done";
    struct parallel *p = arg;
    struct run_spec s = spec_for(&p->root, (const char *const[]){ "/bin/sh", "-c", script, NULL });

    s.mounts = &p->shared;
    s.mount_count = 1;
    p->outcome.error = runner_run(runner, &s, &p->outcome.code);
    return NULL;
}

/* More at once than the pool holds: all have a network, and each an address of its own. */
static void test_parallel(void **state)
{
    struct parallel p[8];
    struct buf ips[8] = { { 0 } };
    struct group g;
    char shared[128];

    snprintf(shared, sizeof(shared), "%s/shared", base_dir);
    assert_int_equal(mkdir(shared, 0755), 0);
    int shared_fd = open(shared, O_PATH | O_CLOEXEC);
    memset(p, 0, sizeof(p));
    group_open(&g, 0);
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        root_new(&p[i].root);
        p[i].shared = (struct run_mount){ .dest = "/shared", .source_fd = shared_fd };
        assert_null(group_spawn(&g, "run", run_parallel, &p[i]));
    }
    assert_null(group_join(&g));
    for (size_t i = 0; i < ARRAY_LEN(p); i++) {
        assert_null(p[i].outcome.error);
        assert_int_equal(p[i].outcome.code, 0);
        assert_int_equal(path_read_file(p[i].root.fd, "ip", &ips[i], 4096), 0);
        assert_non_null(strstr(buf_str(&ips[i]), "inet 172."));
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(strstr(buf_str(&ips[i]), "inet"), strstr(buf_str(&ips[k]), "inet"));
        root_drop(&p[i].root);
    }
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        buf_deinit(&ips[i]);
    close(shared_fd);
}

/* Two daemons in one network namespace take different names and subnets, and leave nothing. */
static void test_two_networks(void **state)
{
    struct network *a = NULL, *b = NULL;
    struct network_config c = { .pool_size = 1 };
    char first[32];

    assert_null(network_open(&c, &a));
    assert_null(network_open(&c, &b));
    assert_string_not_equal(network_bridge(a), network_bridge(b));
    assert_string_not_equal(network_subnet(a), network_subnet(b));
    assert_null(network_fill(b));
    snprintf(first, sizeof(first), "%s", network_bridge(a));
    network_close(a);
    /* What went is free again; a name that is asked for and taken is refused. */
    c.bridge_name = network_bridge(b);
    struct error *e = network_open(&c, &a);
    assert_non_null(e);
    err_free(e);
    c.bridge_name = NULL;
    /* So does what a killed daemon left: a bridge whose name nobody claims. */
    struct netlink *nl = NULL;
    assert_int_equal(netlink_open(&nl), 0);
    assert_int_equal(netlink_bridge_add(nl, "minke40", 1500), 0);
    assert_null(network_open(&c, &a));
    assert_string_equal(network_bridge(a), first);
    assert_int_equal(netlink_link_index(nl, "minke40"), -ENODEV);
    netlink_close(nl);
    network_close(a);
    network_close(b);
    CLEANUP(buf_deinit) struct buf links = { 0 };
    assert_int_equal(file_read("/proc/self/net/dev", &links, 1 << 20), 0);
    const char *own = strstr(buf_str(&links), "minke");
    assert_non_null(own); /* the runner's */
    assert_null(strstr(own + 1, "minke"));
}

struct racer {
    int dir_fd;
};

/* Swap a directory and a link that leads out, as fast as it goes. */
static struct error *swap_forever(void *arg)
{
    struct racer *r = arg;

    while (task_check_sys() == 0)
        if (renameat2(r->dir_fd, "sub", r->dir_fd, "link", RENAME_EXCHANGE) < 0)
            return err_sys(errno, "swap");
    return NULL;
}

/* CVE-2024-23651: the source of a mount becomes a link between check and mount. */
static void test_racing_source(void **state)
{
    struct root cache;
    struct group g;
    char canary[128], target[160];

    root_new(&cache);
    snprintf(canary, sizeof(canary), "%s/canary3", base_dir);
    assert_int_equal(mkdir(canary, 0755), 0);
    testing_write(canary, "secret", "stolen\n");
    snprintf(target, sizeof(target), "../../../../../../../../..%s", canary);
    assert_int_equal(mkdirat(cache.fd, "sub", 0755), 0);
    assert_int_equal(symlinkat(target, cache.fd, "link"), 0);
    struct racer racer = { cache.fd };
    group_open(&g, 0);
    assert_null(group_spawn(&g, "racer", swap_forever, &racer));
    for (int i = 0; i < 30; i++) {
        struct run_mount m = { .dest = "/m", .source_fd = cache.fd, .selector = "sub" };
        struct root r;
        struct outcome o = { 0 };

        root_new(&r);
        struct run_spec s =
            spec_for(&r, (const char *const[]){ "/bin/sh", "-c", "cat /m/secret 2>/dev/null; true", NULL });
        s.mounts = &m;
        s.mount_count = 1;
        run_step(&s, &o);
        assert_string_equal(buf_str(&o.out), "");
        outcome_deinit(&o);
        root_drop(&r);
    }
    group_cancel(&g);
    err_free(group_join(&g));
    root_drop(&cache);
    testing_remove(canary);
}

/* Somebody kills the runtime under its running container (the kernel, for memory): the container must not
 * stay. */
static void test_killed_runtime(void **state)
{
    const char *const args[] = { "/bin/sh", "-c", "touch /ready; exec sleep 54322", NULL };
    struct outcome o = { 0 };
    struct group g;
    struct root r;

    root_new(&r);
    CLEANUP(freep) char *ready = path_join(r.path, "ready");
    struct run_spec s = spec_for(&r, args);
    struct cancel_args a = { NULL, &s, &o };
    group_open(&g, 0);
    assert_null(group_spawn(&g, "run", run_cancelled, &a));
    while (access(ready, F_OK) != 0 || testing_count_processes("54322") == 0)
        assert_int_equal(task_sleep(NS_PER_MS), 0);
    assert_true(testing_kill_parent_of("54322"));
    assert_null(group_join(&g));
    assert_null(o.error);
    assert_int_equal(o.code, 128 + SIGKILL);
    assert_int_equal(testing_count_processes("54322"), 0);
    outcome_deinit(&o);
    root_drop(&r);
}

/* A grandchild whose parent goes becomes ours; when it ends nobody waits for it. */
static void test_strays(void **state)
{
    static const char *const argv[] = { "/bin/busybox", "sh", "-c", "(exec /bin/busybox sleep 0.01) & exit 0",
                                        NULL };
    struct spawn_options o = { .argv = argv, .netns_fd = -1 };
    int status;

    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    assert_null(spawn_run(&o, NULL, NULL, NULL, 0, &status));
    size_t reaped = 0;
    for (int i = 0; i < 5000 && reaped == 0; i++) {
        assert_int_equal(strays_reap(INT64_MAX), 0); /* too young */
        reaped = strays_reap(0);
        assert_int_equal(task_sleep(NS_PER_MS), 0);
    }
    assert_int_equal(reaped, 1);
}

/* ---- further processes of a container
 * ------------------------------------------------------------------------------------------------------------
 */

struct box {
    struct root root;
    struct process *first;
    int input; /* closing it ends the first process */
};

static void box_new(struct box *b)
{
    static int number;
    static const char *const args[] = { "/bin/cat", NULL };
    struct run_extra extra = { 0 };
    struct run_ulimit ulimit = { "nofile", 321, 321 };
    char id[64];
    int fds[2];

    root_new(&b->root);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    snprintf(id, sizeof(id), "box%d.%d", (int)getpid(), number++);
    struct run_spec s = spec_for(&b->root, args);
    s.id = id;
    s.extra = &extra;
    s.stdin_fd = fds[0];
    s.ulimits = &ulimit;
    s.ulimit_count = 1;
    assert_null(process_create(runner, &s, &b->first));
    assert_null(process_start(b->first));
    close(fds[0]);
    b->input = fds[1];
}

static void box_drop(struct box *b)
{
    process_free(b->first);
    close(b->input);
    root_drop(&b->root);
}

static struct process_exec_spec exec_spec(const char *const *args)
{
    return (struct process_exec_spec){
        .args = args, .env = step_env, .cwd = "/", .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1
    };
}

/* Run a shell line beside the first process; the output must be exactly `want`. */
static void check_exec(struct box *b, const struct process_exec_spec *more, const char *script, int code,
                       const char *want)
{
    const char *const args[] = { "/bin/sh", "-c", script, NULL };
    struct process_exec_spec x = more != NULL ? *more : exec_spec(NULL);
    CLEANUP(buf_deinit) struct buf out = { 0 };
    struct process *p = NULL;
    int fds[2], got = -1;
    bool oom;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    x.args = args;
    x.stdout_fd = x.stderr_fd = fds[1];
    struct error *e = process_exec(b->first, &x, &p);
    if (e != NULL)
        print_message("exec: %s\n", e->message);
    assert_null(e);
    close(fds[1]);
    struct stream *reader = stream_from_fd(fds[0]);
    assert_true(stream_read_all(reader, &out, 1 << 20) >= 0);
    stream_close(reader);
    assert_string_equal(buf_str(&out), want);
    assert_null(process_wait(p, &got, &oom));
    assert_int_equal(got, code);
    process_free(p);
}

static void test_exec(void **state)
{
    struct box b;

    box_new(&b);
    check_exec(&b, NULL, "echo $0 $HOME; ps -o args | grep -c '^/bin/cat'; exit 7", 7, "/bin/sh /root\n1\n");
    check_exec(&b, NULL, "kill -9 $$", 128 + SIGKILL, "");
    /* Limits and rights are those of the first process. */
    check_exec(&b, NULL, "ulimit -n; grep -E '^(CapEff|CapBnd|Seccomp):' /proc/self/status", 0,
               "321\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n");
    struct process_exec_spec x = exec_spec(NULL);
    x.user = "app";
    x.cwd = "/etc";
    x.env = (const char *const[]){ "PATH=/bin", "ONLY=this", NULL };
    check_exec(&b, &x, "id -u; id -G; pwd; env | grep -v '^PWD\\|^SHLVL' | sort", 0,
               "1000\n1000 27 28\n/etc\nHOME=/home/app\nONLY=this\nPATH=/bin\n");
    x = exec_spec(NULL);
    x.privileged = true;
    check_exec(&b, &x, "grep CapEff: /proc/self/status | grep -c a80425fb; true", 0, "0\n");
    box_drop(&b);
}

static void expect_exec_failure(struct box *b, const struct process_exec_spec *x, enum error_kind kind,
                                const char *text)
{
    struct process *p = NULL;
    struct error *e = process_exec(b->first, x, &p);

    assert_non_null(e);
    print_message("%s\n", e->message);
    assert_int_equal(e->kind, kind);
    assert_non_null(strstr(e->message, text));
    err_free(e);
}

static void test_exec_failures(void **state)
{
    struct box b;
    int code;
    bool oom;

    box_new(&b);
    struct process_exec_spec x = exec_spec((const char *const[]){ "no-such-program", NULL });
    expect_exec_failure(&b, &x, ERR_INTERNAL,
                        "OCI runtime exec failed: exec failed: unable to start container process: exec: "
                        "\"no-such-program\": executable file not found in $PATH");
    x.args = (const char *const[]){ "/etc/passwd", NULL };
    expect_exec_failure(&b, &x, ERR_INTERNAL, "permission denied");
    x.args = (const char *const[]){ "/bin/true", NULL };
    x.user = "nobody-knows";
    expect_exec_failure(&b, &x, ERR_INVALID, "unable to find user nobody-knows");
    x.user = NULL;
    x.cwd = "/proc/self/fd/7";
    expect_exec_failure(&b, &x, ERR_INVALID, "points to invalid target");
    x.cwd = "/";
    close(b.input);
    b.input = -1;
    assert_null(process_wait(b.first, &code, &oom));
    expect_exec_failure(&b, &x, ERR_NOT_FOUND, "is not running");
    box_drop(&b);
}

/* Read from the terminal until `want` has come. */
static void expect_on_terminal(int fd, struct buf *seen, const char *want)
{
    char chunk[256];
    ssize_t n;

    while (strstr(buf_str(seen), want) == NULL) {
        assert_int_equal(task_wait_fd(fd, POLLIN), 0);
        n = read(fd, chunk, sizeof(chunk));
        assert_true(n > 0);
        buf_add(seen, chunk, (size_t)n);
    }
}

/* Terminals, sizes, signals, and several processes at once. */
static void test_exec_terminal(void **state)
{
    CLEANUP(buf_deinit) struct buf seen = { 0 };
    struct process *p[2] = { NULL, NULL };
    struct box b;
    int code;
    bool oom;

    box_new(&b);
    struct process_exec_spec x =
        exec_spec((const char *const[]){ "/bin/sh", "-c",
                                         "stty size; trap 'stty size; exit 3' WINCH; echo ready; "
                                         "while true; do read x; done",
                                         NULL });
    x.terminal = true;
    x.width = 80;
    x.height = 25;
    for (int i = 0; i < 2; i++) {
        assert_null(process_exec(b.first, &x, &p[i]));
        expect_on_terminal(process_console(p[i]), &seen, "25 80\r\nready\r\n");
        buf_clear(&seen);
    }
    assert_null(process_resize(p[0], 132, 43));
    expect_on_terminal(process_console(p[0]), &seen, "43 132\r\n");
    assert_null(process_wait(p[0], &code, &oom));
    assert_int_equal(code, 3);
    struct error *e = process_signal(p[0], SIGTERM);
    assert_true(err_is(e, ERR_NOT_FOUND));
    err_free(e);
    assert_null(process_signal(p[1], SIGHUP));
    assert_null(process_wait(p[1], &code, &oom));
    assert_int_equal(code, 128 + SIGHUP);
    process_free(p[0]);
    process_free(p[1]);
    /* The container's end is theirs. */
    x = exec_spec((const char *const[]){ "/bin/sleep", "54323", NULL });
    assert_null(process_exec(b.first, &x, &p[0]));
    assert_null(process_exec(b.first, &x, &p[1]));
    process_free(p[1]); /* kills it alone */
    assert_int_equal(testing_count_processes("54323"), 1);
    close(b.input);
    b.input = -1;
    assert_null(process_wait(p[0], &code, &oom));
    assert_int_equal(code, 128 + SIGKILL);
    process_free(p[0]);
    box_drop(&b);
}

static int set_up(void **state)
{
    snprintf(base_dir, sizeof(base_dir), "/tmp/minke-run-XXXXXX");
    assert_non_null(mkdtemp(base_dir));
    CLEANUP(freep) char *exec_root = path_join(base_dir, "exec");
    struct runner_config c = { .exec_root = exec_root,
                               .userland_network = true,
                               .default_runtime = getenv("MINKE_TEST_RUNTIME") };
    struct error *e = runner_new(&c, &runner);

    if (e == NULL)
        e = runner_warm_up(runner);
    if (e == NULL)
        return 0;
    print_message("skipped: %s\n", e->message);
    exit(77);
}

static int tear_down(void **state)
{
    runner_free(runner);
    testing_remove(base_dir);
    return 0;
}

int main(void)
{
    testing_need_root("/bin/busybox");
    if (unshare(CLONE_NEWNET) < 0)
        testing_skip("no network namespace of our own");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_command_not_found),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_only_three_descriptors),
        cmocka_unit_test(test_privileges),
        cmocka_unit_test(test_insecure),
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_device_rules),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_cwd),
        cmocka_unit_test(test_ulimit_and_env),
        cmocka_unit_test(test_tmpfs_and_binds),
        cmocka_unit_test(test_detached_mounts),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_sockets),
        cmocka_unit_test(test_stubs_go),
        cmocka_unit_test(test_stub_attacks),
        cmocka_unit_test(test_cancel_kills_the_tree),
        cmocka_unit_test(test_network),
        cmocka_unit_test(test_proc_self_fd_cwd),
        cmocka_unit_test(test_cwd_through_a_mount),
        cmocka_unit_test(test_hostile_root),
        cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_two_networks),
        cmocka_unit_test(test_racing_source),
        cmocka_unit_test(test_killed_runtime),
        cmocka_unit_test(test_exec),
        cmocka_unit_test(test_exec_failures),
        cmocka_unit_test(test_exec_terminal),
        cmocka_unit_test(test_strays),
        cmocka_unit_test(test_no_leaks),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
