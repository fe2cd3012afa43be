/* SPDX-License-Identifier: Apache-2.0 */
/* platform_match.c - what a platform can run, and how well */
#include "oci/platform.h"

#include "base/bytes.h"

struct candidate {
    const char *architecture;
    char variant[16];
};
#define MAX_CANDIDATES 64

static size_t add_candidate(struct candidate *list, size_t n, const char *arch, const char *variant)
{
    if (n == MAX_CANDIDATES)
        return n;
    list[n].architecture = arch;
    snprintf(list[n].variant, sizeof(list[n].variant), "%s", variant);
    return n + 1;
}

/* "v7" -> 7; 0 when it is no such number. */
static int variant_number(const char *v)
{
    int64_t n;
    return parse_i64(*v == 'v' ? v + 1 : v, &n) == 0 && n > 0 && n < 100 ? (int)n : 0;
}

static size_t add_numbered(struct candidate *list, size_t n, const char *arch, const char *variant,
                           int lowest)
{
    char v[16];
    n = add_candidate(list, n, arch, variant);
    int number = variant_number(variant);
    for (int i = number - 1; i >= lowest; i--) {
        snprintf(v, sizeof(v), "v%d", i);
        /* amd64/v1 is written without a variant */
        n = add_candidate(list, n, arch, streq(arch, "amd64") && i == 1 ? "" : v);
    }
    return n;
}

static size_t add_arm64_run(struct candidate *list, size_t n, int major, int minor)
{
    for (; minor >= 0; minor--) {
        char v[16] = "";
        if (minor > 0)
            snprintf(v, sizeof(v), "v%d.%d", major, minor);
        else if (major != 8) /* v8.0 is written without a variant */
            snprintf(v, sizeof(v), "v%d", major);
        n = add_candidate(list, n, "arm64", v);
    }
    return n;
}

/* arm64: 9.x runs 8.(x+5) and below; all run 32-bit arm. */
static size_t add_arm64(struct candidate *list, const char *variant)
{
    int major = 8, minor = 0, used = 0;
    if (*variant != '\0' &&
        (sscanf(variant, "v%1d%n.%1d%n", &major, &used, &minor, &used) < 1 || variant[used] != '\0'))
        return add_candidate(list, 0, "arm64", variant);
    if ((major != 8 && major != 9) || (major == 9 && minor > 7))
        return add_numbered(list, 0, "arm", variant, 5);
    size_t n = add_arm64_run(list, 0, major, minor);
    if (major == 9)
        n = add_arm64_run(list, n, 8, MIN(minor + 5, 9));
    return add_numbered(list, n, "arm", "v8", 5);
}

/* What an architecture can run, best first. */
static size_t list_candidates(const struct platform *want, struct candidate *list)
{
    if (streq(want->architecture, "amd64")) {
        size_t n = add_numbered(list, 0, "amd64", want->variant, 1);
        return add_candidate(list, n, "386", "");
    }
    if (streq(want->architecture, "arm"))
        return add_numbered(list, 0, "arm", want->variant, 5);
    if (streq(want->architecture, "arm64"))
        return add_arm64(list, want->variant);
    return add_candidate(list, 0, want->architecture, want->variant);
}

/* Both sorted: does `have` hold all of `need`? */
static bool features_cover(const struct platform *have, const struct platform *need)
{
    size_t j = 0;
    for (size_t i = 0; i < need->os_feature_count; i++) {
        while (j < have->os_feature_count && strcmp(have->os_features[j], need->os_features[i]) < 0)
            j++;
        if (j == have->os_feature_count || !streq(have->os_features[j], need->os_features[i]))
            return false;
        j++;
    }
    return true;
}

/* An OS version that was asked for is preferred, not required. */
static bool same_version(const struct platform *want, const struct platform *p)
{
    return want->os_version != NULL && *want->os_version != '\0' && p->os_version != NULL &&
           streq(want->os_version, p->os_version);
}

int platform_match(const struct platform *want, const struct platform *p)
{
    CLEANUP(platform_deinit) struct platform w = { 0 };
    CLEANUP(platform_deinit) struct platform x = { 0 };
    struct candidate list[MAX_CANDIDATES];
    if (!platform_is_set(want) || !platform_is_set(p))
        return 0;
    platform_copy(&w, want);
    platform_copy(&x, p);
    platform_normalize(&w);
    platform_normalize(&x);
    if (!streq(w.os, x.os) || !features_cover(&w, &x))
        return 0;
    size_t n = list_candidates(&w, list);
    for (size_t i = 0; i < n; i++) {
        if (streq(list[i].architecture, x.architecture) && streq(list[i].variant, x.variant))
            return (int)(MAX_CANDIDATES - i) * 128 + (same_version(&w, &x) ? 64 : 0) +
                   (int)MIN(x.os_feature_count, (size_t)63);
    }
    return 0;
}
