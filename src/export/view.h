/* SPDX-License-Identifier: Apache-2.0 */
/* view.h - one result as the files that the exporters local and tar send, with what is attested of it beside
 */
#ifndef MINKE_EXPORT_VIEW_H
#define MINKE_EXPORT_VIEW_H

#include "export/internal.h"
#include "session/sync.h"
#include "task/task.h"

/* One export. */
struct view_context {
    const struct exporter *exporter;
    const struct export_context *context;
    const struct export_source *source;
    bool split;       /* every result in a folder of its platform */
    bool split_names; /* attestations need no platform in their names */
    int64_t now_ns;   /* time of what the export makes */
    struct mutex lock;
    struct map taken; /* path -> platform: without split no two results may have the same file */
};
/* The first three members are set. */
void view_context_init(struct view_context *c, bool split);
void view_context_deinit(struct view_context *c);

/* What is sent of one result: a directory, or one file of it. */
struct view {
    int fd;
    char *prefix; /* "linux_arm64" when split, else "" */
    struct sync_send_filter filter;
    bool has_epoch;
    int64_t epoch_s;
    struct active *active; /* holds the attestations; NULL: none */
};
/* Several at once. Waits for disk and CPU. */
struct error *view_open(struct view_context *c, const struct export_ref *ref, struct view *v) MUST_CHECK;
void view_deinit(struct view *v);

#endif
