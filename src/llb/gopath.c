/* SPDX-License-Identifier: Apache-2.0 */
#include "llb/gopath.h"

#include "base/buf.h"

/* Remove the last component of what was written; `floor` is where it must not go below. */
static void drop_component(struct buf *out, size_t floor)
{
    size_t n = out->len;

    while (n > floor && out->data[n - 1] != '/')
        n--;
    if (n > floor)
        n--;
    buf_truncate(out, n);
}

bool gopath_is_clean(const char *p)
{
    const char *start = p;

    if (p[0] == '\0')
        return false;
    if (p[0] == '/' && *++p == '\0')
        return true;
    for (;;) {
        if (p[0] == '/' || p[0] == '\0') /* twice, or at the end */
            return false;
        if (p[0] == '.' && (p[1] == '/' || p[1] == '\0'))
            return p == start && p[1] == '\0';
        if (p[0] == '.' && p[1] == '.' && (p[2] == '/' || p[2] == '\0'))
            return false; /* or clean, at the start: as well made as looked at */
        p = strchrnul(p, '/');
        if (*p++ == '\0')
            return true;
    }
}

char *gopath_clean(const char *p)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };
    bool rooted = p[0] == '/';
    size_t floor; /* what ".." cannot remove: the root, or leading ".." components */

    if (gopath_is_clean(p))
        return xstrdup(p);
    buf_reserve(&out, strlen(p) + 1);
    if (rooted)
        buf_addc(&out, '/');
    floor = out.len;
    while (*p != '\0') {
        size_t n = strcspn(p, "/");

        if (n == 2 && p[0] == '.' && p[1] == '.') {
            if (out.len > floor) {
                drop_component(&out, floor);
            } else if (!rooted) {
                if (out.len > 0)
                    buf_addc(&out, '/');
                buf_adds(&out, "..");
                floor = out.len;
            }
        } else if (n > 0 && !(n == 1 && p[0] == '.')) {
            if (out.len > 0 && out.data[out.len - 1] != '/')
                buf_addc(&out, '/');
            buf_add(&out, p, n);
        }
        p += n;
        if (*p == '/')
            p++;
    }
    if (out.len == 0)
        buf_addc(&out, '.');
    return buf_take(&out);
}

char *gopath_join(const char *a, const char *b)
{
    CLEANUP(buf_deinit) struct buf joined = { 0 };

    if (*a == '\0' && *b == '\0')
        return xstrdup("");
    if (*a == '\0' || *b == '\0')
        return gopath_clean(*a == '\0' ? b : a);
    if (streq(a, "/") && gopath_is_abs(b))
        return gopath_clean(b);
    buf_adds(&joined, a);
    if (joined.data[joined.len - 1] != '/')
        buf_addc(&joined, '/');
    buf_adds(&joined, b);
    return gopath_is_clean(joined.data) ? buf_take(&joined) : gopath_clean(joined.data);
}

char *gopath_base(const char *p)
{
    size_t end = strlen(p), start;

    if (end == 0)
        return xstrdup(".");
    while (end > 0 && p[end - 1] == '/')
        end--;
    if (end == 0)
        return xstrdup("/");
    for (start = end; start > 0 && p[start - 1] != '/'; start--)
        ;
    return xstrndup(p + start, end - start);
}

char *gopath_dir(const char *p)
{
    const char *slash = strrchr(p, '/');
    CLEANUP(freep) char *dir = xstrndup(p, slash != NULL ? (size_t)(slash - p) + 1 : 0);

    return gopath_clean(dir);
}
