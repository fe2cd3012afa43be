/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lexical.c - paths as text: nothing here touches a filesystem
 */
#include "io/path.h"

#include "base/rune.h"

#include <errno.h>
#include <stdio.h>

char *path_clean(const char *path)
{
    bool rooted = path[0] == '/';
    struct buf out = { 0 };
    size_t keep = 0; /* no ".." takes away what stands before */

    buf_reserve(&out, strlen(path) + 1);
    if (rooted) {
        buf_addc(&out, '/');
        keep = 1;
    }
    while (*path != '\0') {
        size_t len = strcspn(path, "/");

        if (len == 2 && path[0] == '.' && path[1] == '.') {
            if (out.len > keep) {
                while (out.len > keep && out.data[out.len - 1] != '/')
                    buf_truncate(&out, out.len - 1);
                if (out.len > keep)
                    buf_truncate(&out, out.len - 1);
            } else if (!rooted) {
                buf_adds(&out, out.len > 0 ? "/.." : "..");
                keep = out.len;
            }
        } else if (len > 0 && !(len == 1 && path[0] == '.')) {
            if (out.len > 0 && !(rooted && out.len == 1))
                buf_addc(&out, '/');
            buf_add(&out, path, len);
        }
        path += len;
        path += strspn(path, "/");
    }
    if (out.len == 0)
        buf_addc(&out, '.');
    return buf_take(&out);
}

char *path_join(const char *a, const char *b)
{
    if (a[0] == '\0' && b[0] == '\0')
        return xstrdup("");
    CLEANUP(freep) char *joined = a[0] == '\0' ? xstrdup(b) : xasprintf("%s/%s", a, b);

    return path_clean(joined);
}

char *path_base(const char *path)
{
    size_t len = strlen(path), start;

    if (len == 0)
        return xstrdup(".");
    while (len > 0 && path[len - 1] == '/')
        len--;
    if (len == 0)
        return xstrdup("/");
    for (start = len; start > 0 && path[start - 1] != '/'; start--)
        ;
    return xstrndup(path + start, len - start);
}

char *path_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    CLEANUP(freep) char *dir = xstrndup(path, slash != NULL ? (size_t)(slash - path) + 1 : 0);

    return path_clean(dir);
}

/*
 * Matching, as Go's path.Match: a pattern is a row of chunks, each perhaps led by stars, up to the next star.
 * A chunk behind a star takes the first place where it fits before a slash; there is no way back further than
 * that, so time is bounded by pattern x name.
 */

struct chunk {
    bool star;
    const char *text;
    size_t len;
};

/* Cut the next chunk off; stars within [] or behind a backslash do not end it. */
static struct chunk next_chunk(const char **pattern)
{
    struct chunk c = { 0 };
    const char *p = *pattern;
    bool in_range = false;

    for (; *p == '*'; p++)
        c.star = true;
    c.text = p;
    for (; *p != '\0' && (*p != '*' || in_range); p++) {
        if (*p == '\\' && p[1] != '\0')
            p++;
        else if (*p == '[')
            in_range = true;
        else if (*p == ']')
            in_range = false;
    }
    c.len = (size_t)(p - c.text);
    *pattern = p;
    return c;
}

/* One UTF-8 character; a byte that begins none counts alone. */
static int32_t take_rune(const char **s, const char *end, bool *ret_valid)
{
    size_t width;
    int32_t rune = rune_decode(*s, (size_t)(end - *s), &width);

    *ret_valid = rune != RUNE_ERROR || width > 1;
    *s += width;
    return rune;
}

/* One end of a range in []. */
static int take_range_end(const char **p, const char *end, int32_t *ret)
{
    bool valid;

    if (*p == end || **p == '-' || **p == ']')
        return -EINVAL;
    if (**p == '\\' && ++*p == end)
        return -EINVAL;
    *ret = take_rune(p, end, &valid);
    return !valid || *p == end ? -EINVAL : 0; /* the ] is still to come */
}

/* What follows '[': 1 when `rune` is in it, 0 when not, -EINVAL. */
static int match_class(const char **p, const char *end, int32_t rune)
{
    bool negated = *p < end && **p == '^', match = false;

    *p += negated ? 1 : 0;
    for (int ranges = 0;; ranges++) {
        int32_t low, high;

        if (*p < end && **p == ']' && ranges > 0) {
            (*p)++;
            return match != negated;
        }
        if (take_range_end(p, end, &low) < 0)
            return -EINVAL;
        high = low;
        if (**p == '-') {
            (*p)++;
            if (take_range_end(p, end, &high) < 0)
                return -EINVAL;
        }
        match |= low <= rune && rune <= high;
    }
}

/* Does the chunk match the front of the name?  The rest of the name, or NULL.  `*ret_bad` when the chunk is
 * malformed, which is found out to its end even when the name fits no more. */
static const char *match_chunk(const struct chunk *c, const char *name, bool *ret_bad)
{
    const char *p = c->text, *end = p + c->len, *name_end = name + strlen(name);
    bool failed = false, valid;

    while (p < end) {
        failed |= name == name_end;
        if (*p == '[') {
            const char *after = name;
            int32_t rune = failed ? 0 : take_rune(&after, name_end, &valid);

            p++;
            int r = match_class(&p, end, rune);

            if (r < 0) {
                *ret_bad = true;
                return NULL;
            }
            failed |= r == 0;
            name = after;
        } else if (*p == '?') {
            p++;
            failed |= !failed && *name == '/';
            if (!failed)
                (void)take_rune(&name, name_end, &valid);
        } else {
            if (*p == '\\' && ++p == end) {
                *ret_bad = true;
                return NULL;
            }
            failed |= !failed && *p != *name;
            p++;
            name += failed ? 0 : 1;
        }
    }
    return failed ? NULL : name;
}

/* The name behind the chunk, trying every place up to the next slash when a star leads it. */
static const char *find_chunk(const struct chunk *c, const char *name, bool last, bool *ret_bad)
{
    const char *rest = match_chunk(c, name, ret_bad);

    if (rest != NULL && (*rest == '\0' || !last))
        return rest;
    for (; c->star && *name != '\0' && *name != '/'; name++) {
        rest = match_chunk(c, name + 1, ret_bad);
        if (rest != NULL && (*rest == '\0' || !last))
            return rest;
    }
    return NULL;
}

static int match_pattern(const char *pattern, const char *name, bool check_rest)
{
    bool bad = false, match = true;

    while (*pattern != '\0' && match) {
        struct chunk c = next_chunk(&pattern);

        if (c.star && c.len == 0)
            return strchr(name, '/') == NULL;
        name = find_chunk(&c, name, *pattern == '\0', &bad);
        match = name != NULL;
    }
    while (check_rest && *pattern != '\0' && !bad) { /* the rest must be well-formed even so */
        struct chunk c = next_chunk(&pattern);

        (void)match_chunk(&c, "", &bad);
    }
    if (bad)
        return -EINVAL;
    return match && *name == '\0';
}

bool path_has_wildcard(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '\\')
            i++;
        else if (s[i] == '*' || s[i] == '?' || s[i] == '[')
            return true;
    }
    return false;
}

int path_match(const char *pattern, const char *name)
{
    return match_pattern(pattern, name, true);
}

int path_match_lazy(const char *pattern, const char *name)
{
    return match_pattern(pattern, name, false);
}
