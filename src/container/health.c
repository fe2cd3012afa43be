/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health.c - health checks: a command in the container, again and again
 *
 *   starting --success--> healthy --`retries` failures in a row--> unhealthy --success--> healthy
 *
 * Failures of the start period do not count.  The task belongs to one run of the container and ends with it.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "base/rune.h"
#include "container/internal.h"
#include "container/shape.h"
#include "frontend/dockerfile/gotext.h"
#include "oci/gojson.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#define DEFAULT_INTERVAL (30 * NS_PER_SEC)
#define DEFAULT_TIMEOUT (30 * NS_PER_SEC)
#define DEFAULT_START_INTERVAL (5 * NS_PER_SEC)
#define DEFAULT_RETRIES 3
#define OUTPUT_MAX ((size_t)4096)
#define LOG_MAX 5

struct check {
    struct container *container;
    struct strv args, env;
    int64_t interval, timeout, start_period, start_interval, retries;
};

static void check_deinit(struct check *k)
{
    strv_deinit(&k->args);
    strv_deinit(&k->env);
}

static int64_t or_default(const json_t *h, const char *key, int64_t otherwise)
{
    int64_t n = json_get_int(h, key);

    return n > 0 ? n : otherwise;
}

/* False: it has none. */
static bool find_check(struct container *ct, struct check *k)
{
    const json_t *h = json_object_get(ct->config, "Healthcheck");
    CLEANUP(strv_deinit) struct strv test = { 0 };

    json_get_strings(h, "Test", &test);
    if (test.len < 2 || streq(test.v[0], "NONE"))
        return false;
    if (streq(test.v[0], "CMD-SHELL")) {
        json_get_strings(ct->config, "Shell", &k->args);
        if (k->args.len == 0) {
            strv_add(&k->args, "/bin/sh");
            strv_add(&k->args, "-c");
        }
    }
    for (size_t i = 1; i < test.len; i++)
        strv_add(&k->args, test.v[i]);
    container_env(ct, false, &k->env);
    k->container = ct;
    k->interval = or_default(h, "Interval", DEFAULT_INTERVAL);
    k->timeout = or_default(h, "Timeout", DEFAULT_TIMEOUT);
    k->start_period = or_default(h, "StartPeriod", 0);
    k->start_interval = or_default(h, "StartInterval", DEFAULT_START_INTERVAL);
    k->retries = or_default(h, "Retries", DEFAULT_RETRIES);
    return true;
}

/* ---- one probe
 * -------------------------------------------------------------------------------------------------------------
 */

/* To the end; the first OUTPUT_MAX bytes count. */
static int read_output(int fd, struct buf *out)
{
    char chunk[4096];

    for (;;) {
        int r = task_wait_fd(fd, POLLIN);
        ssize_t n = r < 0 ? r : read(fd, chunk, sizeof(chunk));

        if (r < 0)
            return r;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (n == 0)
            return 0;
        if (n > 0 && out->len < OUTPUT_MAX)
            buf_add(out, chunk, MIN((size_t)n, OUTPUT_MAX - out->len));
    }
}

/* Until the process has ended, or its time is over. */
static struct error *await_probe(const struct check *k, struct process *p, int from, struct buf *out,
                                 int *ret_code)
{
    struct deadline d;
    bool oom;

    deadline_begin(&d, k->timeout);
    int r = read_output(from, out);
    struct error *e =
        r < 0 ? task_error(r, "read the output of a health check") : process_wait(p, ret_code, &oom);
    deadline_end(&d);
    return e;
}

/* Announced as an exec, as dockerd does. */
static struct error *run_probe(const struct check *k, struct process *in, struct buf *out, int *ret_code)
{
    char id[CONTAINER_ID_LEN + 1];
    int fds[2];

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_sys(errno, "make a pipe");
    CLEANUP(closep) int from = fds[0];
    int to = fds[1];
    const struct process_exec_spec spec = {
        .args = (const char *const *)k->args.v,
        .env = (const char *const *)k->env.v,
        .cwd = json_get_string(k->container->config, "WorkingDir"),
        .user = json_get_string(k->container->config, "User"),
        .stdin_fd = -1,
        .stdout_fd = to,
        .stderr_fd = to,
    };
    struct process *p = NULL;
    (void)!fcntl(to, F_SETFL, 0); /* the process has a pipe as others */
    random_hex(id, CONTAINER_ID_LEN / 2);
    exec_event(k->container, id, &k->args, "exec_create", NULL, NULL);
    exec_event(k->container, id, &k->args, "exec_start", NULL, NULL);
    struct error *e = process_exec(in, &spec, &p);

    close(to);
    TRY(e);
    e = await_probe(k, p, from, out, ret_code);
    process_free(p); /* ends it */
    CLEANUP(freep) char *code = xasprintf("%d", e == NULL ? *ret_code : 128 + SIGKILL);
    exec_event(k->container, id, &k->args, "exec_die", "exitCode", code);
    return e;
}

/* *ret_text: what it said, or why it says nothing. ERR_CANCELLED when the container ends. */
static struct error *probe(const struct check *k, int *ret_code, struct buf *ret_text)
{
    struct container *ct = k->container;
    struct process *in = container_process_get(ct);

    if (in == NULL)
        return err_new(ERR_CANCELLED, "the container has ended");
    struct error *e = run_probe(k, in, ret_text, ret_code);
    container_process_put(ct);
    if (e == NULL || err_is(e, ERR_CANCELLED))
        return e;
    if (err_is(e, ERR_NOT_FOUND)) { /* the container has ended */
        err_free(e);
        return err_new(ERR_CANCELLED, "the container has ended");
    }
    if (err_is(e, ERR_DEADLINE)) {
        struct buf text = { 0 };

        buf_adds(&text, "Health check exceeded timeout (");
        buf_add_go_duration(&text, k->timeout);
        buf_adds(&text, ret_text->len > 0 ? "): " : ")");
        buf_add(&text, buf_str(ret_text), ret_text->len);
        buf_deinit(ret_text);
        *ret_text = text;
    } else {
        buf_clear(ret_text);
        buf_adds(ret_text, e->message);
    }
    err_free(e);
    *ret_code = -1;
    return NULL;
}

/* ---- what comes of it
 * ------------------------------------------------------------------------------------------------------ */

static void set_status_locked(struct container *ct, const char *status)
{
    free(ct->health.status);
    ct->health.status = xstrdup(status);
}

static void add_log_locked(struct container *ct, int64_t start_ns, int code, const struct buf *text)
{
    CLEANUP(freep) char *valid = str_valid_utf8(buf_str(text), text->len);

    if (ct->health.log == NULL)
        ct->health.log = json_array();
    if (json_array_size(ct->health.log) >= LOG_MAX)
        json_array_remove(ct->health.log, 0);
    json_array_append_new(ct->health.log,
                          json_pack("{s:o, s:o, s:i, s:s}", "Start", go_json_time(start_ns), "End",
                                    go_json_time(now_ns()), "ExitCode", code, "Output", valid));
}

/* The new status, when it changed; NULL. */
static const char *judge(const struct check *k, int64_t start_ns, int code, const struct buf *text)
{
    struct container *ct = k->container;
    const char *status = NULL;

    mutex_lock(&ct->lock);
    bool starting = streq(ct->health.status, "starting");
    bool early = starting && start_ns - ct->state.started_ns < k->start_period;
    add_log_locked(ct, start_ns, code, text);
    if (code == 0) {
        ct->health.streak = 0;
        status = "healthy";
    } else if (!early && ++ct->health.streak >= k->retries) {
        status = "unhealthy";
    }
    bool changed = status != NULL && !streq(ct->health.status, status);
    if (changed)
        set_status_locked(ct, status);
    mutex_unlock(&ct->lock);
    return changed ? status : NULL;
}

static int64_t next_delay(const struct check *k)
{
    struct container *ct = k->container;

    mutex_lock(&ct->lock);
    bool early = k->start_period > 0 && streq(ct->health.status, "starting") &&
                 now_ns() - ct->state.started_ns < k->start_period;
    mutex_unlock(&ct->lock);
    return early ? k->start_interval : k->interval;
}

static struct error *check_once(const struct check *k)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(freep) char *action = NULL;
    int64_t start = now_ns();
    const char *status;
    int code = 0;

    if (container_is_paused(k->container)) /* nothing in it can answer */
        return NULL;
    TRY(probe(k, &code, &text));
    if (container_is_paused(k->container)) /* meanwhile: no wonder that it did not answer */
        return NULL;
    status = judge(k, start, code, &text);
    if (status == NULL)
        return NULL;
    action = xasprintf("health_status: %s", status);
    container_event(k->container, action, NULL);
    return NULL;
}

struct error *health_task(void *container)
{
    CLEANUP(container_unrefp) struct container *ct = container;
    CLEANUP(check_deinit) struct check k = { 0 };

    if (!find_check(ct, &k))
        return NULL;
    while (task_sleep(next_delay(&k)) == 0)
        TRY(check_once(&k));
    return NULL;
}

/* ---- a run's begin and end, and how it is shown
 * ---------------------------------------------------------------------------- */

bool health_begin(struct container *ct)
{
    struct check k = { 0 };
    bool has = find_check(ct, &k);

    check_deinit(&k);
    mutex_lock(&ct->lock);
    health_deinit_locked(ct);
    if (has)
        set_status_locked(ct, "starting");
    mutex_unlock(&ct->lock);
    return has;
}

void health_end(struct container *ct)
{
    mutex_lock(&ct->lock);
    if (ct->health.status != NULL)
        set_status_locked(ct, "unhealthy");
    mutex_unlock(&ct->lock);
}

void health_deinit_locked(struct container *ct)
{
    free(ct->health.status);
    json_decref(ct->health.log);
    memset(&ct->health, 0, sizeof(ct->health));
}

json_t *health_json_locked(const struct container *ct)
{
    return json_pack("{s:s, s:I, s:o}", "Status", ct->health.status, "FailingStreak",
                     (json_int_t)ct->health.streak, "Log",
                     ct->health.log != NULL ? json_deep_copy(ct->health.log) : json_array());
}
