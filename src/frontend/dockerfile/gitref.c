/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/gitref.h"

#include "base/bytes.h"
#include "base/buf.h"
#include "base/rune.h"
#include "base/vec.h"
#include "llb/gopath.h"

#include <ctype.h>

void git_ref_deinit(struct git_ref *g)
{
    free(g->scheme);
    free(g->host);
    free(g->path);
    free(g->remote);
    free(g->ref);
    free(g->subdir);
    free(g->checksum);
    free(g->mtime);
    *g = (struct git_ref){ 0 };
}

static void set(char **field, const char *value)
{
    char *copy = xstrdup(value);

    free(*field);
    *field = copy;
}

/* ---- the parts of a URL
 * ------------------------------------------------------------------------------------------------ */

struct url_parts {
    char *scheme, *userinfo, *host, *path, *query, *fragment; /* userinfo, query, fragment may be NULL; raw */
};

static void url_parts_deinit(struct url_parts *u)
{
    free(u->scheme);
    free(u->userinfo);
    free(u->host);
    free(u->path);
    free(u->query);
    free(u->fragment);
}

/* Percent-decoding, in a query also '+' for a blank. NULL when it is malformed. */
static char *unescape(const char *s, bool query)
{
    struct buf out = { 0 };

    for (; *s != '\0'; s++) {
        if (*s == '%') {
            if (hex_digit(s[1]) < 0 || hex_digit(s[2]) < 0) {
                buf_deinit(&out);
                return NULL;
            }
            buf_addc(&out, (char)(hex_digit(s[1]) << 4 | hex_digit(s[2])));
            s += 2;
        } else {
            buf_addc(&out, query && *s == '+' ? ' ' : *s);
        }
    }
    return buf_take(&out);
}

/* Cut `s` at the first `c`: the rest behind it in *ret_rest (NULL when there is none). New strings. */
static char *cut(const char *s, char c, char **ret_rest)
{
    const char *at = strchr(s, c);

    *ret_rest = at != NULL ? xstrdup(at + 1) : NULL;
    return xstrndup(s, at != NULL ? (size_t)(at - s) : strlen(s));
}

static bool has_control(const char *s)
{
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return true;
    }
    return false;
}

/* scheme://[user@]host/path[?query][#fragment]; false when Go's url.Parse would refuse it. */
static bool parse_url(const char *s, struct url_parts *u)
{
    CLEANUP(freep) char *head = NULL, *rest = NULL, *raw_fragment = NULL, *raw_path = NULL;
    const char *colon = strstr(s, "://");
    char *authority, *at;

    if (colon == NULL || has_control(s))
        return false;
    head = cut(s, '#', &raw_fragment);
    u->fragment = raw_fragment != NULL ? unescape(raw_fragment, false) : NULL;
    if (raw_fragment != NULL && u->fragment == NULL)
        return false;
    u->scheme = xstrndup(s, (size_t)(colon - s));
    for (char *p = u->scheme; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    rest = cut(head + (colon - s) + 3, '?', &u->query);
    authority = rest;
    raw_path = xstrdup(strchr(rest, '/') != NULL ? strchr(rest, '/') : "");
    authority[strcspn(authority, "/")] = '\0';
    at = strrchr(authority, '@');
    if (at != NULL) {
        u->userinfo = xstrndup(authority, (size_t)(at - authority));
        authority = at + 1;
    }
    if (strchr(authority, ' ') != NULL)
        return false;
    u->host = xstrdup(authority);
    u->path = unescape(raw_path, false);
    return u->path != NULL;
}

/* A byte of a path that Go's URL.String leaves as it is. */
static bool plain_in_path(unsigned char c)
{
    return isalnum(c) || strchr("-_.~$&+,/:;=@!*'()[]", c) != NULL;
}

static void add_path_escaped(struct buf *out, const char *path)
{
    for (; *path != '\0'; path++) {
        if (plain_in_path((unsigned char)*path))
            buf_addc(out, *path);
        else
            buf_addf(out, "%%%02X", (unsigned char)*path);
    }
}

static char *url_without_options(const struct url_parts *u)
{
    struct buf out = { 0 };

    buf_addf(&out, "%s://", u->scheme);
    if (u->userinfo != NULL)
        buf_addf(&out, "%s@", u->userinfo);
    buf_adds(&out, u->host);
    add_path_escaped(&out, u->path);
    return buf_take(&out);
}

/* ---- parameters
 * -------------------------------------------------------------------------------------------------------- */

static void load_fragment(struct git_ref *g, const char *fragment)
{
    CLEANUP(freep) char *subdir = NULL, *ref = NULL, *joined = NULL;

    if (fragment == NULL || *fragment == '\0')
        return;
    ref = cut(fragment, ':', &subdir);
    joined = gopath_join("/", subdir != NULL ? subdir : "");
    set(&g->ref, ref);
    set(&g->subdir, *joined == '/' ? joined + 1 : joined);
}

static struct error *conflict(const char *what, const char *a, const char *b)
{
    CLEANUP(freep) char *qa = str_quote(a), *qb = str_quote(b);

    return err_new(ERR_INVALID, "%s conflicts: %s vs %s", what, qa, qb);
}

static struct error *set_once(char **field, const char *what, const char *value)
{
    if (**field != '\0' && !streq(*field, value))
        return conflict(what, *field, value);
    set(field, value);
    return NULL;
}

/* Without a value ("") it means true. */
static struct error *parse_flag(const char *name, const char *value, bool *ret)
{
    *ret = true;
    if (*value != '\0' && parse_bool(value, ret) < 0) {
        CLEANUP(freep) char *quoted = str_quote(value);

        return err_new(ERR_INVALID, "invalid %s value: %s", name, quoted);
    }
    return NULL;
}

static struct error *load_param(struct git_ref *g, const char *key, const char *value, char **tag,
                                char **branch)
{
    CLEANUP(freep) char *quoted = NULL;

    if (streq(key, "ref"))
        return set_once(&g->ref, "ref", value);
    if (streq(key, "subdir"))
        return set_once(&g->subdir, "subdir", value);
    if (streq(key, "keep-git-dir")) {
        g->keep_git_dir_set = true;
        return parse_flag(key, value, &g->keep_git_dir);
    }
    if (streq(key, "submodules")) {
        g->submodules_set = true;
        return parse_flag(key, value, &g->submodules);
    }
    if (streq(key, "fetch-by-commit"))
        return parse_flag(key, value, &g->fetch_by_commit);
    if (streq(key, "tag")) {
        set(tag, value);
    } else if (streq(key, "branch")) {
        set(branch, value);
    } else if (streq(key, "checksum") || streq(key, "commit")) {
        set(&g->checksum, value);
    } else if (streq(key, "mtime")) {
        if (!streq(value, "checkout") && !streq(value, "commit")) {
            quoted = str_quote(value);
            return err_new(ERR_INVALID, "invalid mtime value: %s (must be \"checkout\" or \"commit\")",
                           quoted);
        }
        set(&g->mtime, value);
    } else {
        quoted = str_quote(key);
        return err_new(ERR_INVALID, "unexpected query %s", quoted);
    }
    return NULL;
}

static struct error *load_named(struct git_ref *g, const char *name, const char *prefix)
{
    CLEANUP(freep)
    char *full = str_has_prefix(name, prefix) ? xstrdup(name) : xasprintf("%s%s", prefix, name);

    return set_once(&g->ref, "ref", full);
}

/* Keys and values of a query; keys that come twice are an error of ours. */
static struct error *split_query(const char *query, struct map *ret)
{
    CLEANUP(strv_deinit) struct strv pairs = { 0 };

    strv_split(&pairs, query, '&');
    for (size_t i = 0; i < pairs.len; i++) {
        CLEANUP(freep) char *raw_value = NULL, *raw_key = NULL, *key = NULL, *value = NULL;

        if (*pairs.v[i] == '\0')
            continue;
        raw_key = cut(pairs.v[i], '=', &raw_value);
        key = unescape(raw_key, true);
        value = unescape(raw_value != NULL ? raw_value : "", true);
        if (key == NULL || value == NULL)
            continue; /* url.Query drops what it cannot read */
        if (map_has(ret, key)) {
            CLEANUP(freep) char *quoted = str_quote(key);

            return err_new(ERR_INVALID, "query %s has multiple values", quoted);
        }
        strmap_set(ret, key, value);
    }
    return NULL;
}

static struct error *load_query(struct git_ref *g, const char *query)
{
    CLEANUP(map_deinit) struct map params = { 0 };
    CLEANUP(freep) char *tag = NULL, *branch = NULL;

    if (query == NULL)
        return NULL;
    strmap_init(&params);
    TRY(split_query(query, &params));
    for (size_t i = 0; i < params.len; i++) {
        const char *key = params.entries[i].key, *value = params.entries[i].value;
        bool flag = streq(key, "submodules") || streq(key, "keep-git-dir") || streq(key, "fetch-by-commit");

        if (*value == '\0' && !flag) {
            CLEANUP(freep) char *quoted = str_quote(key);

            return err_new(ERR_INVALID, "query %s has no value", quoted);
        }
        TRY(load_param(g, key, value, &tag, &branch));
    }
    if (tag != NULL)
        TRY(load_named(g, tag, "refs/tags/"));
    if (branch != NULL && tag != NULL)
        return err_new(ERR_INVALID, "branch conflicts with tag");
    return branch != NULL ? load_named(g, branch, "refs/heads/") : NULL;
}

/* ---- forms
 * -------------------------------------------------------------------------------------------------------------
 */

static void init(struct git_ref *g)
{
    g->ref = xstrdup("");
    g->subdir = xstrdup("");
    g->checksum = xstrdup("");
    g->mtime = xstrdup("");
}

static struct error *from_url(const char *s, struct git_ref *g, bool *ret_is_git)
{
    CLEANUP(url_parts_deinit) struct url_parts u = { 0 };
    bool http;

    if (!parse_url(s, &u))
        return NULL;
    http = streq(u.scheme, "http") || streq(u.scheme, "https");
    if (!http && !streq(u.scheme, "ssh") && !streq(u.scheme, "git"))
        return NULL;
    if (http && !g->local_looking && !str_has_suffix(u.path, ".git"))
        return NULL; /* an ordinary download */
    init(g);
    g->remote = url_without_options(&u);
    g->scheme = TAKE(u.scheme);
    g->host = TAKE(u.host);
    g->path = TAKE(u.path);
    *ret_is_git = true;
    load_fragment(g, u.fragment);
    return load_query(g, u.query);
}

static bool all_of(const char *s, size_t len, const char *extra)
{
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)s[i]) && strchr(extra, s[i]) == NULL)
            return false;
    }
    return len > 0;
}

/* user@host:path[?query][#fragment] */
static struct error *from_scp(const char *s, struct git_ref *g, bool *ret_is_git)
{
    CLEANUP(freep) char *fragment = NULL, *query = NULL, *path = NULL;
    const char *at = strchr(s, '@'), *colon = at != NULL ? strchr(at, ':') : NULL, *end;

    if (colon == NULL || strchr(s, '\n') != NULL || !all_of(s, (size_t)(at - s), "-_") ||
        !all_of(at + 1, (size_t)(colon - at - 1), "-."))
        return NULL;
    end = colon + 1 + strcspn(colon + 1, "?#"); /* the first of the two ends the path */
    path = xstrndup(colon + 1, (size_t)(end - colon - 1));
    if (*end == '?')
        query = cut(end + 1, '#', &fragment);
    else if (*end == '#')
        fragment = xstrdup(end + 1);
    init(g);
    g->scheme = xstrdup("ssh");
    g->host = xstrndup(at + 1, (size_t)(colon - at - 1));
    g->remote = xasprintf("%.*s:%s", (int)(colon - s), s, path);
    g->path = TAKE(path);
    *ret_is_git = true;
    load_fragment(g, fragment);
    return load_query(g, query);
}

struct error *git_ref_parse(const char *s, struct git_ref *ret, bool *ret_is_git)
{
    *ret_is_git = false;
    *ret = (struct git_ref){ 0 };
    if (str_has_prefix(s, "./") || str_has_prefix(s, "../"))
        return NULL;
    if (str_has_prefix(s, "github.com/")) {
        CLEANUP(freep) char *url = xasprintf("https://%s", s);
        struct error *e;

        ret->local_looking = true;
        e = from_url(url, ret, ret_is_git);
        if (ret->remote != NULL)
            set(&ret->remote, strstr(ret->remote, "://") + 3);
        return e;
    }
    if (strstr(s, "://") != NULL && all_of(s, (size_t)(strstr(s, "://") - s), ""))
        return from_url(s, ret, ret_is_git);
    return from_scp(s, ret, ret_is_git);
}
