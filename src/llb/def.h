/* SPDX-License-Identifier: Apache-2.0 */
/* def.h - making definitions; private to the room.  What is made lives as long as the definition. */
#ifndef MINKE_LLB_DEF_H
#define MINKE_LLB_DEF_H

#include "llb/llb.h"

struct llb_def *def_new(void); /* one reference */
struct llb_source *def_new_source(struct llb_def *def);
/* Copies the bytes; `digest` NULL: computed. */
void def_add_op(struct llb_def *def, const void *bytes, size_t len, const struct digest *digest);
/* What is said about an op and where it came from: empty when nothing was said yet. `digest` is borrowed. */
struct llb_meta *def_meta(struct llb_def *def, const char *digest);
struct llb_locations *def_locations(struct llb_def *def, const char *digest); /* def->source is there */
/* The entries, sorted by key, join those that are there; of equal keys the new ones stay.  Copied in but for
 * the keys. */
void def_describe(struct llb_def *def, struct llb_meta *meta, const struct map_entry *entries, size_t count);
/* The ids, sorted, join those that are there. Borrowed. */
void def_add_caps(struct llb_def *def, struct llb_meta *meta, const struct strv *caps);
void def_set_group(struct llb_def *def, struct llb_meta *meta, const struct llb_progress_group *group);
void def_set_resources(struct llb_def *def, struct llb_meta *meta, const struct llb_resources *resources);
void source_info_encode(struct buf *out, const struct llb_source_info *info);

#endif
