/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - calling back into the client's process: files, secrets, credentials, ssh agent, uploads
 *
 * A session is an HTTP/2 connection on which we are the gRPC client and the user's process is the server
 * (protocol.md section 4). It arrives over POST /session or inside Control.Session; nobody here can tell.  A
 * client that lies, stalls or vanishes makes its calls fail with a clear error; health checks close a dead
 * session.
 */
#ifndef MINKE_SESSION_SESSION_H
#define MINKE_SESSION_SESSION_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/vec.h"
#include "io/stream.h"
#include "wire/grpc.h"

struct session_manager;
struct session; /* shared (ref) */

struct session_manager *session_manager_new(void);
void session_manager_free(struct session_manager *m);

/* What the client announced (X-Docker-Expose-Session-* headers or metadata). */
struct session_hello {
    const char *id, *name, *shared_key;
    bool shared_key_encoded;
    const struct strv *methods; /* "/moby.filesync.v1.FileSync/DiffCopy", any case */
    const char *health_ms;      /* X-Buildkit-Session-Health-Custom-Timeout; NULL */
};
/* Is the id free?  ERR_EXISTS "session %s already exists" otherwise; call before the 101. */
struct error *session_check(struct session_manager *m, const char *id) MUST_CHECK;
/* Serve one session over `s` (taken) until it ends: registers, runs health checks, unregisters. Blocks.  A
 * connection that ends, whoever ends it, is no error; ERR_UNAVAILABLE when the client does not answer health
 * checks.  Returns only once all references to the session are gone. */
struct error *session_serve(struct session_manager *m, const struct session_hello *h,
                            struct stream *s) MUST_CHECK;

/* Look up ("prefix:id" is stripped); waits up to 5 s for it to appear.  Hold the reference for one operation,
 * not for a build: when the session ends, its calls fail at once, and session_serve waits until its
 * references are dropped. Errors: ERR_NOT_FOUND "no active session for <id>: context deadline exceeded". */
struct error *session_get(struct session_manager *m, const char *id, struct session **ret) MUST_CHECK;
void session_unref(struct session *s);
void session_unrefp(struct session **s);
const char *session_id(const struct session *s);
const char *session_shared_key(const struct session *s); /* decoded, "" when none */
bool session_supports(const struct session *s, const char *method);
struct rpc_conn *session_conn(struct session *s); /* borrowed */

/* The sessions of a build, tried in order for secrets, auth and ssh. Ids are copied. */
struct session_group {
    struct session_manager *manager;
    struct strv ids;
};
/* The first live session of the group that supports `method`; ERR_NOT_FOUND when none.  One that is not there
 * yet is waited for. */
struct error *session_group_get(const struct session_group *g, const char *method,
                                struct session **ret) MUST_CHECK;
/* Try `fn` on each session in order until it succeeds; else the last error, or ERR_NOT_FOUND "no active
 * sessions". */
struct error *session_group_any(const struct session_group *g,
                                struct error *(*fn)(struct session *s, void *ctx), void *ctx) MUST_CHECK;

/* ---- files from the client: FileSync.DiffCopy, we receive (sync.h has the details)
 * ---------------------------------------- */

struct sync_pack;
struct sync_options {
    const char *name;                              /* dir-name: "context", "dockerfile" */
    const struct strv *include, *exclude, *follow; /* may be NULL */
    bool differ_none;                              /* request everything */
    bool metadata_only;                            /* local.metadatatransfer */
    const struct strv *metadata_exclude;
    struct sync_pack *pack; /* where small files go (pack.h); NULL: into the directory, as all others */
    void (*progress)(void *ctx, int64_t bytes, bool done); /* bytes of data received so far; may be NULL */
    int (*changing)(void *ctx); /* right before the directory is changed at all: 0, or why not; may be NULL */
    void *ctx;
};
/* One entry of a synced tree, in fsutil's order, as the content index of a tree keeps it. */
struct sync_entry {
    char *path;    /* relative, clean, slash separated */
    uint32_t mode; /* Go os.FileMode bits */
    uint32_t uid, gid;
    int64_t size, mtime_ns;
    char *linkname; /* symlink target, or earlier path for a hard link; NULL */
    int64_t devmajor, devminor;
    uint8_t
        *xattrs; /* sorted: uint32 key length, key, uint32 value length, value ... (little endian); NULL */
    uint32_t xattrs_len;
    int64_t packed;      /* 1 + where its bytes lie in the pack; 0: not there */
    uint8_t content[32]; /* SHA-256 of a regular file's bytes; a hard link's are those of its target */
};
struct sync_index {
    struct sync_entry *entries;
    size_t len, cap;
};
void sync_index_deinit(struct sync_index *i);
/* Make `dir_fd` equal to the client's tree.  `index` holds what the last sync left there (empty: nothing
 * known) and holds the new state afterwards; only what differs travels.  On an error the index is emptied:
 * the directory is to be thrown away. */
struct error *session_sync_in(struct session *s, const struct sync_options *o, int dir_fd,
                              struct sync_index *index) MUST_CHECK;

/* ---- files to the client: FileSend.DiffCopy
 * -------------------------------------------------------------------------------- */

struct send_options {
    int exporter_index;         /* buildkit-attachable-exporter-id */
    const struct map *metadata; /* string map: exporter-md-<k>; may be NULL */
    bool multi_platform_delete; /* buildkit-exporter-multi-platform: 1 */
};
/* A tree as fsutil packets (type=local). Several trees below prefixes in one stream are given as one
 * directory. */
struct sync_send_filter; /* see sync.h: mapping of uid/gid/mtime, prefix, excludes */
struct error *session_send_tree(struct session *s, const struct send_options *o, int dir_fd,
                                const char *prefix, const struct sync_send_filter *filter,
                                void (*progress)(void *ctx, int64_t bytes), void *ctx) MUST_CHECK;
/* A byte stream (type=tar, oci, docker): write to *ret_stream, then one of the three ends, each of which
 * frees both; stream_close on it does nothing.  A client that has the target already ends the call with
 * ERR_EXISTS, which means "skip": writes go nowhere from then on and session_send_finish returns success.
 * When it ends the call otherwise, writes fail with -EPIPE. */
struct send_stream;
struct error *session_send_begin(struct session *s, const struct send_options *o, struct send_stream **ret,
                                 struct stream **ret_stream) MUST_CHECK;
/* Half-close and wait for the client's OK. */
struct error *session_send_finish(struct send_stream *f) MUST_CHECK;
/* Making the stream failed with `e` (taken): the client learns that it is not whole.  Returns `e`, or why the
 * client had ended the call, if that is why. */
struct error *session_send_fail(struct send_stream *f, struct error *e) MUST_CHECK;
void session_send_abandon(struct send_stream *f);

/* ---- secrets, auth, ssh, upload, content
 * --------------------------------------------------------------------------------------- */

/* At most 500 KiB. ERR_NOT_FOUND "secret <id>: not found" when no session of the group has it. */
struct error *session_secret(const struct session_group *g, const char *id, struct buf *out) MUST_CHECK;
/* CheckAgent; then each connection of the step is served by session_ssh_serve (takes conn, blocks). id "" =
 * default. */
struct error *session_ssh_check(const struct session_group *g, const char *id) MUST_CHECK;
struct error *session_ssh_serve(const struct session_group *g, const char *id,
                                struct stream *conn) MUST_CHECK;
/* registry_auth callbacks (registry/registry.h) over the group's sessions; out is filled, ctx is `g` (must
 * outlive it). */
struct registry_auth;
void session_registry_auth(const struct session_group *g, struct registry_auth *out);
/* Upload.Pull of http://buildkit-session/<id>. */
struct error *session_upload_open(const struct session_group *g, const char *url_path,
                                  struct stream **ret) MUST_CHECK;

/* containerd Content service of the client as an OCI layout (protocol.md 3.8): store id "oci:<name>",
 * "local:<path>", "export". */
struct error *session_content_info(struct session *s, const char *store_id, const char *digest,
                                   int64_t *ret_size) MUST_CHECK;
struct error *session_content_open(struct session *s, const char *store_id, const char *digest,
                                   struct stream **ret) MUST_CHECK;
/* Write one blob; ERR_EXISTS from the client is success. */
struct error *session_content_write(struct session *s, const char *store_id, const char *ref,
                                    const char *digest, int64_t size, struct stream *content) MUST_CHECK;

#endif
