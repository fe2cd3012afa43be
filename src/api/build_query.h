/* SPDX-License-Identifier: Apache-2.0 */
/* build_query.h - the query of POST /build?version=2 as what a build of the Dockerfile frontend is asked */
#ifndef MINKE_API_BUILD_QUERY_H
#define MINKE_API_BUILD_QUERY_H

#include "api/router.h"
#include "op/upload.h"

struct build_query {
    struct map attrs, exporter_attrs;
    struct strv tags, entitlements;
    char *exporter; /* NULL: none (cacheonly) */
    bool quiet;
    struct upload *upload;
};
void build_query_deinit(struct build_query *b);
/* Into a zeroed one; a context that comes beside is waited for. */
struct error *build_query_parse(struct api_request *r, struct build_query *b) MUST_CHECK;

#endif
