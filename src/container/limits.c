/* SPDX-License-Identifier: Apache-2.0 */
/* limits.c - is what a HostConfig limits, and whom it names as hosts, possible here? */
#include "container/internal.h"

#include "base/bytes.h"
#include "base/rune.h"
#include "container/shape.h"
#include "io/path.h"
#include "run/runtime.h"

#include <arpa/inet.h>
#include <errno.h>
#include <unistd.h>

#define MEMORY_MIN (INT64_C(6) << 20)
#define NANO_PER_CPU INT64_C(1000000000)
#define SET_MAX 8192 /* numbers of processors and memory nodes; the kernel has fewer */
#define SET_TEXT_MAX 4096

static struct error *check_memory(const json_t *h)
{
    int64_t memory = json_get_int(h, "Memory"), swap = json_get_int(h, "MemorySwap");

    if (memory != 0 && memory < MEMORY_MIN)
        return err_new(ERR_INVALID, "Minimum memory limit allowed is 6MB");
    if (memory > 0 && swap > 0 && swap < memory)
        return err_new(ERR_INVALID, "Minimum memoryswap limit should be larger than memory limit, see usage");
    if (memory == 0 && swap > 0)
        return err_new(ERR_INVALID,
                       "You should always set the Memory limit when using Memoryswap limit, see usage");
    if (json_get_int(h, "ShmSize") < 0)
        return err_new(ERR_INVALID, "SHM size can not be less than 0");
    return NULL;
}

static struct error *check_cpus(const json_t *h)
{
    int64_t nano = json_get_int(h, "NanoCpus"), period = json_get_int(h, "CpuPeriod"),
            quota = json_get_int(h, "CpuQuota"), shares = json_get_int(h, "CpuShares");
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    if (shares < 0)
        return err_new(ERR_INVALID, "invalid CPU shares (%lld): value must be a positive integer",
                       (long long)shares);
    if (nano > 0 && period > 0)
        return err_new(ERR_INVALID, "Conflicting options: Nano CPUs and CPU Period cannot both be set");
    if (nano > 0 && quota > 0)
        return err_new(ERR_INVALID, "Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    if (nano < 0 || nano > cpus * NANO_PER_CPU)
        return err_new(ERR_INVALID,
                       "range of CPUs is from 0.01 to %ld.00, as there are only %ld CPUs available", cpus,
                       cpus);
    if (period != 0 && (period < 1000 || period > 1000000))
        return err_new(ERR_INVALID, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s "
                                    "(i.e. 1000000)");
    if (quota > 0 && quota < 1000)
        return err_new(ERR_INVALID, "CPU cfs quota can not be less than 1ms (i.e. 1000)");
    return NULL;
}

/* ---- sets of processors and memory nodes
 * -------------------------------------------------------------------------------------- */

struct number_set {
    bool has[SET_MAX];
};

/* "3" or "0-2" */
static int add_range(struct number_set *s, const char *text)
{
    size_t len = strcspn(text, "-");
    CLEANUP(freep) char *first = xstrndup(text, len);
    uint64_t from, to;

    if (parse_u64(first, &from) < 0 || parse_u64(text[len] == '-' ? text + len + 1 : first, &to) < 0 ||
        to < from || to >= SET_MAX)
        return -EINVAL;
    for (uint64_t i = from; i <= to; i++)
        s->has[i] = true;
    return 0;
}

static int number_set_parse(const char *text, struct number_set *ret)
{
    CLEANUP(strv_deinit) struct strv parts = { 0 };

    *ret = (struct number_set){ 0 };
    strv_split(&parts, text, ',');
    for (size_t i = 0; i < parts.len; i++) {
        if (add_range(ret, parts.v[i]) < 0)
            return -EINVAL;
    }
    return 0;
}

/* What the host has of "cpus" or "mems"; "" when it does not say. */
static char *available(const char *kind)
{
    CLEANUP(freep)
    char *path = cgroup_layout() == CGROUP_V2 ? xasprintf("/sys/fs/cgroup/cpuset.%s.effective", kind)
                                              : xasprintf("/sys/fs/cgroup/cpuset/cpuset.%s", kind);
    CLEANUP(buf_deinit) struct buf text = { 0 };
    const char *trimmed;
    size_t len;

    if (file_read(path, &text, SET_TEXT_MAX) < 0)
        return xstrdup("");
    trimmed = str_trim_space(buf_str(&text), text.len, &len);
    return xstrndup(trimmed, len);
}

static struct error *check_set(const char *asked, const char *kind, const char *what)
{
    CLEANUP(freep) struct number_set *want = NEW(struct number_set), *have = NEW(struct number_set);
    CLEANUP(freep) char *all = NULL;

    if (*asked == '\0')
        return NULL;
    if (number_set_parse(asked, want) < 0)
        return err_new(ERR_INVALID, "Invalid value %s for cpuset %s: invalid format: %s", asked, kind, asked);
    all = available(kind);
    if (*all == '\0' || number_set_parse(all, have) < 0)
        return NULL;
    for (size_t i = 0; i < SET_MAX; i++) {
        if (want->has[i] && !have->has[i])
            return err_new(ERR_INVALID, "Requested %s are not available - requested %s, available: %s", what,
                           asked, all);
    }
    return NULL;
}

/* ---- hosts
 * ---------------------------------------------------------------------------------------------------------------------
 */

static struct error *check_host(const char *entry)
{
    CLEANUP(freep) char *quoted = NULL;
    const char *ip = strchr(entry, ':');
    unsigned char address[16];

    if (ip == NULL || ip == entry) {
        quoted = str_quote(entry);
        return err_new(ERR_INVALID, "bad format for add-host: %s", quoted);
    }
    ip++;
    if (streq(ip, "host-gateway") || inet_pton(AF_INET, ip, address) == 1 ||
        inet_pton(AF_INET6, ip, address) == 1)
        return NULL;
    quoted = str_quote(ip);
    return err_new(ERR_INVALID, "invalid IP address in add-host: %s", quoted);
}

struct error *container_check_limits(const json_t *h)
{
    CLEANUP(strv_deinit) struct strv hosts = { 0 };
    int64_t oom = json_get_int(h, "OomScoreAdj");

    json_get_strings(h, "ExtraHosts", &hosts);
    for (size_t i = 0; i < hosts.len; i++)
        TRY(check_host(hosts.v[i]));
    TRY(check_memory(h));
    TRY(check_cpus(h));
    TRY(check_set(json_get_string(h, "CpusetCpus"), "cpus", "CPUs"));
    TRY(check_set(json_get_string(h, "CpusetMems"), "mems", "memory nodes"));
    if (oom < -1000 || oom > 1000)
        return err_new(ERR_INVALID, "Invalid value %lld, range for oom score adj is [-1000, 1000]",
                       (long long)oom);
    return NULL;
}
