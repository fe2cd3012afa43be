/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.h - what makes a process a service: pid file, lock on its data, word to the service manager
 */
#ifndef MINKE_DAEMON_PROCESS_H
#define MINKE_DAEMON_PROCESS_H

#include "base/base.h"
#include "base/error.h"

/* Write our pid; ERR_CONFLICT when the file names a process that lives.  "" is no file. */
struct error *pidfile_write(const char *path) MUST_CHECK;
void pidfile_remove(const char *path); /* only when it names us */

/* Take the one lock of a data root: a second daemon on the same data is refused.  The descriptor holds it. */
struct error *data_root_lock(const char *root, int *ret_fd) MUST_CHECK;

/* "READY=1" and the like to $NOTIFY_SOCKET; nothing without one. */
void service_notify(const char *state);
void service_notify_reloading(void); /* READY=1 follows */

#endif
