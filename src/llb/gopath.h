/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gopath.h - slash-separated paths as Go's package path computes them (pure text, nothing is looked up)
 */
#ifndef MINKE_LLB_GOPATH_H
#define MINKE_LLB_GOPATH_H

#include "base/base.h"

/* New strings. */
char *gopath_clean(const char *p);               /* "" gives "." */
char *gopath_join(const char *a, const char *b); /* empty parts are left out; both empty gives "" */
char *gopath_base(const char *p);                /* "" gives ".", all slashes "/" */
char *gopath_dir(const char *p);
/* Would gopath_clean() give the same? False also for some rare ones of which it would. */
bool gopath_is_clean(const char *p);
static inline bool gopath_is_abs(const char *p)
{
    return p[0] == '/';
}

#endif
