/* SPDX-License-Identifier: Apache-2.0 */
#include "run/strays.h"

#include "base/bytes.h"
#include "io/path.h"
#include "task/task.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
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
static struct {
    pid_t *v;
    size_t count, cap;
    unsigned expected;
} adopted; /* guarded by lock */

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

/* Our children that `wanted` picks, with when they were first seen as zombies. */
static size_t look_locked(bool (*wanted)(pid_t pid), struct seen *found)
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
            if (wanted(pid))
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
    count = look_locked(is_zombie, found);
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

/* ---- adopted and lost ones
 * ----------------------------------------------------------------------------------------------------
 */

void strays_expect(void)
{
    mutex_lock(&lock);
    adopted.expected++;
    mutex_unlock(&lock);
}

void strays_adopted(pid_t pid)
{
    mutex_lock(&lock);
    adopted.expected--;
    if (pid > 0) {
        if (adopted.count == adopted.cap) {
            adopted.cap = MAX((size_t)16, adopted.cap * 2);
            adopted.v = xreallocarray(adopted.v, adopted.cap, sizeof(*adopted.v));
        }
        adopted.v[adopted.count++] = pid;
    }
    mutex_unlock(&lock);
}

static bool is_adopted_locked(pid_t pid)
{
    for (size_t i = 0; i < adopted.count; i++)
        if (adopted.v[i] == pid)
            return true;
    return false;
}

void strays_waited(pid_t pid)
{
    mutex_lock(&lock);
    for (size_t i = 0; i < adopted.count; i++) {
        if (adopted.v[i] != pid)
            continue;
        adopted.v[i] = adopted.v[--adopted.count];
        break;
    }
    mutex_unlock(&lock);
}

/* In a process namespace below ours: it has a number there too. */
static bool is_contained(pid_t pid)
{
    CLEANUP(buf_deinit) struct buf status = { 0 };
    char path[64];
    int outer, inner;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if (file_read(path, &status, 65536) < 0)
        return false;
    const char *p = strstr(buf_str(&status), "\nNSpid:");
    if (p == NULL)
        return false;
    CLEANUP(freep) char *line = xstrndup(p + 1, strcspn(p + 1, "\n"));
    return sscanf(line, "NSpid: %d %d", &outer, &inner) == 2;
}

static bool is_lost(pid_t pid)
{
    return is_contained(pid) && !is_adopted_locked(pid);
}

size_t strays_end_lost(void)
{
    struct seen found[STRAYS_MAX];
    size_t count = 0, left = 0;

    mutex_lock(&lock);
    if (adopted.expected == 0)
        count = look_locked(is_lost, found);
    else
        left = 1;
    for (size_t i = 0; i < count; i++) {
        (void)kill(found[i].pid, SIGKILL);
        left += waitpid(found[i].pid, NULL, WNOHANG) != found[i].pid;
    }
    mutex_unlock(&lock);
    return left;
}
