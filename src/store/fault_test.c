/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every system call and every step of the database fails once, in the life of a store from opening to
 * closing. What was acknowledged before is there afterwards, what was under way is there whole or not at all,
 * nothing is orphaned, and no descriptor or memory is lost.
 */
#include "store/trial.h"

#include "io/fault.h"
#include "io/path.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

int __real_sqlite3_step(sqlite3_stmt *s);
int __wrap_sqlite3_step(sqlite3_stmt *s);
int __wrap_sqlite3_step(sqlite3_stmt *s)
{
    return fault_hit(sqlite3_sql(s)) ? SQLITE_IOERR : __real_sqlite3_step(s);
}

int __real_sqlite3_exec(sqlite3 *db, const char *sql, int (*fn)(void *, int, char **, char **), void *ctx,
                        char **err);
int __wrap_sqlite3_exec(sqlite3 *db, const char *sql, int (*fn)(void *, int, char **, char **), void *ctx,
                        char **err);
int __wrap_sqlite3_exec(sqlite3 *db, const char *sql, int (*fn)(void *, int, char **, char **), void *ctx,
                        char **err)
{
    return fault_hit("sqlite3_exec") ? SQLITE_IOERR : __real_sqlite3_exec(db, sql, fn, ctx, err);
}

static void all_calls_fail_once(int errnum)
{
    char root[64];
    size_t fds = 0;
    unsigned n = 0;

    for (bool failed = true; failed;) {
        bool named;

        trial_begin(root);
        if (n == 0)
            fds = count_open_fds();
        fault_arm(++n, errnum);
        struct error *e = trial_live(root, &named);

        failed = fault_disarm();
        if (!failed && e != NULL)
            fail_msg("%s", e->message);
        err_free(e);
        if (count_open_fds() != fds)
            fail_msg("%zu descriptors, not %zu, after a failing %s", count_open_fds(), fds, fault_name());
        trial_check(root, named, fault_name());
        assert_int_equal(path_remove_all(AT_FDCWD, root), 0);
    }
    print_message("%u calls\n", n - 1);
    assert_true(n > 60);
}

static void input_and_output_fail(void **state)
{
    all_calls_fail_once(EIO);
}

static void the_disk_is_full(void **state)
{
    all_calls_fail_once(ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_and_output_fail),
        cmocka_unit_test(the_disk_is_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
