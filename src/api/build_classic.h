/* SPDX-License-Identifier: Apache-2.0 */
/* build_classic.h - the classic half of POST /build */
#ifndef MINKE_API_BUILD_CLASSIC_H
#define MINKE_API_BUILD_CLASSIC_H

#include "api/router.h"

struct error *build_classic(struct api_request *r) MUST_CHECK;

#endif
