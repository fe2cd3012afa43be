/* SPDX-License-Identifier: Apache-2.0 */
/*
 * referrers.h - which manifests of a repository speak of another one (signatures, attestations)
 */
#ifndef MINKE_REGISTRY_REFERRERS_H
#define MINKE_REGISTRY_REFERRERS_H

#include "oci/image.h"
#include "registry/registry.h"

/* The repository's manifests whose subject is `d`, as its server lists them: an index that nobody vouches
 * for. GET referrers/DIGEST, or the index with the tag "sha256-HEX" where the server does not know that
 * (distribution spec 1.1).  None: an empty list.  Errors: as registry_resolve. */
struct error *registry_referrers(struct registry *r, const struct reference *ref,
                                 const struct registry_auth *auth, const struct digest *d,
                                 struct image_index *ret) MUST_CHECK;

#endif
