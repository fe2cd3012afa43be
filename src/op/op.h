/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op.h - what each LLB op does; registers the implementations with the solver
 */
#ifndef MINKE_OP_OP_H
#define MINKE_OP_OP_H

#include "registry/registry.h"
#include "run/run.h"
#include "solver/solver.h"

struct op_config {
    struct runner *runner;
    struct registry *registry;
    struct store *store;
    struct session_manager *sessions;
};
/* Exec, file, merge, diff, build, and the sources docker-image, oci-layout, local. `c` must outlive the
 * solver. */
void op_register_all(struct solver *s, const struct op_config *c);

/* Image resolution shared by ResolveImageConfig, the docker-image source and `docker pull`. */
struct image_resolve_options {
    const char
        *mode; /* "default": registry first, local when it cannot be asked; "pull"; "local": local first */
    const struct platform *platform; /* NULL: host */
    const char *checksum;            /* NULL, or the digest that the manifest must have */
};
/* Whose credentials a registry sees: the sessions of a build, or those of one API request. Either may be
 * NULL. */
struct image_access {
    const struct session_group *sessions;
    const struct registry_auth *auth; /* stands before the sessions */
    bool insecure;                    /* as registry_auth.insecure */
};
struct resolved_manifest {
    struct descriptor target;   /* what the name points to: index or manifest */
    struct descriptor manifest; /* for the platform */
    struct buf config;
};
void resolved_manifest_deinit(struct resolved_manifest *m);
struct error *op_image_resolve(const struct op_config *c, const char *ref,
                               const struct image_resolve_options *o, const struct image_access *access,
                               struct lease *lease, struct resolved_manifest *ret) MUST_CHECK;
/* The same from an OCI layout in the client's process: `ref` is "name@sha256:..", the store is
 * "oci:<store_id>" of session `session_id`
 * ("" = the build's first that has a Content service). */
struct error *op_layout_resolve(const struct op_config *c, const char *ref, const char *session_id,
                                const char *store_id, const struct image_resolve_options *o,
                                const struct image_access *access, struct lease *lease,
                                struct resolved_manifest *ret) MUST_CHECK;
/* Layers of a resolved manifest as a snapshot: pulls what is not here, in parallel, unpacking while it
 * downloads. Rows go to `reporter` (may be NULL). */
struct error *op_image_pull(const struct op_config *c, const char *ref, const struct resolved_manifest *m,
                            const struct image_access *access, struct lease *lease,
                            struct vertex_reporter *reporter, struct snapshot **ret) MUST_CHECK;

#endif
