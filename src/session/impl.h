/* SPDX-License-Identifier: Apache-2.0 */
/*
 * impl.h - what the files of this room share: the inside of a session and of the manager
 */
#ifndef MINKE_SESSION_IMPL_H
#define MINKE_SESSION_IMPL_H

#include "session/session.h"
#include "task/task.h"

#define SESSION_SALT_LEN 32

struct session_manager {
    struct mutex lock;
    struct cond changed;            /* a session came, went, or lost a reference */
    struct map sessions;            /* under lock: by id */
    struct map tokens;              /* under lock: bearer tokens by who may use them (auth.c) */
    uint8_t salt[SESSION_SALT_LEN]; /* of token authorities, fresh with each daemon */
};

struct session {
    struct session_manager *manager;
    char *id, *name, *shared_key;
    struct strv methods; /* lower case */
    struct rpc_conn *conn;
    size_t refs; /* under the manager's lock; without session_serve's own */
    bool ended;  /* under the manager's lock */
};

/* meta.c: request headers of FileSync. Adds `key` once per value; when one value is not plain ASCII, all are
 * query-escaped and
 * "<key>-encoded: 1" follows (protocol.md 4.5). */
void session_md_add(struct rpc_md *md, const char *key, const struct strv *values);
/* Go's url.QueryUnescape; a value that cannot be unescaped is returned as it is. New string. */
char *session_query_unescape(const char *s);

#endif
