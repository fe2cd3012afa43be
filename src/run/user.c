/* SPDX-License-Identifier: Apache-2.0 */
#include "run/user.h"

#include "base/buf.h"
#include "base/limits.h"
#include "io/path.h"

#include <errno.h>

#define ID_MAX INT64_C(2147483647)
#define ID_RANGE_TEXT "uids and gids must be in range 0-2147483647"

void run_user_deinit(struct run_user *u)
{
    free(u->gids);
    memset(u, 0, sizeof(*u));
}

static struct error *add_gid(struct run_user *u, uint32_t gid)
{
    for (size_t i = 0; i < u->gid_count; i++)
        if (u->gids[i] == gid)
            return NULL;
    if (u->gid_count == LIMIT_USER_GROUPS)
        return err_new(ERR_INVALID, "the user is in more than %d groups", LIMIT_USER_GROUPS);
    u->gids = xreallocarray(u->gids, u->gid_count + 1, sizeof(*u->gids));
    u->gids[u->gid_count++] = gid;
    return NULL;
}

/* ---- lines of passwd and group
 * ------------------------------------------------------------------------------------------------ */

struct slice {
    const char *p;
    size_t len;
};

static bool slice_is(struct slice s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

/* A number as Go's Atoi reads it; false when it is none or does not fit. */
static bool slice_number(struct slice s, int64_t *ret)
{
    CLEANUP(freep) char *text = NULL;

    if (s.len == 0 || s.len > 20)
        return false;
    text = xstrndup(s.p, s.len);
    return parse_i64(*text == '+' ? text + 1 : text, ret) == 0;
}

/* The next line of *text, white space around it cut off; false at the end. */
static bool next_line(struct slice *text, struct slice *ret)
{
    static const char space[] = " \t\r\v\f";

    while (text->len > 0) {
        const char *end = memchr(text->p, '\n', text->len);
        struct slice line = { text->p, end != NULL ? (size_t)(end - text->p) : text->len };
        size_t used = line.len + (end != NULL);

        text->p += used;
        text->len -= used;
        while (line.len > 0 && strchr(space, line.p[0]) != NULL && line.p[0] != '\0')
            line.p++, line.len--;
        while (line.len > 0 && strchr(space, line.p[line.len - 1]) != NULL && line.p[line.len - 1] != '\0')
            line.len--;
        if (line.len > 0) {
            *ret = line;
            return true;
        }
    }
    return false;
}

/* Cut the next field off `line` at `sep`. */
static struct slice next_field(struct slice *line, char sep)
{
    const char *end = memchr(line->p, sep, line->len);
    struct slice field = { line->p, end != NULL ? (size_t)(end - line->p) : line->len };
    size_t used = field.len + (end != NULL);

    line->p += used;
    line->len -= used;
    return field;
}

struct entry {
    struct slice name, members, home;
    int64_t uid, gid; /* -1: not a number */
};

static struct entry parse_passwd(struct slice line)
{
    struct entry e = { .uid = -1, .gid = -1 };

    e.name = next_field(&line, ':');
    next_field(&line, ':');
    if (!slice_number(next_field(&line, ':'), &e.uid))
        e.uid = -1;
    if (!slice_number(next_field(&line, ':'), &e.gid))
        e.gid = -1;
    next_field(&line, ':');
    e.home = next_field(&line, ':');
    return e;
}

static struct entry parse_group(struct slice line)
{
    struct entry e = { .uid = -1, .gid = -1 };

    e.name = next_field(&line, ':');
    next_field(&line, ':');
    if (!slice_number(next_field(&line, ':'), &e.gid))
        e.gid = -1;
    e.members = next_field(&line, ':');
    return e;
}

static bool has_member(struct slice members, struct slice name)
{
    while (members.len > 0) {
        struct slice m = next_field(&members, ',');

        if (m.len == name.len && m.len > 0 && memcmp(m.p, name.p, m.len) == 0)
            return true;
    }
    return false;
}

/* An absent file, or a thing that is no regular file, counts as empty, as it does for BuildKit. */
static struct error *read_database(int root_fd, const char *path, struct buf *out)
{
    int r = path_read_file(root_fd, path, out, LIMIT_PASSWD_FILE);

    if (r == -EFBIG)
        return err_new(ERR_INVALID, "\"%s\" exceeds %zu bytes", path, LIMIT_PASSWD_FILE);
    if (r < 0)
        buf_clear(out);
    return NULL;
}

/* ---- lookups
 * ------------------------------------------------------------------------------------------------------------------
 */

struct wanted {
    const char *text; /* "" when not given */
    bool numeric;
    int64_t number;
};

static struct wanted wanted_from(const char *text)
{
    struct wanted w = { .text = text, .number = -1 };

    w.numeric = slice_number((struct slice){ text, strlen(text) }, &w.number);
    return w;
}

static struct error *check_range(int64_t id)
{
    if (id < 0 || id > ID_MAX)
        return err_new(ERR_INVALID, ID_RANGE_TEXT);
    return NULL;
}

/* *ret_name is the name of the matched line (borrowed from `passwd`), of length 0 when a bare number had
 * none. */
static struct error *find_user(const struct buf *passwd, const struct wanted *w, struct run_user *u,
                               struct slice *ret_name)
{
    struct slice text = { buf_str(passwd), passwd->len }, line;

    *ret_name = (struct slice){ "", 0 };
    while (next_line(&text, &line)) {
        struct entry e = parse_passwd(line);
        bool match = *w->text == '\0' ? e.uid == 0
                     : w->numeric     ? e.uid == w->number
                                      : slice_is(e.name, w->text);

        if (!match)
            continue;
        TRY(check_range(e.uid));
        TRY(check_range(e.gid));
        u->uid = (uint32_t)e.uid;
        u->gid = (uint32_t)e.gid;
        *ret_name = e.name;
        return NULL;
    }
    if (*w->text == '\0')
        return NULL;
    if (!w->numeric)
        return err_new(ERR_INVALID, "unable to find user %s: no matching entries in passwd file", w->text);
    TRY(check_range(w->number));
    u->uid = (uint32_t)w->number;
    return NULL;
}

static struct error *find_group(const struct buf *groups, const char *name, uint32_t *ret)
{
    struct slice text = { buf_str(groups), groups->len }, line;
    struct wanted w = wanted_from(name);
    int64_t gid = -1;

    while (!w.numeric && next_line(&text, &line)) {
        struct entry e = parse_group(line);

        if (slice_is(e.name, name)) {
            gid = e.gid;
            break;
        }
    }
    if (w.numeric)
        gid = w.number;
    else if (gid < 0)
        return err_new(ERR_INVALID, "unable to find group %s: no matching entries in group file", name);
    TRY(check_range(gid));
    *ret = (uint32_t)gid;
    return NULL;
}

static struct error *add_memberships(const struct buf *groups, struct slice user, struct run_user *u)
{
    struct slice text = { buf_str(groups), groups->len }, line;

    while (next_line(&text, &line)) {
        struct entry e = parse_group(line);

        if (e.gid >= 0 && e.gid <= ID_MAX && has_member(e.members, user))
            TRY(add_gid(u, (uint32_t)e.gid));
    }
    return NULL;
}

static struct error *find(int root_fd, const char *user_text, const char *group_text, struct run_user *u)
{
    CLEANUP(buf_deinit) struct buf passwd = { 0 };
    CLEANUP(buf_deinit) struct buf groups = { 0 };
    struct wanted user = wanted_from(user_text);
    struct slice name;

    TRY(read_database(root_fd, "/etc/passwd", &passwd));
    TRY(find_user(&passwd, &user, u, &name));
    if (*group_text != '\0') {
        TRY(read_database(root_fd, "/etc/group", &groups));
        return find_group(&groups, group_text, &u->gid);
    }
    if (name.len > 0) {
        TRY(read_database(root_fd, "/etc/group", &groups));
        return add_memberships(&groups, name, u);
    }
    return NULL;
}

/* "uid:gid", with root for 0, needs no file. */
static bool parse_ids(const char *user, const char *group, int64_t *uid, int64_t *gid)
{
    struct wanted u = wanted_from(streq(user, "root") ? "0" : user);
    struct wanted g = wanted_from(streq(group, "root") ? "0" : group);

    *uid = u.number;
    *gid = g.number;
    return u.numeric && g.numeric;
}

struct error *run_user_find(int root_fd, const char *spec, struct run_user *ret)
{
    CLEANUP(freep) char *user = xstrdup(spec != NULL ? spec : "");
    CLEANUP(run_user_deinit) struct run_user u = { 0 };
    char *colon = strchr(user, ':');
    const char *group = "";
    int64_t uid, gid;

    if (colon != NULL) {
        *colon = '\0';
        group = colon + 1;
    }
    if (colon != NULL && parse_ids(user, group, &uid, &gid)) {
        TRY(check_range(uid));
        TRY(check_range(gid));
        u.uid = (uint32_t)uid;
        u.gid = (uint32_t)gid;
    } else {
        struct error *e = find(root_fd, user, group, &u);

        /* An image with a broken passwd still has a root. */
        if (e != NULL && *user == '\0' && *group == '\0') {
            err_free(e);
            run_user_deinit(&u);
        } else {
            TRY(e);
        }
    }
    *ret = u;
    memset(&u, 0, sizeof(u));
    return NULL;
}

struct error *run_user_home(int root_fd, uint32_t uid, char **ret)
{
    CLEANUP(buf_deinit) struct buf passwd = { 0 };

    TRY(read_database(root_fd, "/etc/passwd", &passwd));
    struct slice text = { buf_str(&passwd), passwd.len }, line;

    while (next_line(&text, &line)) {
        struct entry e = parse_passwd(line);

        if (e.uid != uid || e.home.len == 0)
            continue;
        *ret = xstrndup(e.home.p, e.home.len);
        return NULL;
    }
    *ret = xstrdup("/");
    return NULL;
}

struct error *run_user_add_group(int root_fd, struct run_user *u, const char *group)
{
    CLEANUP(buf_deinit) struct buf groups = { 0 };
    uint32_t gid = 0;

    TRY(read_database(root_fd, "/etc/group", &groups));
    TRY(find_group(&groups, group, &gid));
    return add_gid(u, gid);
}
