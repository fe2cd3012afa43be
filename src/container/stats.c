/* SPDX-License-Identifier: Apache-2.0 */
#include "container/stats.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "container/internal.h"
#include "container/shape.h"
#include "io/spawn.h"
#include "oci/gojson.h"
#include "run/usage.h"

#include <ctype.h>
#include <stdio.h>

#define PS_OUTPUT_LIMIT (16 * MIB)

/* ---- stats
 * ----------------------------------------------------------------------------------------------------------------
 */

void container_sample_deinit(struct container_sample *s)
{
    json_decref(s->cpu);
    *s = (struct container_sample){ 0 };
}

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

/* Go's omitempty. */
static void add(json_t *o, const char *key, uint64_t n)
{
    if (n != 0)
        json_object_set_new(o, key, number(n));
}

static json_t *cpu_json(const struct process_usage *u, bool running)
{
    json_t *j =
        json_pack("{s:{s:o, s:o, s:o}}", "cpu_usage", "total_usage", number(u->cpu_ns), "usage_in_kernelmode",
                  number(u->cpu_kernel_ns), "usage_in_usermode", number(u->cpu_user_ns));
    unsigned online = 0;

    if (running) {
        add(j, "system_cpu_usage", host_cpu_ns(&online));
        add(j, "online_cpus", online);
    }
    json_object_set_new(j, "throttling_data",
                        json_pack("{s:o, s:o, s:o}", "periods", number(u->periods), "throttled_periods",
                                  number(u->throttled_periods), "throttled_time", number(u->throttled_ns)));
    return j;
}

static json_t *memory_json(const struct process_usage *u, bool running)
{
    json_t *j = json_object(), *stat = json_object();

    if (!running) {
        json_decref(stat);
        return j;
    }
    add(j, "usage", u->memory);
    add(j, "max_usage", u->memory_max);
    for (size_t i = 0; i < u->memory_stat.len; i++) {
        uint64_t n;

        if (parse_u64(u->memory_stat.entries[i].value, &n) == 0)
            json_object_set_new(stat, u->memory_stat.entries[i].key, number(n));
    }
    json_object_set_new(j, "stats", stat);
    add(j, "failcnt", u->memory_failures);
    add(j, "limit", u->memory_limit != 0 ? MIN(u->memory_limit, host_memory()) : host_memory());
    return j;
}

static json_t *networks_json(const struct process_usage *u)
{
    json_t *j = json_object();

    for (size_t i = 0; i < u->net_count; i++) {
        const struct net_usage *n = &u->nets[i];

        json_object_set_new(j, n->name,
                            json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "rx_bytes",
                                      number(n->rx_bytes), "rx_packets", number(n->rx_packets), "rx_errors",
                                      number(n->rx_errors), "rx_dropped", number(n->rx_dropped), "tx_bytes",
                                      number(n->tx_bytes), "tx_packets", number(n->tx_packets), "tx_errors",
                                      number(n->tx_errors), "tx_dropped", number(n->tx_dropped)));
    }
    return j;
}

/* Not counted here; the lists are there, as clients go through them. */
static json_t *blkio_json(void)
{
    static const char *const keys[] = { "io_service_bytes_recursive", "io_serviced_recursive",
                                        "io_queue_recursive",         "io_service_time_recursive",
                                        "io_wait_time_recursive",     "io_merged_recursive",
                                        "io_time_recursive",          "sectors_recursive" };
    json_t *j = json_object();

    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        json_object_set_new(j, keys[i], json_null());
    return j;
}

static json_t *stats_json(struct container *ct, const struct process_usage *u, bool running, int64_t read_ns,
                          const json_t *cpu, const struct container_sample *previous)
{
    CLEANUP(freep) char *name = container_name(ct);
    json_t *j = json_object(), *pids = json_object(), *none;
    struct process_usage zero = { 0 };

    json_object_set_new(j, "id", json_string(ct->id));
    json_object_set_new(j, "name", json_sprintf("/%s", name));
    json_object_set_new(j, "os_type", json_string(ct->os));
    json_object_set_new(j, "read", go_json_time(read_ns));
    json_object_set(j, "cpu_stats", (json_t *)cpu);
    json_object_set_new(j, "memory_stats", memory_json(u, running));
    if (u->net_count > 0)
        json_object_set_new(j, "networks", networks_json(u));
    add(pids, "current", u->pids);
    add(pids, "limit", u->pids_limit);
    json_object_set_new(j, "pids_stats", pids);
    json_object_set_new(j, "blkio_stats", blkio_json());
    json_object_set_new(j, "num_procs", json_integer(0));
    json_object_set_new(j, "storage_stats", json_object());
    json_object_set_new(j, "preread", go_json_time(previous->read_ns));
    none = previous->cpu != NULL ? json_incref(previous->cpu) : cpu_json(&zero, false);
    json_object_set_new(j, "precpu_stats", none);
    return j;
}

struct error *container_stats(struct container *ct, struct container_sample *previous, json_t **ret)
{
    CLEANUP(process_usage_deinit) struct process_usage u = { 0 };
    struct process *p = container_process_get(ct);
    struct error *e = p == NULL ? NULL : process_usage(p, &u);
    bool running = p != NULL && e == NULL;
    json_t *cpu;

    if (p != NULL)
        container_process_put(ct);
    if (err_is(e, ERR_NOT_FOUND)) { /* it is ending */
        err_free(e);
        e = NULL;
    }
    TRY(e);
    int64_t now = running ? now_ns() : 0;
    cpu = cpu_json(&u, running);
    *ret = stats_json(ct, &u, running, now, cpu, previous);
    container_sample_deinit(previous);
    *previous = (struct container_sample){ cpu, now };
    return NULL;
}

/* ---- top
 * ------------------------------------------------------------------------------------------------------------------
 */

/* "-o x=PID" would make us read another column as the process id. */
static struct error *check_ps_args(const char *args)
{
    for (const char *eq = strchr(args, '='); eq != NULL; eq = strchr(eq + 1, '=')) {
        const char *value = eq + 1 + strspn(eq + 1, " \t\n");
        size_t len = 0;

        while (eq - len > args && !isspace((unsigned char)eq[-(ptrdiff_t)len - 1]))
            len++;
        if (eq - len > args && strncmp(value, "PID", 3) == 0 && !(len == 3 && strncmp(eq - 3, "pid", 3) == 0))
            return err_new(ERR_INVALID, "specifying \"%.*s=%.*s\" is not allowed", (int)len, eq - len,
                           (int)strcspn(value, " \t\n"), value);
    }
    return NULL;
}

static void split_blanks(const char *line, struct strv *ret)
{
    for (;;) {
        line += strspn(line, " \t\f\r");
        size_t len = strcspn(line, " \t\f\r");

        if (len == 0)
            return;
        strv_addn(ret, line, len);
        line += len;
    }
}

static int column_of(const struct strv *titles)
{
    for (size_t i = 0; i < titles->len; i++) {
        if (streq(titles->v[i], "PID"))
            return (int)i;
    }
    return -1;
}

static bool has_pid(const char *text, const pid_t *pids, size_t count)
{
    int64_t n;

    if (parse_i64(text, &n) < 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (pids[i] == n)
            return true;
    }
    return false;
}

/* As many fields as titles: the last one takes the rest. */
static json_t *row_json(const struct strv *fields, size_t titles)
{
    json_t *row = json_array();
    CLEANUP(strv_deinit) struct strv rest = { 0 };
    CLEANUP(freep) char *last = NULL;

    for (size_t i = 0; i < fields->len; i++) {
        if (i + 1 < titles)
            json_array_append_new(row, go_json_text(fields->v[i]));
        else
            strv_add(&rest, fields->v[i]);
    }
    last = strv_join(&rest, " ");
    json_array_append_new(row, go_json_text(last));
    return row;
}

/* Lines of its processes; threads ("-" for the number) belong to the process above. */
static struct error *parse_ps(const char *output, const pid_t *pids, size_t count, json_t **ret)
{
    CLEANUP(strv_deinit) struct strv lines = { 0 }, titles = { 0 };
    json_t *rows = json_array(), *names = json_array();
    bool mine = false;
    int column;

    strv_split(&lines, output, '\n');
    split_blanks(lines.v[0], &titles);
    column = column_of(&titles);
    for (size_t i = 0; i < titles.len; i++)
        json_array_append_new(names, json_string(titles.v[i]));
    for (size_t i = 1; column >= 0 && i < lines.len; i++) {
        CLEANUP(strv_deinit) struct strv fields = { 0 };

        split_blanks(lines.v[i], &fields);
        if (fields.len <= (size_t)column)
            continue;
        if (!streq(fields.v[column], "-"))
            mine = has_pid(fields.v[column], pids, count);
        if (mine)
            json_array_append_new(rows, row_json(&fields, titles.len));
    }
    *ret = json_pack("{s:o, s:o}", "Processes", rows, "Titles", names);
    if (column >= 0)
        return NULL;
    json_decref(*ret);
    return err_new(ERR_INTERNAL, "Couldn't find PID field in ps output");
}

static struct error *run_ps(const struct strv *args, struct buf *out, int *ret_status)
{
    CLEANUP(buf_deinit) struct buf complaint = { 0 };
    struct spawn_options o = { .argv = (const char *const *)args->v };

    TRY(err_wrap(spawn_run(&o, NULL, out, &complaint, PS_OUTPUT_LIMIT, ret_status), "ps"));
    return *ret_status == 0 ? NULL
                            : err_new(ERR_INTERNAL, "ps: %.*s", (int)strcspn(buf_str(&complaint), "\n"),
                                      buf_str(&complaint));
}

/* Some options do not go with -q: then all are listed, and ours picked. */
static struct error *list_processes(const char *ps_args, const pid_t *pids, size_t count, struct buf *out)
{
    CLEANUP(strv_deinit) struct strv plain = { 0 }, narrow = { 0 };
    CLEANUP(buf_deinit) struct buf q = { 0 };
    struct error *e;
    int status;

    strv_add(&plain, "ps");
    split_blanks(ps_args, &plain);
    strv_copy(&narrow, &plain);
    buf_adds(&q, "-q");
    for (size_t i = 0; i < count; i++)
        buf_addf(&q, "%s%d", i > 0 ? "," : "", (int)pids[i]);
    strv_add(&narrow, buf_str(&q));
    e = run_ps(&narrow, out, &status);
    if (e == NULL || err_is(e, ERR_CANCELLED))
        return e;
    err_free(e);
    buf_clear(out);
    return run_ps(&plain, out, &status);
}

struct error *container_top(struct container *ct, const char *ps_args, json_t **ret)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };
    CLEANUP(freep) pid_t *pids = NULL;
    size_t count = 0;
    struct process *p;
    struct error *e;

    if (ps_args == NULL || *ps_args == '\0')
        ps_args = "-ef";
    TRY(check_ps_args(ps_args));
    p = container_process_get(ct);
    if (p == NULL)
        return err_new(ERR_CONFLICT, "container %s is not running", ct->id);
    e = process_pids(p, &pids, &count);
    container_process_put(ct);
    TRY(e);
    TRY(list_processes(ps_args, pids, count, &out));
    TRY(parse_ps(buf_str(&out), pids, count, ret));
    container_event(ct, "top", NULL);
    return NULL;
}

/* ---- pause
 * ----------------------------------------------------------------------------------------------------------------
 */

static struct error *claim_pause(struct container *ct, bool paused)
{
    struct error *e = NULL;

    mutex_lock(&ct->lock);
    if (!ct->state.running)
        e = err_new(ERR_CONFLICT, "container %s is not running", ct->id);
    else if (paused && ct->state.paused)
        e = err_new(ERR_CONFLICT, "container %s is already paused", ct->id);
    else if (!paused && !ct->state.paused)
        e = err_new(ERR_CONFLICT, "Container %s is not paused", ct->id);
    mutex_unlock(&ct->lock);
    return e;
}

struct error *container_pause(struct container *ct, bool paused)
{
    struct process *p;
    struct error *e;

    TRY(claim_pause(ct, paused));
    p = container_process_get(ct);
    if (p == NULL)
        return err_new(ERR_CONFLICT, "container %s is not running", ct->id);
    e = process_pause(p, paused);
    if (e == NULL) {
        mutex_lock(&ct->lock);
        ct->state.paused = paused;
        mutex_unlock(&ct->lock);
    }
    container_process_put(ct); /* it may end now, and is not paused then */
    TRY(err_wrap(e, "cannot %s container %s", paused ? "pause" : "unpause", ct->id));
    container_event(ct, paused ? "pause" : "unpause", NULL);
    return container_save(ct, false);
}
