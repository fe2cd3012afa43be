/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http2.c - a connection: its session with nghttp2, its reader and writer tasks, its end
 *
 *             io                      lock                        streams
 *   peer ---> reader --mem_recv-----> nghttp2 --callbacks-------> in queues  ---> h2_stream_read
 *   peer <--- writer <--mem_send----- nghttp2 <--data providers-- out queues <--- h2_stream_write
 */
#include "wire/http2.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "wire/http2_impl.h"

#include <errno.h>
#include <stdio.h>

#define READ_SIZE (128 * KIB)
#define BATCH_SIZE (256 * KIB)
#define CONNECTION_WINDOW (16 * MIB)
#define CLOSE_NS (1 * NS_PER_SEC)  /* for the last frames of a connection that we close */
#define FLUSH_NS (250 * NS_PER_MS) /* the same when the task was cancelled */
#define HANDLERS_SPARE 50 /* handlers whose stream the peer has reset already, above LIMIT_H2_STREAMS */

/* ---- session
 * -----------------------------------------------------------------------------------------------------------
 */

static nghttp2_session *session_make(struct h2_conn *c)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    nghttp2_session *session = NULL;

    if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&option) != 0)
        abort(); /* out of memory */
    h2_events_register(callbacks);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_send_header_block_length(option, LIMIT_GRPC_TRAILERS + LIMIT_H2_HEADER_LIST);
    nghttp2_option_set_max_settings(option, LIMIT_H2_SETTINGS);
    nghttp2_option_set_max_continuations(option, LIMIT_H2_CONTINUATIONS);
    /* Resets have a budget of ours (http2_events.c).  nghttp2's own, with another rate and another GOAWAY,
     * would come first on a slow machine. */
    nghttp2_option_set_stream_reset_rate_limit(option, UINT64_MAX, UINT64_MAX);
    int r = c->server ? nghttp2_session_server_new2(&session, callbacks, c, option)
                      : nghttp2_session_client_new2(&session, callbacks, c, option);

    if (r != 0)
        abort(); /* out of memory */
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    return session;
}

static void submit_preface(struct h2_conn *c)
{
    const nghttp2_settings_entry server[] = {
        { NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 4096 },
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, LIMIT_H2_STREAMS },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LIMIT_H2_STREAM_WINDOW },
        { NGHTTP2_SETTINGS_MAX_FRAME_SIZE, LIMIT_H2_FRAME },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LIMIT_H2_HEADER_LIST },
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
    };
    const nghttp2_settings_entry client[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LIMIT_H2_STREAM_WINDOW },
        { NGHTTP2_SETTINGS_MAX_FRAME_SIZE, LIMIT_H2_FRAME },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LIMIT_H2_TRAILER_LIST },
    };

    if (c->server)
        nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, server, ARRAY_LEN(server));
    else
        nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, client, ARRAY_LEN(client));
    nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
}

static struct h2_conn *conn_new(struct stream *io, bool server)
{
    struct h2_conn *c = NEW(struct h2_conn);

    c->io = io;
    c->server = server;
    mutex_init(&c->lock);
    cond_init(&c->wake_writer);
    cond_init(&c->changed);
    c->session = session_make(c);
    submit_preface(c);
    group_open(&c->group, GROUP_DAEMON | GROUP_KEEP_GOING);
    return c;
}

static void conn_free(struct h2_conn *c)
{
    while (c->streams != NULL)
        h2_stream_delete(c->streams);
    nghttp2_session_del(c->session);
    stream_close(c->io);
    buf_deinit(&c->batch);
    cond_deinit(&c->wake_writer);
    cond_deinit(&c->changed);
    mutex_deinit(&c->lock);
    free(c);
}

void h2_wake_writer_locked(struct h2_conn *c)
{
    if (nghttp2_session_want_write(c->session))
        cond_signal(&c->wake_writer);
}

void h2_gone_locked(struct h2_conn *c)
{
    if (c->gone)
        return;
    c->gone = true;
    for (struct h2_stream *s = c->streams; s != NULL; s = s->next) {
        cond_broadcast(&s->readable);
        cond_broadcast(&s->writable);
        if (s->scope != NULL)
            scope_cancel(s->scope, NULL);
    }
    cond_signal(&c->wake_writer);
    cond_broadcast(&c->changed);
}

/* ---- handlers
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *handler_task(void *arg)
{
    struct h2_stream *s = arg;
    struct h2_conn *c = s->conn;

    c->fn(s, c->ctx);
    h2_stream_finish(s);
    mutex_lock(&c->lock);
    c->handlers--;
    mutex_unlock(&c->lock);
    return NULL;
}

static void refuse_locked(struct h2_stream *s)
{
    if (s->attached)
        nghttp2_submit_rst_stream(s->conn->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_REFUSED_STREAM);
    h2_wake_writer_locked(s->conn);
    s->used = false;
    h2_stream_drop_locked(s);
}

/* Start a handler for each request that came, oldest first.  A stream that is reset already costs no task. */
static void start_handlers(struct h2_conn *c, struct h2_stream *fresh)
{
    struct h2_stream *s = NULL;

    while (fresh != NULL) { /* reverse */
        struct h2_stream *next = fresh->next_fresh;

        fresh->next_fresh = s;
        s = fresh;
        fresh = next;
    }
    while (s != NULL) {
        struct h2_stream *next = s->next_fresh;

        mutex_lock(&c->lock);
        bool start = s->attached && !c->gone && c->handlers < LIMIT_H2_STREAMS + HANDLERS_SPARE;

        if (start)
            c->handlers++;
        else
            refuse_locked(s);
        mutex_unlock(&c->lock);
        if (start) {
            struct error *e = group_spawn_scope(&c->group, "h2-stream", s->scope, handler_task, s);

            if (e != NULL) {
                log_debug("refuse a stream", "error", e->message);
                err_free(e);
                mutex_lock(&c->lock);
                c->handlers--;
                refuse_locked(s);
                mutex_unlock(&c->lock);
            }
        }
        s = next;
    }
}

/* ---- reader and writer
 * ------------------------------------------------------------------------------------------------- */

/* False when the connection has to end. */
static bool take_bytes(struct h2_conn *c, const void *data, size_t len)
{
    mutex_lock(&c->lock);
    ssize_t n = c->gone ? -1 : nghttp2_session_mem_recv(c->session, data, len);
    struct h2_stream *fresh = TAKE(c->fresh);

    if (n < -1)
        nghttp2_session_terminate_session(c->session, n == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM
                                                                               : NGHTTP2_PROTOCOL_ERROR);
    bool go = n == (ssize_t)len && !c->over && nghttp2_session_want_read(c->session);

    h2_wake_writer_locked(c);
    mutex_unlock(&c->lock);
    if (n < -1)
        log_debug("http2 connection fails", "error", nghttp2_strerror((int)n));
    start_handlers(c, fresh);
    return go;
}

static struct error *reader_task(void *arg)
{
    struct h2_conn *c = arg;
    CLEANUP(freep) char *data = xmalloc(READ_SIZE);
    ssize_t n;
    bool ended_by_us = false;

    while ((n = stream_read(c->io, data, READ_SIZE)) > 0)
        if (!take_bytes(c, data, (size_t)n)) {
            ended_by_us = true;
            break;
        }
    mutex_lock(&c->lock);
    h2_gone_locked(c);
    mutex_unlock(&c->lock);
    if (!ended_by_us)
        group_cancel(&c->group); /* the writer may be stuck in a write that nobody will take */
    return NULL;
}

/* Frames that are ready, up to a batch. */
static void collect_locked(struct h2_conn *c)
{
    while (c->batch.len < BATCH_SIZE) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(c->session, &data);

        if (n <= 0)
            return;
        buf_add(&c->batch, data, (size_t)n);
    }
}

/* Send what is ready until nothing is: 0 or a negative errno. Locked on entry and return, not while it
 * writes. */
static int send_ready_locked(struct h2_conn *c)
{
    for (;;) {
        collect_locked(c);
        if (c->batch.len == 0)
            return 0;
        mutex_unlock(&c->lock);
        int r = stream_write_full(c->io, c->batch.data, c->batch.len);

        mutex_lock(&c->lock);
        buf_clear(&c->batch);
        if (r < 0) {
            c->write_failed = true;
            return r;
        }
    }
}

static struct error *writer_task(void *arg)
{
    struct h2_conn *c = arg;
    int r = 0;

    mutex_lock(&c->lock);
    while (r == 0 && (r = send_ready_locked(c)) == 0) {
        if (c->gone || (!nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session)))
            break;
        r = cond_wait(&c->wake_writer, &c->lock);
    }
    h2_gone_locked(c);
    c->writer_done = true;
    cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
    group_cancel(&c->group);
    return NULL;
}

/* The last frames, after reader and writer are gone: best effort. */
static void flush_last(struct h2_conn *c)
{
    struct deadline d;

    shield_begin(&d, FLUSH_NS);
    mutex_lock(&c->lock);
    if (!c->write_failed) {
        nghttp2_session_terminate_session(c->session, NGHTTP2_NO_ERROR);
        (void)!send_ready_locked(c);
    }
    mutex_unlock(&c->lock);
    shield_end(&d);
}

static struct error *start_tasks(struct h2_conn *c)
{
    TRY(group_spawn(&c->group, c->server ? "h2s-write" : "h2c-write", writer_task, c));
    struct error *e = group_spawn(&c->group, c->server ? "h2s-read" : "h2c-read", reader_task, c);

    if (err_is(e, ERR_CANCELLED)) /* the writer has failed already: a connection that is gone is no error */
        err_freep(&e);
    return e;
}

/* ---- server
 * ------------------------------------------------------------------------------------------------------------
 */

struct error *h2_serve(struct stream *io, h2_handler fn, void *ctx)
{
    struct h2_conn *c = conn_new(io, true);
    struct error *e;

    c->fn = fn;
    c->ctx = ctx;
    e = start_tasks(c);
    if (e != NULL)
        group_cancel(&c->group);
    err_free(group_join(&c->group));
    flush_last(c);
    conn_free(c);
    if (e == NULL)
        e = task_check();
    return e;
}

/* ---- client
 * ------------------------------------------------------------------------------------------------------------
 */

struct error *h2_connect(struct stream *io, struct h2_conn **ret)
{
    struct h2_conn *c = conn_new(io, false);
    struct error *e = start_tasks(c);

    if (e != NULL) {
        group_cancel(&c->group);
        err_free(group_join(&c->group));
        conn_free(c);
        return e;
    }
    *ret = c;
    return NULL;
}

/* GOAWAY goes out behind what is queued, unless the peer takes nothing. */
static void say_goodbye(struct h2_conn *c)
{
    struct deadline d;
    int r = 0;

    shield_begin(&d, CLOSE_NS);
    mutex_lock(&c->lock);
    if (!c->gone) {
        nghttp2_session_terminate_session(c->session, NGHTTP2_NO_ERROR);
        cond_signal(&c->wake_writer);
    }
    while (r == 0 && !c->writer_done)
        r = cond_wait(&c->changed, &c->lock);
    mutex_unlock(&c->lock);
    shield_end(&d);
}

void h2_close(struct h2_conn *c)
{
    if (c == NULL)
        return;
    if (task_check_sys() == 0)
        say_goodbye(c);
    group_cancel(&c->group);
    err_free(group_join(&c->group));
    flush_last(c);
    for (struct h2_stream *s = c->streams; s != NULL; s = s->next)
        assert(!s->used);
    conn_free(c);
}

void h2_abort(struct h2_conn *c)
{
    mutex_lock(&c->lock);
    h2_gone_locked(c);
    mutex_unlock(&c->lock);
    group_cancel(&c->group);
}

int h2_wait_closed(struct h2_conn *c)
{
    int r = task_check_sys();

    mutex_lock(&c->lock);
    while (r == 0 && !c->gone)
        r = cond_wait(&c->changed, &c->lock);
    mutex_unlock(&c->lock);
    return r;
}

bool h2_is_closed(struct h2_conn *c)
{
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&c->lock);

    return c->gone;
}

int h2_open(struct h2_conn *c, const struct h2_fields *fields, bool end_stream, struct h2_stream **ret)
{
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&c->lock);

    if (c->gone || !nghttp2_session_check_request_allowed(c->session))
        return -ENOTCONN;
    CLEANUP(freep) nghttp2_nv *nv = h2_fields_nv(fields);
    struct h2_stream *s = h2_stream_new(c);
    nghttp2_data_provider provider = h2_stream_provider(s);
    int32_t id = nghttp2_submit_request(c->session, NULL, nv, fields->len, end_stream ? NULL : &provider, s);

    if (id < 0) {
        h2_stream_delete(s);
        return -ENOTCONN;
    }
    s->id = id;
    s->attached = true;
    s->out_end = end_stream;
    h2_wake_writer_locked(c);
    *ret = s;
    return 0;
}
