/* SPDX-License-Identifier: Apache-2.0 */
/* trace.h - what a build did and when, as spans: the trace of its history record */
#ifndef MINKE_BUILDKIT_TRACE_H
#define MINKE_BUILDKIT_TRACE_H

#include "base/buf.h"
#include "base/error.h"
#include "solver/progress.h"

/* Spans of a closed progress as clients read them: JSON objects one after the other, OpenTelemetry's SpanStub
 * of Go. One for the build, one below it for each vertex.  `failure` NULL: it succeeded. */
struct error *trace_write(struct progress *p, const char *ref, int64_t started_ns, int64_t ended_ns,
                          const struct error *failure, struct buf *out) MUST_CHECK;

#endif
