/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history_impl.h - what the files of the history share
 *
 *   history.c          the records: begun, listed, changed, expired
 *   history_end.c      what is written of a build once it has ended, and when
 *   history_blob.c     the files that hold it
 *   history_filter.c   which records a listing asks for
 *   history_message.c  a record as its message, and back
 *   history_rows.c     records in the database
 */
#ifndef MINKE_BUILDKIT_HISTORY_IMPL_H
#define MINKE_BUILDKIT_HISTORY_IMPL_H

#include "buildkit/internal.h"
#include "oci/digest.h"

struct history_blob {
    struct digest digest; /* "" = none */
    int64_t size;
};

/* What was attested of one result. */
struct history_attestation {
    char *key; /* platform id; NULL of a single result */
    struct history_blob blob;
};

struct history_exporter {
    char *type;
    struct map attrs;
};

struct history_record {
    int64_t id; /* of its row; 0: has none */
    char *ref, *frontend;
    struct map attrs, response;
    struct history_exporter *exporters;
    size_t exporter_count;
    int64_t created_ns, completed_ns; /* 0: still runs */
    struct error *error;
    struct history_blob log, external_error, trace;
    struct history_attestation *attestations; /* provenance */
    size_t attestation_count;
    struct descriptor *results; /* of each exporter; media_type NULL: no image */
    size_t result_count;
    struct lease *lease; /* holds the documents of the results; NULL: none.  In `rows` */
    struct progress_counts counts;
    int generation;
    bool pinned, deleted;
    uint64_t changed; /* sequence of the last event */
    uint64_t ending;  /* != 0: the build has ended, its files are being written; in order of the ends */
    Bk__BuildHistoryEventType event;
};

/* Two locks: `rows` around a change of an ended record and of its row, `lock` for what is in memory.  Order:
 * rows first. */
struct history {
    struct builder *builder;
    struct mutex rows;
    int64_t last_id; /* of a row; in `rows` */
    struct mutex lock;
    struct cond news;
    struct ptrv records; /* oldest first */
    uint64_t sequence, endings;
    int dir_fd;
    /* builds that have ended and are not written yet: history_write() */
    struct group writers; /* one task at most */
    struct ptrv queue;    /* struct ending, in order */
    struct cond due;      /* something to write, or somebody waits for it */
    size_t running;       /* builds that will end */
    size_t waiting;       /* tasks that wait for what is in the queue, or will be */
    int64_t ended_ns;     /* monotonic, of the last end */
    bool writing, closing;
    bool filling; /* files are being written that no record names yet */
};

/* ---- history.c ---- */

/* `r` has changed: whoever listens is told `event`. */
void history_changed_locked(struct history *h, struct history_record *r, Bk__BuildHistoryEventType event);
/* What there are too many of leaves the list for `gone` (struct history_record): history_forget(). */
void history_expire_locked(struct history *h, struct ptrv *gone);
/* They are removed for good; in `rows`.  Empties the list. */
void history_forget(struct history *h, struct ptrv *gone);
void history_record_free(struct history_record *r); /* its files stay */

/* ---- history_end.c ---- */

/* Wait for the records of the builds that have ended by now: their clients know that they did. */
struct error *history_await_endings(struct history *h) MUST_CHECK;
/* Somebody waits for records: they are written as builds end, until as many relax. */
void history_hurry(struct history *h);
void history_relax(struct history *h);
/* Write what is left, without delay, and wait for it. */
void history_finish_endings(struct history *h);

/* ---- history_blob.c ---- */

/* A file while it is written. */
struct blob_writer {
    int fd;
    struct hasher *hasher;
    int64_t size;
};
struct error *blob_write(struct blob_writer *w, const void *data, size_t len) MUST_CHECK;
/* Content made by `fill` as a file named by its digest. */
struct error *history_blob_make(struct history *h, struct error *(*fill)(struct blob_writer *w, void *arg),
                                void *arg, struct history_blob *ret) MUST_CHECK;
struct error *history_blob_open_at(struct history *h, const struct digest *d, int64_t *ret_size,
                                   struct stream **ret) MUST_CHECK;
/* Is the file there, as long as it was and, where that is in doubt, with what its name says? */
bool history_blob_is_whole(struct history *h, const struct history_blob *b, bool read_all);
/* All that `r` has, of which equal texts of other records stay. */
void history_blobs_drop(struct history *h, struct history_record *r);

/* ---- history_message.c ---- */

Bk__BuildHistoryRecord *history_message_locked(struct pb_arena *a, const struct history_record *r);
/* A record from what history_message_locked() made.  Errors: it cannot be read. */
struct error *history_record_parse(const void *data, size_t len, struct history_record **ret) MUST_CHECK;

/* ---- history_filter.c ---- */

struct history_filters;
/* Entries of a request.  Errors: ERR_INVALID. */
struct error *history_filters_parse(char *const *v, size_t n, struct history_filters **ret) MUST_CHECK;
bool history_filters_pass(const struct history_filters *f, const struct history_record *r);
void history_filters_free(struct history_filters *f); /* NULL is fine */

/* ---- history_rows.c, in `rows` ---- */

/* A record's row as `text` says, a packed message; one without a number gets one. */
struct error *history_row_write(struct history *h, struct history_record *r,
                                const struct buf *text) MUST_CHECK;
struct error *history_row_remove(struct history *h, struct history_record *r) MUST_CHECK;
/* Manifests, configs and attestations of the results stay as long as the record does, also when the image's
 * name goes; layers do not. */
void history_hold_results(struct history *h, struct history_record *r);
/* The builds of runs before this one; files that belong to none go. */
struct error *history_load(struct history *h) MUST_CHECK;

#endif
