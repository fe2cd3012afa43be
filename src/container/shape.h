/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape.h - the JSON of containers in the shape of dockerd's Go structs: every key there, in order, of the
 * right type
 *
 * What a client sends is brought into that shape once, at creation; what inspect shows is a copy of it.
 */
#ifndef MINKE_CONTAINER_SHAPE_H
#define MINKE_CONTAINER_SHAPE_H

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"

#include <jansson.h>

/* Config and HostConfig: *ret is a new reference.  Keys are matched without regard to case, as Go does;
 * unknown ones are dropped. ERR_INVALID names a key of a wrong type.  `in` may be NULL or null. */
struct error *shape_config(const json_t *in, json_t **ret) MUST_CHECK;
struct error *shape_host_config(const json_t *in, json_t **ret) MUST_CHECK;

/* Borrowed reads with Go's zero values. */
const char *json_get_string(const json_t *o, const char *key); /* "" */
bool json_get_bool(const json_t *o, const char *key);
int64_t json_get_int(const json_t *o, const char *key);
/* The strings of an array; other things in it are skipped. */
void json_get_strings(const json_t *o, const char *key, struct strv *out);
json_t *strv_json(const struct strv *s); /* null when empty, as a nil slice */

#endif
