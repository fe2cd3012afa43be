/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/serve.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TLS_HANDSHAKE_TIMEOUT (10 * NS_PER_SEC)
#define BUSY_CHECK (10 * NS_PER_MS)       /* between two looks at what still runs */
#define EXHAUSTED_PAUSE (100 * NS_PER_MS) /* before accepting again without descriptors */

struct connection {
    struct server *server;
    struct stream *stream;
    int fd; /* the stream's */
    bool tls;
};

struct acceptor {
    struct server *server;
    const struct listener *listener;
};

/* ---- one connection ---- */

static void connection_free(struct connection *c)
{
    stream_close(c->stream);
    atomic_fetch_sub(&c->server->open, 1);
    free(c);
}

static void connection_freep(struct connection **c)
{
    if (*c != NULL)
        connection_free(*c);
}

/* A client that does not know of TLS: told so in plain words, as Go's server does. */
static bool is_plain_http(struct connection *c)
{
    static const char *const starts[] = { "GET /", "HEAD ", "POST ", "PUT /", "OPTIO" };
    char head[5];

    if (task_wait_fd(c->fd, POLLIN) < 0 ||
        recv(c->fd, head, sizeof(head), MSG_PEEK | MSG_DONTWAIT) < (ssize_t)sizeof(head))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(starts); i++)
        if (memcmp(head, starts[i], sizeof(head)) == 0)
            return true;
    return false;
}

static struct error *answer_plain_http(struct connection *c)
{
    static const char text[] =
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    char rest[4096];

    (void)!recv(c->fd, rest, sizeof(rest),
                MSG_DONTWAIT); /* what is left unread would reset the answer away */
    (void)!stream_write_full(c->stream, text, sizeof(text) - 1);
    return err_new(ERR_INVALID, "client sent an HTTP request to an HTTPS server");
}

static struct error *start_tls(struct connection *c)
{
    const struct config *config = c->server->config;
    struct tls_server_config tls = {
        .cert_file = config->tls_cert,
        .key_file = config->tls_key,
        .ca_file = config->tls_verify && config->tls_ca[0] != '\0' ? config->tls_ca : NULL,
    };
    struct stream *secured = NULL;
    struct deadline d;

    deadline_begin(&d, TLS_HANDSHAKE_TIMEOUT);
    struct error *e = is_plain_http(c) ? answer_plain_http(c) : stream_tls_server(c->stream, &tls, &secured);

    deadline_end(&d);
    if (e == NULL)
        c->stream = secured;
    return e;
}

static struct error *serve_connection(void *arg)
{
    CLEANUP(connection_freep) struct connection *c = arg;

    if (c->tls) {
        struct error *e = start_tls(c);

        if (e != NULL) { /* somebody without a certificate: not our failure */
            log_debug("TLS handshake failed", "error", e->message);
            err_free(e);
            return NULL;
        }
    }
    return c->server->service.connection(TAKE(c->stream), c->server->service.ctx);
}

/* Say why before the line goes dead; who does not read it at once does not get it. */
static void refuse(int fd)
{
    static const char text[] =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
        "Content-Length: 35\r\n\r\n{\"message\":\"too many connections\"}\n";
    ssize_t n = send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);

    (void)n;
    (void)close(fd);
    log_warn("refused a connection", "reason", "too many connections");
}

static void start_connection(struct server *s, const struct listener *l, int fd)
{
    int one = 1;

    if (atomic_fetch_add(&s->open, 1) >= LIMIT_CONNECTIONS) {
        atomic_fetch_sub(&s->open, 1);
        refuse(fd);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
                     sizeof(one)); /* fails on unix sockets, which need it not */
    struct connection *c = NEW(struct connection);

    *c = (struct connection){ .server = s, .fd = fd, .tls = l->tls };
    c->stream = stream_from_fd(fd);
    struct error *e = group_spawn(&s->connections, "connection", serve_connection, c);

    if (e != NULL) {
        log_err(LOG_WARN, e, "refused a connection");
        connection_free(c);
    }
}

/* ---- accepting ---- */

static bool is_exhausted(int errnum)
{
    return errnum == EMFILE || errnum == ENFILE || errnum == ENOBUFS || errnum == ENOMEM;
}

static struct error *accept_loop(void *arg)
{
    CLEANUP(freep) struct acceptor *a = arg;

    task_waiting(a->listener->address);
    for (;;) {
        int fd = accept4(a->listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), r = 0;

        if (fd >= 0)
            start_connection(a->server, a->listener, fd);
        else if (errno == EAGAIN)
            r = task_wait_fd(a->listener->fd, POLLIN);
        else if (is_exhausted(errno))
            r = task_sleep(EXHAUSTED_PAUSE);
        else if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO)
            return err_sys(errno, "accept on %s", a->listener->address);
        if (r == 0)
            r = task_check_sys();
        if (r < 0)
            return task_error(r, "accept on %s", a->listener->address);
    }
}

struct error *server_start(struct server *s, const struct config *c, struct listeners *l,
                           const struct service *service)
{
    *s = (struct server){ .config = c, .listeners = l, .service = *service };
    group_open(&s->connections, GROUP_DAEMON);
    group_open(&s->accepting, GROUP_DAEMON);
    for (size_t i = 0; i < l->len; i++) {
        struct acceptor *a = NEW(struct acceptor);

        *a = (struct acceptor){ .server = s, .listener = &l->v[i] };
        struct error *e = group_spawn(&s->accepting, "accept", accept_loop, a);

        if (e != NULL) {
            free(a);
            server_stop(s, 0);
            return e;
        }
        log_info("API listen on", "address", l->v[i].address);
    }
    return NULL;
}

void server_stop(struct server *s, int64_t timeout_ns)
{
    struct deadline d;

    group_deinit(&s->accepting);
    listeners_close(s->listeners);
    deadline_begin(&d, timeout_ns);
    while (timeout_ns > 0 && s->service.busy(s->service.ctx) > 0)
        if (task_sleep(BUSY_CHECK) < 0)
            break;
    deadline_end(&d);
    group_deinit(&s->connections);
}
