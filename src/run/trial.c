/* SPDX-License-Identifier: Apache-2.0 */
#include "run/trial.h"

#include "io/path.h"
#include "io/stream.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

struct trial trial;
const char *const trial_env[] = { "PATH=/bin:/usr/bin", "HOME=/root", NULL };

/* ---- the group
 * -------------------------------------------------------------------------------------------------------------
 */

void trial_need(void)
{
    testing_need_root("/bin/busybox");
    if (unshare(CLONE_NEWNET) < 0)
        testing_skip("no network namespace of our own");
}

int trial_set_up(void **state)
{
    snprintf(trial.dir, sizeof(trial.dir), "/tmp/minke-run-XXXXXX");
    assert_non_null(mkdtemp(trial.dir));
    CLEANUP(freep) char *exec_root = path_join(trial.dir, "exec");
    struct runner_config c = { .exec_root = exec_root,
                               .userland_network = true,
                               .default_runtime = getenv("MINKE_TEST_RUNTIME") };
    struct error *e = runner_new(&c, &trial.runner);

    if (e == NULL)
        e = runner_warm_up(trial.runner);
    if (e == NULL)
        return 0;
    print_message("skipped: %s\n", e->message);
    exit(77);
}

int trial_tear_down(void **state)
{
    runner_free(trial.runner);
    testing_remove(trial.dir);
    return 0;
}

/* ---- roots
 * -----------------------------------------------------------------------------------------------------------------
 */

void trial_root_new(struct trial_root *r)
{
    snprintf(r->path, sizeof(r->path), "%s/rootXXXXXX", trial.dir);
    assert_non_null(mkdtemp(r->path));
    testing_fill_root(r->path);
    r->fd = testing_open(r->path);
    assert_true(r->fd >= 0);
}

void trial_root_drop(struct trial_root *r)
{
    close(r->fd);
    testing_remove(r->path);
}

void trial_expect_file(const struct trial_root *r, const char *path, bool there)
{
    struct stat st;
    int n = fstatat(r->fd, path, &st, AT_SYMLINK_NOFOLLOW);

    if ((n == 0) != there)
        print_message("%s\n", path);
    assert_int_equal(n == 0, there);
}

/* ---- steps
 * -----------------------------------------------------------------------------------------------------------------
 */

void trial_outcome_deinit(struct trial_outcome *o)
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

void trial_step(struct run_spec *s, struct trial_outcome *o)
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
    o->error = runner_run(trial.runner, s, &o->code);
    close(fds[1]);
    assert_null(group_join(&g));
    stream_close(reader);
    if (o->error != NULL)
        print_message("error: %s\n", o->error->message);
}

struct run_spec trial_spec(const struct trial_root *r, const char *const *args)
{
    return (struct run_spec){
        .rootfs_fd = r->fd,
        .args = args,
        .env = trial_env,
        .cwd = "/",
        .stdin_fd = -1,
        .stdout_fd = -1,
        .stderr_fd = -1,
    };
}

void trial_script(const struct trial_root *r, struct run_spec *s, const char *script)
{
    const char *const args[] = { "/bin/sh", "-c", script, NULL };
    struct trial_outcome o = { 0 };

    s->rootfs_fd = r->fd;
    s->args = args;
    s->env = trial_env;
    s->cwd = "/";
    trial_step(s, &o);
    assert_null(o.error);
    assert_string_equal(buf_str(&o.out), "");
    assert_int_equal(o.code, 0);
    trial_outcome_deinit(&o);
}

void trial_shell_with(struct run_spec *extra, const char *script, int code, const char *want)
{
    const char *const args[] = { "/bin/sh", "-c", script, NULL };
    struct trial_root r;
    struct trial_outcome o = { 0 };

    trial_root_new(&r);
    struct run_spec s = extra != NULL ? *extra : (struct run_spec){ 0 };
    s.rootfs_fd = r.fd;
    s.args = args;
    s.env = trial_env;
    if (s.cwd == NULL)
        s.cwd = "/";
    trial_step(&s, &o);
    assert_null(o.error);
    if (want != NULL)
        assert_string_equal(buf_str(&o.out), want);
    assert_int_equal(o.code, code);
    trial_outcome_deinit(&o);
    trial_root_drop(&r);
}

void trial_shell(const char *script, int code, const char *want)
{
    trial_shell_with(NULL, script, code, want);
}
