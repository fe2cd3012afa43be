/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/tar_extended.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/limits.h"

struct error *tar_bad_header(const char *why)
{
    return err_new(ERR_INVALID, "archive/tar: invalid tar header: %s", why);
}

static void reset_pax(struct tar_extended *x)
{
    char *name = x->long_name;
    char *link = x->long_link;
    free(x->path);
    free(x->linkpath);
    free(x->uname);
    free(x->gname);
    tar_entry_deinit(&x->xattrs);
    tar_sparse_pax_deinit(&x->sparse);
    memset(x, 0, sizeof(*x));
    x->long_name = name;
    x->long_link = link;
}

void tar_extended_deinit(struct tar_extended *x)
{
    reset_pax(x);
    free(x->long_name);
    free(x->long_link);
}

static int pax_time(const char *s, int64_t *ret_sec, uint32_t *ret_nsec)
{
    int64_t sec;
    uint32_t nsec = 0;
    size_t whole = strcspn(s, ".");
    CLEANUP(freep) char *head = xstrndup(s, whole);
    if (parse_i64(head, &sec) < 0)
        return -EINVAL;
    const char *p = s[whole] == '.' ? s + whole + 1 : s + whole;
    for (int digit = 0; *p != '\0'; p++, digit++) {
        if (*p < '0' || *p > '9')
            return -EINVAL;
        if (digit < 9) {
            static const uint32_t unit[] = { 100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1 };
            nsec += (uint32_t)(*p - '0') * unit[digit];
        }
    }
    if (*s == '-' && nsec > 0) {
        if (sec == INT64_MIN)
            return -ERANGE;
        sec--;
        nsec = 1000000000u - nsec;
    }
    *ret_sec = sec;
    *ret_nsec = nsec;
    return 0;
}

static void replace(char **s, const char *value)
{
    free(*s);
    *s = *value != '\0' ? xstrdup(value) : NULL; /* an empty record restores the header's own value */
}

static int set_number(const char *value, bool *has, int64_t *ret)
{
    *has = *value != '\0';
    return *has ? parse_i64(value, ret) : 0;
}

static struct error *apply_record(struct tar_extended *x, const char *key, const char *value, size_t len)
{
    bool has_nul = memchr(value, 0, len) != NULL;
    const char *attr = str_skip_prefix(key, "SCHILY.xattr.");
    int r = 0;
    if (attr != NULL) {
        if (x->xattrs.xattr_count >= LIMIT_TAR_XATTRS)
            return tar_bad_header("too many extended attributes");
        if (*attr != '\0')
            tar_entry_add_xattr(&x->xattrs, attr, value, len);
        return NULL;
    }
    if (has_nul)
        return str_has_prefix(key, "GNU.sparse") || streq(key, "path") || streq(key, "linkpath") ||
                       streq(key, "uname") || streq(key, "gname")
                   ? tar_bad_header("PAX record holds a NUL")
                   : NULL;
    if (streq(key, "path"))
        replace(&x->path, value);
    else if (streq(key, "linkpath"))
        replace(&x->linkpath, value);
    else if (streq(key, "uname"))
        replace(&x->uname, value);
    else if (streq(key, "gname"))
        replace(&x->gname, value);
    else if (streq(key, "uid"))
        r = set_number(value, &x->has_uid, &x->uid);
    else if (streq(key, "gid"))
        r = set_number(value, &x->has_gid, &x->gid);
    else if (streq(key, "size"))
        r = set_number(value, &x->has_size, &x->size);
    else if (streq(key, "mtime") && (x->has_mtime = *value != '\0'))
        r = pax_time(value, &x->mtime, &x->mtime_nsec);
    else if (str_has_prefix(key, "GNU.sparse."))
        return tar_sparse_record(&x->sparse, key + 11, value);
    return r < 0 ? tar_bad_header("PAX record is not a number") : NULL;
}

/* "LEN key=value\n"... */
struct error *tar_extended_pax(struct tar_extended *x, const char *p, size_t len)
{
    const char *end = p + len;
    reset_pax(x);
    while (p < end && *p != '\0') {
        const char *space = memchr(p, ' ', (size_t)MIN(end - p, (ptrdiff_t)20));
        int64_t size;
        if (space == NULL)
            return tar_bad_header("malformed PAX record");
        CLEANUP(freep) char *digits = xstrndup(p, (size_t)(space - p));
        if (parse_i64(digits, &size) < 0 || size < 5 || size > end - p || p + size - 1 <= space ||
            p[size - 1] != '\n')
            return tar_bad_header("malformed PAX record");
        const char *stop = p + size - 1;
        const char *equals = memchr(space + 1, '=', (size_t)(stop - space - 1));
        if (equals == NULL || equals == space + 1 ||
            memchr(space + 1, 0, (size_t)(equals - space - 1)) != NULL)
            return tar_bad_header("malformed PAX record");
        CLEANUP(freep) char *key = xstrndup(space + 1, (size_t)(equals - space - 1));
        CLEANUP(freep) char *value = xmemdup(equals + 1, (size_t)(stop - equals - 1));
        TRY(apply_record(x, key, value, (size_t)(stop - equals - 1)));
        p += size;
    }
    return NULL;
}

static void take_string(char **dst, char **src)
{
    if (*src == NULL)
        return;
    free(*dst);
    *dst = TAKE(*src);
}

void tar_extended_apply(struct tar_extended *x, struct tar_entry *e, int64_t *size)
{
    take_string(&e->name, &x->path);
    take_string(&e->linkname, &x->linkpath);
    take_string(&e->uname, &x->uname);
    take_string(&e->gname, &x->gname);
    take_string(&e->name, &x->long_name);
    take_string(&e->linkname, &x->long_link);
    if (x->has_uid)
        e->uid = x->uid;
    if (x->has_gid)
        e->gid = x->gid;
    if (x->has_size)
        *size = x->size;
    if (x->has_mtime) {
        e->mtime = x->mtime;
        e->mtime_nsec = x->mtime_nsec;
    }
    e->xattrs = TAKE(x->xattrs.xattrs);
    e->xattr_count = x->xattrs.xattr_count;
    x->xattrs.xattr_count = 0;
}
