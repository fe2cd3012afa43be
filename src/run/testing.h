/* SPDX-License-Identifier: Apache-2.0 */
/*
 * testing.h - what the tests of run and container share: roots with busybox, skips, counting
 *
 * Test code only; not part of the library.
 */
#ifndef MINKE_RUN_TESTING_H
#define MINKE_RUN_TESTING_H

#include "base/base.h"

void testing_loopback_up(void);               /* in the current network namespace */
_Noreturn void testing_skip(const char *why); /* exit status 77 */
void testing_need_root(const char *busybox);  /* skips without uid 0 or that program */
void testing_fill_root(const char *path);     /* busybox, its links, passwd and group, an etc/marker */
int testing_mount(
    const char *path); /* a detached clone of the directory: on kernels before 6.15 good for one run */
int testing_open(const char *path); /* the directory where it is: good for many */
void testing_write(const char *dir, const char *name, const char *text);
void testing_remove(const char *path); /* a tree */
void testing_remove_at(int dir_fd, const char *name);
size_t testing_count_entries(const char *dir);
size_t testing_count_processes(
    const char *needle); /* whose command line holds `needle` as one argument; zombies are not counted */
bool testing_kill_parent_of(const char *needle); /* SIGKILL to the parent of the process with that argument */

#endif
