/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authority.h - certificates for whatever host a step asks the proxy for
 *
 * One key and one CA a process, in memory alone; the steps behind the proxy trust it while they run. Elliptic
 * curve P-256: a certificate is made for every connection and costs less than looking for an old one.
 */
#ifndef MINKE_PROXY_AUTHORITY_H
#define MINKE_PROXY_AUTHORITY_H

#include "base/error.h"

struct evp_pkey_st;
struct x509_st;

/* The CA's certificate (PEM), made at the first call.  Thread-safe; the string lives as long as the process.
 */
struct error *authority_pem(const char **ret) MUST_CHECK;
/* A certificate for `host` (a name or an IP address), freed with authority_certificate_free(), and the key of
 * all of them, borrowed.  ERR_INVALID for what is no host. */
struct error *authority_issue(const char *host, struct x509_st **ret,
                              struct evp_pkey_st **ret_key) MUST_CHECK;
void authority_certificate_freep(struct x509_st **certificate);

#endif
