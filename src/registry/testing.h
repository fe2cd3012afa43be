/* SPDX-License-Identifier: Apache-2.0 */
/*
 * testing.h - for the tests of this room: a server inside of the process that answers what a test wants it
 * to, a registry with one image on it, and a client with a store
 */
#ifndef MINKE_REGISTRY_TESTING_H
#define MINKE_REGISTRY_TESTING_H

#include "registry/registry.h"

#include <setjmp.h>
#include <cmocka.h>

#include "io/stream.h"
#include "task/task.h"

/* ---- a server ---- */

struct test_server {
    struct group group;
    int fd, port;           /* port 0: any that is free */
    uint32_t address;       /* 0: 127.0.0.1 */
    const char *cert, *key; /* TLS when set */
    /* One request; false: the connection ends. */
    bool (*serve)(struct test_server *t, struct stream *s);
    struct mutex lock;
    struct strv log; /* under lock: "GET /v2/.. <authorization>" */
};
/* `cert` and `key`, and an address of its own, are set before. */
void test_server_open(struct test_server *t, bool (*serve)(struct test_server *t, struct stream *s));
void test_server_close(struct test_server *t);
void test_server_note(struct test_server *t, const char *method, const char *path, const char *auth);
/* Requests that begin with `start` and hold `part`. */
size_t test_server_count(struct test_server *t, const char *start, const char *part);

/* A request up to the empty line. */
bool test_read_head(struct stream *s, struct buf *head);
/* `name`: "\r\nRange: ". "" when it is not there. */
void test_header_value(const char *head, const char *name, char *ret, size_t cap);

/* ---- a registry to pull from ---- */

struct request {
    char method[8], path[512];
    char *head; /* all header lines, the body behind them */
    char auth[512], range[64];
    const char *mode; /* the registry's, at that time */
};

struct fake {
    struct test_server server;
    /* Append the raw answer; false: close the connection behind it. */
    bool (*answer)(struct fake *f, const struct request *q, struct buf *out);
    int count; /* under the server's lock: requests so far */
    struct buf blob;
    struct digest blob_digest, manifest_digest;
    char *manifest;
    const char *mode; /* under the server's lock: of the test's answer function */
    struct fake *other;
};
void fake_open(struct fake *f, bool (*answer)(struct fake *f, const struct request *q, struct buf *out));
void fake_close(struct fake *f);
void fake_set_mode(struct fake *f, const char *mode);

bool reply(struct buf *out, const char *status, const char *headers, const char *body, size_t len, bool head);
bool reply_manifest(struct fake *f, const struct request *q, struct buf *out);
bool reply_blob(struct fake *f, const struct request *q, struct buf *out);
/* A registry as it should be. */
bool honest(struct fake *f, const struct request *q, struct buf *out);

/* ---- a client ---- */

struct test_client {
    char root[40];
    struct store *store;
    struct lease *lease;
    struct registry_config config;
    struct registry *registry;
    struct reference ref; /* localhost:PORT/lib/img:latest */
};
void test_client_open(struct test_client *c, int port);
void test_client_close(struct test_client *c);
struct error *test_resolve(struct test_client *c, const struct registry_auth *auth, struct descriptor *ret);
struct error *test_fetch(struct test_client *c, struct fake *f, const struct registry_auth *auth);
void assert_blob_there(struct test_client *c, struct fake *f);
void assert_blob_missing(struct test_client *c, struct fake *f);

void expect_error(struct error *e, enum error_kind kind, const char *part);
void expect_ok(struct error *e);

#endif
