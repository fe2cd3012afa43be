/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch.h - between resolve and fetch: a manifest by digest, as a whole and checked
 */
#ifndef MINKE_REGISTRY_FETCH_H
#define MINKE_REGISTRY_FETCH_H

#include "registry/registry.h"

/* Put the manifest or index *d names into the store. Errors: as registry_resolve; ERR_DATA_LOSS, ERR_INVALID
 * when it is not what *d says. */
struct error *registry_fetch_manifest(struct registry *r, const struct reference *ref,
                                      const struct registry_auth *auth, struct store *store, struct lease *l,
                                      const struct descriptor *d) MUST_CHECK;

#endif
