/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faces.h - what the two faces of the program bring to config.c: their flags and their configuration files
 */
#ifndef MINKE_DAEMON_FACES_H
#define MINKE_DAEMON_FACES_H

#include "daemon/flags.h"

#include <jansson.h>

extern const struct flag_table dockerd_flags, buildkitd_flags;

/* An address for -H: *ret is a copy of it as it stands. */
struct error *check_host(const char *value, char **ret) MUST_CHECK;

/* Merge daemon.json into *c, which holds defaults and what flags said.  -> *ret_found false: there is no such
 * file. */
struct error *daemon_json_load(const char *path, struct flag_state *states, struct config *c,
                               bool *ret_found) MUST_CHECK;
/* "builder" of daemon.json; keys in any case. */
struct error *builder_json_apply(json_t *builder, struct config *c) MUST_CHECK;
/* Merge buildkitd.toml; what flags said stands. */
struct error *buildkitd_toml_load(const char *path, struct flag_state *states, struct config *c,
                                  bool *ret_found) MUST_CHECK;

/* "10%", "20GB", 1000000: ERR_INVALID names the text. */
struct error *config_space_parse(const json_t *value, struct config_space *ret) MUST_CHECK;
/* "48h", or seconds as a number. */
struct error *config_duration_parse(const json_t *value, int64_t *ret_ns) MUST_CHECK;
/* Add an empty rule. Borrowed, until the next one is added. */
struct config_gc_rule *config_gc_add(struct config_gc *gc);

#endif
