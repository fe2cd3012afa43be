/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar.h - archive headers: a canonical writer and a bounded reader
 *
 * The writer's bytes equal those of Go's archive/tar for the same header with Format PAX (or unset, when the
 * times are whole seconds): USTAR where it fits, else PAX with sorted records.  So layers have the diff IDs
 * that BuildKit gives them.
 *
 * The reader understands v7, USTAR, PAX, GNU long names, base-256 numbers and GNU sparse files.  It trusts
 * nothing: sizes, counts and checksums are checked; names are handed on as they stand (never use them but
 * with io/path.h).
 */
#ifndef MINKE_OCI_TAR_H
#define MINKE_OCI_TAR_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "io/stream.h"

#define TAR_BLOCK 512

enum tar_type {
    TAR_FILE = '0',
    TAR_HARDLINK = '1',
    TAR_SYMLINK = '2',
    TAR_CHAR = '3',
    TAR_BLOCKDEV = '4',
    TAR_DIR = '5',
    TAR_FIFO = '6',
};

struct tar_xattr {
    char *name;  /* "security.capability" */
    void *value; /* a NUL behind it */
    size_t len;
};

struct tar_entry {
    enum tar_type type;
    char *name;     /* no leading slash; directories end in one */
    char *linkname; /* NULL = "" */
    char *uname, *gname;
    uint32_t mode; /* 07777 */
    int64_t uid, gid;
    int64_t size;
    int64_t mtime; /* seconds since the epoch */
    uint32_t mtime_nsec;
    uint32_t dev_major, dev_minor;
    struct tar_xattr *xattrs;
    size_t xattr_count;
};
void tar_entry_deinit(struct tar_entry *e);
void tar_entry_add_xattr(struct tar_entry *e, const char *name, const void *value, size_t len);

/* ---- writing ---------------------------------------------------------------------------------------------
 */

/* Append the header blocks of `e` (and PAX records when needed); content and padding are the caller's. */
void tar_add_header(struct buf *out, const struct tar_entry *e);
/* Zeros that fill the last block of a content of that size. */
static inline size_t tar_padding(int64_t size)
{
    return (size_t)(-(uint64_t)size & (TAR_BLOCK - 1));
}
/* The two zero blocks at the end. */
void tar_add_end(struct buf *out);

/* ---- reading ---------------------------------------------------------------------------------------------
 */

struct tar_reader;
struct tar_reader *tar_reader_new(struct stream *s); /* s: borrowed */
void tar_reader_free(struct tar_reader *r);
void tar_reader_freep(struct tar_reader **r);
/* Skip what is left of the current entry and read the next header.  *ret is borrowed until the next call;
 * NULL at the end. Errors: ERR_INVALID "archive/tar: ..." for a malformed archive. */
struct error *tar_reader_next(struct tar_reader *r, struct tar_entry **ret) MUST_CHECK;
/* Content of the current entry (holes of sparse files come as zeros); 0 at its end; negative errno (-EPIPE:
 * cut short). */
ssize_t tar_reader_read(struct tar_reader *r, void *buf, size_t cap) MUST_CHECK;
/* In a hole of a sparse file: pass over it and return its length; 0 when data (or the end) comes next. */
int64_t tar_reader_skip_hole(struct tar_reader *r);
/* Read to the end of the stream behind the archive's end marker, so that a digest over it is whole. */
struct error *tar_reader_drain(struct tar_reader *r) MUST_CHECK;

#endif
