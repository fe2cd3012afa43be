/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char known_boot_id[40];
static mode_t known_umask;

static void read_boot_id(void)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    int r = file_read("/proc/sys/kernel/random/boot_id", &text, 64);

    snprintf(known_boot_id, sizeof(known_boot_id), "%.36s", r == 0 ? buf_str(&text) : "unknown");
}

const char *boot_id(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, read_boot_id);
    return known_boot_id;
}

/* Reading it with umask() would change it for all threads. */
static void read_umask(void)
{
    CLEANUP(buf_deinit) struct buf status = { 0 };
    const char *line =
        file_read("/proc/self/status", &status, 64 * KIB) < 0 ? NULL : strstr(buf_str(&status), "\nUmask:");

    known_umask = line == NULL ? 0777 : (mode_t)strtoul(line + strlen("\nUmask:"), NULL, 8);
}

mode_t process_umask(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, read_umask);
    return known_umask;
}
