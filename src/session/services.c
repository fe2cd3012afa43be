/* SPDX-License-Identifier: Apache-2.0 */
/*
 * services.c - secrets, ssh agents and uploads of the client
 */
#include <errno.h>

#include "base/limits.h"
#include "session/impl.h"

#define SSH_DEFAULT_ID "default"

/* ---- secrets ---- */

struct secret {
    const char *id;
    struct buf *out;
};

static struct error *ask_secret(struct session *s, void *ctx)
{
    struct secret *secret = ctx;
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Sess__GetSecretRequest request = SESS__GET_SECRET_REQUEST__INIT;
    Sess__GetSecretResponse *response;

    request.id = (char *)secret->id;
    struct error *e = rpc_unary(s->conn, "/moby.buildkit.secrets.v1.Secrets/GetSecret", NULL, &request.base,
                                &sess__get_secret_response__descriptor, &arena, &response);

    if (err_is(e, ERR_NOT_FOUND) || err_is(e, ERR_UNIMPLEMENTED)) {
        err_free(e);
        return err_new(ERR_NOT_FOUND, "secret %s: not found", secret->id);
    }
    TRY(e);
    if (response->data.len > LIMIT_SECRET)
        return err_new(ERR_EXHAUSTED, "invalid secret size %zu", response->data.len);
    buf_clear(secret->out);
    buf_add(secret->out, response->data.data, response->data.len);
    explicit_bzero(response->data.data, response->data.len);
    return NULL;
}

struct error *session_secret(const struct session_group *g, const char *id, struct buf *out)
{
    struct secret secret = { id, out };

    return session_group_any(g, ask_secret, &secret);
}

/* ---- ssh ---- */

static struct error *check_agent(struct session *s, void *ctx)
{
    const char *id = ctx;
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Sess__CheckAgentRequest request = SESS__CHECK_AGENT_REQUEST__INIT;
    Sess__CheckAgentResponse *response;

    request.id = (char *)id;
    struct error *e = rpc_unary(s->conn, "/moby.sshforward.v1.SSH/CheckAgent", NULL, &request.base,
                                &sess__check_agent_response__descriptor, &arena, &response);

    if (err_is(e, ERR_UNIMPLEMENTED)) {
        err_free(e);
        return err_new(ERR_NOT_FOUND, "no SSH key \"%s\" forwarded from the client", id);
    }
    return e;
}

struct error *session_ssh_check(const struct session_group *g, const char *id)
{
    return session_group_any(g, check_agent, (void *)id);
}

struct pump {
    struct stream *from, *to;
};

/* One direction to its end; then the other side is told that no more follows. */
static struct error *pump(void *arg)
{
    struct pump *p = arg;
    int64_t n = stream_copy(p->to, p->from);

    if (n == -ECANCELED || n == -ETIMEDOUT)
        return task_error((int)n, "forward the ssh agent");
    /* a program that hangs up without reading the rest ends its connection, not the step */
    stream_shut(p->to);
    return NULL;
}

static struct error *forward(struct rpc_call *call, struct stream *conn)
{
    CLEANUP(stream_closep) struct stream *tunnel = NULL;
    struct group g;

    TRY(rpc_tunnel(call, &tunnel));
    struct pump up = { conn, tunnel }, down = { tunnel, conn };

    group_open(&g, 0);
    struct error *e = group_spawn(&g, "ssh agent", pump, &up);

    if (e == NULL) {
        e = pump(&down);
        /* the agent is done: what the program still wants to say has no listener */
        group_cancel(&g);
    }
    struct error *why = group_join(&g);

    if (err_is(why, ERR_CANCELLED))
        err_freep(&why);
    if (e != NULL) {
        err_free(why);
        return e;
    }
    return why;
}

struct error *session_ssh_serve(const struct session_group *g, const char *id, struct stream *conn)
{
    CLEANUP(stream_closep) struct stream *taken = conn;
    CLEANUP(session_unrefp) struct session *s = NULL;
    CLEANUP(rpc_md_deinit) struct rpc_md md = { 0 };
    CLEANUP(rpc_call_freep) struct rpc_call *call = NULL;

    TRY(session_group_get(g, "/moby.sshforward.v1.SSH/ForwardAgent", &s));
    rpc_md_add(&md, "buildkit.ssh.id", *id != '\0' ? id : SSH_DEFAULT_ID);
    TRY(rpc_call_open(s->conn, "/moby.sshforward.v1.SSH/ForwardAgent", &md, &call));
    return forward(call, taken);
}

/* ---- upload ---- */

/* A stream that holds its call and its session until it is closed. */
struct upload_stream {
    struct stream stream;
    struct session *session;
    struct rpc_call *call;
    struct stream *tunnel;
};

static ssize_t upload_read(struct stream *s, void *buf, size_t cap)
{
    return stream_read(CONTAINER_OF(s, struct upload_stream, stream)->tunnel, buf, cap);
}

static ssize_t upload_write(struct stream *s, const void *buf, size_t len)
{
    return -EBADF;
}

static int upload_shut(struct stream *s)
{
    return 0;
}

static void upload_close(struct stream *s)
{
    struct upload_stream *u = CONTAINER_OF(s, struct upload_stream, stream);

    stream_close(u->tunnel);
    rpc_call_free(u->call);
    session_unref(u->session);
    free(u);
}

/* The session of the group that answers this path: they are tried by opening the call, as only one of them
 * has it. */
struct error *session_upload_open(const struct session_group *g, const char *url_path, struct stream **ret)
{
    static const struct stream_ops ops = {
        .read = upload_read, .write = upload_write, .shut = upload_shut, .close = upload_close
    };
    CLEANUP(session_unrefp) struct session *s = NULL;
    CLEANUP(rpc_md_deinit) struct rpc_md md = { 0 };
    CLEANUP(rpc_call_freep) struct rpc_call *call = NULL;
    struct stream *tunnel;

    TRY(session_group_get(g, "/moby.upload.v1.Upload/Pull", &s));
    rpc_md_add(&md, "urlpath", url_path);
    rpc_md_add(&md, "urlhost", "buildkit-session");
    TRY(rpc_call_open(s->conn, "/moby.upload.v1.Upload/Pull", &md, &call));
    TRY(rpc_tunnel(call, &tunnel));
    struct upload_stream *u = NEW(struct upload_stream);

    *u = (struct upload_stream){
        .stream = { &ops }, .session = TAKE(s), .call = TAKE(call), .tunnel = tunnel
    };
    *ret = &u->stream;
    return NULL;
}
