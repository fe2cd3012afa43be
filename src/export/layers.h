/* SPDX-License-Identifier: Apache-2.0 */
/* layers.h - the layers of a result as an image lists them: hashed, in the format and with the times asked
 * for */
#ifndef MINKE_EXPORT_LAYERS_H
#define MINKE_EXPORT_LAYERS_H

#include "export/compress.h"
#include "snapshot/snapshot.h"

struct layer_list {
    struct descriptor *blobs; /* OCI types; every blob can be opened */
    struct digest *diff_ids;
    size_t count;
    size_t kept; /* with times rewritten: the layers from here on are; else `count` */
};
void layer_list_deinit(struct layer_list *l);
/* Waits for disk and CPU, several layers at once.  The blobs are held by `lease`. */
struct error *layers_collect(struct snapshot *s, struct store *store, struct lease *lease,
                             const struct layer_format *f, struct layer_list *ret) MUST_CHECK;
/* One layer of many that are wanted. */
struct layer_item {
    struct snapshot *snapshot; /* borrowed */
    size_t index;
    struct descriptor blob; /* zeroed: to be filled */
    struct digest diff_id;
};
/* As layers_collect, for those that are not filled yet. */
struct error *layers_collect_items(struct layer_item *items, size_t count, struct store *store,
                                   struct lease *lease, const struct layer_format *f) MUST_CHECK;
/* The same layers with no file time after `epoch_s`, except those that are the base image's (`base` diff IDs,
 * lowest first).  They are layers of the store too.  *ret_kept: how many of the first are the base's. */
struct error *layers_clamp(struct snapshot *s, struct store *store, struct lease *lease, int64_t epoch_s,
                           const struct digest *base, size_t base_count, size_t *ret_kept,
                           struct snapshot **ret) MUST_CHECK;
/* What layer `id` is known as already, without any work: the blob that it came as, else its tar. */
struct error *layer_known(struct store *s, const char *id, struct descriptor *ret,
                          bool *ret_found) MUST_CHECK;

#endif
