/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "io/spawn.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGV(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define LIMIT 100000

static int shell(const char *script, struct buf *out)
{
    struct spawn_options o = { .argv = ARGV("sh", "-c", script) };
    int status = -1;

    assert_null(spawn_run(&o, NULL, out, NULL, LIMIT, &status));
    return status;
}

static void exit_status_is_told(void **state)
{
    int status = shell("exit 7", NULL);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    status = shell("kill -TERM $$", NULL);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
}

static void input_and_output_flow(void **state)
{
    CLEANUP(buf_deinit) struct buf out = { 0 }, err = { 0 };
    CLEANUP(freep) char *big = xmalloc(300001);
    struct spawn_options o = { .argv = ARGV("sh", "-c", "cat; echo done >&2") };
    int status;

    memset(big, 'x', 300000);
    big[300000] = '\0';
    assert_null(spawn_run(&o, big, &out, &err, LIMIT, &status));
    assert_int_equal(status, 0);
    assert_int_equal(out.len, LIMIT); /* cut, and the child was not blocked */
    assert_string_equal(buf_str(&err), "done\n");
}

/* Many open descriptors of ours, none of them close-on-exec. */
static void child_sees_only_its_descriptors(void **state)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };
    int fds[20];

    for (int i = 0; i < 20; i++)
        fds[i] = open("/dev/null", O_RDONLY); /* NOLINT: leaks into the child on purpose */
    assert_int_equal(shell("echo /proc/self/fd/*; exec ls /proc/self/fd | sort -n | tr '\\n' ' '", &out), 0);
    const char *list = strchr(out.data, '\n') + 1;

    /* ls holds the directory itself as the next one. */
    assert_string_equal(list, "0 1 2 3 ");
    for (int i = 0; i < 20; i++)
        close(fds[i]);
}

static void descriptors_change_places(void **state)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };
    int one[2], two[2], status;

    assert_int_equal(pipe2(one, O_CLOEXEC), 0);
    assert_int_equal(pipe2(two, O_CLOEXEC), 0);
    /* Crossing: each goes to the number of the other. */
    struct spawn_fd fds[] = { { one[1], two[1] }, { two[1], one[1] } };
    CLEANUP(freep) char *script = xasprintf("echo to-one >&%d; echo to-two >&%d", two[1], one[1]);
    struct spawn_options o = { .argv = ARGV("sh", "-c", script), .fds = fds, .fd_count = 2 };
    char text[16] = "";

    assert_null(spawn_run(&o, NULL, &out, NULL, LIMIT, &status));
    assert_int_equal(status, 0);
    assert_int_equal(read(one[0], text, sizeof(text)), 7);
    assert_memory_equal(text, "to-one\n", 7);
    for (int i = 0; i < 2; i++) {
        close(one[i]);
        close(two[i]);
    }
}

static void environment_and_directory(void **state)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };
    struct spawn_options o = { .argv = ARGV("/bin/sh", "-c", "echo $A; pwd; echo ${HOME-unset}"),
                               .env = ARGV("A=1"),
                               .cwd = "/usr" };
    int status;

    assert_null(spawn_run(&o, NULL, &out, NULL, LIMIT, &status));
    assert_string_equal(out.data, "1\n/usr\nunset\n");
}

static void failures_name_the_step(void **state)
{
    struct child c;
    struct spawn_options none = { .argv = ARGV("no-such-program-here") },
                         missing = { .argv = ARGV("/no/such/file") };
    struct spawn_options nowhere = { .argv = ARGV("sh"), .cwd = "/no/such/dir" };
    struct error *e = spawn_start(&none, &c);

    assert_true(err_is(e, ERR_NOT_FOUND));
    assert_string_equal(e->message, "exec: \"no-such-program-here\": executable file not found in $PATH");
    err_free(e);
    e = spawn_start(&missing, &c);
    assert_string_equal(e->message, "start \"/no/such/file\": exec: No such file or directory");
    err_free(e);
    e = spawn_start(&nowhere, &c);
    assert_string_equal(e->message, "start \"sh\": change the directory: No such file or directory");
    err_free(e);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie stays */
    assert_int_equal(errno, ECHILD);
}

/* Ours are blocked in a task; the child's are not. */
static struct error *check_signals(void *arg)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };

    assert_int_equal(shell("grep -E '^Sig(Blk|Ign)' /proc/self/status", &out), 0);
    assert_string_equal(out.data, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    return NULL;
}

static void signals_are_reset(void **state)
{
    struct group g;

    signal(SIGPIPE, SIG_IGN);
    group_open(&g, 0);
    assert_null(group_spawn(&g, "child", check_signals, NULL));
    assert_null(group_join(&g));
    signal(SIGPIPE, SIG_DFL);
}

static void killing_and_reaping(void **state)
{
    struct spawn_options o = { .argv = ARGV("sleep", "1000") };
    struct child c;
    struct deadline d;
    int status;

    assert_null(spawn_start(&o, &c));
    deadline_begin(&d, NS_PER_MS);
    assert_int_equal(spawn_wait(&c, &status), -ETIMEDOUT); /* it lives on */
    deadline_end(&d);
    assert_int_equal(spawn_kill(&c, SIGKILL), 0);
    assert_int_equal(spawn_wait(&c, &status), 0);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    assert_int_equal(spawn_kill(&c, SIGKILL), -ESRCH);
    child_deinit(&c);
    assert_null(spawn_start(&o, &c));
    child_deinit(&c);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static struct error *run_long(void *arg)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };
    struct spawn_options o = { .argv = ARGV("sleep", "1000") };
    int status;

    return spawn_run(&o, NULL, &out, NULL, LIMIT, &status);
}

static void cancelling_kills(void **state)
{
    struct group g;

    group_open(&g, 0);
    for (int i = 0; i < 4; i++)
        assert_null(group_spawn(&g, "run", run_long, NULL));
    assert_int_equal(task_sleep(5 * NS_PER_MS), 0);
    group_cancel(&g);
    struct error *e = group_join(&g);

    assert_true(err_is(e, ERR_CANCELLED));
    err_free(e);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_status_is_told),
        cmocka_unit_test(input_and_output_flow),
        cmocka_unit_test(child_sees_only_its_descriptors),
        cmocka_unit_test(descriptors_change_places),
        cmocka_unit_test(environment_and_directory),
        cmocka_unit_test(failures_name_the_step),
        cmocka_unit_test(signals_are_reset),
        cmocka_unit_test(killing_and_reaping),
        cmocka_unit_test(cancelling_kills),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
