/* SPDX-License-Identifier: Apache-2.0 */
/* attestation.h - what is attested of one result, as in-toto statements; for this room only */
#ifndef MINKE_EXPORT_ATTESTATION_H
#define MINKE_EXPORT_ATTESTATION_H

#include "export/export.h"

#include <jansson.h>

struct attestation {
    char *path, *predicate_type, *sbom_core; /* sbom_core NULL: none */
    const struct export_attestation *from;
    json_t *subjects;     /* [{name, digest}] of a statement out of a bundle; NULL: `from`'s */
    struct buf predicate; /* of a bundle's statement */
};
struct attestations {
    struct attestation *v;
    size_t len;
};
void attestations_deinit(struct attestations *a);

/* Is there anything for `id` (NULL: for any)?  `inlined`: what is for images only counts. */
bool attestations_any(const struct export_source *src, const char *id, bool inlined);
/* Those of the platform `id`, bundles taken apart, the SBOM of the result itself first. */
struct error *attestations_collect(const struct export_source *src, const char *id, bool inlined,
                                   struct attestations *ret) MUST_CHECK;
/* The statement as compact JSON, appended; `own`: [{name, digest}] of the result itself. */
struct error *attestation_statement(struct attestation *a, const struct map *layers, const json_t *own,
                                    struct buf *out) MUST_CHECK;
/* The predicate, without white space, appended. */
struct error *attestation_predicate(struct attestation *a, const struct map *layers,
                                    struct buf *out) MUST_CHECK;

/* The SBOM of the result tells in which layer each file is, and who added that: `layers` as above, lowest
 * first in `snapshot`.  Anything that is no such document stays as it is. */
struct error *sbom_supplement(struct attestation *a, struct snapshot *snapshot, struct store *s,
                              const struct map *layers, const char *version) MUST_CHECK;

#endif
