/* SPDX-License-Identifier: Apache-2.0 */
/*
 * platform.h - OCI platforms: parse, normalise, format, match (containerd's platforms package is the model)
 */
#ifndef MINKE_OCI_PLATFORM_H
#define MINKE_OCI_PLATFORM_H

#include "base/base.h"
#include "base/error.h"

#include <jansson.h>

/* Owned strings, never NULL after platform_parse/normalise; "" when absent.  A zeroed struct is no platform.
 */
struct platform {
    char *os, *architecture, *variant, *os_version;
    char **os_features;
    size_t os_feature_count;
};
void platform_deinit(struct platform *p);
void platform_copy(struct platform *dst, const struct platform *src);
bool platform_is_set(const struct platform *p);
/* Overwrites; variant may be NULL. */
void platform_set(struct platform *p, const char *os, const char *architecture, const char *variant);

/* "linux/amd64", "arm64", "linux/arm/v7"; fills os from the host. Error texts as containerd's. */
struct error *platform_parse(const char *s, struct platform *ret) MUST_CHECK;
/* x86_64 -> amd64, aarch64 -> arm64, arm64/v8 -> arm64, arm -> arm/v7, amd64/v1 -> amd64 ... in place. */
void platform_normalize(struct platform *p);
/* "linux/arm/v7"; new string. platform_format_all adds os version as containerd's FormatAll does. */
char *platform_format(const struct platform *p);
char *platform_format_all(const struct platform *p);
bool platform_eq(const struct platform *a, const struct platform *b); /* after normalising */
/* Can an image of platform `p` serve a request for `want` (arm/v6 for arm/v7, amd64/v2 ...)?  0 no, higher is
 * a better match. */
int platform_match(const struct platform *want, const struct platform *p);

/* The host's default platform; borrowed, computed once. */
const struct platform *platform_host(void);
/* All that can run here: the host's default, its variants (amd64/v2..v4), 386, and those with a binfmt_misc
 * emulator. Borrowed; computed once per call of platform_rescan. */
const struct platform *platform_supported(size_t *ret_count);
/* Look again (an emulator was installed). Lists handed out before stay valid. */
void platform_rescan(void);

/* {"architecture":..,"os":..,["os.version"],["os.features"],["variant"]} in Go's field order. */
json_t *platform_to_json(const struct platform *p);
struct error *platform_from_json(const json_t *j, struct platform *ret) MUST_CHECK;

#endif
