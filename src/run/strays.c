/* SPDX-License-Identifier: Apache-2.0 */
#include "run/strays.h"

#include "base/bytes.h"
#include "io/path.h"
#include "task/task.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define STRAYS_MAX 256

struct seen {
    pid_t pid;
    int64_t first_ns;
};

static struct mutex lock = MUTEX_INIT;
static struct seen known[STRAYS_MAX]; /* guarded by lock */
static size_t known_count;

static bool is_zombie(pid_t pid)
{
    CLEANUP(buf_deinit) struct buf stat = { 0 };
    char path[64];
    char state = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (file_read(path, &stat, 4096) < 0)
        return false;
    const char *p = strrchr(buf_str(&stat), ')');
    return p != NULL && sscanf(p, ") %c", &state) == 1 && state == 'Z';
}

static int64_t first_seen_locked(pid_t pid)
{
    for (size_t i = 0; i < known_count; i++)
        if (known[i].pid == pid)
            return known[i].first_ns;
    return monotonic_ns();
}

/* The zombies among our children, with when they were first seen. */
static size_t look_locked(struct seen *found)
{
    DIR *dir = opendir("/proc/self/task");
    struct dirent *entry;
    size_t count = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        CLEANUP(freep) char *path = xasprintf("/proc/self/task/%s/children", entry->d_name);
        CLEANUP(buf_deinit) struct buf list = { 0 };
        char *end;

        if (entry->d_name[0] == '.' || file_read(path, &list, 65536) < 0)
            continue;
        for (const char *p = buf_str(&list); count < STRAYS_MAX; p = end) {
            pid_t pid = (pid_t)strtol(p, &end, 10);

            if (end == p)
                break;
            if (is_zombie(pid))
                found[count++] = (struct seen){ .pid = pid, .first_ns = first_seen_locked(pid) };
        }
    }
    if (dir != NULL)
        closedir(dir);
    return count;
}

size_t strays_reap(int64_t age_ns)
{
    struct seen found[STRAYS_MAX];
    size_t count, kept = 0, reaped = 0;

    mutex_lock(&lock);
    count = look_locked(found);
    for (size_t i = 0; i < count; i++) {
        if (monotonic_ns() - found[i].first_ns < age_ns)
            known[kept++] = found[i];
        else if (waitpid(found[i].pid, NULL, WNOHANG) == found[i].pid)
            reaped++;
    }
    known_count = kept;
    mutex_unlock(&lock);
    return reaped;
}
