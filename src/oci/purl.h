/* SPDX-License-Identifier: Apache-2.0 */
/* purl.h - package URLs of images, and URLs without their secrets: how provenance names things */
#ifndef MINKE_OCI_PURL_H
#define MINKE_OCI_PURL_H

#include "base/error.h"
#include "oci/platform.h"

/* "pkg:docker/busybox@latest?platform=linux%2Famd64" of an image reference, as BuildKit writes it; a new
 * string.  `type`: "docker" or "oci"; `platform` NULL or not set: none; `ref_type` ("blob", "bundle") NULL:
 * none; `vcs_url`: what a bundle is of, NULL: none.  Errors: ERR_INVALID "failed to parse ref ...". */
struct error *purl_of_image(const char *type, const char *ref, const struct platform *platform,
                            const char *ref_type, const char *vcs_url, char **ret) MUST_CHECK;
/* `url` with user and password masked ("https://xxxxx:xxxxx@host/"); a new string, equal to what is no URL.
 */
char *url_redact(const char *url);

#endif
