/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logfile.h - what a container wrote, in docker's json-file format
 *
 * One record a line: {"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}.  Lines over
 * 16 KiB are cut into several records without the line feed.  With max-size the file is rotated: x.log,
 * x.log.1, .. x.log.(max-file - 1).
 *
 * One writer; readers in other tasks follow it.  The writer never waits for a reader.
 */
#ifndef MINKE_CONTAINER_LOGFILE_H
#define MINKE_CONTAINER_LOGFILE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"

enum log_stream { LOG_STDOUT = 1, LOG_STDERR = 2 };

struct logfile; /* shared (ref) */

struct logfile_options {
    int64_t max_size; /* bytes; 0: no limit */
    int max_files;    /* with rotation; at least 1 */
};
/* Docker's options (JSON object of strings, may be NULL): ERR_INVALID for an unknown one or a malformed
 * number. */
struct error *logfile_options_parse(const void *json_object, struct logfile_options *ret) MUST_CHECK;

struct error *logfile_open(const char *path, const struct logfile_options *o,
                           struct logfile **ret) MUST_CHECK;
struct logfile *logfile_ref(struct logfile *l);
void logfile_unref(struct logfile *l); /* NULL is fine */
/* Append output; whole lines become records, the rest is kept for the next call of that stream.  A record
 * that cannot be written is lost, those after it are tried. */
struct error *logfile_write(struct logfile *l, enum log_stream stream, const void *data,
                            size_t len) MUST_CHECK;
/* No more output: what is left becomes a record, and readers that follow come to their end. */
void logfile_end(struct logfile *l);

struct log_read {
    bool follow;                /* only while the writer is there */
    int64_t since_ns, until_ns; /* 0: no bound */
    int64_t tail;               /* last records; negative: all */
    unsigned streams;           /* LOG_STDOUT | LOG_STDERR */
};
struct log_record {
    enum log_stream stream;
    int64_t time_ns;
    const char *text; /* with its line feed, if it had one */
    size_t len;
};
typedef struct error *(*log_fn)(void *ctx, const struct log_record *r);
/* Call fn for every record until it fails.  `live` is the writer's log, NULL when nobody writes: then the
 * files at `path` are read. A wait point when following. */
struct error *logfile_read(const char *path, struct logfile *live, const struct log_read *o, log_fn fn,
                           void *ctx) MUST_CHECK;

#endif
