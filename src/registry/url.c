/* SPDX-License-Identifier: Apache-2.0 */
/*
 * url.c - URLs that servers send, read by curl's own parser, so that what is checked is what is asked
 */
#include <strings.h>

#include "registry/curl.h"
#include "registry/exchange.h"

static struct error *url_parse(const char *base, const char *text, CURLU **ret)
{
    const struct curl_api *curl;

    TRY(curl_api_get(&curl));
    CURLU *u = curl->url();
    CURLUcode r = base != NULL ? curl->url_set(u, CURLUPART_URL, base, CURLU_NON_SUPPORT_SCHEME) : CURLUE_OK;

    if (r == CURLUE_OK)
        r = curl->url_set(u, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME);
    char *scheme = NULL, *host = NULL;

    if (r == CURLUE_OK)
        r = curl->url_get(u, CURLUPART_SCHEME, &scheme, 0);
    if (r == CURLUE_OK)
        r = curl->url_get(u, CURLUPART_HOST, &host, 0);
    bool good = r == CURLUE_OK && (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0) &&
                *host != '\0';

    curl->free(scheme);
    curl->free(host);
    if (!good) {
        curl->url_cleanup(u);
        return err_new(ERR_INVALID, "not an http or https URL: \"%s\"", text);
    }
    *ret = u;
    return NULL;
}

struct error *exchange_url_resolve(const char *base, const char *location, char **ret)
{
    const struct curl_api *curl;
    CURLU *u = NULL;
    char *text = NULL;

    TRY(curl_api_get(&curl));
    TRY(url_parse(base, location, &u));
    /* a server does not choose what we log in with */
    curl->url_set(u, CURLUPART_USER, NULL, 0);
    curl->url_set(u, CURLUPART_PASSWORD, NULL, 0);
    curl->url_set(u, CURLUPART_FRAGMENT, NULL, 0);
    CURLUcode r = curl->url_get(u, CURLUPART_URL, &text, 0);

    if (r == CURLUE_OK)
        *ret = xstrdup(text);
    curl->free(text);
    curl->url_cleanup(u);
    return r == CURLUE_OK ? NULL : err_new(ERR_INVALID, "not an http or https URL: \"%s\"", location);
}

struct error *exchange_url_origin(const char *url, char **ret)
{
    const struct curl_api *curl;
    CURLU *u = NULL;
    char *scheme = NULL, *host = NULL, *port = NULL;

    TRY(curl_api_get(&curl));
    TRY(url_parse(NULL, url, &u));
    CURLUcode r = curl->url_get(u, CURLUPART_SCHEME, &scheme, 0);

    if (r == CURLUE_OK)
        r = curl->url_get(u, CURLUPART_HOST, &host, 0);
    if (r == CURLUE_OK)
        r = curl->url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
    if (r == CURLUE_OK) {
        bool plain =
            (streq(scheme, "https") && streq(port, "443")) || (streq(scheme, "http") && streq(port, "80"));
        CLEANUP(freep)
        char *mixed = xasprintf("%s://%s%s%s", scheme, host, plain ? "" : ":", plain ? "" : port);

        *ret = str_lower(mixed);
    }
    curl->free(scheme);
    curl->free(host);
    curl->free(port);
    curl->url_cleanup(u);
    return r == CURLUE_OK ? NULL : err_new(ERR_INVALID, "not an http or https URL: \"%s\"", url);
}

char *exchange_url_redact(const char *url)
{
    const struct curl_api *curl;
    CURLU *u = NULL;
    char *text = NULL;
    struct error *e = curl_api_get(&curl);

    if (e == NULL)
        e = url_parse(NULL, url, &u);
    if (e != NULL) {
        err_free(e);
        return xstrdup("");
    }
    curl->url_set(u, CURLUPART_USER, NULL, 0);
    curl->url_set(u, CURLUPART_PASSWORD, NULL, 0);
    char *copy = curl->url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK ? xstrdup(text) : xstrdup("");

    curl->free(text);
    curl->url_cleanup(u);
    return copy;
}
