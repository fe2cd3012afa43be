/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - minked, also known as dockerd and buildkitd
 *
 * A map of the program, in the order in which a build walks through it:
 *
 *     daemon/     this: flags and files (config.c), sockets (listen.c), a task per connection (serve.c)
 *     api/        routes of the Engine API; buildkit/ takes what speaks gRPC
 *     engine/     images, events, system: what the routes call;  container/ long-lived containers
 *     buildkit/   Control and LLBBridge: a build as a job
 *     frontend/   Dockerfile text into LLB
 *     solver/     LLB into keys, cached results, or work;  op/ what each op does;  session/ the client's
 * files and secrets run/        a step in an OCI runtime;  snapshot/ layers and mounts;  store/ blobs, names,
 * records;  registry/ pulls export/     results into the store or to the client wire/ io/ task/ base/
 * protocols, bytes, tasks, and what everything leans on
 *
 * Life of the process: configuration, pid file, lock, sockets and a task for each (from here on /_ping is
 * answered, and all else waits), engine, "ready"; then the main task waits for a signal.  The first SIGTERM
 * lets what has begun finish, the second cuts it short, the third kills.
 */
#include "api/router.h"
#include "base/bytes.h"
#include "base/log.h"
#include "daemon/process.h"
#include "daemon/serve.h"
#include "daemon/settings.h"
#include "io/path.h"
#include "task/task.h"
#include "wire/http1.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLOSE_TIMEOUT (10 * NS_PER_SEC) /* for the engine's own cleanup, beyond what the user grants */

struct daemon {
    int argc;
    char **argv;
    struct settings *_Atomic settings; /* the newest */
    const struct config *config;       /* the first: all that is fixed at start */
    struct engine *engine;
    struct http_config http;
    struct listeners listeners;
    struct server server;
    struct group background; /* the engine's own task */
    struct group signal_watch;
    int lock_fd, signal_fd;
    bool pidfile_written;
    atomic_size_t requests; /* being answered, that end by themselves */

    struct mutex lock;
    struct cond changed;
    bool ready;             /* the engine is open; under lock */
    unsigned stop_signals;  /* under lock */
    struct scope *shutdown; /* cancelled by the second signal */
};

/* ---- connections ---- */

/* Requests that last as long as their client wants: nobody waits for them at shutdown. */
static bool is_endless(const char *path)
{
    static const char *const suffixes[] = { "/events", "/attach", "/attach/ws", "/logs",
                                            "/wait",   "/stats",  "/session",   "/grpc" };

    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (str_has_suffix(path, suffixes[i]))
            return true;
    return false;
}

/* Wait until the engine is open; if it fails to, the connection ends with the daemon. */
static struct error *engine_ready(struct daemon *d)
{
    int r = 0;

    mutex_lock(&d->lock);
    while (!d->ready && r == 0)
        r = cond_wait(&d->changed, &d->lock);
    mutex_unlock(&d->lock);
    return r == 0 ? NULL : task_error(r, "wait for the daemon to start");
}

static struct error *answer(struct http_exchange *x, void *ctx)
{
    struct daemon *d = ctx;

    if (!api_is_ping(x->request->path))
        TRY(engine_ready(d));
    if (is_endless(x->request->path))
        return api_handle(x, d->engine);
    atomic_fetch_add(&d->requests, 1);
    struct error *e = api_handle(x, d->engine);

    atomic_fetch_sub(&d->requests, 1);
    return e;
}

static struct error *serve_http2(struct stream *s, void *ctx)
{
    CLEANUP(stream_closep) struct stream *owned = s;
    struct daemon *d = ctx;

    TRY(engine_ready(d));
    return builder_serve_grpc(d->engine->builder, TAKE(owned));
}

static struct error *serve_one(struct stream *s, void *ctx)
{
    struct daemon *d = ctx;

    return d->config->face == FACE_BUILDKITD ? serve_http2(s, d) : http_serve(s, &d->http);
}

static size_t busy(void *ctx)
{
    struct daemon *d = ctx;

    return atomic_load(&d->requests) + builder_active(d->engine->builder);
}

/* ---- signals ---- */

static void apply_log_config(const struct config *c)
{
    enum log_level level = LOG_INFO;

    if (log_level_parse(c->log_level, &level) <
        0) /* "panic" and "trace" are levels of dockerd's, not of ours */
        level = str_has_prefix(c->log_level, "t") ? LOG_DEBUG
                : streq(c->log_level, "panic")    ? LOG_FATAL
                                                  : LOG_INFO;
    if (c->debug)
        level = LOG_DEBUG;
    log_setup(level, streq(c->log_format, "json") ? LOG_JSON : LOG_TEXT);
}

static void reload(struct daemon *d)
{
    CLEANUP(map_deinit) struct map attributes = { 0 };
    struct settings *fresh = NULL;

    log_info("Got signal to reload configuration", "file", d->config->config_file);
    service_notify_reloading();
    struct error *e = settings_load(d->argc, d->argv, &fresh);

    if (e == NULL) {
        engine_setup_init(&fresh->setup, &fresh->config);
        fresh->older = d->settings;
        d->settings = fresh;
        apply_log_config(&fresh->config);
        strmap_init(&attributes);
        settings_attributes(fresh, &attributes);
        engine_reload(d->engine, &fresh->setup.engine, &attributes);
        log_info("Reloaded configuration");
    } else {
        log_err(LOG_ERROR, e, "Error reloading configuration");
    }
    service_notify("READY=1");
}

static void request_stop(struct daemon *d, int signal)
{
    mutex_lock(&d->lock);
    unsigned count = ++d->stop_signals;

    cond_broadcast(&d->changed);
    mutex_unlock(&d->lock);
    log_info("Processing signal", "signal", sigabbrev_np(signal));
    if (count == 2)
        scope_cancel(d->shutdown, NULL);
    if (count >= 3) {
        log_warn("Forcing daemon shutdown without cleanup: 3 signals received");
        _exit(128 + signal);
    }
}

static struct error *watch_signals(void *arg)
{
    struct daemon *d = arg;

    task_waiting("a signal");
    for (;;) {
        struct signalfd_siginfo info;
        int r = task_wait_fd(d->signal_fd, POLLIN);

        if (r < 0)
            return task_error(r, "wait for a signal");
        if (read(d->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
            continue;
        if (info.ssi_signo == SIGUSR1)
            task_dump();
        else if (info.ssi_signo == SIGHUP)
            reload(d);
        else
            request_stop(d, (int)info.ssi_signo);
    }
}

static struct error *open_signals(struct daemon *d)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return d->signal_fd < 0 ? err_sys(errno, "open the signal descriptor") : NULL;
}

/* ---- start ---- */

static struct error *make_roots(const struct config *c)
{
    static const mode_t data_mode = 0710, exec_mode = 0711;
    int r = make_dirs(c->data_root, data_mode);

    if (r < 0)
        return err_sys(-r, "failed to create %s", c->data_root);
    r = make_dirs(c->exec_root, exec_mode);
    return r < 0 ? err_sys(-r, "failed to create %s", c->exec_root) : NULL;
}

/* Children and libcurl take proxies from the environment. */
static void export_proxies(const struct config *c)
{
    const struct {
        const char *upper, *lower, *value;
    } proxies[] = { { "HTTP_PROXY", "http_proxy", c->http_proxy },
                    { "HTTPS_PROXY", "https_proxy", c->https_proxy },
                    { "NO_PROXY", "no_proxy", c->no_proxy } };

    for (size_t i = 0; i < ARRAY_LEN(proxies); i++) {
        if (proxies[i].value[0] == '\0')
            continue;
        setenv(proxies[i].upper, proxies[i].value, 1);
        setenv(proxies[i].lower, proxies[i].value, 1);
    }
}

static struct error *require_root(const struct config *c)
{
    if (geteuid() == 0)
        return NULL;
    if (c->face == FACE_BUILDKITD)
        return err_new(
            ERR_FORBIDDEN,
            "rootless mode requires to be executed as the mapped root in a user namespace; you may use "
            "RootlessKit for setting up the namespace");
    return err_new(
        ERR_FORBIDDEN,
        "%s needs to be started with root privileges. To run %s in rootless mode as an unprivileged user, "
        "see https://docs.docker.com/go/rootless/",
        c->program, c->program);
}

static struct error *open_all(struct daemon *d)
{
    const struct config *c = d->config;

    TRY(require_root(c));
    TRY(open_signals(d));
    TRY(make_roots(c));
    TRY(pidfile_write(c->pidfile));
    d->pidfile_written = true;
    TRY(data_root_lock(c->data_root, &d->lock_fd));
    TRY(err_wrap(listeners_open(c, &d->listeners), "failed to load listeners"));
    export_proxies(c);
    engine_setup_init(&d->settings->setup, c);
    d->engine = engine_new(&d->settings->setup.engine);
    d->http = (struct http_config){ .handler = answer, .http2 = serve_http2, .ctx = d };
    return NULL;
}

static void set_ready(struct daemon *d)
{
    mutex_lock(&d->lock);
    d->ready = true;
    cond_broadcast(&d->changed);
    mutex_unlock(&d->lock);
}

/* Connections come while the engine opens: see engine_ready(). */
static struct error *start(struct daemon *d)
{
    const struct service service = { .connection = serve_one, .busy = busy, .ctx = d };

    TRY(server_start(&d->server, d->config, &d->listeners, &service));
    TRY(err_wrap(engine_open(d->engine), "failed to start daemon"));
    set_ready(d);
    TRY(group_spawn(&d->signal_watch, "signals", watch_signals, d));
    return group_spawn(&d->background, "engine", engine_background, d->engine);
}

static void log_start(const struct config *c)
{
    log_info("Starting up", "version", c->face == FACE_DOCKERD ? ENGINE_VERSION : BUILDKITD_VERSION,
             "program", c->program, "data-root", c->data_root);
    for (size_t i = 0; i < c->without_effect.len; i++)
        log_info("accepted without effect", "option", c->without_effect.v[i]);
}

/* ---- run and stop ---- */

static void wait_for_stop(struct daemon *d)
{
    int r = 0;

    mutex_lock(&d->lock);
    while (d->stop_signals == 0 && r == 0)
        r = cond_wait(&d->changed, &d->lock);
    mutex_unlock(&d->lock);
}

static void drain(struct daemon *d)
{
    int64_t timeout = d->settings->config.shutdown_timeout;

    log_info("stopping", "busy", busy(d) > 0 ? "yes" : NULL);
    service_notify("STOPPING=1");
    scope_enter(d->shutdown);
    server_stop(&d->server, timeout < 0 ? INT64_MAX : timeout * NS_PER_SEC);
    scope_leave(d->shutdown);
}

static struct error *run(struct daemon *d)
{
    group_open(&d->background, GROUP_DAEMON);
    group_open(&d->signal_watch, GROUP_DAEMON);
    struct error *e = start(d);

    if (e == NULL) {
        service_notify("READY=1");
        log_info("Daemon has completed initialization");
        wait_for_stop(d);
        drain(d);
    } else if (d->server.connections.open) {
        server_stop(&d->server, 0);
    }
    return e;
}

static void close_all(struct daemon *d)
{
    int64_t timeout = d->settings->config.shutdown_timeout;
    struct deadline limit;

    group_deinit(&d->background);
    shield_begin(&limit, timeout < 0 ? INT64_MAX : timeout * NS_PER_SEC + CLOSE_TIMEOUT);
    engine_close(d->engine);
    shield_end(&limit);
    group_deinit(&d->signal_watch); /* a third signal is heard until here */
    listeners_close(&d->listeners);
    if (d->pidfile_written)
        pidfile_remove(d->config->pidfile);
    closep(&d->lock_fd);
    closep(&d->signal_fd);
    scope_unref(d->shutdown);
}

/* Few arenas and early trims: an idle daemon is small (bench: memory). */
static void tune_memory(void)
{
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_TRIM_THRESHOLD, 256 * 1024);
    mallopt(M_MMAP_THRESHOLD, 256 * 1024);
}

int main(int argc, char **argv)
{
    struct daemon d = {
        .argc = argc, .argv = argv, .lock_fd = -1, .signal_fd = -1, .lock = MUTEX_INIT, .changed = COND_INIT
    };
    struct settings *first = NEW(struct settings);
    bool done = false;

    tune_memory();
    umask(0);
    struct error *e = config_load(argc, argv, &first->config, &done);

    if (e == NULL && !done) {
        d.settings = first;
        d.config = &first->config;
        apply_log_config(d.config);
        log_start(d.config);
        d.shutdown = scope_new(NULL);
        e = open_all(&d);
        if (e == NULL)
            e = run(&d);
        close_all(&d);
        first = d.settings;
    }
    settings_free(first);
    if (e == NULL)
        return 0;
    fprintf(stderr, "%s\n", e->message);
    err_free(e);
    return 1;
}
