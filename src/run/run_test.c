/* SPDX-License-Identifier: Apache-2.0 */
/* run_test.c - what a step finds: its identity, rights, names, directories, mounts, secrets, sockets */
#include "run/trial.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "task/task.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

static void test_exit_codes(void **state)
{
    trial_shell("echo hello", 0, "hello\n");
    trial_shell("exit 7", 7, "");
    trial_shell("sh -c 'kill -TERM $$'; exit $?", 128 + SIGTERM, NULL);
    trial_shell("sh -c 'kill -9 $$'; exit $?", 128 + SIGKILL, NULL);
}

static void test_command_not_found(void **state)
{
    const char *const args[] = { "no-such-program", NULL };
    struct trial_root r;
    struct trial_outcome o = { 0 };

    trial_root_new(&r);
    struct run_spec s = trial_spec(&r, args);
    trial_step(&s, &o);
    assert_null(o.error);
    assert_int_not_equal(o.code, 0);
    assert_non_null(strstr(buf_str(&o.out), "not found in $PATH"));
    trial_outcome_deinit(&o);
    trial_root_drop(&r);
}

static void test_identity(void **state)
{
    struct run_spec s = { .user = "app" };

    trial_shell("id -u; id -g; id -G", 0, "0\n0\n0 27\n");
    trial_shell_with(&s, "id -u; id -g; id -G; echo $HOME", 0, "1000\n1000\n1000 27 28\n/root\n");
    s.user = "12:34";
    trial_shell_with(&s, "id -u; id -g; id -G", 0, "12\n34\n34\n");
    s.user = "77";
    trial_shell_with(&s, "id -u; id -g", 0, "77\n0\n");
}

static void test_only_three_descriptors(void **state)
{
    /* The fourth is ls's own. */
    trial_shell("ls /proc/self/fd | tr '\\n' ' '", 0, "0 1 2 3 ");
    trial_shell("cat /proc/self/fdinfo/3 2>&1 | grep -c 'No such'", 0, "1\n");
}

static void test_privileges(void **state)
{
    trial_shell("grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status", 0,
                "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:"
                "\t00000000a80425fb\n"
                "CapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n");
    trial_shell("mount -t tmpfs none /mnt 2>/dev/null && echo mounted; unshare -U true 2>/dev/null && echo "
                "user; true",
                0, "");
}

static void test_insecure(void **state)
{
    struct run_spec s = { .insecure = true };

    trial_shell_with(&s,
                     "grep Seccomp: /proc/self/status; mount -t tmpfs none /mnt && echo mounted; test -w "
                     "/proc/sys/kernel && echo w",
                     0, "Seccomp:\t0\nmounted\nw\n");
}

static void test_masks(void **state)
{
    trial_shell(
        "stat -c '%F %t %T' /proc/interrupts; cat /proc/interrupts | wc -c; for f in kcore keys timer_list; "
        "do test ! -e /proc/$f || "
        "test $(head -c 9 /proc/$f | wc -c) = 0 || echo $f; done; ls /sys/firmware 2>/dev/null | wc -l",
        0, "character special file 1 3\n0\n0\n");
    trial_shell("echo x 2>/dev/null > /proc/sys/kernel/core_pattern && echo written; "
                "echo h 2>/dev/null >/proc/sysrq-trigger && echo written; for d in /sys/fs/cgroup/*/; do "
                "mkdir $d/x 2>/dev/null && echo made $d; done; true",
                0, "");
}

static void test_device_rules(void **state)
{
    trial_shell("mknod /dev/x c 1 6 && (cat /dev/x) 2>&1 | grep -o 'Operation not permitted'; head -c 3 "
                "/dev/zero | wc -c; "
                "mknod /dev/full2 c 1 7 && (echo x > /dev/full2) 2>&1 | grep -o 'No space'",
                0, "Operation not permitted\n3\nNo space\n");
}

static void test_names(void **state)
{
    struct run_host hosts[] = { { "db.example", "10.1.2.3" } };
    struct run_spec s = { .hosts = hosts, .host_count = 1 };

    trial_shell(
        "hostname; cat /etc/hosts", 0,
        "buildkitsandbox\n127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    s.hostname = "other";
    trial_shell_with(&s, "hostname; cat /etc/hosts", 0,
                     "other\n127.0.0.1\tlocalhost other\n::1\tlocalhost ip6-localhost "
                     "ip6-loopback\n10.1.2.3\tdb.example\n");
    trial_shell("grep -q nameserver /etc/resolv.conf && echo x >/etc/hosts", 1, NULL);
}

static void test_cwd(void **state)
{
    struct run_spec s = { .cwd = "/deep/er/place", .user = "app" };

    trial_shell_with(&s, "pwd; stat -c '%U %a' /deep /deep/er/place", 0,
                     "/deep/er/place\napp 755\napp 755\n");
    s.cwd = "/etc/passwd";
    trial_shell_with(&s, "true", 1, NULL);
}

static void test_ulimit_and_env(void **state)
{
    struct run_ulimit u[] = { { "nofile", 321, 321 }, { "core", 0, -1 } };
    struct run_spec s = { .ulimits = u, .ulimit_count = 2 };

    trial_shell_with(&s, "ulimit -n; env | grep -c PATH=", 0, "321\n1\n");
}

static void test_tmpfs_and_binds(void **state)
{
    struct trial_root other;
    CLEANUP(freep) char *sub = NULL;

    trial_root_new(&other);
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

    trial_shell_with(
        &s,
        "cat /ro/file /one; echo more >/rw/new; cat /ro/new; touch /ro/x 2>/dev/null || echo readonly; "
        "grep -c ' /t tmpfs rw,nosuid' /proc/mounts; head -c 2000000 /dev/zero >/t/big 2>/dev/null || echo "
        "full; "
        "cat /evil/marker",
        0, "content\ncontent\nmore\nreadonly\n1\nfull\ninside\n");
    struct run_mount missing = { .dest = "/x", .source_fd = other.fd, .selector = "/nowhere" };
    struct run_spec s2 = trial_spec(&other, (const char *const[]){ "/bin/true", NULL });
    s2.mounts = &missing;
    s2.mount_count = 1;
    int code;
    struct error *e = runner_run(trial.runner, &s2, &code);
    assert_true(err_is(e, ERR_NOT_FOUND));
    err_free(e);
    trial_root_drop(&other);
}

/* Roots and sources as the snapshot room gives them: mounts that are in nobody's table. */
static void test_detached_mounts(void **state)
{
    struct trial_root r, other;
    struct trial_outcome o = { 0 };

    trial_root_new(&r);
    trial_root_new(&other);
    testing_write(other.path, "etc/extra", "extra\n");
    CLEANUP(closep) int root_fd = testing_mount(r.path);
    CLEANUP(closep) int source_fd = testing_mount(other.path);
    struct run_mount mounts[] = {
        { .dest = "/whole", .source_fd = source_fd, .readonly = true },
        { .dest = "/part", .source_fd = source_fd, .selector = "/etc", .readonly = true },
        { .dest = "/file", .source_fd = source_fd, .selector = "etc/extra", .readonly = true },
    };
    struct run_spec s = trial_spec(
        &r,
        (const char *const[]){
            "/bin/sh", "-c",
            "cat /whole/etc/extra /part/extra /file; touch /made; touch /part/x 2>/dev/null || echo readonly",
            NULL });
    s.rootfs_fd = root_fd;
    s.mounts = mounts;
    s.mount_count = ARRAY_LEN(mounts);
    trial_step(&s, &o);
    assert_null(o.error);
    assert_string_equal(buf_str(&o.out), "extra\nextra\nextra\nreadonly\n");
    /* The root is still reachable through its descriptor. */
    struct stat st;
    assert_int_equal(fstatat(root_fd, "made", &st, 0), 0);
    trial_outcome_deinit(&o);
    trial_root_drop(&other);
    trial_root_drop(&r);
}

static void test_secrets(void **state)
{
    struct run_secret_file f = { "/run/secrets/deep/key", "hunter2", 7, 1000, 1000, 0400 };
    struct run_spec s = { .secrets = &f, .secret_count = 1, .remove_mount_stubs = true };

    trial_shell_with(&s,
                     "cat /run/secrets/deep/key; echo; stat -c '%u %g %a' /run/secrets/deep/key; grep -c "
                     "'secrets/deep/key tmpfs' /proc/mounts",
                     0, "hunter2\n1000 1000 400\n1\n");
    CLEANUP(buf_deinit) struct buf mounts = { 0 };
    assert_int_equal(file_read("/proc/self/mountinfo", &mounts, 1 << 20), 0);
    assert_null(strstr(buf_str(&mounts), trial.dir));
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

    trial_shell_with(&s, "stat -c '%F %a' /run/agent.sock; /bin/client /run/agent.sock ping", 0,
                     "socket 600\nPING");
}

/* How many are served at once: each waits until there are as many as may be. */
struct crowd {
    struct mutex lock;
    struct cond changed;
    int served, most;
    bool full;
};

static struct error *serve_in_crowd(void *ctx, struct stream *conn)
{
    struct crowd *c = ctx;
    int r = 0;

    mutex_lock(&c->lock);
    c->most = MAX(c->most, ++c->served);
    c->full |= c->served == LIMIT_STEP_CONNECTIONS;
    cond_broadcast(&c->changed);
    while (r == 0 && !c->full)
        r = cond_wait(&c->changed, &c->lock);
    mutex_unlock(&c->lock);
    struct error *e = echo_upper(NULL, conn);
    mutex_lock(&c->lock);
    c->served--;
    mutex_unlock(&c->lock);
    return e;
}

static void test_many_connections(void **state)
{
    struct crowd c = { 0 };
    struct run_socket k = { .dest = "/run/agent.sock", .mode = 0600, .serve = serve_in_crowd, .ctx = &c };
    struct run_spec s = { .sockets = &k, .socket_count = 1 };

    mutex_init(&c.lock);
    cond_init(&c.changed);
    trial_shell_with(&s,
                     "for i in $(seq 100); do /bin/client /run/agent.sock ping >/tmp-$i & done; wait; "
                     "cat /tmp-* | wc -c",
                     0, "400\n");
    assert_int_equal(c.most, LIMIT_STEP_CONNECTIONS);
    cond_deinit(&c.changed);
    mutex_deinit(&c.lock);
}

static void test_stubs_go(void **state)
{
    struct run_mount m[] = { { .dest = "/a/b/c", .source_fd = -1, .tmpfs = true },
                             { .dest = "/a/b/d", .source_fd = -1, .tmpfs = true },
                             { .dest = "/keep/me", .source_fd = -1, .tmpfs = true } };
    struct run_spec s = { .mounts = m, .mount_count = 3, .remove_mount_stubs = true };
    struct trial_root r;
    struct stat st;

    trial_root_new(&r);
    trial_script(&r, &s, "echo 1 > /keep/file; touch -d '2001-01-01 00:00:00' / /etc");
    trial_expect_file(&r, "a", false);
    trial_expect_file(&r, "keep/me", false);
    trial_expect_file(&r, "keep/file", true);
    assert_int_equal(fstatat(r.fd, "etc", &st, 0), 0);
    assert_int_equal(st.st_mtime, 978307200);
    trial_expect_file(&r, "etc/resolv.conf", false);
    trial_root_drop(&r);
}

static void test_no_leaks(void **state)
{
    struct trial_root r;
    char bundle_dir[128];

    trial_root_new(&r);
    struct run_spec s = trial_spec(&r, (const char *const[]){ "/bin/true", NULL });
    size_t fds = testing_count_entries("/proc/self/fd");
    int64_t begin = monotonic_ns();
    for (int i = 0; i < 20; i++) {
        int code = -1;

        assert_null(runner_run(trial.runner, &s, &code));
        assert_int_equal(code, 0);
    }
    print_message("%.1f ms a step\n", (double)(monotonic_ns() - begin) / 20e6);
    assert_int_equal(testing_count_entries("/proc/self/fd"), fds);
    snprintf(bundle_dir, sizeof(bundle_dir), "%s/exec/bundle", trial.dir);
    assert_int_equal(testing_count_entries(bundle_dir), 0);
    trial_root_drop(&r);
}

int main(void)
{
    trial_need();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_codes),      cmocka_unit_test(test_command_not_found),
        cmocka_unit_test(test_identity),        cmocka_unit_test(test_only_three_descriptors),
        cmocka_unit_test(test_privileges),      cmocka_unit_test(test_insecure),
        cmocka_unit_test(test_masks),           cmocka_unit_test(test_device_rules),
        cmocka_unit_test(test_names),           cmocka_unit_test(test_cwd),
        cmocka_unit_test(test_ulimit_and_env),  cmocka_unit_test(test_tmpfs_and_binds),
        cmocka_unit_test(test_detached_mounts), cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_sockets),         cmocka_unit_test(test_stubs_go),
        cmocka_unit_test(test_no_leaks),        cmocka_unit_test(test_many_connections),
    };
    return cmocka_run_group_tests(tests, trial_set_up, trial_tear_down);
}
