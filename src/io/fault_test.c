/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every system call of these scenarios fails once.  Afterwards nothing may be half done, left open, or left
 * running.
 */
#include "io/copy.h"
#include "io/fault.h"
#include "io/path.h"
#include "io/spawn.h"
#include "io/stream.h"
#include "task/task.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/minke-fault-XXXXXX";
static int dir_fd = -1;

static int make_dir(void **state)
{
    if (mkdtemp(dir) == NULL)
        return -1;
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct pollfd none = { .fd = -1 };
    struct deadline d;

    deadline_begin(&d, 1); /* what is made once per thread (its eventfd) is not counted as a leak */
    int r = task_wait_fds(&none, 1);

    deadline_end(&d);
    return r == -ETIMEDOUT && dir_fd >= 0 ? 0 : -1;
}

static int remove_dir(void **state)
{
    close(dir_fd);
    return path_remove_all(AT_FDCWD, dir);
}

static size_t count_entries(void)
{
    DIR *d = opendir(dir);
    size_t count = 0;

    while (readdir(d) != NULL)
        count++;
    closedir(d);
    return count - 2;
}

static void empty_place(void)
{
    assert_int_equal(path_remove_all(AT_FDCWD, dir), 0);
    assert_int_equal(mkdir(dir, 0755), 0);
    close(dir_fd);
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void assert_content(const char *name, const char *either, const char *other)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    assert_int_equal(path_read_file(dir_fd, name, &text, 1000), 0);
    if (!streq(buf_str(&text), either) && !streq(buf_str(&text), other))
        fail_msg("%s holds \"%s\" after a failing %s", name, buf_str(&text), fault_name());
}

static void a_file_is_old_or_new(void **state)
{
    size_t fds = count_open_fds();
    unsigned n = 0;

    for (bool failed = true; failed;) {
        assert_int_equal(file_write_atomic(dir_fd, "f", "old", 3, 0644), 0);
        fault_arm(++n, EIO);
        int r = file_write_atomic(dir_fd, "f", "newer", 5, 0644);

        failed = fault_disarm();
        assert_int_equal(r < 0, failed);
        assert_content("f", r == 0 ? "newer" : "old", "newer"); /* new: only its directory was not synced */
        assert_int_equal(count_entries(), 1);
        assert_int_equal(count_open_fds(), fds);
    }
    assert_true(n > 6);
    empty_place();
}

static void a_copy_is_whole_or_refused(void **state)
{
    size_t fds = count_open_fds();
    unsigned n = 0;

    assert_int_equal(file_write_atomic(dir_fd, "src", "content", 7, 0644), 0);
    for (bool failed = true; failed;) {
        int src = openat(dir_fd, "src", O_RDONLY | O_CLOEXEC);
        int dst = openat(dir_fd, "dst", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        fault_arm(++n, ENOSPC);
        int r = copy_content(src, dst, -1);

        failed = fault_disarm();
        close(src);
        close(dst);
        if (r == 0)
            assert_content("dst", "content", "content");
        assert_int_equal(count_open_fds(), fds);
    }
    assert_true(n > 5);
    empty_place();
}

static void directories_are_made_or_not(void **state)
{
    size_t fds = count_open_fds();
    unsigned n = 0;

    for (bool failed = true; failed;) {
        struct stat st;

        fault_arm(++n, EACCES);
        int fd = path_mkdirs(dir_fd, "a/b/c", 0755);

        failed = fault_disarm();
        assert_int_equal(fd < 0, failed);
        if (fd >= 0) {
            assert_int_equal(path_stat(dir_fd, "a/b/c", false, &st), 0);
            close(fd);
        }
        assert_int_equal(count_open_fds(), fds);
        assert_int_equal(path_remove_all(dir_fd, "a"), 0);
    }
    assert_true(n > 6);
}

static void a_tree_goes_in_the_end(void **state)
{
    size_t fds = count_open_fds();
    unsigned n = 0;

    for (bool failed = true; failed;) {
        int fd = path_mkdirs(dir_fd, "t/u/v", 0755);
        struct stat st;

        assert_true(fd >= 0);
        close(openat(fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
        close(fd);
        fault_arm(++n, EIO);
        int r = path_remove_all(dir_fd, "t");

        failed = fault_disarm();
        assert_int_equal(r < 0, failed);
        assert_int_equal(path_stat(dir_fd, "t", false, &st), r < 0 ? 0 : -ENOENT);
        assert_int_equal(count_open_fds(), fds);
        assert_int_equal(path_remove_all(dir_fd, "t"), 0);
    }
    assert_true(n > 6);
}

static void a_child_runs_or_not(void **state)
{
    struct spawn_options o = { .argv = (const char *const[]){ "sh", "-c", "cat", NULL },
                               .cwd = "/",
                               .new_session = true };
    size_t fds = count_open_fds();
    unsigned n = 0;

    for (bool failed = true; failed;) {
        CLEANUP(buf_deinit) struct buf out = { 0 };
        int status = -1;

        fault_arm(++n, EMFILE);
        struct error *e = spawn_run(&o, "in", &out, NULL, 100, &status);

        failed = fault_disarm();
        if (!failed) {
            assert_null(e);
            assert_int_equal(status, 0);
            assert_string_equal(buf_str(&out), "in");
        }
        err_free(e);
        assert_int_equal(count_open_fds(), fds);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD);
    }
    assert_true(n > 12);
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

/* Not a wait point: its system calls are none of the scenario's. */
static struct error *stand_at_gate(void *arg)
{
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    return NULL;
}

/* Threads go on to other tasks: as long as all tasks stand, each takes a new one. */
static void a_group_survives_a_task_that_does_not_start(void **state)
{
    struct group all[8];
    unsigned n = 0;

    pthread_mutex_lock(&gate);
    group_open(&all[0], 0);
    for (int i = 0; i < 64; i++) /* more than wait for a task since the tests before */
        assert_null(group_spawn(&all[0], "task", stand_at_gate, NULL));
    for (bool failed = true; failed;) {
        int refused = 0;

        fault_arm(++n, EAGAIN);
        group_open(&all[n], 0);
        for (int i = 0; i < 3; i++) {
            struct error *e = group_spawn(&all[n], "task", stand_at_gate, NULL);

            refused += err_is(e, ERR_EXHAUSTED);
            err_free(e);
        }
        failed = fault_disarm();
        assert_int_equal(refused, failed);
        assert_int_equal(group_live(&all[n]), 3 - refused);
    }
    assert_int_equal(n, 4);
    pthread_mutex_unlock(&gate);
    for (unsigned i = 0; i <= n; i++)
        assert_null(group_join(&all[i]));
    assert_int_equal(task_count(), 0);
}

static void a_stream_fails_cleanly(void **state)
{
    size_t fds = count_open_fds();
    unsigned n = 0;

    for (bool failed = true; failed;) {
        struct stream *s = NULL;

        fault_arm(++n, ENFILE);
        struct error *e = stream_dial("unix:///nonexistent/socket", &s);

        failed = fault_disarm();
        assert_non_null(e);
        assert_int_equal(e->kind, failed ? ERR_EXHAUSTED : ERR_NOT_FOUND);
        err_free(e);
        assert_int_equal(count_open_fds(), fds);
    }
    assert_int_equal(n, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_old_or_new),
        cmocka_unit_test(a_copy_is_whole_or_refused),
        cmocka_unit_test(directories_are_made_or_not),
        cmocka_unit_test(a_tree_goes_in_the_end),
        cmocka_unit_test(a_child_runs_or_not),
        cmocka_unit_test(a_group_survives_a_task_that_does_not_start),
        cmocka_unit_test(a_stream_fails_cleanly),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
