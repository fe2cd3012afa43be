/* SPDX-License-Identifier: Apache-2.0 */
/*
 * git_impl.h - what the files about git share: one source as it was asked for, the program, repositories; for
 * this room only
 *
 *   git_remote.c  what is asked for, and with whose credentials
 *   git_cli.c     running the program
 *   git_refs.c    what a ref means now, and the objects behind it
 *   git_sign.c    whether those are signed
 *   git_repo.c    the commit into a repository here
 *   git.c         the checkout
 */
#ifndef MINKE_OP_GIT_IMPL_H
#define MINKE_OP_GIT_IMPL_H

#include "base/buf.h"
#include "op/git.h"
#include "op/op.h"

struct git {
    struct op_context *c;
    char *remote;   /* as git gets it: without user and password, but for ssh */
    char *host;     /* with port */
    char *userinfo; /* "user:password" of the URL; NULL */
    bool ssh;
    char *ref, *subdir; /* "" the default branch; "/" all */
    const char *checksum, *mtime, *bundle, *agent_id, *known_hosts, *pub_key;
    bool keep_dir, skip_submodules, by_commit, checkout_bundle;
    bool verify, reject_expired, require_signed_tag, ignore_signed_tag;
    char *authorization; /* value of http.<scope>.extraheader; NULL */

    char *work;      /* name of a folder of our own below the store's work folder; NULL until made */
    char *work_path; /* its path */
    int work_fd;     /* -1 */
    int agent_fd;    /* listens for ssh in the work folder; -1 */
    char *bare;      /* path of the repository with the commit; NULL until fetched */
    char *origin;    /* NULL: the remote; else a repository here that stands in its place */
    struct cache_mount *shared; /* the remote's own repository, kept between builds; NULL */
};
void git_deinit(struct git *g);

const char *git_attr(const struct git *g, const char *key); /* "" when absent */

/* ---- git_remote.c ---- */

/* From the source op of g->c. */
struct error *git_init(struct git *g) MUST_CHECK;
/* The first of the session's secrets that fits. */
struct error *git_find_authorization(struct git *g) MUST_CHECK;

/* ---- git_cli.c ---- */

struct git_call {
    const char *git_dir, *work_tree; /* NULL: none */
    bool own_files;                  /* may read our repositories by a file URL, and nothing else */
};
struct error *git_make_work(struct git *g) MUST_CHECK;
/* Run git with the words up to NULL; what it wrote to stdout in `out` (may be NULL). */
struct error *git_run(struct git *g, const struct git_call *call, struct buf *out,
                      const char *const *words) MUST_CHECK;
#define GIT(g, call, out, ...) git_run(g, call, out, (const char *const[]){ __VA_ARGS__, NULL })
/* One line of output without its end. */
struct error *git_line(struct git *g, const struct git_call *call, char **ret,
                       const char *const *words) MUST_CHECK;
/* The error with what was tried and the remote, without credentials. */
struct error *git_shown(const struct git *g, struct error *e, const char *what) MUST_CHECK;
bool git_says(const struct error *e, const char *text);

/* ---- git_refs.c ---- */

struct git_refs {
    char *sha;    /* what the ref names: a commit or a tag */
    char *peeled; /* the commit of that tag; NULL */
    char *name;   /* of the ref that was found; a commit when it is none */
};
void git_refs_deinit(struct git_refs *r);
struct error *git_find_refs(struct git *g, struct git_refs *r) MUST_CHECK;
struct git_objects {
    char *commit_sha; /* of the commit when the ref is a tag; NULL */
    struct buf commit, tag;
};
void git_objects_deinit(struct git_objects *o);
/* The objects behind the refs, fetched; their signature is checked where the source asks for it. */
struct error *git_read_objects(struct git *g, const struct git_refs *r, struct git_objects *ret) MUST_CHECK;

/* ---- git_sign.c ---- */

/* What of an object is signed, and the signature. */
void git_split_commit(const char *raw, struct buf *data, struct buf *signature);
void git_split_tag(const char *raw, struct buf *data, struct buf *signature);
/* Are the objects signed as the source asks, with its key? */
struct error *git_verify(struct git *g, const struct git_refs *r, const struct git_objects *o) MUST_CHECK;

/* ---- git_repo.c ---- */

/* g->bare holds the commit (or the tag of it) `sha` afterwards.  May be called again. */
struct error *git_fetch(struct git *g, const char *sha, const char *name) MUST_CHECK;
/* Another empty repository in the work folder; *ret_path. */
struct error *git_new_repo(struct git *g, const char *name, bool sha256, char **ret_path) MUST_CHECK;
/* An empty repository in the work folder that has the objects of g->bare; what a checkout writes into it ends
 * with it. */
struct error *git_borrow(struct git *g, bool sha256, char **ret_path) MUST_CHECK;
/* The bundle that stands in the remote's place, once. */
struct error *git_stage_bundle(struct git *g) MUST_CHECK;
/* What the commit is in: give the shared repository back; `e` tells how the use ended. */
void git_release(struct git *g, const struct error *e);

#endif
