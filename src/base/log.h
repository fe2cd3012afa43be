/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - structured log: logfmt text or JSON, one line a record, to stderr
 *
 * log_info("pulled image", "ref", ref, "layers", "3"): the message, then pairs of strings, a NULL value is
 * skipped.  Library code never logs above debug; whoever ends an error logs it, once.  Callable from any
 * thread.
 */
#ifndef MINKE_BASE_LOG_H
#define MINKE_BASE_LOG_H

#include "base/base.h"
#include "base/error.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_FATAL };
enum log_format { LOG_TEXT, LOG_JSON };

void log_setup(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);
/* "debug", "info", "warn", "error", "fatal"; 0 or -EINVAL. */
int log_level_parse(const char *s, enum log_level *ret);

/* Pairs end with NULL, which the macros add. */
void log_write(enum log_level level, const char *msg, ...) __attribute__((sentinel));
#define log_debug(...)                                                                                       \
    (log_enabled(LOG_DEBUG) ? log_write(LOG_DEBUG, __VA_ARGS__, (const char *)NULL) : (void)0)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__, (const char *)NULL)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__, (const char *)NULL)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__, (const char *)NULL)
/* Log and free an error at its end. NULL is nothing. */
void log_err(enum log_level level, struct error *e, const char *msg);

/* A pair added to every record of this thread until it is taken off (build id, request id). `value` is
 * borrowed until then. */
void log_push(const char *key, const char *value);
void log_pop(void);

/* The pairs of this thread as a copy that another thread adopts: how a task inherits those of the one that
 * started it. */
struct log_context;
struct log_context *log_context_copy(void); /* NULL when there are none */
/* Push all pairs of `c` (borrowed until log_context_drop; NULL is fine). */
void log_context_adopt(struct log_context *c);
void log_context_drop(void);                  /* take off all pairs of this thread */
void log_context_free(struct log_context *c); /* one that was not adopted, or was dropped */

#endif
