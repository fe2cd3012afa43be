/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/purl.h"

#include "base/buf.h"
#include "oci/reference.h"

#include <ctype.h>

#define MASK "xxxxx"

/* Percent-encoding of the package URL specification: unreserved characters and ':' stay. */
static void add_escaped(struct buf *out, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];

        if ((c < 0x80 && isalnum(c)) || (c != '\0' && strchr("-._~:", c) != NULL))
            buf_addc(out, (char)c);
        else
            buf_addf(out, "%%%02X", c);
    }
}

static void add_qualifier(struct buf *out, bool *first, const char *key, const char *value)
{
    buf_addc(out, *first ? '?' : '&');
    buf_adds(out, key);
    buf_addc(out, '=');
    add_escaped(out, value, strlen(value));
    *first = false;
}

/* Namespace and name, each part encoded. */
static void add_path(struct buf *out, const char *path)
{
    for (;;) {
        size_t len = strcspn(path, "/");

        buf_addc(out, '/');
        add_escaped(out, path, len);
        if (path[len] == '\0')
            return;
        path += len + 1;
    }
}

struct error *purl_of_image(const char *type, const char *ref, const struct platform *platform,
                            const char *ref_type, const char *vcs_url, char **ret)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(freep) char *name = NULL;
    struct buf out = { 0 };
    bool first = true;

    TRY(err_wrap(reference_parse(ref, &r), "failed to parse ref \"%s\"", ref));
    reference_add_default_tag(&r);
    name = reference_familiar_name(&r);
    buf_addf(&out, "pkg:%s", type);
    add_path(&out, name);
    if (r.tag != NULL) {
        buf_addc(&out, '@');
        add_escaped(&out, r.tag, strlen(r.tag));
    }
    if (r.digest != NULL)
        add_qualifier(&out, &first, "digest", r.digest);
    if (platform != NULL && platform_is_set(platform)) {
        CLEANUP(platform_deinit) struct platform p = { 0 };
        CLEANUP(freep) char *text = NULL;

        platform_copy(&p, platform);
        platform_normalize(&p);
        text = platform_format(&p);
        add_qualifier(&out, &first, "platform", text);
    }
    if (ref_type != NULL)
        add_qualifier(&out, &first, "ref_type", ref_type);
    if (vcs_url != NULL)
        add_qualifier(&out, &first, "vcs_url", vcs_url);
    *ret = buf_take(&out);
    return NULL;
}

char *url_redact(const char *url)
{
    size_t scheme = strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    const char *host, *at = NULL, *colon;

    if (strncmp(url, "//", 2) == 0)
        host = url + 2;
    else if (scheme > 0 && strncmp(url + scheme, "://", 3) == 0)
        host = url + scheme + 3;
    else
        return xstrdup(url);
    for (const char *p = host; *p != '\0' && strchr("/?#", *p) == NULL; p++) {
        if (*p == '@')
            at = p;
    }
    if (at == NULL || at == host)
        return xstrdup(url);
    colon = memchr(host, ':', (size_t)(at - host));
    return xasprintf("%.*s%s%s%s", (int)(host - url), url, colon == host ? "" : MASK,
                     colon == NULL ? "" : ":" MASK, at);
}
