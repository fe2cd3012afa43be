/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/ospath.h"

#include "base/rune.h"
#include "llb/gopath.h"

static bool is_windows(const char *os)
{
    return os != NULL && streq(os, "windows");
}

static char *swap(const char *path, char from, char to)
{
    char *copy = xstrdup(path);

    for (char *p = copy; *p != '\0'; p++) {
        if (*p == from)
            *p = to;
    }
    return copy;
}

char *ospath_to_slash(const char *path, const char *os)
{
    return is_windows(os) ? swap(path, '\\', '/') : xstrdup(path);
}

static char *clean_windows(const char *path, bool keep_slash)
{
    CLEANUP(freep) char *slashed = swap(path, '\\', '/');
    CLEANUP(freep) char *clean = gopath_clean(slashed);

    if (keep_slash && strlen(clean) > 1 && str_has_suffix(slashed, "/"))
        return xasprintf("%s/", clean);
    return TAKE(clean);
}

struct error *ospath_strip_drive(const char *path, const char *os, bool keep_slash, char **ret)
{
    const char *colon;

    if (!is_windows(os)) {
        *ret = xstrdup(path);
        return NULL;
    }
    if (strlen(path) == 2 && path[1] == ':') {
        CLEANUP(freep) char *quoted = str_quote(path);

        return err_new(ERR_INVALID, "No relative path specified in %s", quoted);
    }
    if ((path[0] == '/' || path[0] == '\\') && (path[1] == '/' || path[1] == '\\'))
        return err_new(ERR_INVALID, "UNC paths are not supported");
    colon = strchr(path, ':');
    if (colon != NULL && !(colon - path == 1 && (path[0] == 'c' || path[0] == 'C')))
        return err_new(ERR_INVALID, "The specified path is not on the system drive (C:)");
    *ret = clean_windows(colon != NULL ? colon + 1 : path, keep_slash);
    return NULL;
}

bool ospath_is_abs(const char *path, const char *os)
{
    CLEANUP(freep) char *clean = NULL;
    CLEANUP(err_freep) struct error *e = NULL;

    if (!is_windows(os))
        return gopath_is_abs(path);
    e = ospath_strip_drive(path, os, false, &clean);
    return e == NULL && clean != NULL && gopath_is_abs(clean);
}

/* What says that a directory is meant stays: a slash or "/." at the end.  Takes `path`. */
static char *keep_end(const char *orig, char *path)
{
    CLEANUP(freep) char *plain = path;

    if (str_has_suffix(orig, "/") && !str_has_suffix(plain, "/"))
        return xasprintf("%s/", plain);
    if (str_has_suffix(orig, "/."))
        return xasprintf("%s%s.", plain, streq(plain, "/") ? "" : "/");
    return TAKE(plain);
}

/* An absolute one stays as it is. */
static char *join_below(const char *dir, const char *path)
{
    CLEANUP(freep) char *base = NULL;

    if (gopath_is_abs(path))
        return xstrdup(path);
    if (!gopath_is_abs(dir))
        dir = base = gopath_join("/", dir);
    return *path != '\0' ? gopath_join(dir, path) : xstrdup(dir);
}

static struct error *normalize_windows(const char *parent, const char *path, bool keep_slash, char **ret)
{
    static const char os[] = "windows";
    CLEANUP(freep) char *base = NULL, *p = NULL;

    TRY(err_wrap(ospath_strip_drive(*parent != '\0' ? parent : "/", os, keep_slash, &base),
                 "removing drive letter"));
    assert(base != NULL);
    if (!ospath_is_abs(base, os)) {
        char *rooted = gopath_join("/", base);

        free(base);
        base = rooted;
    }
    TRY(err_wrap(ospath_strip_drive(*path != '\0' ? path : base, os, keep_slash, &p),
                 "removing drive letter"));
    assert(p != NULL);
    *ret = ospath_is_abs(p, os) ? TAKE(p) : gopath_join(base, p);
    return NULL;
}

struct error *ospath_normalize(const char *parent, const char *path, const char *os, bool keep_slash,
                               char **ret)
{
    CLEANUP(freep) char *slashed = NULL, *dir = NULL;

    if (!is_windows(os)) {
        *ret = join_below(*parent != '\0' ? parent : "/", path);
    } else {
        path = slashed = swap(path, '\\', '/');
        dir = swap(parent, '\\', '/');
        TRY(normalize_windows(dir, path, keep_slash, ret));
    }
    if (keep_slash)
        *ret = keep_end(path, *ret);
    return NULL;
}

struct error *ospath_workdir(const char *current, const char *path, const char *os, char **ret)
{
    CLEANUP(freep) char *wd = NULL;

    TRY(err_wrap(ospath_normalize(current, path, os, false, &wd), "normalizing working directory"));
    *ret = is_windows(os) ? swap(wd, '/', '\\') : TAKE(wd);
    return NULL;
}
