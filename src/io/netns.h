/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netns.h - doing something in another network namespace
 *
 * A socket belongs to the namespace that its thread was in when it was made, whoever uses it later: that is
 * all that anybody needs of another namespace.  The thread is back before these return; nothing here waits.
 */
#ifndef MINKE_IO_NETNS_H
#define MINKE_IO_NETNS_H

#include "base/base.h"

/* Call `fn` inside a new namespace and keep that as *ret_fd.  What `fn` returns when that is negative, or
 * -errno. */
int netns_make(int (*fn)(void *ctx), void *ctx, int *ret_fd) MUST_CHECK;
/* socket(2) inside the namespace `netns_fd`: a descriptor or -errno. */
int netns_socket(int netns_fd, int domain, int type, int protocol) MUST_CHECK;

#endif
