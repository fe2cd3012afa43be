/* SPDX-License-Identifier: Apache-2.0 */
/* prepare.h - the inside of prepare(): prepare.c puts the bundle together, prepare_mounts.c its mounts */
#ifndef MINKE_RUN_PREPARE_H
#define MINKE_RUN_PREPARE_H

#include "run/internal.h"
#include "run/spec.h"

/* The list of mounts in the making. */
struct prepared_mounts {
    struct spec_mount *v;
    size_t len;
    struct prepared *owner; /* keeps the strings */
};
void prepared_mounts_deinit(struct prepared_mounts *m);
/* Fill it, and the bundle with what it names.  The network of `owner` is acquired before. */
struct error *prepare_mounts(struct prepared_mounts *m, struct runner *r, const struct run_spec *s,
                             const char *hostname) MUST_CHECK;

bool prepare_on_host_network(const struct runner *r, const struct run_spec *s);
bool prepare_is_step(const struct run_spec *s); /* of a build, in its files, names and mount points */
char *prepared_keep(struct prepared *p,
                    char *owned); /* takes a string that the spec borrows; gives it back */

#endif
