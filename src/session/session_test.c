/* SPDX-License-Identifier: Apache-2.0 */
#include "session/session.h"

#include <openssl/evp.h>

#include "registry/registry.h"
#include "session/peer_test.h"
#include "session/sync.h"
#include "wire/pb.h"

/* ---- what the client offers ---- */

struct client {
    struct mutex lock;
    struct strv log; /* under lock */
    struct buf file; /* what FileSend brought */
    bool have_it, full;
    int dir; /* FileSend as a tree */
    EVP_PKEY *authority;
    bool forged, no_authority, health_fails;
    int tokens;
    struct buf blob; /* Content */
    struct semaphore hanging;
};

static void note(struct client *c, const char *what)
{
    mutex_lock(&c->lock);
    strv_add(&c->log, what);
    mutex_unlock(&c->lock);
}

static bool noted(struct client *c, const char *what)
{
    mutex_lock(&c->lock);
    bool there = strv_has(&c->log, what);

    mutex_unlock(&c->lock);
    return there;
}

static void note_metadata(struct client *c, struct rpc_call *call)
{
    const struct rpc_md *md;

    assert_null(rpc_metadata(call, &md));
    for (size_t i = 0; i < md->len; i++) {
        CLEANUP(freep) char *line = xasprintf("%s=%s", md->v[i].key, md->v[i].value);

        note(c, line);
    }
}

static struct error *file_send(struct rpc_call *call, void *ctx)
{
    struct client *c = ctx;
    CLEANUP(stream_closep) struct stream *s = NULL;

    note_metadata(c, call);
    if (c->full)
        return err_new(ERR_UNKNOWN, "no space left on the client");
    if (c->have_it)
        return err_new(ERR_EXISTS, "target already exists");
    if (c->dir > 0) {
        struct sync_options o = { 0 };
        struct sync_index index = { 0 };
        struct error *e = sync_receive(call, &o, c->dir, &index);

        sync_index_deinit(&index);
        return e;
    }
    TRY(rpc_tunnel(call, &s));
    int r = stream_read_all(s, &c->file, 64 * MIB);

    return r < 0 ? task_error(r, "receive") : NULL;
}

static struct error *get_secret(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Sess__GetSecretRequest *request;
    Sess__GetSecretResponse response = SESS__GET_SECRET_RESPONSE__INIT;
    CLEANUP(freep) char *large = xcalloc(1, LIMIT_SECRET + 1);

    TRY(rpc_recv_one(call, &sess__get_secret_request__descriptor, &arena, &request));
    if (streq(request->id, "large"))
        response.data = pb_bytes(large, LIMIT_SECRET + 1);
    else if (streq(request->id, "full"))
        response.data = pb_bytes(large, LIMIT_SECRET);
    else if (streq(request->id, "pw"))
        response.data = pb_bytes("hun\0ter", 7);
    else if (streq(request->id, "hang")) {
        semaphore_release(&((struct client *)ctx)->hanging, 1);
        return task_error(task_sleep(3600 * NS_PER_SEC), "hang");
    } else
        return err_new(ERR_NOT_FOUND, "no such secret");
    return rpc_send(call, &response.base);
}

static struct error *check_agent(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Sess__CheckAgentRequest *request;
    Sess__CheckAgentResponse response = SESS__CHECK_AGENT_RESPONSE__INIT;

    TRY(rpc_recv_one(call, &sess__check_agent_request__descriptor, &arena, &request));
    if (*request->id != '\0')
        return err_new(ERR_UNKNOWN, "unset ssh forward key %s", request->id);
    return rpc_send(call, &response.base);
}

/* An agent that answers in upper case and hangs up after a full stop. */
static struct error *forward_agent(struct rpc_call *call, void *ctx)
{
    CLEANUP(stream_closep) struct stream *s = NULL;
    char c;

    note_metadata(ctx, call);
    TRY(rpc_tunnel(call, &s));
    while (stream_read(s, &c, 1) == 1 && c != '.') {
        c = c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
        if (stream_write_full(s, &c, 1) < 0)
            break;
    }
    return NULL;
}

static struct error *pull(struct rpc_call *call, void *ctx)
{
    CLEANUP(stream_closep) struct stream *s = NULL;
    char block[5000];

    note_metadata(ctx, call);
    TRY(rpc_tunnel(call, &s));
    memset(block, 'u', sizeof(block));
    for (int i = 0; i < 20; i++)
        if (stream_write_full(s, block, sizeof(block)) < 0)
            break;
    return NULL;
}

static struct error *check_health(struct rpc_call *call, void *ctx)
{
    struct client *c = ctx;
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Health__CheckRequest *request;
    Health__CheckResponse response = HEALTH__CHECK_RESPONSE__INIT;

    TRY(rpc_recv_one(call, &health__check_request__descriptor, &arena, &request));
    note(c, "health");
    if (c->health_fails)
        return err_new(ERR_INTERNAL, "ill");
    response.status = HEALTH__SERVING_STATUS__SERVING;
    return rpc_send(call, &response.base);
}

/* ---- Auth: as the client of buildx does it ---- */

static struct error *get_authority(struct rpc_call *call, void *ctx)
{
    struct client *c = ctx;
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Sess__GetTokenAuthorityRequest *request;
    Sess__GetTokenAuthorityResponse response = SESS__GET_TOKEN_AUTHORITY_RESPONSE__INIT;
    uint8_t key[32];
    size_t len = sizeof(key);

    TRY(rpc_recv_one(call, &sess__get_token_authority_request__descriptor, &arena, &request));
    if (c->no_authority)
        return err_new(ERR_UNAVAILABLE, "client side tokens disabled");
    assert_int_equal(request->salt.len, 32);
    assert_int_equal(EVP_PKEY_get_raw_public_key(c->authority, key, &len), 1);
    response.public_key = pb_bytes(key, len);
    return rpc_send(call, &response.base);
}

static struct error *verify_authority(struct rpc_call *call, void *ctx)
{
    struct client *c = ctx;
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Sess__VerifyTokenAuthorityRequest *request;
    Sess__VerifyTokenAuthorityResponse response = SESS__VERIFY_TOKEN_AUTHORITY_RESPONSE__INIT;
    uint8_t signature[64 + 32];
    size_t len = 64;

    TRY(rpc_recv_one(call, &sess__verify_token_authority_request__descriptor, &arena, &request));
    note(c, "verify");
    EVP_MD_CTX *m = EVP_MD_CTX_new();

    assert_int_equal(request->payload.len, 32);
    assert_int_equal(EVP_DigestSignInit(m, NULL, NULL, NULL, c->authority), 1);
    assert_int_equal(EVP_DigestSign(m, signature, &len, request->payload.data, 32), 1);
    EVP_MD_CTX_free(m);
    memcpy(signature + 64, request->payload.data, 32);
    if (c->forged)
        signature[3] ^= 1;
    response.signature = pb_bytes(signature, sizeof(signature));
    return rpc_send(call, &response.base);
}

static struct error *fetch_token(struct rpc_call *call, void *ctx)
{
    struct client *c = ctx;
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Sess__FetchTokenRequest *request;
    Sess__FetchTokenResponse response = SESS__FETCH_TOKEN_RESPONSE__INIT;

    TRY(rpc_recv_one(call, &sess__fetch_token_request__descriptor, &arena, &request));
    assert_string_equal(request->client_id, "buildkit-client");
    assert_string_equal(request->host, "registry-1.docker.io");
    assert_int_equal(request->n_scopes, 1);
    response.token = pb_strf(&arena, "token-%d", ++c->tokens);
    response.expires_in = 300;
    return rpc_send(call, &response.base);
}

static struct error *credentials(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Sess__CredentialsRequest *request;
    Sess__CredentialsResponse response = SESS__CREDENTIALS_RESPONSE__INIT;

    TRY(rpc_recv_one(call, &sess__credentials_request__descriptor, &arena, &request));
    if (streq(request->host, "known.example")) {
        response.username = (char *)"me";
        response.secret = (char *)"mine";
    }
    return rpc_send(call, &response.base);
}

/* ---- Content: a store of one blob ---- */

static struct error *content_info(struct rpc_call *call, void *ctx)
{
    struct client *c = ctx;
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Content__InfoRequest *request;
    Content__InfoResponse response = CONTENT__INFO_RESPONSE__INIT;
    Content__Info info = CONTENT__INFO__INIT;
    struct digest d = digest_of(buf_str(&c->blob), c->blob.len);

    note_metadata(c, call);
    TRY(rpc_recv_one(call, &content__info_request__descriptor, &arena, &request));
    if (!streq(request->digest, d.s))
        return err_new(ERR_NOT_FOUND, "content %s: not found", request->digest);
    info.digest = request->digest;
    info.size = (int64_t)c->blob.len;
    response.info = &info;
    return rpc_send(call, &response.base);
}

static struct error *content_read(struct rpc_call *call, void *ctx)
{
    struct client *c = ctx;
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Content__ReadContentRequest *request;

    TRY(rpc_recv_one(call, &content__read_content_request__descriptor, &arena, &request));
    for (size_t at = 0; at < c->blob.len; at += 7000) {
        Content__ReadContentResponse m = CONTENT__READ_CONTENT_RESPONSE__INIT;

        m.offset = (int64_t)at;
        m.data = pb_bytes(c->blob.data + at, MIN((size_t)7000, c->blob.len - at));
        TRY(rpc_send(call, &m.base));
    }
    return NULL;
}

static struct error *content_write(struct rpc_call *call, void *ctx)
{
    struct client *c = ctx;
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Content__WriteContentRequest *m;

    for (;;) {
        Content__WriteContentResponse r = CONTENT__WRITE_CONTENT_RESPONSE__INIT;

        TRY(rpc_recv(call, &content__write_content_request__descriptor, &arena, &m));
        if (m == NULL)
            return NULL;
        if (m->action == CONTENT__WRITE_ACTION__STAT && c->have_it)
            return err_new(ERR_EXISTS, "content exists");
        if (m->action == CONTENT__WRITE_ACTION__WRITE) {
            assert_int_equal(m->offset, c->blob.len);
            buf_add(&c->blob, m->data.data, m->data.len);
        }
        if (m->action == CONTENT__WRITE_ACTION__COMMIT)
            assert_int_equal(m->total, c->blob.len);
        r.action = m->action;
        r.offset = (int64_t)c->blob.len;
        TRY(rpc_send(call, &r.base));
    }
}

static const struct rpc_method send_methods[] = { { "DiffCopy", file_send } };
static const struct rpc_method secret_methods[] = { { "GetSecret", get_secret } };
static const struct rpc_method ssh_methods[] = { { "CheckAgent", check_agent },
                                                 { "ForwardAgent", forward_agent } };
static const struct rpc_method upload_methods[] = { { "Pull", pull } };
static const struct rpc_method health_methods[] = { { "Check", check_health } };
static const struct rpc_method auth_methods[] = { { "GetTokenAuthority", get_authority },
                                                  { "VerifyTokenAuthority", verify_authority },
                                                  { "FetchToken", fetch_token },
                                                  { "Credentials", credentials } };
static const struct rpc_method content_methods[] = { { "Info", content_info },
                                                     { "Read", content_read },
                                                     { "Write", content_write } };

#define SERVICES 7
struct fixture {
    struct client client;
    struct rpc_service services[SERVICES];
    const struct rpc_service *list[SERVICES];
    struct peer peer;
};

static void fixture_init(struct fixture *f)
{
    struct client *c = &f->client;

    *f = (struct fixture){ 0 };
    mutex_init(&c->lock);
    semaphore_init(&c->hanging, 1);
    assert_int_equal(semaphore_acquire(&c->hanging, 1), 0);
    c->authority = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    f->services[0] =
        (struct rpc_service){ "moby.filesync.v1.FileSend", send_methods, ARRAY_LEN(send_methods), c };
    f->services[1] = (struct rpc_service){ "moby.buildkit.secrets.v1.Secrets", secret_methods,
                                           ARRAY_LEN(secret_methods), c };
    f->services[2] = (struct rpc_service){ "moby.sshforward.v1.SSH", ssh_methods, ARRAY_LEN(ssh_methods), c };
    f->services[3] =
        (struct rpc_service){ "moby.upload.v1.Upload", upload_methods, ARRAY_LEN(upload_methods), c };
    f->services[4] =
        (struct rpc_service){ "grpc.health.v1.Health", health_methods, ARRAY_LEN(health_methods), c };
    f->services[5] =
        (struct rpc_service){ "moby.filesync.v1.Auth", auth_methods, ARRAY_LEN(auth_methods), c };
    f->services[6] = (struct rpc_service){ "containerd.services.content.v1.Content", content_methods,
                                           ARRAY_LEN(content_methods), c };
    for (size_t i = 0; i < SERVICES; i++)
        f->list[i] = &f->services[i];
    peer_init(&f->peer, f->list, SERVICES);
}

static void fixture_deinit(struct fixture *f)
{
    peer_deinit(&f->peer);
    semaphore_deinit(&f->client.hanging);
    mutex_deinit(&f->client.lock);
    strv_deinit(&f->client.log);
    buf_deinit(&f->client.file);
    buf_deinit(&f->client.blob);
    EVP_PKEY_free(f->client.authority);
}

/* ---- the manager ---- */

static void lookups(void **state)
{
    struct fixture f;
    struct session *s;

    fixture_init(&f);
    assert_string_equal(session_id(f.peer.session), "peer1");
    assert_string_equal(session_shared_key(f.peer.session), "a b");
    assert_true(session_supports(f.peer.session, "/moby.filesync.v1.filesend/diffcopy"));
    assert_false(session_supports(f.peer.session, "/moby.filesync.v1.FileSync/DiffCopy"));
    expect_ok(session_get(f.peer.manager, "prefix:peer1", &s));
    assert_ptr_equal(s, f.peer.session);
    session_unref(s);
    expect_error(session_check(f.peer.manager, "peer1"), ERR_EXISTS, "session peer1 already exists");
    expect_ok(session_check(f.peer.manager, "peer2"));
    struct deadline d;

    deadline_begin(&d, 20 * NS_PER_MS);
    expect_error(session_get(f.peer.manager, "nobody", &s), ERR_DEADLINE, "");
    deadline_end(&d);
    /* a second connection under the same id */
    struct stream *a, *b;
    struct session_hello h = { .id = "peer1" };

    stream_pair(&a, &b, 4096);
    expect_error(session_serve(f.peer.manager, &h, a), ERR_EXISTS, "already exists");
    stream_close(b);
    struct session_group none = { .manager = f.peer.manager };

    expect_error(session_group_get(&none, "/x/y", &s), ERR_NOT_FOUND, "no active sessions");
    expect_error(session_group_get(&f.peer.sessions, "/x/y", &s), ERR_NOT_FOUND,
                 "not supported by the client");
    fixture_deinit(&f);
}

struct waiter {
    struct session_manager *manager;
    const char *id;
};

static struct error *wait_and_drop(void *arg)
{
    struct waiter *w = arg;
    struct session *s;

    TRY(session_get(w->manager, w->id, &s));
    session_unref(s);
    return NULL;
}

/* Who looks for a session before it is there gets it when it comes. */
static void rendezvous(void **state)
{
    struct session_manager *m = session_manager_new();
    struct waiter w = { m, "later" };
    struct rpc_server server = { 0 };
    struct peer p = { .manager = m, .id = "later", .server = server };

    group_open(&p.group, GROUP_KEEP_GOING);
    stream_pair(&p.client_end, &p.daemon_end, 4096);
    struct group waiting;

    group_open(&waiting, 0);
    assert_null(group_spawn(&waiting, "waiter", wait_and_drop, &w));
    assert_null(group_spawn(&p.group, "client", peer_client, &p));
    assert_null(group_spawn(&p.group, "daemon", peer_daemon, &p));
    expect_ok(group_join(&waiting));
    group_cancel(&p.group);
    err_free(group_join(&p.group));
    session_manager_free(m);
}

static struct error *ask_hanging(void *arg)
{
    struct peer *p = arg;
    struct buf out = { 0 };
    struct error *e = session_secret(&p->sessions, "hang", &out);

    assert_non_null(e);
    assert_false(err_is(e, ERR_CANCELLED));
    err_free(e);
    return NULL;
}

/* The client vanishes in the middle of a call. */
static void vanished(void **state)
{
    struct fixture f;
    struct group g;

    fixture_init(&f);
    group_open(&g, 0);
    assert_null(group_spawn(&g, "asker", ask_hanging, &f.peer));
    assert_int_equal(semaphore_acquire(&f.client.hanging, 1), 0);
    session_unref(TAKE(f.peer.session));
    group_cancel(&f.peer.group);
    expect_ok(group_join(&g));
    fixture_deinit(&f);
}

static void sick(void **state)
{
    struct fixture f;
    struct stream *a, *b;
    struct peer p = { .id = "sick" };
    struct session_hello h = { .id = "sick", .health_ms = "1" };

    fixture_init(&f);
    f.client.health_fails = true;
    p.server = f.peer.server;
    stream_pair(&a, &b, 4096);
    p.client_end = a;
    group_open(&p.group, GROUP_KEEP_GOING);
    assert_null(group_spawn(&p.group, "client", peer_client, &p));
    expect_error(session_serve(f.peer.manager, &h, b), ERR_UNAVAILABLE, "session healthcheck failed fatally");
    assert_true(noted(&f.client, "health"));
    err_free(group_join(&p.group));
    fixture_deinit(&f);
}

/* ---- files to the client ---- */

static void send_bytes(void **state)
{
    struct fixture f;
    struct send_stream *s;
    struct stream *out;
    struct map md;
    char block[10000];

    fixture_init(&f);
    strmap_init(&md);
    strmap_set(&md, "containerimage.digest", "sha256:x");
    struct send_options o = { .exporter_index = 3, .metadata = &md };

    expect_ok(session_send_begin(f.peer.session, &o, &s, &out));
    memset(block, 'z', sizeof(block));
    for (int i = 0; i < 50; i++)
        assert_int_equal(stream_write_full(out, block, sizeof(block)), 0);
    stream_close(out);
    expect_ok(session_send_finish(s));
    assert_int_equal(f.client.file.len, 50 * sizeof(block));
    assert_true(noted(&f.client, "buildkit-attachable-exporter-id=3"));
    assert_true(noted(&f.client, "exporter-md-containerimage.digest=sha256:x"));
    assert_false(noted(&f.client, "buildkit-exporter-multi-platform=1"));

    /* it has it already */
    f.client.have_it = true;
    expect_ok(session_send_begin(f.peer.session, &o, &s, &out));
    for (int i = 0; i < 100; i++)
        assert_int_equal(stream_write_full(out, block, sizeof(block)), 0);
    expect_ok(session_send_finish(s));
    assert_int_equal(f.client.file.len, 50 * sizeof(block));

    /* it cannot take it */
    f.client.full = true;
    expect_ok(session_send_begin(f.peer.session, &o, &s, &out));
    int r = 0;

    while (r == 0)
        r = stream_write_full(out, block, sizeof(block));
    assert_int_equal(r, -EPIPE);
    expect_error(session_send_fail(s, err_sys(-r, "write")), ERR_UNKNOWN, "no space left on the client");
    map_deinit(&md);
    fixture_deinit(&f);
}

static void send_tree(void **state)
{
    char root[] = "/tmp/session_test.XXXXXX";
    struct fixture f;
    struct buf text = { 0 };

    fixture_init(&f);
    assert_non_null(mkdtemp(root));
    int dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_int_equal(mkdirat(dir, "in", 0755), 0);
    assert_int_equal(mkdirat(dir, "in/d", 0755), 0);
    assert_int_equal(mkdirat(dir, "out", 0755), 0);
    assert_int_equal(file_write_atomic(dir, "in/d/f", "content", 7, 0644), 0);
    int in = openat(dir, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    f.client.dir = openat(dir, "out", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct sync_tree trees[] = { { .dir_fd = in, .prefix = "linux_amd64" },
                                 { .dir_fd = in, .prefix = "linux_arm64" } };
    struct send_options o = { .multi_platform_delete = true };

    expect_ok(session_send_trees(f.peer.session, &o, trees, 2, NULL, NULL));
    assert_int_equal(path_read_file(f.client.dir, "linux_arm64/d/f", &text, 100), 0);
    assert_string_equal(buf_str(&text), "content");
    assert_true(noted(&f.client, "buildkit-exporter-multi-platform=1"));
    /* two as one, in one order */
    assert_int_equal(mkdirat(dir, "in2", 0755), 0);
    assert_int_equal(mkdirat(dir, "in2/d", 0700), 0);
    assert_int_equal(file_write_atomic(dir, "in2/d/e", "other", 5, 0644), 0);
    assert_int_equal(file_write_atomic(dir, "in2/d.x", "dot", 3, 0644), 0);
    assert_int_equal(file_write_atomic(dir, "in/z", "last", 4, 0644), 0);
    int in2 = openat(dir, "in2", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct sync_tree both[] = { { .dir_fd = in, .prefix = "" }, { .dir_fd = in2 } };

    expect_ok(session_send_trees(f.peer.session, &o, both, 2, NULL, NULL));
    close(in2);
    static const char *const made[][2] = {
        { "d/e", "other" }, { "d/f", "content" }, { "d.x", "dot" }, { "z", "last" }
    };

    for (size_t i = 0; i < ARRAY_LEN(made); i++) {
        buf_clear(&text);
        assert_int_equal(path_read_file(f.client.dir, made[i][0], &text, 100), 0);
        assert_string_equal(buf_str(&text), made[i][1]);
    }
    /* the client refuses */
    f.client.have_it = true;
    expect_error(session_send_tree(f.peer.session, &o, in, "", NULL, NULL, NULL), ERR_EXISTS,
                 "target already exists");
    close(in);
    close(f.client.dir);
    close(dir);
    buf_deinit(&text);
    assert_int_equal(path_remove_all(AT_FDCWD, root), 0);
    fixture_deinit(&f);
}

/* ---- secrets, ssh, upload ---- */

static void secrets(void **state)
{
    struct fixture f;
    struct buf out = { 0 };

    fixture_init(&f);
    expect_ok(session_secret(&f.peer.sessions, "pw", &out));
    assert_int_equal(out.len, 7);
    assert_memory_equal(out.data, "hun\0ter", 7);
    expect_error(session_secret(&f.peer.sessions, "none", &out), ERR_NOT_FOUND, "secret none: not found");
    expect_ok(session_secret(&f.peer.sessions, "full", &out));
    assert_int_equal(out.len, LIMIT_SECRET);
    expect_error(session_secret(&f.peer.sessions, "large", &out), ERR_EXHAUSTED,
                 "invalid secret size 512001");
    buf_deinit(&out);
    fixture_deinit(&f);
}

struct ssh {
    struct peer *peer;
    struct stream *conn;
};

static struct error *serve_ssh(void *arg)
{
    struct ssh *s = arg;

    return session_ssh_serve(&s->peer->sessions, "", TAKE(s->conn));
}

static void ssh(void **state)
{
    struct fixture f;
    struct stream *program;
    struct ssh s;
    struct group g;
    char answer[6] = { 0 };

    fixture_init(&f);
    expect_ok(session_ssh_check(&f.peer.sessions, ""));
    expect_error(session_ssh_check(&f.peer.sessions, "other"), ERR_UNKNOWN, "unset ssh forward key other");
    s.peer = &f.peer;
    stream_pair(&program, &s.conn, 4096);
    group_open(&g, 0);
    assert_null(group_spawn(&g, "ssh", serve_ssh, &s));
    assert_int_equal(stream_write_full(program, "hello", 5), 0);
    assert_int_equal(stream_read_full(program, answer, 5), 0);
    assert_string_equal(answer, "HELLO");
    /* the agent hangs up: so does the socket */
    assert_int_equal(stream_write_full(program, ".", 1), 0);
    assert_int_equal(stream_read(program, answer, 1), 0);
    expect_ok(group_join(&g));
    assert_true(noted(&f.client, "buildkit.ssh.id=default"));
    stream_close(program);
    fixture_deinit(&f);
}

static void upload(void **state)
{
    struct fixture f;
    struct stream *s;
    struct buf out = { 0 };

    fixture_init(&f);
    expect_ok(session_upload_open(&f.peer.sessions, "/abc", &s));
    assert_int_equal(stream_read_all(s, &out, MIB), 0);
    assert_int_equal(out.len, 100000);
    stream_close(s);
    assert_true(noted(&f.client, "urlpath=/abc"));
    assert_true(noted(&f.client, "urlhost=buildkit-session"));
    buf_deinit(&out);
    fixture_deinit(&f);
}

/* ---- credentials ---- */

static char *ask_token(struct fixture *f, bool fresh)
{
    char *v[] = { (char *)"repository:library/x:pull", NULL };
    struct strv scopes = { v, 1, 1 };
    struct registry_auth auth;
    char *token = NULL;
    int64_t expires_ns = 0;

    session_registry_auth(&f->peer.sessions, &auth);
    expect_ok(auth.token(auth.ctx, "registry-1.docker.io", "https://auth", "svc", &scopes, fresh, &token,
                         &expires_ns));
    assert_true(expires_ns > now_ns());
    return token;
}

static void token_authority(void **state)
{
    struct fixture f;

    fixture_init(&f);
    for (int i = 0; i < 3; i++) {
        CLEANUP(freep) char *token = ask_token(&f, false);

        assert_string_equal(token, "token-1"); /* kept, after the session proved whose it is */
    }
    assert_true(noted(&f.client, "verify"));
    /* one that was refused is replaced for all */
    for (int i = 0; i < 2; i++) {
        CLEANUP(freep) char *token = ask_token(&f, i == 0);

        assert_string_equal(token, "token-2");
    }
    /* one that cannot prove it gets nothing of others */
    f.client.forged = true;
    for (int i = 3; i < 5; i++) {
        CLEANUP(freep) char *token = ask_token(&f, false);
        CLEANUP(freep) char *expected = xasprintf("token-%d", i);

        assert_string_equal(token, expected);
    }
    fixture_deinit(&f);
}

static void credentials_only(void **state)
{
    char *v[] = { (char *)"repository:library/x:pull", NULL };
    struct strv scopes = { v, 1, 1 };
    struct registry_auth auth;
    struct fixture f;
    char *token = NULL, *user = NULL, *secret = NULL;
    int64_t expires_ns;

    fixture_init(&f);
    f.client.no_authority = true;
    session_registry_auth(&f.peer.sessions, &auth);
    expect_error(auth.token(auth.ctx, "h", "r", "s", &scopes, false, &token, &expires_ns), ERR_UNIMPLEMENTED,
                 "");
    expect_ok(auth.credentials(auth.ctx, "known.example", &user, &secret));
    assert_string_equal(user, "me");
    assert_string_equal(secret, "mine");
    free(user);
    free(secret);
    expect_ok(auth.credentials(auth.ctx, "other.example", &user, &secret));
    assert_string_equal(user, "");
    free(user);
    free(secret);
    fixture_deinit(&f);
}

/* ---- content ---- */

static void content(void **state)
{
    struct fixture f;
    struct buf data = { 0 }, out = { 0 };
    struct stream *s;
    int64_t size;

    fixture_init(&f);
    for (int i = 0; i < 300000; i++)
        buf_addf(&data, "%d,", i);
    struct digest d = digest_of(data.data, data.len);
    struct stream *in = stream_from_memory(data.data, data.len);

    expect_error(session_content_info(f.peer.session, "export", d.s, &size), ERR_NOT_FOUND, "not found");
    expect_ok(session_content_write(f.peer.session, "export", "layer-x", d.s, (int64_t)data.len, in));
    stream_close(in);
    assert_int_equal(f.client.blob.len, data.len);
    assert_memory_equal(f.client.blob.data, data.data, data.len);
    assert_true(noted(&f.client, "buildkit-attachable-store-id=export"));
    expect_ok(session_content_info(f.peer.session, "export", d.s, &size));
    assert_int_equal(size, data.len);
    expect_ok(session_content_open(f.peer.session, "oci:x", d.s, &s));
    assert_int_equal(stream_read_all(s, &out, 64 * MIB), 0);
    assert_int_equal(out.len, data.len);
    stream_close(s);
    /* it has it */
    f.client.have_it = true;
    in = stream_from_memory(data.data, data.len);
    expect_ok(session_content_write(f.peer.session, "export", "layer-x", d.s, (int64_t)data.len, in));
    stream_close(in);
    buf_deinit(&data);
    buf_deinit(&out);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookups),          cmocka_unit_test(rendezvous),
        cmocka_unit_test(vanished),         cmocka_unit_test(sick),
        cmocka_unit_test(send_bytes),       cmocka_unit_test(send_tree),
        cmocka_unit_test(secrets),          cmocka_unit_test(ssh),
        cmocka_unit_test(upload),           cmocka_unit_test(token_authority),
        cmocka_unit_test(credentials_only), cmocka_unit_test(content),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
