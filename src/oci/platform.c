/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/platform.h"

#include <ctype.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/vec.h"

#define OS_PATTERN "^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.%-]*)((?:\\\\+[A-Za-z0-9_.%-]+)*)\\\\))?$"
#define PART_PATTERN "^[A-Za-z0-9_.-]+$"

void platform_deinit(struct platform *p)
{
    free(p->os);
    free(p->architecture);
    free(p->variant);
    free(p->os_version);
    for (size_t i = 0; i < p->os_feature_count; i++)
        free(p->os_features[i]);
    free(p->os_features);
    memset(p, 0, sizeof(*p));
}

void platform_copy(struct platform *dst, const struct platform *src)
{
    memset(dst, 0, sizeof(*dst));
    if (!platform_is_set(src))
        return;
    dst->os = xstrdup(src->os);
    dst->architecture = xstrdup(src->architecture != NULL ? src->architecture : "");
    dst->variant = xstrdup(src->variant != NULL ? src->variant : "");
    dst->os_version = xstrdup(src->os_version != NULL ? src->os_version : "");
    dst->os_feature_count = src->os_feature_count;
    dst->os_features = src->os_feature_count > 0 ? xcalloc(src->os_feature_count, sizeof(char *)) : NULL;
    for (size_t i = 0; i < src->os_feature_count; i++)
        dst->os_features[i] = xstrdup(src->os_features[i]);
}

bool platform_is_set(const struct platform *p)
{
    return p->os != NULL;
}

void platform_set(struct platform *p, const char *os, const char *architecture, const char *variant)
{
    memset(p, 0, sizeof(*p));
    p->os = xstrdup(os);
    p->architecture = xstrdup(architecture);
    p->variant = xstrdup(variant != NULL ? variant : "");
    p->os_version = xstrdup("");
}

static void replace(char **s, const char *value)
{
    char *fresh = xstrdup(value); /* `value` may be part of *s */
    free(*s);
    *s = fresh;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void normalize_os(char **os)
{
    CLEANUP(freep) char *lower = str_lower(*os != NULL ? *os : "");
    replace(os, *lower == '\0' ? "linux" : streq(lower, "macos") ? "darwin" : lower);
}

static void normalize_arch(char **arch, char **variant)
{
    CLEANUP(freep) char *a = str_lower(*arch != NULL ? *arch : "");
    CLEANUP(freep) char *v = str_lower(*variant != NULL ? *variant : "");
    const char *na = a;
    const char *nv = v;
    char versioned[8];

    if (streq(a, "i386")) {
        na = "386", nv = "";
    } else if (streq(a, "x86_64") || streq(a, "x86-64") || streq(a, "amd64")) {
        na = "amd64";
        if (streq(v, "v1"))
            nv = "";
    } else if (streq(a, "aarch64") || streq(a, "arm64")) {
        na = "arm64";
        if (streq(v, "8") || streq(v, "v8") || streq(v, "v8.0"))
            nv = "";
        else if (streq(v, "9") || streq(v, "9.0") || streq(v, "v9.0"))
            nv = "v9";
    } else if (streq(a, "armhf")) {
        na = "arm", nv = "v7";
    } else if (streq(a, "armel")) {
        na = "arm", nv = "v6";
    } else if (streq(a, "arm")) {
        if (*v == '\0' || streq(v, "7")) {
            nv = "v7";
        } else if (streq(v, "5") || streq(v, "6") || streq(v, "8")) {
            snprintf(versioned, sizeof(versioned), "v%s", v);
            nv = versioned;
        }
    }
    replace(arch, na);
    replace(variant, nv);
}

void platform_normalize(struct platform *p)
{
    normalize_os(&p->os);
    normalize_arch(&p->architecture, &p->variant);
    if (p->os_version == NULL)
        p->os_version = xstrdup("");
    if (p->os_feature_count == 0)
        return;
    qsort(p->os_features, p->os_feature_count, sizeof(char *), compare_strings);
    size_t kept = 1;
    for (size_t i = 1; i < p->os_feature_count; i++) {
        if (streq(p->os_features[i], p->os_features[kept - 1]))
            free(p->os_features[i]);
        else
            p->os_features[kept++] = p->os_features[i];
    }
    p->os_feature_count = kept;
}

static bool is_known(const char *s, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (streq(s, list[i]))
            return true;
    }
    return false;
}

static bool is_known_os(const char *s)
{
    static const char *const list[] = { "aix",     "android", "darwin",  "dragonfly", "freebsd", "hurd",
                                        "illumos", "ios",     "js",      "linux",     "nacl",    "netbsd",
                                        "openbsd", "plan9",   "solaris", "windows",   "zos" };
    return is_known(s, list, ARRAY_LEN(list));
}

static bool is_known_arch(const char *s)
{
    static const char *const list[] = { "386",         "amd64",   "amd64p32", "arm",      "armbe",
                                        "arm64",       "arm64be", "ppc64",    "ppc64le",  "loong64",
                                        "mips",        "mipsle",  "mips64",   "mips64le", "mips64p32",
                                        "mips64p32le", "ppc",     "riscv",    "riscv64",  "s390",
                                        "s390x",       "sparc",   "sparc64",  "wasm" };
    return is_known(s, list, ARRAY_LEN(list));
}

static bool all_of(const char *s, const char *end, const char *extra)
{
    for (; s < end; s++) {
        if (!isalnum((unsigned char)*s) && strchr(extra, *s) == NULL)
            return false;
    }
    return true;
}

/* %XX to bytes; NULL when malformed. */
static char *percent_decode(const char *s, size_t len)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };
    for (size_t i = 0; i < len; i++) {
        if (s[i] != '%') {
            buf_addc(&out, s[i]);
            continue;
        }
        char hex[3] = { 0 };
        uint8_t byte;
        if (i + 2 >= len)
            return NULL;
        hex[0] = (char)tolower((unsigned char)s[i + 1]);
        hex[1] = (char)tolower((unsigned char)s[i + 2]);
        if (hex_decode(&byte, hex, 2) < 0 || byte == 0)
            return NULL;
        buf_addc(&out, (char)byte);
        i += 2;
    }
    return buf_take(&out);
}

static struct error *parse_features(const char *specifier, const char *s, const char *end, struct platform *p)
{
    while (s < end) {
        const char *plus = memchr(s, '+', (size_t)(end - s));
        size_t len = (size_t)((plus != NULL ? plus : end) - s);
        CLEANUP(freep) char *feature = percent_decode(s, len);
        if (feature == NULL)
            return err_new(ERR_INVALID,
                           "\"%s\" has invalid OS features: invalid os feature \"%.*s\": invalid URL escape",
                           specifier, (int)len, s);
        if (*feature != '\0') {
            p->os_features = xreallocarray(p->os_features, p->os_feature_count + 1, sizeof(char *));
            p->os_features[p->os_feature_count++] = TAKE(feature);
        }
        s += len + 1;
    }
    return NULL;
}

/* name[(version[+feature]*)] */
static struct error *parse_os(const char *specifier, const char *part, struct platform *p)
{
    size_t len = strlen(part);
    size_t name_len = strcspn(part, "(");
    bool options = name_len < len;
    const char *open = part + name_len;
    const char *end = part + len;
    const char *plus = options ? memchr(open, '+', (size_t)(end - open)) : NULL;
    const char *version_end = plus != NULL ? plus : end - 1;
    bool ok = name_len > 0 && all_of(part, open, "_-");
    if (ok && options) {
        ok = end[-1] == ')' && all_of(open + 1, version_end, "_.%-") &&
             all_of(version_end, end - 1, "_.%-+") && strstr(version_end, "++") == NULL &&
             strstr(version_end, "+)") == NULL;
    }
    if (!ok)
        return err_new(ERR_INVALID,
                       "\"%s\" is an invalid OS component of \"%s\": OSAndVersion specifier component must "
                       "match \"%s\": "
                       "invalid argument",
                       part, specifier, OS_PATTERN);
    p->os = xstrndup(part, name_len);
    normalize_os(&p->os);
    if (!options)
        return NULL;
    free(p->os_version);
    p->os_version = percent_decode(open + 1, (size_t)(version_end - open - 1));
    if (p->os_version == NULL)
        return err_new(ERR_INVALID, "\"%s\" has an invalid OS version \"%.*s\": invalid URL escape",
                       specifier, (int)(version_end - open - 1), open + 1);
    return plus != NULL ? parse_features(specifier, plus + 1, end - 1, p) : NULL;
}

/* One word: an operating system, or an architecture of this one. */
static struct error *finish_single(const char *specifier, struct platform *p)
{
    if (is_known_os(p->os)) {
        const struct platform *host = platform_host();
        replace(&p->architecture, host->architecture);
        if (streq(host->architecture, "arm") && !streq(host->variant, "v7"))
            replace(&p->variant, host->variant);
        return NULL;
    }
    replace(&p->architecture, specifier);
    normalize_arch(&p->architecture, &p->variant);
    if (streq(p->architecture, "arm") && streq(p->variant, "v7"))
        replace(&p->variant, "");
    if (!is_known_arch(p->architecture))
        return err_new(ERR_INVALID, "\"%s\": unknown operating system or architecture: invalid argument",
                       specifier);
    replace(&p->os, "linux");
    return NULL;
}

struct error *platform_parse(const char *s, struct platform *ret)
{
    CLEANUP(strv_deinit) struct strv parts = { 0 };
    CLEANUP(platform_deinit) struct platform p = { 0 };
    if (strlen(s) > 1024)
        return err_new(ERR_INVALID, "platform specifier is too long: invalid argument");
    if (strchr(s, '*') != NULL)
        return err_new(ERR_INVALID, "\"%s\": wildcards not yet supported: invalid argument", s);
    p.os_version = xstrdup("");
    p.architecture = xstrdup("");
    p.variant = xstrdup("");
    strv_split(&parts, s, '/');
    while (parts.len > 4) { /* Go splits into four at most: the rest stays in the last */
        char *rest = xasprintf("%s/%s", parts.v[3], parts.v[4]);

        strv_remove(&parts, 4);
        free(parts.v[3]);
        parts.v[3] = rest;
    }
    for (size_t i = 0; i < parts.len; i++) {
        const char *part = parts.v[i];
        if (i == 0)
            TRY(parse_os(s, part, &p));
        else if (*part == '\0' || !all_of(part, part + strlen(part), "_.-"))
            return err_new(ERR_INVALID,
                           "\"%s\" is an invalid component of \"%s\": platform specifier component must "
                           "match \"" PART_PATTERN "\": invalid argument",
                           part, s);
    }
    if (parts.len > 3)
        return err_new(ERR_INVALID, "\"%s\": cannot parse platform specifier: invalid argument", s);
    if (parts.len == 1)
        TRY(finish_single(s, &p));
    if (parts.len >= 2) {
        replace(&p.architecture, parts.v[1]);
        replace(&p.variant, parts.len == 3 ? parts.v[2] : "");
        normalize_arch(&p.architecture, &p.variant);
        if (parts.len == 2 && streq(p.architecture, "arm") && streq(p.variant, "v7"))
            replace(&p.variant, "");
        if (parts.len == 3 && streq(p.architecture, "arm64") && *p.variant == '\0')
            replace(&p.variant, "v8");
    }
    *ret = p;
    memset(&p, 0, sizeof(p));
    return NULL;
}

static const char *text(const char *s)
{
    return s != NULL ? s : "";
}

static char *format_with_os(const char *os, const struct platform *p)
{
    const char *arch = text(p->architecture);
    const char *variant = text(p->variant);
    return xasprintf("%s%s%s%s%s", os, *arch != '\0' ? "/" : "", arch, *variant != '\0' ? "/" : "", variant);
}

char *platform_format(const struct platform *p)
{
    if (p->os == NULL || *p->os == '\0')
        return xstrdup("unknown");
    return format_with_os(p->os, p);
}

static void add_encoded(struct buf *out, const char *s)
{
    for (; *s != '\0'; s++) {
        if (strchr("%+()/", *s) != NULL)
            buf_addf(out, "%%%02X", (unsigned char)*s);
        else
            buf_addc(out, *s);
    }
}

char *platform_format_all(const struct platform *p)
{
    if (p->os == NULL || *p->os == '\0')
        return xstrdup("unknown");
    CLEANUP(buf_deinit) struct buf options = { 0 };
    add_encoded(&options, text(p->os_version));
    CLEANUP(platform_deinit) struct platform sorted = { 0 };
    platform_copy(&sorted, p);
    if (sorted.os_feature_count > 0)
        qsort(sorted.os_features, sorted.os_feature_count, sizeof(char *), compare_strings);
    for (size_t i = 0; i < sorted.os_feature_count; i++) {
        const char *f = sorted.os_features[i];
        if (*f == '\0' || (i > 0 && streq(f, sorted.os_features[i - 1])))
            continue;
        buf_addc(&options, '+');
        add_encoded(&options, f);
    }
    if (options.len == 0)
        return format_with_os(p->os, p);
    CLEANUP(freep) char *os = xasprintf("%s(%s)", p->os, options.data);
    return format_with_os(os, p);
}

bool platform_eq(const struct platform *a, const struct platform *b)
{
    CLEANUP(platform_deinit) struct platform x = { 0 };
    CLEANUP(platform_deinit) struct platform y = { 0 };
    platform_copy(&x, a);
    platform_copy(&y, b);
    platform_normalize(&x);
    platform_normalize(&y);
    CLEANUP(freep) char *fx = platform_format_all(&x);
    CLEANUP(freep) char *fy = platform_format_all(&y);
    return streq(fx, fy);
}

/* ---- JSON ------------------------------------------------------------------------------------------------
 */

json_t *platform_to_json(const struct platform *p)
{
    json_t *j = json_object();
    json_object_set_new(j, "architecture", json_string(text(p->architecture)));
    json_object_set_new(j, "os", json_string(text(p->os)));
    if (*text(p->os_version) != '\0')
        json_object_set_new(j, "os.version", json_string(p->os_version));
    if (p->os_feature_count > 0) {
        json_t *features = json_array();
        for (size_t i = 0; i < p->os_feature_count; i++)
            json_array_append_new(features, json_string(p->os_features[i]));
        json_object_set_new(j, "os.features", features);
    }
    if (*text(p->variant) != '\0')
        json_object_set_new(j, "variant", json_string(p->variant));
    return j;
}

static struct error *json_text(const json_t *j, const char *key, char **ret)
{
    const json_t *v = json_object_get(j, key);
    if (v != NULL && !json_is_null(v) && !json_is_string(v))
        return err_new(ERR_INVALID, "platform: \"%s\" is not a string", key);
    *ret = xstrdup(json_is_string(v) ? json_string_value(v) : "");
    return NULL;
}

struct error *platform_from_json(const json_t *j, struct platform *ret)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };
    if (!json_is_object(j))
        return err_new(ERR_INVALID, "platform is not an object");
    TRY(json_text(j, "os", &p.os));
    TRY(json_text(j, "architecture", &p.architecture));
    TRY(json_text(j, "variant", &p.variant));
    TRY(json_text(j, "os.version", &p.os_version));
    const json_t *features = json_object_get(j, "os.features");
    size_t count = json_array_size(features);
    if (count > 64)
        return err_new(ERR_INVALID, "platform: more than 64 \"os.features\"");
    p.os_features = count > 0 ? xcalloc(count, sizeof(char *)) : NULL;
    for (size_t i = 0; i < count; i++) {
        const char *f = json_string_value(json_array_get(features, i));
        if (f == NULL)
            return err_new(ERR_INVALID, "platform: \"os.features\" holds something else than strings");
        p.os_features[p.os_feature_count++] = xstrdup(f);
    }
    *ret = p;
    memset(&p, 0, sizeof(p));
    return NULL;
}
