/* SPDX-License-Identifier: Apache-2.0 */
/* trim.h - give memory back that was needed for a while */
#ifndef MINKE_BASE_TRIM_H
#define MINKE_BASE_TRIM_H

/* What the heap does not use, and the pages of program and libraries that are as their files have them: a
 * build runs through much code that an idle daemon never looks at.  What is needed again is read from the
 * page cache, page by page.  Takes a few hundred microseconds; thread-safe. */
void memory_trim(void);

#endif
