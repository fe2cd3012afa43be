/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar_extended.h - what headers say that stand before the main one (private to tar_read.c)
 */
#ifndef MINKE_OCI_TAR_EXTENDED_H
#define MINKE_OCI_TAR_EXTENDED_H

#include "oci/tar.h"
#include "oci/tar_sparse.h"

/* What the headers before the main one said. */
struct tar_extended {
    char *path, *linkpath, *uname, *gname;
    bool has_uid, has_gid, has_size, has_mtime;
    int64_t uid, gid, size, mtime;
    uint32_t mtime_nsec;
    char *long_name, *long_link; /* GNU */
    struct tar_entry xattrs;     /* only its attributes */
    struct tar_sparse_pax sparse;
};
void tar_extended_deinit(struct tar_extended *x);
/* A PAX header's records ("LEN key=value\n"...) in place of those that it has.  ERR_INVALID. */
struct error *tar_extended_pax(struct tar_extended *x, const char *p, size_t len) MUST_CHECK;
/* What it says stands before the main header's; its strings and attributes move. */
void tar_extended_apply(struct tar_extended *x, struct tar_entry *e, int64_t *size);

/* ERR_INVALID "archive/tar: invalid tar header: WHY". */
struct error *tar_bad_header(const char *why) MUST_CHECK;

#endif
