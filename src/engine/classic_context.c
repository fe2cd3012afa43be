/* SPDX-License-Identifier: Apache-2.0 */
/* classic_context.c - where a classic build gets its files and its Dockerfile from */
#include "engine/classic_impl.h"

#include "base/limits.h"
#include "frontend/dockerfile/ignore.h"
#include "frontend/dockerfile/remote_context.h"
#include "io/path.h"
#include "io/pattern.h"
#include "llb/gopath.h"
#include "op/unpack.h"
#include "task/task.h"
#include "wire/http1.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define DEFAULT_NAME "Dockerfile"
#define HEAD_BYTES 512 /* what tells an archive from a text */

/* ---- the Dockerfile
 * ------------------------------------------------------------------------------------------------------ */

static struct error *outside(const char *path)
{
    return err_new(ERR_UNKNOWN, "forbidden path outside the build context: %s ()", path);
}

/* c->dockerfile_name, if it is there. */
static struct error *read_named(struct classic *c, int root, const char *path, bool *ret_found)
{
    int r = path_read_file(root, path, &c->text, LIMIT_CONTROL_FILE);
    struct stat st;

    *ret_found = r != -ENOENT;
    if (r == -ENOTDIR || r == -ELOOP)
        return outside(c->dockerfile_name);
    if (r == -EFBIG)
        return err_new(ERR_INVALID, "the Dockerfile (%s) is larger than %d bytes", c->dockerfile_name,
                       (int)LIMIT_CONTROL_FILE);
    if (r == -EINVAL)
        return err_new(ERR_UNKNOWN, "unexpected error reading Dockerfile: read %s: %s", c->dockerfile_name,
                       path_stat(root, path, true, &st) == 0 && S_ISDIR(st.st_mode) ? "is a directory"
                                                                                    : "not a regular file");
    return *ret_found && r < 0 ? err_sys(-r, "read the Dockerfile (%s)", c->dockerfile_name) : NULL;
}

static struct error *read_dockerfile(struct classic *c, int root)
{
    const char *asked = c->o->dockerfile;
    CLEANUP(freep) char *path = NULL;
    bool found;

    c->dockerfile_name = xstrdup(asked == NULL || *asked == '\0' ? DEFAULT_NAME : asked);
    path = gopath_clean(c->dockerfile_name + strspn(c->dockerfile_name, "/"));
    if (streq(path, "..") || str_has_prefix(path, "../"))
        return outside(c->dockerfile_name);
    TRY(read_named(c, root, path, &found));
    if (!found && streq(c->dockerfile_name, DEFAULT_NAME)) {
        TRY(read_named(c, root, "dockerfile", &found));
        if (found)
            str_replace(&c->dockerfile_name, "dockerfile");
    }
    return found ? NULL : err_new(ERR_UNKNOWN, "Cannot locate specified Dockerfile: %s", c->dockerfile_name);
}

/* Does one of the patterns name that file?  One that is no pattern names nothing: only the client says so. */
static bool is_ignored(const struct strv *patterns, const char *path)
{
    CLEANUP(pattern_set_deinit) struct pattern_set set = { 0 };
    bool match = false;
    struct error *e = pattern_set_init(&set, (const char *const *)patterns->v, patterns->len);

    if (e == NULL)
        e = pattern_set_match(&set, path, &match);
    if (e == NULL)
        return match;
    err_free(e);
    return false;
}

/* The client leaves out what .dockerignore names, but sends that file and the Dockerfile in any case: those
 * that it names go now. *ret: their names. */
static struct error *ignored_files(struct classic *c, int root, struct strv *ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(strv_deinit) struct strv patterns = { 0 };
    const char *const both[] = { ".dockerignore", c->dockerfile_name };
    int r = path_read_file(root, ".dockerignore", &text, LIMIT_CONTROL_FILE);

    if (r == -ENOENT)
        return NULL;
    TRY_SYS(r, "error reading .dockerignore");
    TRY(err_wrap(ignore_parse(buf_str(&text), text.len, &patterns), "error reading .dockerignore"));
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        CLEANUP(freep) char *clean = path_clean(both[i]);

        if (is_ignored(&patterns, clean))
            strv_add(ret, clean);
    }
    return NULL;
}

static struct error *remove_files(int root, const struct strv *names)
{
    for (size_t i = 0; i < names->len; i++) {
        CLEANUP(freep) char *base = NULL;
        CLEANUP(closep) int dir = path_open_parent(root, names->v[i], false, 0, &base);

        TRY_SYS(dir, "remove %s", names->v[i]);
        TRY_SYS(path_remove_all(dir, base), "remove %s", names->v[i]);
    }
    return NULL;
}

/* ---- archives
 * ------------------------------------------------------------------------------------------------------------
 */

static struct error *fill_context(struct classic *c, struct active *a, struct stream *archive)
{
    CLEANUP(strv_deinit) struct strv ignored = { 0 };
    const struct file_owner root = { 0, 0 };
    struct error *e = op_unpack_archive(archive, active_fd(a), &root);

    if (e != NULL && e->kind != ERR_CANCELLED)
        e->kind = ERR_UNKNOWN; /* the client sees 500 whatever is wrong with its archive */
    TRY(e);
    TRY(read_dockerfile(c, active_fd(a)));
    TRY(ignored_files(c, active_fd(a), &ignored));
    return remove_files(active_fd(a), &ignored);
}

/* `archive` is taken. */
static struct error *from_archive(struct classic *c, struct stream *archive)
{
    struct active *a;
    struct error *e = active_begin(c->engine->store, NULL, &a);

    if (e != NULL) {
        stream_close(archive);
        return e;
    }
    e = fill_context(c, a, archive);
    if (e == NULL)
        e = active_commit(a, "classic build context", "source.local", &c->context);
    if (e != NULL)
        active_abandon(a);
    return e;
}

static struct error *from_body(struct classic *c, struct stream *body)
{
    char rest[4096];
    ssize_t n;

    TRY(from_archive(c, stream_limited(body, UINT64_MAX)));
    while ((n = stream_read(body, rest, sizeof(rest))) > 0) /* what follows the end of the archive */
        ;
    return n < 0 ? task_error((int)n, "read the build context") : NULL;
}

/* ---- addresses
 * -----------------------------------------------------------------------------------------------------------
 */

static struct error *from_git(struct classic *c, struct llb_state state, struct llb_builder *b)
{
    CLEANUP(closep) int root = -1;
    CLEANUP(strv_deinit) struct strv ignored = { 0 };
    struct active *a;
    struct error *e;
    bool cached;

    TRY(classic_solve(c, b, state, CLASSIC_QUIET, &c->context, &cached));
    TRY(snapshot_mount_ro(c->context, &root));
    TRY(read_dockerfile(c, root));
    TRY(ignored_files(c, root, &ignored));
    if (ignored.len == 0)
        return NULL;
    TRY(active_begin(c->engine->store, c->context, &a));
    e = remove_files(active_fd(a), &ignored);
    if (e == NULL) {
        snapshot_unref(TAKE(c->context));
        e = active_commit(a, "classic build context", "source.local", &c->context);
    }
    if (e != NULL)
        active_abandon(a);
    return e;
}

static struct error *read_text(struct classic *c, int root)
{
    int r = path_read_file(root, "context", &c->text, LIMIT_CONTROL_FILE);

    if (r == -EFBIG)
        return err_new(ERR_INVALID, "the Dockerfile (%s) is larger than %d bytes", c->o->remote,
                       (int)LIMIT_CONTROL_FILE);
    TRY_SYS(r, "read the Dockerfile (%s)", c->o->remote);
    c->dockerfile_name = xstrdup(c->o->remote);
    return NULL;
}

struct error *classic_download_error(const char *url, struct error *e)
{
    static const char refused[] = "invalid response status ", lost[] = "failed to do request: ";
    const char *status = e == NULL ? NULL : strstr(e->message, refused);
    const char *reason = e == NULL || status != NULL ? NULL : strstr(e->message, lost);
    struct error *mine = NULL;

    if (status != NULL) {
        int code = (int)strtol(status + strlen(refused), NULL, 10);

        mine = err_new(code == 400   ? ERR_INVALID
                       : code == 401 ? ERR_UNAUTHORIZED
                       : code == 403 ? ERR_FORBIDDEN
                       : code == 404 ? ERR_NOT_FOUND
                                     : ERR_UNKNOWN,
                       "failed to GET %s with status %d %s", url, code, http_status_text(code));
    } else if (reason != NULL) {
        mine = err_new(ERR_UNKNOWN, "%s", reason + strlen(lost));
    }
    if (mine == NULL)
        return e;
    err_free(e);
    return mine;
}

/* An archive is a context, anything else a Dockerfile without one. */
static struct error *from_download(struct classic *c, struct llb_builder *b)
{
    CLEANUP(snapshot_unrefp) struct snapshot *s = NULL;
    CLEANUP(closep) int root = -1;
    CLEANUP(closep) int fd = -1;
    char head[HEAD_BYTES];
    ssize_t n;
    bool cached;

    TRY(err_wrap(classic_download_error(
                     c->o->remote,
                     classic_solve(c, b, remote_file(b, c->o->remote, "[internal] load remote build context"),
                                   CLASSIC_DOWNLOAD, &s, &cached)),
                 "error downloading remote context %s", c->o->remote));
    TRY(snapshot_mount_ro(s, &root));
    fd = path_open(root, "context", O_RDONLY | O_NOFOLLOW, 0);
    TRY_SYS(fd, "read remote context %s", c->o->remote);
    n = pread(fd, head, sizeof(head), 0);
    TRY_SYS(n < 0 ? -errno : 0, "read remote context %s", c->o->remote);
    if (n == 0)
        return err_new(ERR_UNKNOWN, "error detecting content type for remote %s: empty response",
                       c->o->remote);
    return is_archive(head, (size_t)n) ? from_archive(c, stream_from_fd(TAKE_FD(fd))) : read_text(c, root);
}

static struct error *from_remote(struct classic *c)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    const struct remote_git_options clone = { .name = "[internal] load git source",
                                              .keep_git_dir = KEEP_GIT_UNLESS_DENIED };
    const char *url = c->o->remote;
    struct llb_state state;
    bool is_git = false;

    if (streq(url, "client-session"))
        return err_new(ERR_INVALID,
                       "experimental session with v1 builder is no longer supported, use builder "
                       "version v2 (BuildKit) instead");
    TRY(remote_git(b, url, &clone, &state, &is_git));
    if (is_git)
        return from_git(c, state, b);
    if (is_http_url(url))
        return from_download(c, b);
    return err_new(ERR_UNKNOWN, "remoteURL (%s) could not be recognized as URL", url);
}

struct error *classic_context_load(struct classic *c, struct stream *body)
{
    return c->o->remote == NULL || *c->o->remote == '\0' ? from_body(c, body) : from_remote(c);
}
