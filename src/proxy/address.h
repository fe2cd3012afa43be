/* SPDX-License-Identifier: Apache-2.0 */
/* address.h - the URLs of a proxy: what is asked of it, and the proxies behind it */
#ifndef MINKE_PROXY_ADDRESS_H
#define MINKE_PROXY_ADDRESS_H

#include "base/error.h"

/* How `url` is named to policies, in logs and in provenance: user and password masked, the host in lower
 * case, without the port that its scheme has anyway.  New string. */
char *address_name(const char *url);
/* The proxy that requests to `url` go through by this process's environment, "" for none: HTTP_PROXY or
 * HTTPS_PROXY after the URL's scheme, else the same in lower case; NO_PROXY is libcurl's to heed.  Borrowed
 * from the environment. */
const char *address_upstream(const char *url);
/* Are those variables URLs of proxies (http, https, socks5, socks5h; a bare host and port is http)?
 * ERR_INVALID "invalid HTTP_PROXY in buildkitd environment"; the value may hold a password and is not told.
 */
struct error *address_check_upstream(void) MUST_CHECK;
/* "host" of "host:port" and of "[::1]:443". New string. */
char *address_host(const char *authority);

#endif
