/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images_auth.c - the credentials of one request (X-Registry-Auth)
 *
 * They are for one server: the one that the client names beside them, or else the registry of the reference.
 * No other that is asked on the way, a mirror say, sees them (security.md C6); dockerd keeps to that as well.
 */
#include "engine/images.h"

#include "base/bytes.h"

#define HUB_HOST "registry-1.docker.io"

static const char *text_of(const struct image_auth *a, const char *key)
{
    const char *text = json_string_value(json_object_get(a->json, key));

    return text != NULL ? text : "";
}

/* "https://registry.example:5000/v1/": "registry.example:5000". */
static char *host_of(const char *address)
{
    const char *rest = str_skip_prefix(address, "https://");

    if (rest == NULL)
        rest = str_skip_prefix(address, "http://");
    if (rest == NULL)
        rest = address;
    return xstrndup(rest, strcspn(rest, "/"));
}

static bool is_for(const struct image_auth *a, const char *host)
{
    CLEANUP(freep) char *named = host_of(text_of(a, "serveraddress"));
    const char *own = *named != '\0' ? named : a->domain;

    if (streq(own, "docker.io") || streq(own, "index.docker.io"))
        own = HUB_HOST;
    return streq(own, host);
}

static struct error *credentials(void *ctx, const char *host, char **ret_user, char **ret_secret)
{
    const struct image_auth *a = ctx;
    const char *identity = text_of(a, "identitytoken");

    if (!is_for(a, host))
        return NULL;
    *ret_user = xstrdup(*identity != '\0' ? "" : text_of(a, "username"));
    *ret_secret = xstrdup(*identity != '\0' ? identity : text_of(a, "password"));
    return NULL;
}

/* A client that has talked to the token server itself brings what it got. */
static struct error *token(void *ctx, const char *host, const char *realm, const char *service,
                           const struct strv *scopes, bool fresh, char **ret_token, int64_t *ret_expires_ns)
{
    const struct image_auth *a = ctx;
    const char *brought = text_of(a, "registrytoken");

    if (*brought == '\0' || !is_for(a, host))
        return err_new(ERR_UNIMPLEMENTED, "the client brings no token");
    *ret_token = xstrdup(brought);
    *ret_expires_ns = now_ns() + 60 * NS_PER_SEC; /* kept for this request only */
    return NULL;
}

const struct registry_auth *image_auth_init(struct image_auth *a, const json_t *json, const char *domain)
{
    *a = (struct image_auth){
        .json = json,
        .domain = domain,
        .registry = { .ctx = a, .credentials = credentials, .token = token },
    };
    return json != NULL ? &a->registry : NULL;
}
