/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tabwriter.h - columns aligned as Go's text/tabwriter aligns them (blanks, left, no minimum width)
 *
 * Cells end at a tab.  Lines that follow each other and have a cell in a column form a block, in which the
 * cell is as wide as the longest one plus the padding; what stands behind the last tab of a line belongs to
 * no column.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_TABWRITER_H
#define MINKE_FRONTEND_DOCKERFILE_TABWRITER_H

#include "base/buf.h"

/* Append the lines of `text`, aligned. */
void tabwriter_format(struct buf *out, const char *text, size_t padding);

#endif
