/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/hosts.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>

#include "base/buf.h"
#include "base/limits.h"
#include "io/path.h"

#define HUB_DOMAIN "docker.io"
#define HUB_HOST "registry-1.docker.io"

static void endpoint_deinit(struct endpoint *e)
{
    free(e->host);
    free(e->path);
    exchange_tls_deinit(&e->tls);
}

void endpoints_deinit(struct endpoints *e)
{
    for (size_t i = 0; i < e->len; i++)
        endpoint_deinit(&e->v[i]);
    free(e->v);
    *e = (struct endpoints){ 0 };
}

/* ---- names ---- */

/* The host without port and brackets. */
static char *bare_host(const char *host)
{
    if (host[0] == '[') {
        const char *end = strchr(host, ']');

        return end != NULL ? xstrndup(host + 1, (size_t)(end - host - 1)) : xstrdup(host);
    }
    const char *colon = strchr(host, ':');

    if (colon != NULL && strchr(colon + 1, ':') != NULL)
        return xstrdup(host); /* an IPv6 address without brackets */
    return xstrndup(host, colon != NULL ? (size_t)(colon - host) : strlen(host));
}

bool host_has_port(const char *host)
{
    const char *bracket = host[0] == '[' ? strchr(host, ']') : NULL;

    return strchr(bracket != NULL ? bracket : host, ':') != NULL;
}

bool host_is_loopback(const char *host)
{
    CLEANUP(freep) char *bare = bare_host(host);
    struct in_addr v4;

    if (streq(bare, "localhost") || streq(bare, "::1"))
        return true;
    return inet_pton(AF_INET, bare, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

static int parse_ip(const char *s, uint8_t ip[16])
{
    if (inet_pton(AF_INET, s, ip) == 1)
        return 4;
    return inet_pton(AF_INET6, s, ip) == 1 ? 16 : 0;
}

static bool in_cidr(const char *cidr, const char *bare)
{
    const char *slash = strchr(cidr, '/');
    uint8_t net[16] = { 0 }, ip[16] = { 0 };
    int64_t bits;

    if (slash == NULL || parse_i64(slash + 1, &bits) < 0)
        return false;
    CLEANUP(freep) char *base = xstrndup(cidr, (size_t)(slash - cidr));
    int len = parse_ip(base, net);

    if (len == 0 || len != parse_ip(bare, ip) || bits < 0 || bits > len * 8)
        return false;
    int whole = (int)bits / 8, rest = (int)bits % 8;

    if (memcmp(net, ip, (size_t)whole) != 0)
        return false;
    return rest == 0 || (net[whole] >> (8 - rest)) == (ip[whole] >> (8 - rest));
}

bool host_in_list(const struct strv *list, const char *host)
{
    CLEANUP(freep) char *bare = bare_host(host);

    for (size_t i = 0; i < list->len; i++)
        if (streq(list->v[i], host) || in_cidr(list->v[i], bare))
            return true;
    return false;
}

static const struct registry_host_config *config_of(const struct registry_config *config, const char *host)
{
    for (size_t i = 0; i < config->host_count; i++)
        if (streq(config->hosts[i].host, host))
            return &config->hosts[i];
    return NULL;
}

/* ---- certificates ---- */

static struct error *add_pem(const char *path, struct buf *pem)
{
    TRY_SYS(file_read(path, pem, 4 * MIB), "failed to read %s", path);
    buf_addc(pem, '\n');
    return NULL;
}

static struct error *add_pair(const char *dir, const char *cert, struct exchange_tls *tls)
{
    CLEANUP(freep) char *key = xasprintf("%s/%.*s.key", dir, (int)(strlen(cert) - 5), cert);
    CLEANUP(freep) char *path = xasprintf("%s/%s", dir, cert);

    if (tls->cert_file != NULL)
        return NULL; /* curl shows one certificate: the first by name */
    tls->cert_file = TAKE(path);
    tls->key_file = TAKE(key);
    return NULL;
}

/* What DIR/HOST holds; a directory that is missing or closed to us is empty. */
static struct error *read_certs(const char *certs_dir, const char *host, struct exchange_tls *tls,
                                struct buf *pem)
{
    CLEANUP(freep) char *dir = xasprintf("%s/%s", certs_dir, host);
    struct strv names = { 0 };
    struct error *e = NULL;
    DIR *d = strstr(host, "..") != NULL ? NULL : opendir(dir);

    if (d == NULL)
        return NULL;
    for (struct dirent *one; (one = readdir(d)) != NULL;)
        strv_add(&names, one->d_name);
    closedir(d);
    strv_sort(&names);
    for (size_t i = 0; i < names.len && e == NULL; i++) {
        if (str_has_suffix(names.v[i], ".crt")) {
            CLEANUP(freep) char *path = xasprintf("%s/%s", dir, names.v[i]);

            e = add_pem(path, pem);
        } else if (str_has_suffix(names.v[i], ".cert")) {
            e = add_pair(dir, names.v[i], tls);
        }
    }
    strv_deinit(&names);
    return e;
}

static struct error *fill_tls(const struct registry_config *config,
                              const struct registry_host_config *host_config, const char *host,
                              struct exchange_tls *tls)
{
    const char *dir = config->certs_dir != NULL ? config->certs_dir : REGISTRY_CERTS_DIR;
    CLEANUP(buf_deinit) struct buf pem = { 0 };

    if (host_config != NULL && host_config->ca_file != NULL)
        TRY(add_pem(host_config->ca_file, &pem));
    if (host_config != NULL && host_config->cert_file != NULL && host_config->key_file != NULL) {
        tls->cert_file = xstrdup(host_config->cert_file);
        tls->key_file = xstrdup(host_config->key_file);
    }
    TRY(read_certs(dir, host, tls, &pem));
    if (pem.len > 0)
        tls->ca_pem = buf_take(&pem);
    return NULL;
}

/* ---- endpoints ---- */

/* `scheme` of a mirror's URL: "http", "https" or NULL when it did not say. */
static struct error *fill(const struct registry_config *config, const char *scheme, struct endpoint *e)
{
    const struct registry_host_config *hc = config_of(config, e->host);
    bool insecure = (hc != NULL && hc->insecure) || host_in_list(&config->insecure_registries, e->host);
    bool loopback = host_is_loopback(e->host);

    TRY(fill_tls(config, hc, e->host, &e->tls));
    bool certs = e->tls.ca_pem != NULL || e->tls.cert_file != NULL;

    e->tls.insecure = insecure;
    if (scheme != NULL) {
        e->schemes[streq(scheme, "https")] = true;
    } else if (hc != NULL && hc->plain_http) {
        e->schemes[0] = true;
    } else {
        e->schemes[1] = true;
        e->schemes[0] = insecure || (loopback && !certs);
        e->http_first = loopback && !certs && !insecure;
    }
    return NULL;
}

static struct error *add_mirror(const struct registry_config *config, const char *mirror, struct endpoint *e)
{
    const char *scheme = NULL, *rest = mirror;

    if (str_has_prefix(mirror, "http://")) {
        scheme = "http";
        rest = mirror + 7;
    } else if (str_has_prefix(mirror, "https://")) {
        scheme = "https";
        rest = mirror + 8;
    }
    size_t host_len = strcspn(rest, "/");

    e->host = xstrndup(rest, host_len);
    size_t path_len = strlen(rest + host_len);

    while (path_len > 0 && rest[host_len + path_len - 1] == '/')
        path_len--;
    CLEANUP(freep) char *path = xstrndup(rest + host_len, path_len);

    e->path = str_has_suffix(path, "/v2") ? xstrdup(path) : xasprintf("/v2%s", path);
    e->mirror = true;
    if (*e->host == '\0')
        return err_new(ERR_INVALID, "invalid mirror: \"%s\" names no host", mirror);
    return fill(config, scheme, e);
}

struct error *endpoints_of(const struct registry_config *config, const char *domain, bool insecure,
                           struct endpoints *ret)
{
    const struct registry_host_config *hc = config_of(config, domain);
    CLEANUP(endpoints_deinit) struct endpoints all = { 0 };
    size_t mirrors = hc != NULL ? hc->mirrors.len : 0;

    all.v = xcalloc(mirrors + 1, sizeof(*all.v));
    for (size_t i = 0; i < mirrors; i++) {
        all.len++;
        TRY(add_mirror(config, hc->mirrors.v[i], &all.v[i]));
    }
    struct endpoint *own = &all.v[all.len++];

    own->host = xstrdup(streq(domain, HUB_DOMAIN) ? HUB_HOST : domain);
    own->path = xstrdup("/v2");
    if (hc != NULL && !streq(domain, own->host)) {
        /* what buildkitd.toml says of "docker.io" holds for its server */
        TRY(fill_tls(config, hc, own->host, &own->tls));
        own->tls.insecure = hc->insecure;
        own->schemes[0] = hc->plain_http || hc->insecure;
        own->schemes[1] = !hc->plain_http;
    } else {
        TRY(fill(config, NULL, own));
    }
    if (insecure) {
        own->schemes[0] = own->schemes[1] = true;
        own->tls.insecure = true;
    }
    *ret = all;
    all = (struct endpoints){ 0 };
    return NULL;
}
