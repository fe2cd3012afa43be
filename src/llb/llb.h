/* SPDX-License-Identifier: Apache-2.0 */
/*
 * llb.h - a build definition: ops as exact bytes, what is said about each, where each came from, and the
 * graph they form
 *
 * `struct llb_def` is pb.Definition in memory, either received from a client or built by our own frontend
 * (llb/state.h).  Its ops are kept as the exact bytes they came as: a vertex's digest is the sha256 of those
 * bytes, and nothing is ever encoded again.  It is immutable once made and shared by reference count; any
 * task may read it.  All of it but the arrays and maps themselves lies in its arena.
 *
 * `struct llb_graph` is what the solver walks: the vertices that the result needs, unpacked and validated,
 * every index in bounds, in topological order (inputs first), so that no walk needs recursion.  Definitions
 * come from outside: all bounds are checked here, once (security.md B9), and ops may rely on them:
 *   - every input edge points to a vertex; edge.index >= 0
 *   - source ops have no inputs; exec ops have meta, args, mounts and a root mount; every mount is non-NULL,
 * input -1 or in range, output >= -1; file ops have actions, each with its kind set, input and secondary
 * input -1 or below inputs + own position, owners' NamedUserOpt input -1 or in range; merge and diff counts
 * agree and their indices are in range
 */
#ifndef MINKE_LLB_LLB_H
#define MINKE_LLB_LLB_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/vec.h"
#include "oci/digest.h"
#include "wire/pb.h"

/* ---- definition
 * -------------------------------------------------------------------------------------------------------- */

/* One op: its exact bytes. */
struct llb_op {
    struct digest digest;
    const void *bytes;
    size_t len;
};

struct llb_progress_group {
    const char *id, *name;
    bool weak;
};

/* LinuxResources of OpMetadata: limits of a step that are not part of its key. */
struct llb_resources {
    int64_t memory, memory_swap, cpu_quota;
    uint64_t cpu_shares, cpu_period;
    char *cpuset_cpus, *cpuset_mems; /* "" when absent */
};

/* OpMetadata. */
struct llb_meta {
    bool ignore_cache;
    bool has_export_cache, export_cache;
    struct map description; /* string map, sorted; "llb.customname" overrides the step's name */
    struct strv caps;       /* ids whose value is true, sorted, each once */
    struct llb_progress_group *progress_group; /* NULL: none */
    struct llb_resources *resources;           /* NULL: none */
};

struct llb_range {
    int32_t start_line, start_char, end_line, end_char;
};

struct llb_source_info {
    char *filename, *language; /* "" when absent */
    void *data;
    size_t data_len;
    void *definition; /* encoded pb.Definition of the source's own state, NULL when absent */
    size_t definition_len;
};

struct llb_location {
    size_t info; /* index into llb_source.infos, in range */
    struct llb_range *ranges;
    size_t range_count;
};
struct llb_locations {
    struct llb_location *v;
    size_t len;
};

struct llb_source {
    struct llb_source_info *infos;
    size_t info_count;
    struct map locations; /* op digest -> struct llb_locations */
};

struct llb_def {
    unsigned refs; /* atomic */
    struct arena mem;
    struct llb_op *ops;  /* in the order of Definition.def; the last is the terminal op (only inputs[0]) */
    size_t op_count;     /* 0: scratch */
    struct map metadata; /* op digest -> struct llb_meta */
    struct llb_source *source; /* NULL: none */
};

/* From the wire. `pb` is borrowed; everything is copied. A NULL or empty message is scratch (op_count 0).
 * Errors: ERR_INVALID for what cannot be decoded, source locations out of range ("invalid source index %d for
 * vertex %s"), more than LIMIT_LLB_OPS ops or LIMIT_LLB_SOURCES source files. The ops themselves are looked
 * at by llb_load(). */
struct error *llb_def_from_pb(const Pb__Definition *pb, struct llb_def **ret) MUST_CHECK;
struct error *llb_def_decode(const void *data, size_t len, struct llb_def **ret) MUST_CHECK;
/* Encoded pb.Definition (maps sorted by key), appended. */
void llb_def_encode(const struct llb_def *def, struct buf *out);
struct llb_def *llb_def_ref(struct llb_def *def);
void llb_def_unref(struct llb_def *def); /* NULL is fine */
void llb_def_unrefp(struct llb_def **def);
static inline bool llb_def_is_scratch(const struct llb_def *def)
{
    return def == NULL || def->op_count == 0;
}
/* Digest of the vertex that the terminal op points to; *ret_index its output. ERR_INVALID when there is none.
 */
struct error *llb_def_head(const struct llb_def *def, struct digest *ret, int64_t *ret_index) MUST_CHECK;
const struct llb_meta *llb_def_meta(const struct llb_def *def, const char *digest);           /* NULL: none */
const struct llb_locations *llb_def_locations(const struct llb_def *def, const char *digest); /* NULL: none */

/* ---- graph
 * -------------------------------------------------------------------------------------------------------------
 */

struct llb_vertex;

struct llb_edge {
    struct llb_vertex *vertex;
    int64_t index; /* output of that vertex, >= 0 */
};

struct llb_vertex {
    struct digest digest;
    size_t position;  /* in llb_graph.vertices; inputs have lower ones */
    const Pb__Op *op; /* unpacked; owned by the graph */
    const struct llb_op *raw;
    struct llb_edge *inputs; /* as many as op->n_inputs */
    size_t input_count;
    const struct llb_meta *meta; /* never NULL (an empty one when absent) */
    char *name; /* as progress shows it: llb.customname, else BuildKit's default name (protocol.md 3.4) */
    const struct llb_locations *locations; /* NULL: none; infos are in graph->def->source */
    void *user;                            /* the solver's */
};

struct llb_graph {
    struct llb_def *def; /* a reference */
    struct llb_vertex *vertices;
    size_t vertex_count;
    struct llb_edge result;
    struct pb_arena arena; /* of the unpacked ops */
};

/* Unpack and validate. Only vertices that the result needs are in the graph; unreferenced ops are still
 * decoded and checked for missing inputs, as BuildKit does. `def` must not be scratch ("invalid empty
 * definition"). Errors: ERR_INVALID with BuildKit's texts ("invalid LLB with %d vertexes", "invalid missing
 * input digest %s", "requested experimental feature ... is not supported ..." for capabilities). */
struct error *llb_load(struct llb_def *def, struct llb_graph **ret) MUST_CHECK;
void llb_graph_free(struct llb_graph *g);
void llb_graph_freep(struct llb_graph **g);
/* Whose a file action makes what it makes; NULL: it does not say. */
const Pb__ChownOpt *llb_action_owner(const Pb__FileAction *a);

/* errdefs.Source JSON (protocol.md 3.7) of a vertex, added as a detail to `e` (NULL or no locations: nothing
 * happens). */
void llb_add_source_detail(struct error *e, const struct llb_def *def, const struct llb_locations *locations);
/* The same of a file and ranges. */
void llb_add_info_detail(struct error *e, const struct llb_source_info *info, const struct llb_range *ranges,
                         size_t range_count);

/* ---- capabilities
 * ------------------------------------------------------------------------------------------------------ */

struct llb_cap {
    const char *id;
    bool prerelease;              /* else experimental: only worded in errors */
    bool enabled;                 /* does it work here */
    const char *name;             /* readable name in errors, or NULL */
    const char *disabled_message; /* DisabledReasonMsg, or NULL */
};
/* All known capabilities, sorted by id. */
const struct llb_cap *llb_caps(size_t *ret_count);
bool llb_cap_enabled(const char *id);
/* NULL, or ERR_UNKNOWN with apicaps' text ("unknown API capability %s", "requested experimental feature
 * ..."). */
struct error *llb_cap_check(const char *id) MUST_CHECK;

#endif
