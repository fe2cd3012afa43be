/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capture.h - what a result was made from: its sources with what they meant, and what its steps were given
 *
 * Read off the solved vertices of a ref; captures of several refs are merged.  URLs are kept without their
 * credentials (security: nothing of them may reach an attestation).
 */
#ifndef MINKE_BUILDKIT_CAPTURE_H
#define MINKE_BUILDKIT_CAPTURE_H

#include "oci/platform.h"
#include "solver/solver.h"

enum material_kind { MATERIAL_IMAGE, MATERIAL_BLOB, MATERIAL_GIT, MATERIAL_HTTP }; /* in the order listed */

struct material {
    enum material_kind kind;
    char *name;   /* image reference or URL */
    char *pin;    /* digest; of git: the commit; "" when unknown */
    bool local;   /* of images: from an OCI layout of the client */
    char *bundle; /* of git: the blob "SCHEME://REF@DIGEST" that it came out of; NULL: the remote itself */
    struct platform platform;
};
/* A secret or an SSH agent that a step asked for. */
struct grant {
    char *id;
    bool optional;
};
struct grants {
    struct grant *v;
    size_t len;
};

/* What a step asked for through its proxy and cannot be named. */
struct capture_gap {
    const char *op; /* digest of its vertex */
    const char *name, *method, *uri, *reason;
};

struct capture {
    struct material *materials;
    size_t material_count;
    struct strv locals;
    struct grants secrets, ssh;
    struct capture_gap *gaps;
    size_t gap_count;
    bool network;    /* a step could reach one */
    bool proxied;    /* through the proxy network */
    bool incomplete; /* something was used that cannot be named */
};
void capture_deinit(struct capture *c);
/* Add what `r` was made from; false when it was not solved.  `s` knows what its steps fetched. */
bool capture_ref(struct capture *c, struct store *s, struct ref *r);
/* An image whose config was used. */
void capture_image(struct capture *c, const char *ref, const char *digest, const struct platform *platform,
                   bool local);
/* As the JSON object of provenance and of errors; empty members are left out. */
struct go_writer;
void capture_gap_write(const struct capture_gap *g, struct go_writer *w);
/* Images that are named by digest only go where the same name is there with its tag; then all in order. */
struct error *capture_finish(struct capture *c) MUST_CHECK;

#endif
