/* SPDX-License-Identifier: Apache-2.0 */
/*
 * challenge.h - WWW-Authenticate headers of registries (RFC 9110 11.6.1; only Basic and Bearer count here)
 */
#ifndef MINKE_REGISTRY_CHALLENGE_H
#define MINKE_REGISTRY_CHALLENGE_H

#include "base/base.h"

enum challenge_scheme { CHALLENGE_NONE, CHALLENGE_BASIC, CHALLENGE_BEARER };

struct challenge {
    enum challenge_scheme scheme;
    char *realm, *service, *scope, *error; /* NULL when absent */
};
void challenge_deinit(struct challenge *c);
/* Parse one header value, which may hold several challenges; the best one (Bearer before Basic) is kept in *c
 * when it is better than what *c holds.  `c` starts zeroed.  Nonsense is ignored. */
void challenge_parse(const char *header, struct challenge *c);

#endif
