/* SPDX-License-Identifier: Apache-2.0 */
/* exchange_pool.c - connections: each a multi handle of curl's with what it waits for, kept for a while when
 * idle */
#include "registry/exchange_impl.h"

#include "base/bytes.h"

#define IDLE_CONNECTIONS 8
#define IDLE_NS (30 * NS_PER_SEC)

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *unused)
{
    struct exchange_conn *c = ctx;
    size_t i = 0;

    while (i < c->fd_count && c->fds[i].fd != fd)
        i++;
    if (what == CURL_POLL_REMOVE) {
        if (i < c->fd_count)
            c->fds[i] = c->fds[--c->fd_count];
        return 0;
    }
    if (i == c->fd_count) {
        if (c->fd_count == c->fd_cap) {
            c->fd_cap = c->fd_cap == 0 ? 4 : c->fd_cap * 2;
            c->fds = xreallocarray(c->fds, c->fd_cap, sizeof(*c->fds));
        }
        c->fd_count++;
    }
    c->fds[i] = (struct pollfd){ .fd = fd,
                                 .events = (short)(((what & CURL_POLL_IN) != 0 ? POLLIN : 0) |
                                                   ((what & CURL_POLL_OUT) != 0 ? POLLOUT : 0)) };
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    struct exchange_conn *c = ctx;

    c->timer_ns = timeout_ms < 0 ? -1 : monotonic_ns() + timeout_ms * NS_PER_MS;
    return 0;
}

void exchange_conn_free(const struct curl_api *curl, struct exchange_conn *c)
{
    curl->multi_cleanup(c->multi);
    free(c->origin);
    free(c->fds);
    free(c);
}

static struct exchange_conn *conn_new(const struct curl_api *curl, const char *origin)
{
    struct exchange_conn *c = NEW(struct exchange_conn);

    c->multi = curl->multi_init();
    if (c->multi == NULL)
        abort(); /* out of memory */
    c->origin = xstrdup(origin);
    c->timer_ns = -1;
    curl->multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl->multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl->multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl->multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl->multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 1L);
    return c;
}

/* Unlink idle connections that are older than `max_age_ns`; the caller frees the list. */
static struct exchange_conn *take_old_locked(struct exchange_pool *c, int64_t max_age_ns)
{
    struct exchange_conn *old = NULL, **at = &c->idle;
    int64_t now = monotonic_ns();

    while (*at != NULL) {
        struct exchange_conn *one = *at;

        if (now - one->idle_since_ns < max_age_ns) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        one->next = old;
        old = one;
        c->idle_count--;
    }
    return old;
}

static void free_list(const struct curl_api *curl, struct exchange_conn *list)
{
    while (list != NULL) {
        struct exchange_conn *next = list->next;

        exchange_conn_free(curl, list);
        list = next;
    }
}

struct exchange_conn *exchange_pool_get(struct exchange_pool *c, const struct curl_api *curl,
                                        const char *origin)
{
    struct exchange_conn *found = NULL;

    mutex_lock(&c->lock);
    struct exchange_conn *old = take_old_locked(c, IDLE_NS);

    for (struct exchange_conn **at = &c->idle; *at != NULL; at = &(*at)->next) {
        if (!streq((*at)->origin, origin))
            continue;
        found = *at;
        *at = found->next;
        found->next = NULL;
        c->idle_count--;
        break;
    }
    mutex_unlock(&c->lock);
    free_list(curl, old);
    return found != NULL ? found : conn_new(curl, origin);
}

void exchange_pool_put(struct exchange_pool *c, const struct curl_api *curl, struct exchange_conn *conn)
{
    conn->idle_since_ns = monotonic_ns();
    mutex_lock(&c->lock);
    if (c->idle_count < IDLE_CONNECTIONS) {
        conn->next = c->idle;
        c->idle = conn;
        c->idle_count++;
        conn = NULL;
    }
    mutex_unlock(&c->lock);
    if (conn != NULL)
        exchange_conn_free(curl, conn);
}

struct exchange_pool *exchange_pool_new(const char *user_agent)
{
    struct exchange_pool *c = NEW(struct exchange_pool);

    c->user_agent = xstrdup(user_agent != NULL ? user_agent : "minke");
    mutex_init(&c->lock);
    return c;
}

void exchange_pool_trim(struct exchange_pool *c)
{
    mutex_lock(&c->lock);
    struct exchange_conn *old = take_old_locked(c, 0);

    mutex_unlock(&c->lock);
    free_list(c->curl, old);
}

void exchange_pool_free(struct exchange_pool *c)
{
    if (c == NULL)
        return;
    free_list(c->curl, c->idle);
    mutex_deinit(&c->lock);
    free(c->user_agent);
    free(c);
}
