/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frontend.h - what turns a request into LLB, and the bridge through which it talks to the builder
 *
 * A frontend sees the builder only through `struct bridge`.  The in-process Dockerfile frontend calls it
 * directly; clients (and later frontend images) reach the same functions through the LLBBridge gRPC service.
 * Tests give a fake bridge. All calls may be made from several tasks at once; all may wait.
 */
#ifndef MINKE_FRONTEND_FRONTEND_H
#define MINKE_FRONTEND_FRONTEND_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/vec.h"
#include "llb/llb.h"
#include "oci/platform.h"

/* A lazily solved result of one definition.  Owned by the bridge's job: valid until the job ends. */
struct ref;

/* What a frontend returns (gateway.proto Result). Zeroed is empty; release with frontend_result_deinit. */
struct frontend_result_ref {
    char *key;       /* platform id ("linux/amd64"); NULL for the single ref */
    struct ref *ref; /* NULL: scratch */
};
struct frontend_metadata {
    char *key;
    void *value;
    size_t len;
};
/* What an in-toto statement is about: the result itself, or something named by digests. */
struct frontend_subject {
    bool raw;
    char *name; /* "" when it has none */
    struct strv digests;
};
/* An attestation that travels with one result key (gateway.proto Attestation), carried through to the
 * exporters. */
struct frontend_attestation {
    char *key;       /* platform id, NULL for the single ref */
    int kind;        /* 0 in-toto, 1 bundle */
    struct ref *ref; /* may be NULL */
    char *path;
    char *predicate_type;
    struct frontend_metadata *metadata;
    size_t metadata_count;
    struct frontend_subject *subjects; /* none: the result itself */
    size_t subject_count;
};
struct frontend_result {
    struct frontend_result_ref *refs; /* one with key NULL, or several with keys */
    size_t ref_count;
    bool multi; /* several refs by key (RefMap), even if only one is there */
    struct frontend_metadata *metadata;
    size_t metadata_count;
    struct frontend_attestation *attestations;
    size_t attestation_count;
};
void frontend_result_deinit(struct frontend_result *r);
void frontend_result_add_ref(struct frontend_result *r, const char *key, struct ref *ref);
/* Copies the value; replaces an older one of the key. */
void frontend_result_set_metadata(struct frontend_result *r, const char *key, const void *value, size_t len);
const struct frontend_metadata *frontend_result_metadata(const struct frontend_result *r, const char *key);
/* A fresh attestation of the result, borrowed until the next call; `key` and strings are copied. */
struct frontend_attestation *frontend_result_add_attestation(struct frontend_result *r, const char *key,
                                                             int kind, const char *path,
                                                             const char *predicate_type);
void frontend_attestation_set_metadata(struct frontend_attestation *a, const char *key, const void *value,
                                       size_t len);
/* A subject, borrowed until the next call. */
struct frontend_subject *frontend_attestation_add_subject(struct frontend_attestation *a, bool raw,
                                                          const char *name);
/* Value of a metadata key as a new string, or NULL. */
char *frontend_attestation_metadata(const struct frontend_attestation *a, const char *key);
/* Is there an SBOM among them already? */
bool frontend_result_has_sbom(const struct frontend_result *r);
#define PREDICATE_SPDX "https://spdx.dev/Document"

/* Resolved image: all malloc'd, released with image_config_deinit. */
struct resolved_image {
    char *ref;    /* canonical reference with the digest known, e.g. docker.io/library/busybox:latest */
    char *digest; /* manifest or index digest; "" for oci-layout without one */
    struct buf config;
    char *other; /* NULL; else a policy put this source, no image, in its place, and nothing above is set */
};
void resolved_image_deinit(struct resolved_image *i);

struct resolve_image_options {
    const struct platform *platform; /* NULL: host */
    const char *resolve_mode;        /* "default", "pull", "local" or NULL */
    const char
        *log_name; /* name of the progress vertex, e.g. "[internal] load metadata for docker.io/library/x" */
    bool oci_layout;                   /* `ref` names store@digest of an OCI layout in the client's session */
    const char *session_id, *store_id; /* for oci_layout */
};

struct read_file_options {
    int64_t offset;
    int64_t length; /* 0: to the end */
};

/* fsutil.types.Stat as the bridge gives it; strings malloc'd. */
struct file_stat {
    char *path;
    uint32_t mode; /* Go os.FileMode bits (protocol.md 4.6) */
    uint32_t uid, gid;
    int64_t size, mtime_ns;
    char *linkname;
    int64_t devmajor, devminor;
};
void file_stat_deinit(struct file_stat *s);

struct frontend_warning {
    const char *digest; /* vertex */
    int level;
    const char *short_text;
    const struct strv *detail;
    const char *url;
    const struct llb_source_info *info; /* may be NULL */
    const struct llb_range *ranges;
    size_t range_count;
};

/* A build cache to look into: type "registry" with attribute ref, "local" with src and digest. */
struct cache_import {
    char *type;
    struct map attrs; /* string map */
};
struct cache_imports {
    struct cache_import *v;
    size_t len;
};
void cache_imports_deinit(struct cache_imports *l);
struct map *cache_imports_add(struct cache_imports *l, const char *type); /* its attributes, to be filled */
/* Those of the options cache-imports (JSON) and cache-from (references, separated by commas); added.  Errors:
 * ERR_INVALID "failed to unmarshal cache-imports ...". */
struct error *cache_imports_parse(const struct map *opts, struct cache_imports *l) MUST_CHECK;

struct bridge {
    const struct bridge_ops *ops;
    /* Facts of this build, set before the frontend runs; borrowed. */
    const char *session_id;         /* the build's main session, "" when none */
    const struct platform *workers; /* platforms that steps may run on, the host's default first */
    size_t worker_count;
};

struct source_time {
    bool known;
    int64_t seconds; /* since 1970 */
    int offset;      /* of the committer's clock, in seconds east of Greenwich */
};

struct bridge_ops {
    /* A definition to a lazy ref (not run yet). `def` is taken on success. An empty definition gives *ret =
     * NULL (scratch). */
    struct error *(*solve)(struct bridge *b, struct llb_def *def, struct ref **ret);
    /* Run a frontend by name below this build ("dockerfile.v0"); opts and inputs are borrowed. */
    struct error *(*solve_frontend)(struct bridge *b, const char *frontend, const struct map *opts,
                                    const struct map *inputs, struct frontend_result *ret);
    struct error *(*read_file)(struct bridge *b, struct ref *ref, const char *path,
                               const struct read_file_options *o, struct buf *out);
    struct error *(*stat_file)(struct bridge *b, struct ref *ref, const char *path, struct file_stat *ret);
    /* Entries of a directory (base names), filtered by a pattern when it is not NULL; *ret malloc'd array. */
    struct error *(*read_dir)(struct bridge *b, struct ref *ref, const char *path, const char *include,
                              struct file_stat **ret, size_t *ret_count);
    struct error *(*resolve_image)(struct bridge *b, const char *ref, const struct resolve_image_options *o,
                                   struct resolved_image *ret);
    /* Run the ref's definition now. */
    struct error *(*evaluate)(struct bridge *b, struct ref *ref);
    /* The definition of a ref (for inputs of named contexts); borrowed. NULL for scratch. */
    const struct llb_def *(*ref_def)(struct bridge *b, struct ref *ref);
    struct error *(*warn)(struct bridge *b, const struct frontend_warning *w);
    /* When the source was made, where it tells: the commit of a git source, the Last-Modified of a download.
     */
    struct error *(*source_time)(struct bridge *b, const Pb__SourceOp *op, const char *log_name,
                                 struct source_time *ret);
    /* May this build run the frontend that `source` names?  NULL: any. */
    struct error *(*check_frontend)(struct bridge *b, const char *source);
    /* What is solved from now on is looked for in these caches too.  One that cannot be read is told to the
     * user and is no error; each is read once for a build. */
    void (*import_caches)(struct bridge *b, const struct cache_imports *l);
    /* Did the last frontend like this one (same client, same options) need what is called that?  Waits.  And:
     * this one needs it.  NULL, both: nobody remembers. */
    bool (*needed_before)(struct bridge *b, const char *what);
    void (*note_needed)(struct bridge *b, const char *what);
};

/* A frontend: opts map string -> char * (FrontendAttrs / FrontendOpt), inputs map string -> struct llb_def *.
 * Both borrowed. */
typedef struct error *(*frontend_fn)(struct bridge *b, const struct map *opts, const struct map *inputs,
                                     struct frontend_result *ret);
/* resolve_image, and the words that BuildKit puts in front of what went wrong. What a registry answers is
 * shown bare, whatever kind it is: clients print the name of other kinds in front. */
struct error *bridge_resolve_image(struct bridge *b, const char *ref, const struct resolve_image_options *o,
                                   struct resolved_image *ret) MUST_CHECK;

/* Does this frontend source ("dockerfile.v0", "docker/dockerfile:1") mean our own Dockerfile frontend?  Not
 * with a digest. */
bool frontend_is_builtin(const char *source);

#endif
