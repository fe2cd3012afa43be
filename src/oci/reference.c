/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammar is regular, and its parts cannot be confused: '@' starts the digest, a ':' behind the last '/'
 * starts the tag.  So it is cut first and each part checked by a small scanner.
 */
#include "oci/reference.h"

#include "oci/digest.h"

#define NAME_MAX_LEN 255

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

static bool is_xdigit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* alnum+ ((one of "._" | "__" | "-"+) alnum+)*, from *p to `end`. */
static bool path_component_valid(const char *p, const char *end)
{
    for (;;) {
        const char *start = p;
        while (p < end && is_lower_alnum(*p))
            p++;
        if (p == start)
            return false;
        if (p == end)
            return true;
        if (*p == '-') {
            while (p < end && *p == '-')
                p++;
        } else if (*p == '_') {
            p += p + 1 < end && p[1] == '_' ? 2 : 1;
        } else if (*p == '.') {
            p++;
        } else {
            return false;
        }
    }
}

static bool path_valid(const char *p, const char *end)
{
    for (;;) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        if (!path_component_valid(p, slash != NULL ? slash : end))
            return false;
        if (slash == NULL)
            return true;
        p = slash + 1;
    }
}

static bool host_valid(const char *p, const char *end)
{
    if (p == end)
        return false;
    if (*p == '[') {
        if (end - p < 3 || end[-1] != ']')
            return false;
        for (p++; p < end - 1; p++) {
            if (!is_xdigit(*p) && *p != ':')
                return false;
        }
        return true;
    }
    /* Labels of letters, digits and inner hyphens, joined by single dots. */
    char before = '.';
    for (; p < end; p++) {
        bool edge = before == '.' || p + 1 == end || p[1] == '.';
        if (!is_alnum(*p) && !(*p == '-' && !edge) && !(*p == '.' && before != '.' && p + 1 < end))
            return false;
        before = *p;
    }
    return true;
}

static bool domain_valid(const char *p, const char *end)
{
    const char *host_end = end;
    const char *colon = memrchr(p, ':', (size_t)(end - p));
    if (colon != NULL && (*p != '[' || colon > (const char *)memchr(p, ']', (size_t)(end - p)))) {
        if (*p == '[' && memchr(p, ']', (size_t)(end - p)) == NULL)
            return false;
        for (const char *d = colon + 1; d < end; d++) {
            if (*d < '0' || *d > '9')
                return false;
        }
        if (colon + 1 == end)
            return false;
        host_end = colon;
    }
    return host_valid(p, host_end);
}

bool reference_tag_valid(const char *tag)
{
    size_t len = strlen(tag);
    if (len == 0 || len > 128)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = tag[i];
        if (!is_alnum(c) && c != '_' && (i == 0 || (c != '.' && c != '-')))
            return false;
    }
    return true;
}

/* name[-_+.name]*:32 or more hex digits - the syntax only. */
static bool digest_syntax_valid(const char *s)
{
    bool first = true;
    for (; *s != ':'; s++) {
        bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');
        if (first && !letter)
            return false;
        if (*s == '\0')
            return false;
        if (!first && !is_alnum(*s)) {
            if (strchr("-_+.", *s) == NULL)
                return false;
            first = true;
            continue;
        }
        first = false;
    }
    if (first)
        return false;
    size_t digits = 0;
    for (s++; *s != '\0'; s++, digits++) {
        if (!is_xdigit(*s))
            return false;
    }
    return digits >= 32;
}

/* The algorithm's own rule, with go-digest's texts. */
static struct error *digest_check(const char *s)
{
    static const struct {
        const char *prefix;
        size_t digits;
    } algorithms[] = { { "sha256:", 64 }, { "sha384:", 96 }, { "sha512:", 128 } };
    for (size_t i = 0; i < ARRAY_LEN(algorithms); i++) {
        const char *hex = str_skip_prefix(s, algorithms[i].prefix);
        if (hex == NULL)
            continue;
        if (strlen(hex) != algorithms[i].digits)
            return err_new(ERR_INVALID, "invalid checksum digest length");
        for (; *hex != '\0'; hex++) {
            if (!is_xdigit(*hex) || (*hex >= 'A' && *hex <= 'F'))
                return err_new(ERR_INVALID, "invalid checksum digest format");
        }
        return NULL;
    }
    return err_new(ERR_INVALID, "unsupported digest algorithm");
}

/* The name, cut in domain and path. 0 or -1. */
static int parse_name(const char *name, const char *end, struct reference *ret)
{
    const char *slash = memchr(name, '/', (size_t)(end - name));
    if (slash != NULL && domain_valid(name, slash) && path_valid(slash + 1, end)) {
        ret->domain = xstrndup(name, (size_t)(slash - name));
        ret->path = xstrndup(slash + 1, (size_t)(end - slash - 1));
        return 0;
    }
    if (!path_valid(name, end))
        return -1;
    ret->domain = xstrdup("");
    ret->path = xstrndup(name, (size_t)(end - name));
    return 0;
}

static int parse_parts(const char *s, struct reference *ret)
{
    const char *at = strchr(s, '@');
    const char *end = at != NULL ? at : s + strlen(s);
    const char *slash = memrchr(s, '/', (size_t)(end - s));
    const char *from = slash != NULL ? slash : s;
    const char *colon = memchr(from, ':', (size_t)(end - from));

    if (at != NULL && !digest_syntax_valid(at + 1))
        return -1;
    if (colon != NULL) {
        CLEANUP(freep) char *tag = xstrndup(colon + 1, (size_t)(end - colon - 1));
        if (!reference_tag_valid(tag))
            return -1;
        if (parse_name(s, colon, ret) < 0)
            return -1;
        ret->tag = TAKE(tag);
    } else if (parse_name(s, end, ret) < 0) {
        return -1;
    }
    if (at != NULL)
        ret->digest = xstrdup(at + 1);
    return 0;
}

static struct error *parse_canonical(const char *s, struct reference *ret)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    if (parse_parts(s, &r) < 0) {
        CLEANUP(freep) char *lower = str_lower(s);
        CLEANUP(reference_deinit) struct reference unused = { 0 };
        if (parse_parts(lower, &unused) == 0)
            return err_new(ERR_INVALID, "repository name must be lowercase");
        return err_new(ERR_INVALID, "invalid reference format");
    }
    if (strlen(r.path) > NAME_MAX_LEN)
        return err_new(ERR_INVALID, "repository name must not be more than %d characters", NAME_MAX_LEN);
    if (r.digest != NULL)
        TRY(digest_check(r.digest));
    *ret = r;
    memset(&r, 0, sizeof(r));
    return NULL;
}

static bool has_upper(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] >= 'A' && s[i] <= 'Z')
            return true;
    }
    return false;
}

static bool is_identifier(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

/* The registry that a short name means: docker.io unless the first component looks like a host. */
static void split_domain(const char *s, char **ret_domain, char **ret_rest)
{
    const char *slash = strchr(s, '/');
    const char *rest = s;
    CLEANUP(freep) char *domain = xstrdup("docker.io");
    if (slash != NULL) {
        size_t len = (size_t)(slash - s);
        bool legacy = len == 15 && strncmp(s, "index.docker.io", len) == 0;
        bool host = (len == 9 && strncmp(s, "localhost", len) == 0) || memchr(s, '.', len) != NULL ||
                    memchr(s, ':', len) != NULL || has_upper(s, len);
        if (legacy || host)
            rest = slash + 1;
        if (host && !legacy) {
            free(domain);
            domain = xstrndup(s, len);
        }
    }
    bool official = streq(domain, "docker.io") && strchr(rest, '/') == NULL;
    *ret_rest = xasprintf("%s%s", official ? "library/" : "", rest);
    *ret_domain = TAKE(domain);
}

struct error *reference_parse(const char *s, struct reference *ret)
{
    if (strlen(s) > 4096)
        return err_new(ERR_INVALID, "invalid reference format");
    if (is_identifier(s))
        return err_new(ERR_INVALID,
                       "invalid repository name (%s), cannot specify 64-byte hexadecimal strings", s);

    CLEANUP(freep) char *domain = NULL;
    CLEANUP(freep) char *rest = NULL;
    split_domain(s, &domain, &rest);
    size_t name_len = strcspn(rest, ":");
    if (has_upper(rest, name_len))
        return err_new(ERR_INVALID, "invalid reference format: repository name (%.*s) must be lowercase",
                       (int)name_len, rest);
    CLEANUP(freep) char *whole = xasprintf("%s/%s", domain, rest);
    return parse_canonical(whole, ret);
}

void reference_deinit(struct reference *r)
{
    free(r->domain);
    free(r->path);
    free(r->tag);
    free(r->digest);
    memset(r, 0, sizeof(*r));
}

void reference_copy(struct reference *dst, const struct reference *src)
{
    *dst = (struct reference){ .domain = xstrdup(src->domain),
                               .path = xstrdup(src->path),
                               .tag = xstrdup(src->tag),
                               .digest = xstrdup(src->digest) };
}

void reference_add_default_tag(struct reference *r)
{
    if (r->tag == NULL && r->digest == NULL)
        r->tag = xstrdup("latest");
}

char *reference_name(const struct reference *r)
{
    return *r->domain != '\0' ? xasprintf("%s/%s", r->domain, r->path) : xstrdup(r->path);
}

char *reference_familiar_name(const struct reference *r)
{
    if (!streq(r->domain, "docker.io"))
        return reference_name(r);
    const char *official = str_skip_prefix(r->path, "library/");
    return xstrdup(official != NULL && strchr(official, '/') == NULL ? official : r->path);
}

static char *with_tag_and_digest(char *name, const struct reference *r)
{
    CLEANUP(freep) char *n = name;
    return xasprintf("%s%s%s%s%s", n, r->tag != NULL ? ":" : "", r->tag != NULL ? r->tag : "",
                     r->digest != NULL ? "@" : "", r->digest != NULL ? r->digest : "");
}

char *reference_string(const struct reference *r)
{
    return with_tag_and_digest(reference_name(r), r);
}

char *reference_familiar(const struct reference *r)
{
    return with_tag_and_digest(reference_familiar_name(r), r);
}
