/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation fails once, in the life of a store from opening to closing. The process ends there with
 * one line (base/alloc.c says why), and the next one finds what was acknowledged, the rest whole or not at
 * all, and nothing orphaned.
 */
#include "store/trial.h"

#include "io/path.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NAMED 10 /* exit status: the new image was acknowledged, and no allocation failed */

static atomic_ulong left; /* allocations until the failure; 0: not armed */

static bool fails(void)
{
    return atomic_load(&left) > 0 && atomic_fetch_sub(&left, 1) == 1;
}

/* clang-format off */
#define WRAP(call, params, args)                \
    void *__real_##call params;                 \
    void *__wrap_##call params;                 \
    void *__wrap_##call params                  \
    {                                           \
        return fails() ? NULL : __real_##call args; \
    }

WRAP(malloc, (size_t n), (n))
WRAP(calloc, (size_t n, size_t size), (n, size))
WRAP(realloc, (void *p, size_t n), (p, n))
/* clang-format on */

/* The process that runs out of memory: a new one each time, as a daemon that is started again. */
static int child(const char *n, const char *root)
{
    struct rlimit none = { 0, 0 };
    bool named;

    (void)setrlimit(RLIMIT_CORE, &none);
    atomic_store(&left, strtoul(n, NULL, 10));
    struct error *e = trial_live(root, &named);

    if (e != NULL)
        fprintf(stderr, "%s\n", e->message);
    err_free(e);
    return e == NULL && named ? NAMED : 1;
}

/* -> its wait status, what it wrote to stderr in `text`. */
static int run_child(unsigned n, const char *root, char *text, size_t size)
{
    char number[16];
    size_t len = 0;
    ssize_t got;
    int fds[2], status;

    snprintf(number, sizeof(number), "%u", n);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        execl("/proc/self/exe", "memory", number, root, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    while (len < size - 1 && (got = read(fds[0], text + len, size - 1 - len)) > 0)
        len += (size_t)got;
    text[len] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void each_allocation_fails_once(void **state)
{
    unsigned n = 0;

    for (bool failed = true; failed;) {
        char root[64], text[4096], what[48];

        trial_begin(root);
        snprintf(what, sizeof(what), "allocation %u", ++n);
        int status = run_child(n, root, text, sizeof(text));

        failed = WIFSIGNALED(status);
        if (failed && (WTERMSIG(status) != SIGABRT || strstr(text, "minke: out of memory\n") == NULL))
            fail_msg("signal %d after a failing %s: %s", WTERMSIG(status), what, text);
        if (!failed && WEXITSTATUS(status) != NAMED)
            fail_msg("status %d after a failing %s: %s", WEXITSTATUS(status), what, text);
        trial_check(root, !failed, what);
        assert_int_equal(path_remove_all(AT_FDCWD, root), 0);
    }
    print_message("%u allocations\n", n - 1);
    assert_true(n > 100);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_allocation_fails_once) };

    return argc == 3 ? child(argv[1], argv[2]) : cmocka_run_group_tests(tests, NULL, NULL);
}
