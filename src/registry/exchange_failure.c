/* SPDX-License-Identifier: Apache-2.0 */
/* exchange_failure.c - what curl failed with, as a class and in the words that people search for */
#include "registry/exchange_impl.h"

#include <errno.h>

/* What connecting failed with; 0: curl does not tell. */
static int connect_errno(const struct exchange *x)
{
    long errnum = 0;

    x->curl->easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &errnum);
    return (int)errnum;
}

/* The errno of the class of a failure: see exchange_open. */
static int failure_class(const struct exchange *x)
{
    if (x->refused_address)
        return EACCES;
    switch (x->result) {
    case CURLE_COULDNT_CONNECT:
        return connect_errno(x) == ECONNREFUSED ? ECONNREFUSED : 0;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
        return EPROTO;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_URL_MALFORMAT:
    case CURLE_OUT_OF_MEMORY:
    case CURLE_BAD_FUNCTION_ARGUMENT:
        return 0;
    default:
        return x->too_many_headers ? 0 : ECONNRESET;
    }
}

/* "localhost:5000" of "http://localhost:5000/v2/". New string. */
static char *host_port(const char *url)
{
    CLEANUP(freep) char *origin = NULL;
    struct error *e = exchange_url_origin(url, &origin);

    if (e != NULL) {
        err_free(e);
        return xstrdup("");
    }
    const char *host = strstr(origin, "://") + 3;
    bool secure = str_has_prefix(origin, "https://");

    if (strchr(host[0] == '[' ? strchr(host, ']') : host, ':') != NULL)
        return xstrdup(host);
    return xasprintf("%s:%d", host, secure ? 443 : 80);
}

static char *refused_connection(const char *host, int errnum)
{
    CLEANUP(freep) char *reason = str_lower(strerror(errnum));

    return xasprintf("dial tcp %s: connect: %s", host, reason);
}

/* The words of docker for what curl names otherwise: people search for them. New string. */
static char *explain(const struct exchange *x, const struct exchange_request *q)
{
    CLEANUP(freep) char *host = host_port(q->url);
    int errnum = connect_errno(x);

    if (x->refused_address)
        return xstrdup("refusing to follow a redirect to a link-local address");
    if (x->too_many_headers)
        return xstrdup("the answer's header is too large");
    switch (x->result) {
    case CURLE_COULDNT_CONNECT:
        return errnum != 0 ? refused_connection(host, errnum) : xstrdup(x->failure);
    case CURLE_COULDNT_RESOLVE_HOST:
        return xasprintf("dial tcp: lookup %.*s: no such host", (int)(strrchr(host, ':') - host), host);
    case CURLE_PEER_FAILED_VERIFICATION:
        if (strstr(x->failure, "self-signed") != NULL || strstr(x->failure, "local issuer") != NULL)
            return xstrdup(
                "tls: failed to verify certificate: x509: certificate signed by unknown authority");
        return xasprintf("tls: failed to verify certificate: %s", x->failure);
    case CURLE_GOT_NOTHING:
        return xstrdup("EOF");
    default:
        break;
    }
    return xstrdup(x->failure);
}

struct error *exchange_failed(const struct exchange *x, const struct exchange_request *q)
{
    CLEANUP(freep) char *url = exchange_url_redact(q->url);

    if (!x->refused_address && !x->too_many_headers && x->upload_error < 0)
        return task_error(x->upload_error, "read what is sent to %s", url);
    CLEANUP(freep) char *why = explain(x, q);
    CLEANUP(freep) char *method = str_lower(q->method);

    method[0] = q->method[0]; /* Go writes Get, Head */
    struct error *e = err_new(ERR_UNAVAILABLE, "failed to do request: %s \"%s\": %s", method, url, why);

    e->errnum = failure_class(x);
    return e;
}
