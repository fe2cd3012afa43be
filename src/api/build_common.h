/* SPDX-License-Identifier: Apache-2.0 */
/* build_common.h - parameters of POST /build that both builders read alike, refused in dockerd's words */
#ifndef MINKE_API_BUILD_COMMON_H
#define MINKE_API_BUILD_COMMON_H

#include "api/router.h"

/* Parameters that are JSON.  Their values: objects of name and text or null (arguments, labels), an array of
 * text or null (caches), of objects with Name, Soft, Hard (limits; or null), of objects with Type and Attrs
 * (outputs; or null). */
enum build_json { BUILD_ARGS, BUILD_LABELS, BUILD_CACHES, BUILD_ULIMITS, BUILD_OUTPUTS };
/* *ret is a new reference, NULL when nothing is said. */
struct error *build_json_query(const struct api_request *r, enum build_json what, json_t **ret) MUST_CHECK;

/* What no build on Linux can have: security options, an isolation. */
struct error *build_check_platform(const struct api_request *r) MUST_CHECK;
/* `shmsize` in bytes, 0 when absent. */
struct error *build_shm_size(const struct api_request *r, int64_t *ret) MUST_CHECK;
/* The parameter `t`: canonical names, each once; appended.  ERR_UNKNOWN, as dockerd answers 500 to a bad one.
 */
struct error *build_tags(const struct api_request *r, struct strv *ret) MUST_CHECK;

#endif
