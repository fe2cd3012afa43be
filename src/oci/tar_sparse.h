/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar_sparse.h - the sparse maps of GNU tar (private to the tar reader)
 *
 * Four encodings: in the old header with extension blocks, in PAX records (0.0 and 0.1), and in front of the
 * data (1.0).  A map is accepted only when its fragments are in order, inside the file, and add up to the
 * bytes that are stored.
 */
#ifndef MINKE_OCI_TAR_SPARSE_H
#define MINKE_OCI_TAR_SPARSE_H

#include "oci/tar.h"

struct tar_fragment {
    int64_t offset, length;
};

struct tar_sparse {
    bool active;
    struct tar_fragment *fragments;
    size_t count, at; /* at: the fragment at or behind pos */
    int64_t pos, size;
};
void tar_sparse_deinit(struct tar_sparse *s);
int64_t tar_sparse_hole(const struct tar_sparse *s); /* zeros that come next */
int64_t tar_sparse_data(const struct tar_sparse *s); /* data bytes that come next */
void tar_sparse_advance(struct tar_sparse *s, int64_t n);

/* What PAX records said. */
struct tar_sparse_pax {
    bool seen;
    bool in_data; /* 1.0 */
    char *name;
    int64_t size;
    struct buf map; /* "offset,length,offset,length" */
    size_t pairs;
};
void tar_sparse_pax_deinit(struct tar_sparse_pax *p);
/* One record GNU.sparse.<key>. */
struct error *tar_sparse_record(struct tar_sparse_pax *p, const char *key, const char *value) MUST_CHECK;

/* Reads exactly `len` stored bytes: 0 or a negative errno. */
typedef ssize_t (*tar_sparse_input)(void *ctx, void *buf, size_t len);
/* Old GNU header in `block`; extension blocks are read with `next_block`.  Sets e->size. */
struct error *tar_sparse_old(struct tar_sparse *s, const char *block, struct tar_entry *e, int64_t stored,
                             tar_sparse_input next_block, void *ctx) MUST_CHECK;
/* PAX: sets e->name and e->size; `*stored` sinks by what a map in the data took. */
struct error *tar_sparse_pax(struct tar_sparse *s, struct tar_sparse_pax *p, struct tar_entry *e,
                             const int64_t *stored, tar_sparse_input read, void *ctx) MUST_CHECK;

/* Octal or base-256 field (tar_read.c). 0 or -EINVAL, -ERANGE. */
int tar_number(const char *field, size_t size, int64_t *ret) MUST_CHECK;

#endif
