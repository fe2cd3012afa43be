/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.h - the OCI distribution API: resolve, fetch, pull; push.h has the other way
 *
 * HTTP by libcurl, which is loaded at the first use.  A registry host's mirrors and plain-HTTP rules come
 * from the configuration; credentials from a callback (the build's session, or X-Registry-Auth).  Credentials
 * never leave the origin they were asked for (security.md C6); nothing from a header or body is trusted
 * before its digest is checked.
 */
#ifndef MINKE_REGISTRY_REGISTRY_H
#define MINKE_REGISTRY_REGISTRY_H

#include "oci/descriptor.h"
#include "oci/reference.h"
#include "store/store.h"

struct registry_host_config {
    char *host;                           /* "docker.io", "localhost:5000" */
    struct strv mirrors;                  /* "http://localhost:5000" or "localhost:5000" */
    bool plain_http, insecure;            /* insecure: also unverified TLS, also plain HTTP as a fallback */
    char *ca_file, *cert_file, *key_file; /* may be NULL */
};
struct registry_config {
    struct registry_host_config *hosts;
    size_t host_count;
    struct strv insecure_registries; /* hosts, or CIDRs that hold the address a reference names */
    char *user_agent;                /* NULL: "minke" */
    char *certs_dir;                 /* DIR/HOST/ holds certificates; NULL: /etc/docker/certs.d */
    int max_downloads;               /* at once, daemon-wide; 0: 3 as dockerd */
    int max_uploads;                 /* the same; 0: 5 as dockerd */
    int64_t retry_ns;                /* first pause before trying again, doubled each time; 0: 1 s */
};

struct registry; /* the client; thread-safe */
struct registry *
registry_new(const struct registry_config *config); /* config is borrowed and must outlive it */
void registry_free(struct registry *r);
/* From now on `config` holds; what has begun goes on as it began, so the old one stays borrowed as well. */
void registry_reload(struct registry *r, const struct registry_config *config);

/* Where credentials come from.  Any function may be NULL. Strings returned are malloc'd. */
struct registry_auth {
    void *ctx;
    /* The user vouches for the host that the reference names: no TLS certificate is verified, plain HTTP will
     * do. */
    bool insecure;
    /* Whose credentials these are (the ids of a build's sessions): tokens and passwords are cached under it,
     * so that no build uses those of another.  NULL: nothing outlives the call.  Borrowed. */
    const struct strv *identity;
    /* Username and secret for a host ("registry-1.docker.io" for Hub); both empty: anonymous. Empty user:
     * identity token. */
    struct error *(*credentials)(void *ctx, const char *host, char **ret_user, char **ret_secret);
    /* A bearer token fetched by the client itself (session Auth.FetchToken); ERR_UNIMPLEMENTED: use
     * credentials. `fresh`: the last one was refused, none that was kept will do. */
    struct error *(*token)(void *ctx, const char *host, const char *realm, const char *service,
                           const struct strv *scopes, bool fresh, char **ret_token, int64_t *ret_expires_ns);
};

struct registry_progress {
    void *ctx;
    /* A blob's state: action "downloading", "extracting", "done", "exists"; total may be 0. From several
     * tasks. */
    void (*blob)(void *ctx, const struct descriptor *d, const char *action, int64_t current, int64_t total);
};

/* Is `d` a document of the repository that `ref` names, as far as this store knows: did its registry say so,
 * or has an image of that repository this target?  That the bytes are here is not enough: they may come from
 * a repository that this user may not read, and its name would be taken on trust. */
struct error *registry_knows_document(struct store *s, const struct reference *ref, const struct digest *d,
                                      bool *ret) MUST_CHECK;
/* Manifest or index of a reference (by digest when it has one); its bytes are put into the store.  Errors as
 * docker's users know them: ERR_NOT_FOUND "<ref>: not found", ERR_UNAUTHORIZED "pull access denied ..." */
struct error *registry_resolve(struct registry *r, const struct reference *ref,
                               const struct registry_auth *auth, struct store *s, struct lease *l,
                               struct descriptor *ret) MUST_CHECK;
/* A blob into the store (resumed, digest-verified); nothing to do when it is there. */
struct error *registry_fetch(struct registry *r, const struct reference *ref,
                             const struct registry_auth *auth, struct store *s, struct lease *l,
                             const struct descriptor *d, const struct registry_progress *p) MUST_CHECK;
/* How long a blob is; ERR_NOT_FOUND when the registry does not have it. */
struct error *registry_blob_size(struct registry *r, const struct reference *ref,
                                 const struct registry_auth *auth, const struct digest *d,
                                 int64_t *ret) MUST_CHECK;
/* A blob as a stream while it downloads and goes into the store at the same time; the stream's end is reached
 * only when the digest was verified (else the read fails with -EBADMSG).  The download happens inside the
 * reads, in the reader's task: no read, no progress.  It takes one of the max_downloads slots at its first
 * read and gives it back with its last byte, so a reader must not wait for another stream half-way.  `ref`,
 * `auth` and `p` are borrowed until the stream is closed; *d is copied. The negative errno of a failed read
 * stands for the error that registry_stream_error tells. */
struct error *registry_open(struct registry *r, const struct reference *ref, const struct registry_auth *auth,
                            struct store *s, struct lease *l, const struct descriptor *d,
                            const struct registry_progress *p, struct stream **ret) MUST_CHECK;
/* Why a read of that stream failed; NULL when none did.  The caller owns it. */
struct error *registry_stream_error(struct stream *s) MUST_CHECK;
/* Close the connections that are kept for the next request: nothing is under way. */
void registry_trim(struct registry *r);

/* POST /auth: try the credentials at the registry's /v2/.  `server` is a host or a URL as clients send it.
 * Errors: ERR_UNAUTHORIZED with the registry's text; others as they are. */
struct error *registry_login(struct registry *r, const char *server, const char *user,
                             const char *secret) MUST_CHECK;

#endif
