/* SPDX-License-Identifier: Apache-2.0 */
/* def.h - making definitions; private to the room */
#ifndef MINKE_LLB_DEF_H
#define MINKE_LLB_DEF_H

#include "llb/llb.h"

struct llb_def *def_new(void); /* one reference */
/* Copies the bytes; `digest` NULL: computed. */
void def_add_op(struct llb_def *def, const void *bytes, size_t len, const struct digest *digest);
/* A fresh entry, replacing an older one. Borrowed. */
struct llb_meta *def_meta_new(struct llb_def *def, const char *digest);
struct llb_locations *source_locations_new(struct llb_source *source, const char *digest);
void source_info_encode(struct buf *out, const struct llb_source_info *info);

#endif
