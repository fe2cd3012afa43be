/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/exchange_impl.h"

#include <errno.h>
#include <netinet/in.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/netns.h"

/* curl's own stall rule: slower than this for that long is a broken connection. */
#define STALL_BYTES_PER_SECOND 64L
#define STALL_SECONDS 60L
#define CONNECT_TIMEOUT_MS 30000L

void exchange_tls_deinit(struct exchange_tls *t)
{
    free(t->ca_pem);
    free(t->cert_file);
    free(t->key_file);
    *t = (struct exchange_tls){ 0 };
}

/* ---- curl's callbacks of one exchange ---- */

static size_t on_header(char *data, size_t one, size_t len, void *ctx)
{
    struct exchange *x = ctx;
    size_t n = len;

    while (n > 0 && (data[n - 1] == '\r' || data[n - 1] == '\n'))
        n--;
    x->header_bytes += len;
    if (x->header_bytes > LIMIT_HTTP_HEADER_BYTES || x->headers.len >= LIMIT_HTTP_HEADERS) {
        x->too_many_headers = true;
        return 0;
    }
    if (n >= 5 && memcmp(data, "HTTP/", 5) == 0 && memchr(data, ':', MIN(n, (size_t)12)) == NULL) {
        /* a new header block: what came before was 1xx or a proxy's answer */
        strv_clear(&x->headers);
        free(x->status_line);
        CLEANUP(freep) char *line = xstrndup(data, n);
        const char *space = strchr(line, ' ');

        x->status_line = xstrdup(space != NULL ? space + 1 : "");
        x->status = (int)strtol(x->status_line, NULL, 10);
    } else if (n == 0) {
        x->headers_done = x->status >= 200;
    } else {
        strv_addn(&x->headers, data, n);
    }
    return len;
}

static size_t on_body(char *data, size_t one, size_t len, void *ctx)
{
    struct exchange *x = ctx;

    if (x->body.len - x->body_read >= EXCHANGE_READ_AHEAD) {
        x->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    buf_add(&x->body, data, len);
    return len;
}

/* The body that we send.  A stream that ends early must not become a shorter body. */
static size_t on_upload(char *buf, size_t one, size_t cap, void *ctx)
{
    struct exchange *x = ctx;
    bool known = x->upload_size >= 0;
    size_t want = known ? (size_t)MIN((int64_t)(one * cap), x->upload_left) : one * cap;

    if (want == 0)
        return 0;
    if (x->upload == NULL) {
        x->upload_error = -ECANCELED;
        return CURL_READFUNC_ABORT;
    }
    ssize_t n = stream_read(x->upload, buf, want);

    if (n == 0 && !known)
        return 0;
    if (n <= 0) {
        x->upload_error = n < 0 ? (int)n : -EPIPE;
        return CURL_READFUNC_ABORT;
    }
    x->upload_left -= n;
    if (x->sent != NULL)
        x->sent(x->sent_ctx, x->upload_size - x->upload_left);
    return (size_t)n;
}

static bool link_local(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        uint32_t ip = ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr);

        return (ip >> 16) == 0xa9fe;
    }
    if (a->sa_family == AF_INET6) {
        const struct in6_addr *ip = &((const struct sockaddr_in6 *)a)->sin6_addr;

        return IN6_IS_ADDR_LINKLOCAL(ip) ||
               (IN6_IS_ADDR_V4MAPPED(ip) && ip->s6_addr[12] == 169 && ip->s6_addr[13] == 254);
    }
    return false;
}

static curl_socket_t on_open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct exchange *x = ctx;

    if (x->redirected && link_local(&address->addr)) {
        x->refused_address = true;
        return CURL_SOCKET_BAD;
    }
    if (x->egress_netns_fd >= 0) {
        int fd = netns_socket(x->egress_netns_fd, address->family, address->socktype | SOCK_CLOEXEC,
                              address->protocol);

        return fd < 0 ? CURL_SOCKET_BAD : fd;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* ---- one exchange ---- */

/* Go programs read HTTP_PROXY too, curl only the lower-case name. */
static void set_proxy(const struct curl_api *curl, CURL *easy, const char *url)
{
    const char *upper = getenv("HTTP_PROXY");

    if (str_has_prefix(url, "http://") && upper != NULL && getenv("http_proxy") == NULL)
        curl->easy_setopt(easy, CURLOPT_PROXY, upper);
}

static void set_tls(const struct curl_api *curl, struct exchange *x, const struct exchange_tls *t)
{
    if (t == NULL)
        return;
    if (t->ca_pem != NULL) {
        struct curl_blob blob = { .data = t->ca_pem, .len = strlen(t->ca_pem), .flags = CURL_BLOB_COPY };

        curl->easy_setopt(x->easy, CURLOPT_CAINFO_BLOB, &blob);
    }
    if (t->cert_file != NULL)
        curl->easy_setopt(x->easy, CURLOPT_SSLCERT, t->cert_file);
    if (t->key_file != NULL)
        curl->easy_setopt(x->easy, CURLOPT_SSLKEY, t->key_file);
    if (t->insecure) {
        curl->easy_setopt(x->easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl->easy_setopt(x->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static void set_upload(const struct curl_api *curl, struct exchange *x, const struct exchange_request *q)
{
    CURL *e = x->easy;

    x->upload = q->upload;
    x->upload_left = x->upload_size = q->upload_size;
    x->sent = q->sent;
    x->sent_ctx = q->sent_ctx;
    curl->easy_setopt(e, CURLOPT_UPLOAD, 1L);
    curl->easy_setopt(e, CURLOPT_READFUNCTION, on_upload);
    curl->easy_setopt(e, CURLOPT_READDATA, x);
    curl->easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->upload_size);
    curl->easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 256L * 1024);
}

static bool sends(const struct exchange *x, const char *name)
{
    for (const struct curl_slist *h = x->send_headers; h != NULL; h = h->next)
        if (strncasecmp(h->data, name, strlen(name)) == 0)
            return true;
    return false;
}

static void set_egress(const struct curl_api *curl, struct exchange *x, const struct exchange_egress *g)
{
    x->egress_netns_fd = g->netns_fd;
    curl->easy_setopt(x->easy, CURLOPT_PROXY, g->proxy);
    curl->easy_setopt(x->easy, CURLOPT_USERAGENT, NULL);
    curl->easy_setopt(x->easy, CURLOPT_LOW_SPEED_LIMIT, 0L);
    curl->easy_setopt(x->easy, CURLOPT_PATH_AS_IS, 1L);
    if (!sends(x, "Accept:"))
        x->send_headers = curl->slist_append(x->send_headers, "Accept:"); /* which curl leaves out, then */
    if (x->upload != NULL && !sends(x, "Content-Type:"))
        x->send_headers = curl->slist_append(x->send_headers, "Content-Type:");
    curl->easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->send_headers);
}

static void set_request(const struct curl_api *curl, struct exchange *x, const struct exchange_request *q)
{
    CURL *e = x->easy;

    curl->easy_setopt(e, CURLOPT_URL, q->url);
    curl->easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    if (streq(q->method, "HEAD")) {
        curl->easy_setopt(e, CURLOPT_NOBODY, 1L);
    } else if (q->egress != NULL) {
        if (q->upload != NULL)
            set_upload(curl, x, q);
        else
            curl->easy_setopt(e, CURLOPT_HTTPGET, 1L);
        curl->easy_setopt(e, CURLOPT_CUSTOMREQUEST, q->method);
    } else if (streq(q->method, "PUT")) {
        set_upload(curl, x, q);
    } else if (streq(q->method, "POST")) {
        x->request_body = xstrdup(q->body != NULL ? q->body : "");
        curl->easy_setopt(e, CURLOPT_POSTFIELDS, x->request_body);
        curl->easy_setopt(e, CURLOPT_POSTFIELDSIZE, (long)strlen(x->request_body));
    } else {
        curl->easy_setopt(e, CURLOPT_HTTPGET, 1L);
    }
    for (size_t i = 0; q->headers != NULL && i < q->headers->len; i++)
        x->send_headers = curl->slist_append(x->send_headers, q->headers->v[i]);
    x->send_headers = curl->slist_append(x->send_headers, "Expect:");
    curl->easy_setopt(e, CURLOPT_HTTPHEADER, x->send_headers);
    if (q->egress != NULL)
        set_egress(curl, x, q->egress);
    else
        set_proxy(curl, e, q->url);
    set_tls(curl, x, q->tls);
}

static void set_policy(const struct curl_api *curl, struct exchange *x)
{
    CURL *e = x->easy;

    curl->easy_setopt(e, CURLOPT_ERRORBUFFER, x->failure);
    curl->easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl->easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    /* one connection per exchange: several downloads are faster side by side than inside one HTTP/2 window */
    curl->easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl->easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl->easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl->easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl->easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl->easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES_PER_SECOND);
    curl->easy_setopt(e, CURLOPT_LOW_SPEED_TIME, STALL_SECONDS);
    curl->easy_setopt(e, CURLOPT_BUFFERSIZE, 64L * 1024);
    /* a cancelled request does not wait for a resolver that hangs */
    curl->easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
    curl->easy_setopt(e, CURLOPT_USERAGENT, x->client->user_agent);
    curl->easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl->easy_setopt(e, CURLOPT_HEADERDATA, x);
    curl->easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl->easy_setopt(e, CURLOPT_WRITEDATA, x);
    curl->easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl->easy_setopt(e, CURLOPT_OPENSOCKETDATA, x);
}

static void collect_result(struct exchange *x)
{
    int left = 0;

    for (CURLMsg *m; (m = x->curl->multi_info_read(x->conn->multi, &left)) != NULL;) {
        if (m->msg != CURLMSG_DONE || m->easy_handle != x->easy)
            continue;
        x->result = m->data.result;
        x->finished = true;
        if (x->result != CURLE_OK && x->failure[0] == '\0')
            snprintf(x->failure, sizeof(x->failure), "%s", x->curl->easy_strerror(x->result));
    }
}

/* Wait for curl's descriptors or its timer. 0, -ECANCELED, -ETIMEDOUT of the caller's scope. */
static int wait_conn(struct exchange_conn *c, int64_t timer_ns)
{
    int64_t left = timer_ns < 0 ? -1 : MAX(timer_ns - monotonic_ns(), INT64_C(1));
    struct deadline d;
    int r;

    if (c->fd_count == 0)
        return task_sleep(left < 0 ? NS_PER_SEC : left);
    if (left < 0)
        return task_wait_fds(c->fds, c->fd_count);
    deadline_begin(&d, left);
    r = task_wait_fds(c->fds, c->fd_count);
    deadline_end(&d);
    return r == -ETIMEDOUT ? task_check_sys() : r;
}

static int turn(struct exchange *x)
{
    struct exchange_conn *c = x->conn;
    int running;

    for (size_t i = 0; i < c->fd_count; i++)
        c->fds[i].revents = 0;
    if (c->timer_ns < 0 || c->timer_ns > monotonic_ns()) {
        int r = wait_conn(c, c->timer_ns);

        if (r < 0)
            return r;
    } else {
        int r = task_check_sys();

        if (r < 0)
            return r;
    }
    if (c->timer_ns >= 0 && c->timer_ns <= monotonic_ns()) {
        c->timer_ns = -1;
        x->curl->multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    /* curl edits the list while we walk it: look at each ready descriptor once, from a copy */
    struct pollfd ready[8];
    size_t n = 0;

    for (size_t i = 0; i < c->fd_count && n < ARRAY_LEN(ready); i++)
        if (c->fds[i].revents != 0)
            ready[n++] = c->fds[i];
    for (size_t i = 0; i < n; i++) {
        int mask = ((ready[i].revents & (POLLIN | POLLHUP)) != 0 ? CURL_CSELECT_IN : 0) |
                   ((ready[i].revents & POLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                   ((ready[i].revents & (POLLERR | POLLNVAL)) != 0 ? CURL_CSELECT_ERR : 0);

        x->curl->multi_socket_action(c->multi, ready[i].fd, mask, &running);
    }
    collect_result(x);
    return 0;
}

static struct error *client_curl(struct exchange_pool *c, const struct curl_api **ret)
{
    TRY(curl_api_get(ret));
    mutex_lock(&c->lock);
    c->curl = *ret;
    mutex_unlock(&c->lock);
    return NULL;
}

struct error *exchange_open(struct exchange_pool *c, const struct exchange_request *q, struct exchange **ret)
{
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    CLEANUP(freep) char *origin = NULL;
    const struct curl_api *curl;

    TRY(task_check());
    TRY(client_curl(c, &curl));
    TRY(exchange_url_origin(q->url, &origin));
    x = NEW(struct exchange);
    x->client = c;
    x->curl = curl;
    x->redirected = q->redirected;
    x->egress_netns_fd = -1;
    x->url = xstrdup(q->url);
    x->conn = exchange_pool_get(c, curl, origin);
    x->easy = curl->easy_init();
    if (x->easy == NULL)
        abort(); /* out of memory */
    set_policy(curl, x);
    set_request(curl, x, q);
    CURLMcode m = curl->multi_add_handle(x->conn->multi, x->easy);

    if (m != CURLM_OK)
        return err_new(ERR_INTERNAL, "start a request: %s", curl->multi_strerror(m));
    if (x->conn->timer_ns < 0)
        x->conn->timer_ns = 0;
    while (!x->headers_done && !x->finished) {
        int r = turn(x);

        if (r < 0)
            return task_error(r, "%s %s", q->method, q->url);
    }
    if (!x->headers_done)
        return exchange_failed(x, q);
    *ret = TAKE(x);
    return NULL;
}

int exchange_status(const struct exchange *x)
{
    return x->status;
}

void exchange_forget_upload(struct exchange *x)
{
    x->upload = NULL;
}

const char *exchange_url(const struct exchange *x)
{
    return x->url;
}

const char *exchange_status_line(const struct exchange *x)
{
    return x->status_line;
}

const char *exchange_header_next(const struct exchange *x, const char *name, size_t *pos)
{
    size_t len = strlen(name);

    for (size_t i = *pos; i < x->headers.len; i++) {
        const char *h = x->headers.v[i];

        if (strncasecmp(h, name, len) != 0 || h[len] != ':')
            continue;
        *pos = i + 1;
        return h + len + 1 + strspn(h + len + 1, " \t");
    }
    *pos = x->headers.len;
    return NULL;
}

const char *exchange_header(const struct exchange *x, const char *name)
{
    size_t pos = 0;

    return exchange_header_next(x, name, &pos);
}

const struct strv *exchange_headers(const struct exchange *x)
{
    return &x->headers;
}

int64_t exchange_content_length(const struct exchange *x)
{
    const char *text = exchange_header(x, "Content-Length");
    int64_t n;

    return text != NULL && parse_i64(text, &n) == 0 && n >= 0 ? n : -1;
}

static int body_failure(const struct exchange *x)
{
    return x->result == CURLE_WEIRD_SERVER_REPLY || x->result == CURLE_BAD_CONTENT_ENCODING ? -EPROTO
                                                                                            : -ECONNRESET;
}

ssize_t exchange_read(struct exchange *x, void *buf, size_t cap)
{
    while (x->body_read == x->body.len) {
        buf_clear(&x->body);
        x->body_read = 0;
        if (x->paused) {
            x->paused = false;
            x->curl->easy_pause(x->easy, CURLPAUSE_CONT); /* may call on_body at once */
            collect_result(x);
            continue;
        }
        if (x->finished)
            return x->result == CURLE_OK ? 0 : body_failure(x);
        int r = turn(x);

        if (r < 0)
            return r;
    }
    size_t n = MIN(cap, x->body.len - x->body_read);

    memcpy(buf, x->body.data + x->body_read, n);
    x->body_read += n;
    return (ssize_t)n;
}

const char *exchange_failure(const struct exchange *x)
{
    return x->failure;
}

void exchange_close(struct exchange *x)
{
    if (x == NULL)
        return;
    bool reusable = x->finished && x->result == CURLE_OK;

    if (x->easy != NULL) {
        x->curl->multi_remove_handle(x->conn->multi, x->easy);
        x->curl->easy_cleanup(x->easy);
    }
    x->curl->slist_free_all(x->send_headers);
    if (reusable)
        exchange_pool_put(x->client, x->curl, x->conn);
    else
        exchange_conn_free(x->curl, x->conn);
    strv_deinit(&x->headers);
    buf_deinit(&x->body);
    free(x->status_line);
    free(x->request_body);
    free(x->url);
    free(x);
}

void exchange_closep(struct exchange **x)
{
    exchange_close(*x);
    *x = NULL;
}
