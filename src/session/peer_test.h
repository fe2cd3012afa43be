/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_test.h - for tests: a client process inside ours, and the session it opened
 */
#ifndef MINKE_SESSION_PEER_TEST_H
#define MINKE_SESSION_PEER_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "session/session.h"
#include "task/task.h"

struct peer {
    struct session_manager *manager;
    struct group group;
    struct rpc_server server;
    struct strv methods;
    struct stream *client_end, *daemon_end;
    struct session_group sessions;
    struct session *session;
    const char *id;
};

static inline struct error *peer_client(void *arg)
{
    struct peer *p = arg;
    struct error *e = rpc_serve_stream(&p->server, TAKE(p->client_end));

    err_free(e); /* the connection's end, whatever it was */
    return NULL;
}

static inline struct error *peer_daemon(void *arg)
{
    struct peer *p = arg;
    struct session_hello h = { .id = p->id,
                               .name = "test",
                               .shared_key = "a%20b",
                               .shared_key_encoded = true,
                               .methods = &p->methods,
                               .health_ms = NULL };

    return session_serve(p->manager, &h, TAKE(p->daemon_end));
}

/* A client with these services; all their methods are announced. */
static inline void peer_init(struct peer *p, const struct rpc_service *const *services, size_t count)
{
    *p = (struct peer){ .server = { services, count }, .id = "peer1" };
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < services[i]->method_count; k++)
            strv_addf(&p->methods, "/%s/%s", services[i]->name, services[i]->methods[k].name);
    p->manager = session_manager_new();
    p->sessions.manager = p->manager;
    strv_add(&p->sessions.ids, p->id);
    stream_pair(&p->client_end, &p->daemon_end, 64 * KIB);
    group_open(&p->group, GROUP_KEEP_GOING);
    assert_null(group_spawn(&p->group, "client", peer_client, p));
    assert_null(group_spawn(&p->group, "daemon", peer_daemon, p));
    assert_null(session_get(p->manager, p->id, &p->session));
}

static inline void peer_deinit(struct peer *p)
{
    session_unref(p->session);
    group_cancel(&p->group);
    err_free(group_join(&p->group));
    session_manager_free(p->manager);
    strv_deinit(&p->methods);
    strv_deinit(&p->sessions.ids);
}

/* The message of an error that must be there. */
static inline void expect_error(struct error *e, enum error_kind kind, const char *part)
{
    assert_non_null(e);
    if (e->kind != kind || strstr(e->message, part) == NULL)
        fail_msg("got \"%s\" (%s), expected \"%s\" (%s)", e->message, err_kind_name(e->kind), part,
                 err_kind_name(kind));
    err_free(e);
}

static inline void expect_ok(struct error *e)
{
    if (e != NULL)
        fail_msg("unexpected error: %s", e->message);
}

#endif
