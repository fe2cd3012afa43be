/* SPDX-License-Identifier: Apache-2.0 */
/* exec_test.c - further processes of a container that lives on its own */
#include "run/trial.h"

#include "run/process.h"
#include "task/task.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

struct box {
    struct trial_root root;
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

    trial_root_new(&b->root);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    snprintf(id, sizeof(id), "box%d.%d", (int)getpid(), number++);
    struct run_spec s = trial_spec(&b->root, args);
    s.id = id;
    s.extra = &extra;
    s.stdin_fd = fds[0];
    s.ulimits = &ulimit;
    s.ulimit_count = 1;
    assert_null(process_create(trial.runner, &s, &b->first));
    assert_null(process_start(b->first));
    close(fds[0]);
    b->input = fds[1];
}

static void box_drop(struct box *b)
{
    process_free(b->first);
    close(b->input);
    trial_root_drop(&b->root);
}

static struct process_exec_spec exec_spec(const char *const *args)
{
    return (struct process_exec_spec){
        .args = args, .env = trial_env, .cwd = "/", .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1
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

int main(void)
{
    trial_need();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exec),
        cmocka_unit_test(test_exec_failures),
        cmocka_unit_test(test_exec_terminal),
    };
    return cmocka_run_group_tests(tests, trial_set_up, trial_tear_down);
}
