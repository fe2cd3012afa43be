/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_options.h - the values of RUN --mount and --device (inside of instruction.h)
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_RUN_OPTIONS_H
#define MINKE_FRONTEND_DOCKERFILE_RUN_OPTIONS_H

#include "frontend/dockerfile/instruction.h"

/* With expand NULL only `from` is read (and must not hold variables); the rest waits for the variables. */
struct error *run_mount_parse(struct arena *mem, const char *value, word_expander expand, void *ctx,
                              struct mount_flag *ret) MUST_CHECK;
struct error *run_device_parse(struct arena *mem, const char *value, struct run_device *ret) MUST_CHECK;

#endif
