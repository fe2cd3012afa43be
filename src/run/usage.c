/* SPDX-License-Identifier: Apache-2.0 */
#include "run/usage.h"

#include "base/bytes.h"
#include "io/path.h"
#include "run/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define CGROUP_ROOT "/sys/fs/cgroup"
#define FILE_LIMIT ((size_t)1 << 20)
#define CGROUP_DEPTH 8 /* cgroups that a container makes within its own */

void process_usage_deinit(struct process_usage *u)
{
    map_deinit(&u->memory_stat);
    free(u->nets);
    *u = (struct process_usage){ 0 };
}

/* ---- cgroup files
 * -----------------------------------------------------------------------------------------------------------
 */

static bool is_unified(void)
{
    return cgroup_layout() == CGROUP_V2;
}

/* Is `name` one of "cpu,cpuacct"? */
static bool lists(const char *controllers, size_t len, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = controllers; p < controllers + len;) {
        size_t word = strcspn(p, ",:");

        if (word == n && strncmp(p, name, n) == 0)
            return true;
        p += word + 1;
    }
    return false;
}

/* The directory of a controller ("" in the tree of v2) that the process is in; NULL when there is none. */
static char *cgroup_dir(pid_t pid, const char *controller)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
    if (file_read(path, &text, FILE_LIMIT) < 0)
        return NULL;
    for (const char *line = buf_str(&text); *line != '\0';) {
        size_t len = strcspn(line, "\n");
        const char *names = memchr(line, ':', len), *at = names == NULL ? NULL : strchr(names + 1, ':');
        size_t names_len = at == NULL ? 0 : (size_t)(at - names - 1);
        bool unified = is_unified();

        if (at != NULL && at < line + len &&
            (unified ? names_len == 0 && line[0] == '0' : lists(names + 1, names_len, controller)))
            return xasprintf(CGROUP_ROOT "%s%s%.*s", unified ? "" : "/", unified ? "" : controller,
                             (int)(line + len - at - 1), at + 1);
        line += len;
        line += *line == '\n';
    }
    return NULL;
}

static bool read_in(const char *dir, const char *name, struct buf *out)
{
    CLEANUP(freep) char *path = dir == NULL ? NULL : path_join(dir, name);

    return path != NULL && file_read(path, out, FILE_LIMIT) >= 0;
}

/* A number alone in a file; "max" and what cannot be read are 0. */
static uint64_t read_number(const char *dir, const char *name)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    unsigned long long n = 0;

    return read_in(dir, name, &text) && sscanf(buf_str(&text), "%llu", &n) == 1 ? n : 0;
}

/* "name value" lines. */
static void read_table(const char *dir, const char *name, struct map *ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(strv_deinit) struct strv lines = { 0 };

    if (!read_in(dir, name, &text))
        return;
    strv_split(&lines, buf_str(&text), '\n');
    for (size_t i = 0; i < lines.len; i++) {
        char *blank = strchr(lines.v[i], ' ');

        if (blank == NULL)
            continue;
        *blank = '\0';
        strmap_set(ret, lines.v[i], blank + 1);
    }
}

static uint64_t number_of(const struct map *m, const char *key)
{
    const char *text = strmap_get(m, key);
    uint64_t n = 0;

    return text != NULL && parse_u64(text, &n) == 0 ? n : 0;
}

/* ---- controllers
 * ------------------------------------------------------------------------------------------------------------
 */

static void cpu_usage(pid_t pid, struct process_usage *u)
{
    CLEANUP(freep) char *cpu = cgroup_dir(pid, "cpu"), *acct = cgroup_dir(pid, "cpuacct");
    CLEANUP(map_deinit) struct map stat = { 0 }, split = { 0 };
    uint64_t tick = NS_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK);

    strmap_init(&stat);
    strmap_init(&split);
    read_table(cpu, "cpu.stat", &stat);
    u->periods = number_of(&stat, "nr_periods");
    u->throttled_periods = number_of(&stat, "nr_throttled");
    if (is_unified()) {
        u->cpu_ns = number_of(&stat, "usage_usec") * 1000;
        u->cpu_user_ns = number_of(&stat, "user_usec") * 1000;
        u->cpu_kernel_ns = number_of(&stat, "system_usec") * 1000;
        u->throttled_ns = number_of(&stat, "throttled_usec") * 1000;
        return;
    }
    read_table(acct, "cpuacct.stat", &split);
    u->cpu_ns = read_number(acct, "cpuacct.usage");
    u->cpu_user_ns = number_of(&split, "user") * tick;
    u->cpu_kernel_ns = number_of(&split, "system") * tick;
    u->throttled_ns = number_of(&stat, "throttled_time");
}

static void memory_usage(pid_t pid, struct process_usage *u)
{
    CLEANUP(freep) char *dir = cgroup_dir(pid, "memory");
    bool v2 = is_unified();

    strmap_init(&u->memory_stat);
    u->memory = read_number(dir, v2 ? "memory.current" : "memory.usage_in_bytes");
    u->memory_max = v2 ? 0 : read_number(dir, "memory.max_usage_in_bytes");
    u->memory_limit = read_number(dir, v2 ? "memory.max" : "memory.limit_in_bytes");
    u->memory_failures = v2 ? 0 : read_number(dir, "memory.failcnt");
    if (u->memory_limit > (uint64_t)1 << 62) /* v1's way to say that there is none */
        u->memory_limit = 0;
    read_table(dir, "memory.stat", &u->memory_stat);
}

static void pid_usage(pid_t pid, struct process_usage *u)
{
    CLEANUP(freep) char *dir = cgroup_dir(pid, "pids");

    u->pids = read_number(dir, "pids.current");
    u->pids_limit = read_number(dir, "pids.max");
}

/* ---- network
 * ----------------------------------------------------------------------------------------------------------------
 */

static void add_interface(struct process_usage *u, char *line)
{
    unsigned long long n[16];
    char *colon = strchr(line, ':'), *name = line + strspn(line, " ");
    struct net_usage *i;

    if (colon == NULL)
        return;
    *colon = '\0';
    if (streq(name, "lo") || strlen(name) >= sizeof(i->name) ||
        sscanf(colon + 1, "%llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu %llu", &n[0], &n[1], &n[2],
               &n[3], &n[4], &n[5], &n[6], &n[7], &n[8], &n[9], &n[10], &n[11]) != 12)
        return;
    u->nets = xreallocarray(u->nets, u->net_count + 1, sizeof(*u->nets));
    i = &u->nets[u->net_count++];
    *i = (struct net_usage){ .rx_bytes = n[0],
                             .rx_packets = n[1],
                             .rx_errors = n[2],
                             .rx_dropped = n[3],
                             .tx_bytes = n[8],
                             .tx_packets = n[9],
                             .tx_errors = n[10],
                             .tx_dropped = n[11] };
    memcpy(i->name, name, strlen(name) + 1);
}

static void net_usage(const struct process *p, struct process_usage *u)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(strv_deinit) struct strv lines = { 0 };
    char path[64];

    if (process_netns(p) == NULL) /* the host's, or nothing but lo */
        return;
    snprintf(path, sizeof(path), "/proc/%d/net/dev", (int)process_pid(p));
    if (file_read(path, &text, FILE_LIMIT) < 0)
        return;
    strv_split(&lines, buf_str(&text), '\n');
    for (size_t i = 2; i < lines.len; i++)
        add_interface(u, lines.v[i]);
}

struct error *process_usage(const struct process *p, struct process_usage *ret)
{
    pid_t pid = process_pid(p);
    CLEANUP(freep) char *dir = cgroup_dir(pid, "memory");

    *ret = (struct process_usage){ 0 };
    if (dir == NULL && access("/proc", F_OK) == 0) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/%d", (int)pid);
        if (access(path, F_OK) < 0)
            return err_new(ERR_NOT_FOUND, "process already finished");
    }
    cpu_usage(pid, ret);
    memory_usage(pid, ret);
    pid_usage(pid, ret);
    net_usage(p, ret);
    return NULL;
}

/* ---- processes
 * --------------------------------------------------------------------------------------------------------------
 */

struct pid_list {
    pid_t *v;
    size_t len;
};

static void add_pids(const char *dir, struct pid_list *l)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    char *end;

    if (!read_in(dir, "cgroup.procs", &text))
        return;
    for (const char *p = buf_str(&text);; p = end) {
        pid_t pid = (pid_t)strtol(p, &end, 10);

        if (end == p)
            return;
        l->v = xreallocarray(l->v, l->len + 1, sizeof(*l->v));
        l->v[l->len++] = pid;
    }
}

static void collect_pids(const char *path, int depth, struct pid_list *l)
{
    DIR *dir = depth > CGROUP_DEPTH ? NULL : opendir(path);
    struct dirent *entry;

    if (dir == NULL)
        return;
    add_pids(path, l);
    while ((entry = readdir(dir)) != NULL) {
        CLEANUP(freep) char *sub = path_join(path, entry->d_name);

        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            collect_pids(sub, depth + 1, l);
    }
    closedir(dir);
}

struct error *process_pids(const struct process *p, pid_t **ret, size_t *ret_count)
{
    struct pid_list l = { 0 };
    pid_t pid = process_pid(p);
    CLEANUP(freep) char *dir = cgroup_dir(pid, "pids");
    CLEANUP(freep) char *other = dir != NULL ? NULL : cgroup_dir(pid, "devices");

    if (dir == NULL && other == NULL)
        return err_new(ERR_NOT_FOUND, "process already finished");
    collect_pids(dir != NULL ? dir : other, 0, &l);
    *ret = l.v;
    *ret_count = l.len;
    return NULL;
}

/* ---- the host
 * ----------------------------------------------------------------------------------------------------------------
 */

uint64_t host_cpu_ns(unsigned *ret_online)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    unsigned long long n[7];
    uint64_t sum = 0;

    *ret_online = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    if (file_read("/proc/stat", &text, FILE_LIMIT) < 0 ||
        sscanf(buf_str(&text), "cpu %llu %llu %llu %llu %llu %llu %llu", &n[0], &n[1], &n[2], &n[3], &n[4],
               &n[5], &n[6]) != 7)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(n); i++)
        sum += n[i];
    return sum * (NS_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t host_memory(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}
