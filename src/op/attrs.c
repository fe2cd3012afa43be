/* SPDX-License-Identifier: Apache-2.0 */
#include "op/attrs.h"

#include "base/bytes.h"

#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *source_attr(const struct llb_vertex *v, const char *key)
{
    const char *s = pb_get_str(v->op->source->attrs, v->op->source->n_attrs, key);

    return s == NULL ? "" : s;
}

/* As Go's ParseInt with base 0: "420", "0644", "0o644", "0x1a4". */
static struct error *number(const struct llb_vertex *v, const char *key, long max, long *ret)
{
    const char *s = source_attr(v, key);
    bool octal = s[0] == '0' && (s[1] == 'o' || s[1] == 'O');
    char *end;

    *ret = 0;
    if (s[0] == '\0')
        return NULL;
    errno = 0;
    *ret = strtol(octal ? s + 2 : s, &end, octal ? 8 : 0);
    if (errno != 0 || *end != '\0' || *ret < 0 || *ret > max)
        return err_new(ERR_INVALID, "invalid value for %s: \"%s\"", key, s);
    return NULL;
}

struct error *source_file_meta(const struct llb_vertex *v, struct file_meta *ret)
{
    TRY(number(v, "http.perm", 07777, &ret->perm));
    TRY(number(v, "http.uid", INT32_MAX, &ret->uid));
    return number(v, "http.gid", INT32_MAX, &ret->gid);
}

struct error *source_finish_file(int fd, const char *name, const struct file_meta *m, int64_t mtime_ns)
{
    time_t t = (time_t)(mtime_ns / NS_PER_SEC);
    struct timespec times[2] = { { t, 0 }, { t, 0 } };

    if (((m->uid != 0 || m->gid != 0) && fchown(fd, (uid_t)m->uid, (gid_t)m->gid) < 0) ||
        (m->perm != 0 && fchmod(fd, (mode_t)m->perm) < 0) || futimens(fd, times) < 0)
        return err_sys(errno, "write %s", name);
    return NULL;
}
