/* SPDX-License-Identifier: Apache-2.0 */
/* changes.h - docker import and commit --change: Dockerfile lines applied to a container config */
#ifndef MINKE_ENGINE_CHANGES_H
#define MINKE_ENGINE_CHANGES_H

#include "base/error.h"
#include "base/vec.h"

#include <jansson.h>

/* Lines among CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR;
 * `config` is changed in place; its
 * variables are expanded. ERR_INVALID "<X> is not a valid change command" for others. */
struct error *changes_apply(json_t *config, const struct strv *changes) MUST_CHECK;

#endif
