/* SPDX-License-Identifier: Apache-2.0 */
/*
 * build_config.h - what provenance tells with mode=max: the steps of a result, where they came from, what
 * they left
 *
 * A definition may have many thousands of steps, so they are written as they are read.
 */
#ifndef MINKE_BUILDKIT_BUILD_CONFIG_H
#define MINKE_BUILDKIT_BUILD_CONFIG_H

#include "buildkit/provenance.h"
#include "llb/steps.h"

struct build_config {
    const struct provenance *p;
    struct llb_steps *steps; /* NULL: a scratch result */
};
/* `p` is borrowed. Errors: ERR_INVALID. */
struct error *build_config_open(const struct provenance *p, struct build_config *ret) MUST_CHECK;
void build_config_deinit(struct build_config *c);
/* The object of the steps. */
struct error *build_config_write(const struct build_config *c, enum llb_json_style style,
                                 struct go_writer *out) MUST_CHECK;
/* The members `source` and `layers`, where there is something to tell.  `exported`: what an image's layers
 * were exported as (by layer id), or NULL.  Reads the store. */
struct error *build_config_write_metadata(const struct build_config *c, const struct map *exported,
                                          struct go_writer *out) MUST_CHECK;

#endif
