/* SPDX-License-Identifier: Apache-2.0 */
#include "op/user.h"

#include "base/limits.h"
#include "io/path.h"

#include <errno.h>

/* The fields of the line of `path` that begins with `name`; *ret_found false: there is none. */
static struct error *find_line(int root, const char *path, const char *name, struct strv *ret,
                               bool *ret_found)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    int r = path_read_file(root, path, &text, LIMIT_PASSWD_FILE);

    *ret_found = false;
    if (r == -ENOENT || r == -ENOTDIR)
        return NULL;
    if (r == -EFBIG)
        return err_new(ERR_INVALID, "\"%s\" exceeds %zu bytes", path, (size_t)LIMIT_PASSWD_FILE);
    TRY_SYS(r, "open %s", path);
    for (const char *p = buf_str(&text), *next; !*ret_found && *p != '\0'; p = next) {
        size_t n = strcspn(p, "\n");
        CLEANUP(freep) char *line = xstrndup(p, n);

        next = p + n + (p[n] == '\n');
        if (strncmp(line, name, strlen(name)) != 0 || line[strlen(name)] != ':')
            continue;
        strv_split(ret, line, ':');
        *ret_found = true;
    }
    return NULL;
}

static uint32_t number(const struct strv *fields, size_t i)
{
    uint64_t n = 0;

    if (i < fields->len && parse_u64(fields->v[i], &n) == 0 && n <= UINT32_MAX)
        return (uint32_t)n;
    return 0;
}

struct error *user_by_name(int root, const char *name, struct file_owner *ret, bool *ret_found)
{
    CLEANUP(strv_deinit) struct strv fields = { 0 };

    TRY(find_line(root, "/etc/passwd", name, &fields, ret_found));
    if (*ret_found)
        *ret = (struct file_owner){ number(&fields, 2), number(&fields, 3) };
    return NULL;
}

struct error *group_by_name(int root, const char *name, uint32_t *ret_gid, bool *ret_found)
{
    CLEANUP(strv_deinit) struct strv fields = { 0 };

    TRY(find_line(root, "/etc/group", name, &fields, ret_found));
    if (*ret_found)
        *ret_gid = number(&fields, 2);
    return NULL;
}
