/* SPDX-License-Identifier: Apache-2.0 */
/* copy_match.c - the sources that a wildcard names */
#include "op/copier.h"

#include "io/path.h"

#include <errno.h>
#include <fcntl.h>

struct search {
    const struct copy_packed *packed;
    struct strv *found;
};

static int match_in(const struct search *s, int fd, const char *pattern, const char *prefix, int depth);

/* One name against the pattern's first component; with more components left, what is below it against those.
 */
static int match_name(const struct search *s, int dir_fd, const char *name, const char *pattern, size_t len,
                      const char *prefix, int depth)
{
    CLEANUP(freep) char *part = xstrndup(pattern, len);
    CLEANUP(freep) char *path = xasprintf("%s/%s", prefix, name);
    const char *rest = pattern + len + strspn(pattern + len, "/");
    CLEANUP(closep) int fd = -1;

    if (path_match(part, name) != 1)
        return 0;
    if (*rest == '\0') {
        strv_add(s->found, path);
        return 0;
    }
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : -errno;
    return match_in(s, fd, rest, path, depth + 1);
}

static int match_packed(const struct search *s, int fd, const char *pattern, size_t len, const char *prefix,
                        int depth)
{
    const char *dir = prefix + strspn(prefix, "/");
    struct copy_packed_file f;
    size_t at = 0;
    int r = 0;

    while (r == 0 && s->packed != NULL && s->packed->next(s->packed->ctx, dir, &at, &f))
        r = match_name(s, fd, f.name, pattern, len, prefix, depth);
    return r;
}

/* Both the pattern and the tree are somebody else's: what is deeper than any path is not looked for. */
static int match_in(const struct search *s, int fd, const char *pattern, const char *prefix, int depth)
{
    if (depth > LIMIT_PATH_DEPTH)
        return -ENAMETOOLONG;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3), r = 0;
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    size_t len = strcspn(pattern, "/");

    if (d == NULL) {
        closep(&copy);
        return -errno;
    }
    for (struct dirent *e; r == 0 && (e = readdir(d)) != NULL;)
        if (!streq(e->d_name, ".") && !streq(e->d_name, ".."))
            r = match_name(s, fd, e->d_name, pattern, len, prefix, depth);
    closedir(d);
    return r == 0 ? match_packed(s, fd, pattern, len, prefix, depth) : r;
}

struct error *copy_matches(int root, const struct copy_packed *packed, const char *src, bool follow,
                           struct strv *ret)
{
    const struct search search = { packed, ret };
    const char *p = src;
    CLEANUP(freep) char *prefix = NULL;
    CLEANUP(freep) char *real = NULL;
    CLEANUP(closep) int fd = -1;
    int r;

    for (;;) {
        size_t n;

        p += strspn(p, "/");
        n = strcspn(p, "/");
        if (*p == '\0') {
            strv_add(ret, src);
            return NULL;
        }
        if (path_has_wildcard(p, n))
            break;
        p += n;
    }
    prefix = xstrndup(src, (size_t)(p - src));
    r = path_resolve(root, prefix, &real);
    if (r == 0)
        r = fd = path_open(root, real, O_RDONLY | O_DIRECTORY, 0);
    if (r >= 0)
        r = match_in(&search, fd, p, streq(real, "/") ? "" : real, 0);
    if (r < 0)
        return copy_path_err(r, "lstat", prefix);
    strv_sort(ret);
    return NULL;
}
