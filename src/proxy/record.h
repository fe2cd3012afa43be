/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - what a step asked for through its proxy
 *
 * Every request with its answer's status; of an answer that came whole, what it was (a material); of
 * everything else, why it cannot be named (a gap).  Reasons are BuildKit's: "method_not_materializable",
 * "partial_response", "body_read_failed", "unsuccessful_response", "upstream_error"; ours:
 * "too_many_requests". Filled by several tasks at once.
 */
#ifndef MINKE_PROXY_RECORD_H
#define MINKE_PROXY_RECORD_H

#include "base/buf.h"
#include "base/error.h"
#include "oci/digest.h"

struct proxy_material {
    char *url;
    struct digest digest;
};
struct proxy_gap {
    char *method, *url, *reason;
};

struct proxy_record;
struct proxy_record *proxy_record_new(void);
void proxy_record_free(struct proxy_record *r); /* NULL is fine */
void proxy_record_freep(struct proxy_record **r);

/* `redirect`: where the answer points to; "" or NULL: nowhere.  False: there is no room for more, and the
 * record says so. */
bool proxy_record_request(struct proxy_record *r, const char *method, const char *url, const char *redirect,
                          int status);
void proxy_record_material(struct proxy_record *r, const char *url, const struct digest *d);
void proxy_record_gap(struct proxy_record *r, const char *method, const char *url, const char *reason);

/* "proxy network requests:" and a line for each; nothing when there was none. */
void proxy_record_describe(struct proxy_record *r, struct buf *out);
/* Materials and gaps, as text and back. Errors: what was not written by proxy_record_encode. */
char *proxy_record_encode(struct proxy_record *r);
struct error *proxy_record_decode(const char *text, struct proxy_record **ret) MUST_CHECK;
/* In the order they came; an address that was only a redirection to a known one counts as that.  Borrowed,
 * and final: nothing is added any more. */
const struct proxy_material *proxy_record_materials(struct proxy_record *r, size_t *ret_count);
const struct proxy_gap *proxy_record_gaps(struct proxy_record *r, size_t *ret_count);

#endif
