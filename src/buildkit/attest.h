/* SPDX-License-Identifier: Apache-2.0 */
/* attest.h - what a client wants attested of its build's results, and the making of it */
#ifndef MINKE_BUILDKIT_ATTEST_H
#define MINKE_BUILDKIT_ATTEST_H

#include "buildkit/provenance.h"
#include "frontend/sbom.h"

struct attest_options {
    bool provenance;
    struct provenance_options how;
    struct sbom_options sbom;
    bool no_cache;            /* scan anew */
    const char *resolve_mode; /* of the scanner image; borrowed */
};
/* "attest:provenance", "attest:sbom" (also as build-arg:BUILDKIT_ATTEST_*) of the frontend's attributes,
 * which are borrowed. Errors: BuildKit's texts ("unknown attestation type ..."). */
struct error *attest_options_parse(const struct map *frontend_attrs, struct attest_options *ret) MUST_CHECK;
void attest_options_deinit(struct attest_options *o);

/* The provenance of every result that is not scratch, by its place in u->result.refs; u->provenance. */
struct error *attest_capture(struct build *u) MUST_CHECK;
/* An SBOM of every result, when one is wanted and the frontend made none: more attestations in u->result. */
struct error *attest_scan(struct build *u, const struct attest_options *o) MUST_CHECK;

/* What goes to the exporters; snapshots and contents live as long as the list and `u`. */
struct attest_list {
    struct export_attestation *v;
    size_t len;
    struct attest_context *contexts;
};
struct error *attest_list_make(struct build *u, const struct attest_options *o, const struct export_ref *refs,
                               size_t count, struct attest_list *ret) MUST_CHECK;
void attest_list_deinit(struct attest_list *l);

#endif
