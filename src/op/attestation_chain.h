/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attestation_chain.h - what is attested of an image, and who signed that: the documents for a policy to
 * judge
 *
 *   index --platform--> image manifest
 *   index --vnd.docker.reference.digest--> attestation manifest --> in-toto statements
 *   referrers of the attestation manifest --> signature (sigstore bundle, else cosign) --> its layers
 */
#ifndef MINKE_OP_ATTESTATION_CHAIN_H
#define MINKE_OP_ATTESTATION_CHAIN_H

#include "op/op.h"

struct attestation_chain {
    struct digest root, image, attestation, signature; /* "": there is none */
    struct descriptor
        *blobs; /* of the documents, which are in the store: all of them but the image manifest */
    size_t count;
};
void attestation_chain_deinit(struct attestation_chain *c);

/* Of `target`, which the name `ref` means.  `predicates`: statements of these types come along.  `platform`:
 * NULL is the host's.  An image that is no OCI index has no chain: root stays "".  All documents together are
 * at most LIMIT_ATTESTATION_CHAIN.  Errors: as op_image_resolve. */
struct error *op_attestation_chain(const struct op_config *c, const char *ref,
                                   const struct descriptor *target, const struct platform *platform,
                                   const struct strv *predicates, const struct image_access *access,
                                   struct lease *lease, struct attestation_chain *ret) MUST_CHECK;

#endif
