/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health.h - HEALTHCHECK (inside of instruction.h)
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_HEALTH_H
#define MINKE_FRONTEND_DOCKERFILE_HEALTH_H

#include "frontend/dockerfile/instruction.h"

struct error *healthcheck_parse(struct arena *mem, const struct df_node *n,
                                struct healthcheck *ret) MUST_CHECK;

#endif
