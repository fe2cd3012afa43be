/* SPDX-License-Identifier: Apache-2.0 */
/* hostile_test.c - images and steps that want out of their root */
#include "run/trial.h"

#include "io/path.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

/* The step turns the way to its mount points into links: nothing outside or elsewhere may go. */
static void test_stub_attacks(void **state)
{
    struct trial_root r;
    char canary[128];
    CLEANUP(freep) char *script = NULL;
    struct run_mount m[] = { { .dest = "/a/b/c", .source_fd = -1, .tmpfs = true },
                             { .dest = "/f/g", .source_fd = -1, .tmpfs = true } };
    struct run_spec s = { .mounts = m, .mount_count = 2, .remove_mount_stubs = true };
    struct stat st;

    snprintf(canary, sizeof(canary), "%s/canary", trial.dir);
    assert_int_equal(mkdir(canary, 0755), 0);
    testing_write(canary, "c", "");
    testing_write(canary, "g", "");
    trial_root_new(&r);
    /* Mount points are busy: the step moves them aside through a second look at its root, which it does not
     * have; it can replace what lies above them only by renaming. */
    script = xasprintf(
        "mv /a /moved && ln -s %s /a; mv /f /moved2 && ln -s ../../../../../../../..%s /f; ln -s %s /moved/x",
        canary, canary, canary);
    trial_script(&r, &s, script);
    assert_int_equal(fstatat(AT_FDCWD, canary, &st, 0), 0);
    CLEANUP(freep) char *c = path_join(canary, "c"), *g = path_join(canary, "g");
    assert_int_equal(access(c, F_OK), 0);
    assert_int_equal(access(g, F_OK), 0);
    trial_expect_file(&r, "moved/b/c", true);
    trial_root_drop(&r);
    testing_remove(canary);
}

static void test_proc_self_fd_cwd(void **state)
{
    struct trial_root r;
    int code;

    trial_root_new(&r);
    assert_int_equal(symlinkat("/proc/self/fd/7", r.fd, "w"), 0);
    static const char *const dirs[] = { "/proc/self/fd/7", "/w", "/w/../..", "/proc/1/root" };
    for (size_t i = 0; i < 2; i++) {
        struct run_spec s = trial_spec(&r, (const char *const[]){ "/bin/true", NULL });

        s.cwd = dirs[i];
        struct error *e = runner_run(trial.runner, &s, &code);
        assert_true(err_is(e, ERR_INVALID));
        err_free(e);
    }
    trial_root_drop(&r);
}

/* A mount may bring a link that points to a descriptor of the runtime: for every number the host must stay
 * out of sight. */
static void test_cwd_through_a_mount(void **state)
{
    struct trial_root other;

    trial_root_new(&other);
    for (int i = 3; i < 24; i++) {
        char target[32], name[16], cwd[32];

        snprintf(target, sizeof(target), "/proc/self/fd/%d", i);
        snprintf(name, sizeof(name), "l%d", i);
        snprintf(cwd, sizeof(cwd), "/m/l%d", i);
        assert_int_equal(symlinkat(target, other.fd, name), 0);
        struct run_mount m = { .dest = "/m", .source_fd = other.fd };
        struct trial_root r;
        struct trial_outcome o = { 0 };
        struct run_spec s;

        trial_root_new(&r);
        s = trial_spec(&r, (const char *const[]){
                               "/bin/sh", "-c",
                               "cat ../../../../../../../../../etc/hostname 2>/dev/null; cat ./cgroup.procs "
                               "2>/dev/null; ls -d ../../../../tasks ./tasks 2>/dev/null; true",
                               NULL });
        s.mounts = &m;
        s.mount_count = 1;
        s.cwd = cwd;
        trial_step(&s, &o);
        if (o.error == NULL && o.code == 0)
            assert_string_equal(buf_str(&o.out), "");
        trial_outcome_deinit(&o);
        trial_root_drop(&r);
    }
    trial_root_drop(&other);
}

static void test_hostile_root(void **state)
{
    /* What the runtime prepares must not follow the image's links out of the root. */
    static const char *const names[] = { "dev", "proc", "sys", "etc" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct trial_root r;
        struct trial_outcome o = { 0 };
        char canary[128], name[32];

        trial_root_new(&r);
        snprintf(canary, sizeof(canary), "%s/canary2", trial.dir);
        assert_int_equal(mkdir(canary, 0755), 0);
        snprintf(name, sizeof(name), "%s", names[i]);
        testing_remove_at(r.fd, name);
        assert_int_equal(symlinkat(canary, r.fd, name), 0);
        struct run_spec s = trial_spec(&r, (const char *const[]){ "/bin/true", NULL });
        trial_step(&s, &o);
        assert_int_equal(testing_count_entries(canary), 0);
        trial_outcome_deinit(&o);
        trial_root_drop(&r);
        testing_remove(canary);
    }
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
    struct trial_root cache;
    struct group g;
    char canary[128], target[160];

    trial_root_new(&cache);
    snprintf(canary, sizeof(canary), "%s/canary3", trial.dir);
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
        struct trial_root r;
        struct trial_outcome o = { 0 };

        trial_root_new(&r);
        struct run_spec s =
            trial_spec(&r, (const char *const[]){ "/bin/sh", "-c", "cat /m/secret 2>/dev/null; true", NULL });
        s.mounts = &m;
        s.mount_count = 1;
        trial_step(&s, &o);
        assert_string_equal(buf_str(&o.out), "");
        trial_outcome_deinit(&o);
        trial_root_drop(&r);
    }
    group_cancel(&g);
    err_free(group_join(&g));
    trial_root_drop(&cache);
    testing_remove(canary);
}

int main(void)
{
    trial_need();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stub_attacks),        cmocka_unit_test(test_proc_self_fd_cwd),
        cmocka_unit_test(test_cwd_through_a_mount), cmocka_unit_test(test_hostile_root),
        cmocka_unit_test(test_racing_source),
    };
    return cmocka_run_group_tests(tests, trial_set_up, trial_tear_down);
}
