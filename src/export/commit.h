/* SPDX-License-Identifier: Apache-2.0 */
/* commit.h - one image on its way into the store; for commit*.c */
#ifndef MINKE_EXPORT_COMMIT_H
#define MINKE_EXPORT_COMMIT_H

#include "export/internal.h"
#include "export/layers.h"

struct commit {
    struct exporter *exporter;
    const struct export_context *context;
    const struct export_source *source;
    struct lease *lease;
    struct vertex_reporter *reporter;
    struct committed_image *image;
    const struct strv *names; /* that the image gets */
};

/* Note a blob of the image. */
void commit_add_blob(struct committed_image *i, const struct digest *d);
/* A document into the store; the row tells its digest. `j` is taken. */
struct error *commit_put_document(struct commit *c, json_t *j, const char *row, struct digest *ret,
                                  int64_t *ret_size) MUST_CHECK;

/* The manifest of what is attested of `ref`, whose manifest is `target` with these layers; *ret_made is false
 * when there is nothing. */
struct error *commit_attestations(struct commit *c, const struct export_ref *ref,
                                  const struct descriptor *target, struct snapshot *snapshot,
                                  const struct layer_list *layers, struct descriptor *ret,
                                  bool *ret_made) MUST_CHECK;

#endif
