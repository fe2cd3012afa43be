/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/address.h"

#include "base/base.h"
#include "base/bytes.h"
#include "oci/purl.h"

#include <stdlib.h>

char *address_name(const char *url)
{
    CLEANUP(freep) char *plain = url_redact(url);
    const char *scheme_end = strstr(plain, "://");

    if (scheme_end == NULL)
        return TAKE(plain);
    const char *authority = scheme_end + 3, *rest = authority + strcspn(authority, "/?#");
    const char *port = str_has_prefix(plain, "https:") ? ":443" : ":80";
    CLEANUP(freep) char *host = xstrndup(authority, (size_t)(rest - authority));
    CLEANUP(freep) char *lower = NULL;
    char *at = strrchr(host, '@');

    if (str_has_suffix(host, port))
        host[strlen(host) - strlen(port)] = '\0';
    lower = str_lower(at != NULL ? at + 1 : host);
    return xasprintf("%.*s%.*s%s%s", (int)(authority - plain), plain, at != NULL ? (int)(at + 1 - host) : 0,
                     host, lower, rest);
}

/* ---- the environment
 * ----------------------------------------------------------------------------------------------------------
 */

static const char *variable(const char *upper, const char *lower)
{
    const char *v = getenv(upper);

    if (v == NULL || *v == '\0')
        v = getenv(lower);
    return v == NULL ? "" : v;
}

const char *address_upstream(const char *url)
{
    return str_has_prefix(url, "https://") ? variable("HTTPS_PROXY", "https_proxy")
                                           : variable("HTTP_PROXY", "http_proxy");
}

static bool is_proxy(const char *value)
{
    static const char *const schemes[] = { "http://", "https://", "socks5://", "socks5h://" };
    const char *host = strstr(value, "://") == NULL ? value : NULL;

    for (size_t i = 0; host == NULL && i < ARRAY_LEN(schemes); i++)
        host = str_skip_prefix(value, schemes[i]);
    if (host == NULL)
        return false;
    size_t len = strcspn(host, "/?#");
    const char *at = memrchr(host, '@', len);
    const char *name = at != NULL ? at + 1 : host;

    return name < host + len && *name != ':' && strpbrk(value, " \t\r\n") == NULL;
}

struct error *address_check_upstream(void)
{
    static const char *const names[][2] = { { "HTTP_PROXY", "http_proxy" },
                                            { "HTTPS_PROXY", "https_proxy" } };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *value = variable(names[i][0], names[i][1]), *upper = getenv(names[i][0]);

        if (*value != '\0' && !is_proxy(value))
            return err_new(ERR_INVALID, "invalid %s in buildkitd environment", names[i][upper != value]);
    }
    return NULL;
}

char *address_host(const char *authority)
{
    const char *end = strrchr(authority, ':');

    if (*authority == '[') {
        const char *close = strchr(authority, ']');

        return close != NULL ? xstrndup(authority + 1, (size_t)(close - authority - 1)) : xstrdup(authority);
    }
    return end != NULL ? xstrndup(authority, (size_t)(end - authority)) : xstrdup(authority);
}
