/* SPDX-License-Identifier: Apache-2.0 */
#include "container/archive.h"

#include "base/bytes.h"
#include "container/internal.h"
#include "container/root.h"
#include "container/shape.h"
#include "io/path.h"
#include "oci/gojson.h"
#include "op/unpack.h"
#include "run/user.h"
#include "session/sync.h"
#include "store/layer_tar.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static struct error *not_found(struct error *e, const char *path, const char *shown)
{
    if (!err_is(e, ERR_NOT_FOUND))
        return e;
    err_free(e);
    return err_new(ERR_NOT_FOUND, "Could not find the file %s in container %s", path, shown);
}

/* ---- stat
 * -----------------------------------------------------------------------------------------------------------------
 */

/* A slash at the end follows a link, as the kernel does. */
static bool follows(const char *path)
{
    return str_has_suffix(path, "/") || str_has_suffix(path, "/.");
}

static json_t *time_json(const struct timespec *t)
{
    char text[40];

    format_rfc3339(text, t->tv_sec * NS_PER_SEC + t->tv_nsec);
    return json_string(text);
}

/* Go's filepath.Base, which does not clean. */
static char *shown_base(const char *path)
{
    size_t len = strlen(path);

    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len == 0)
        return xstrdup(".");
    for (size_t i = len; i-- > 0;) {
        if (path[i] == '/' && len > 1)
            return xstrndup(path + i + 1, len - i - 1);
    }
    return xstrndup(path, len);
}

static struct error *stat_place(const struct container_root *r, const char *path, struct stat *ret_st,
                                json_t **ret)
{
    CLEANUP(root_place_deinit) struct root_place place = { .fd = -1 };
    CLEANUP(freep) char *base = shown_base(path), *link = NULL;
    int n;

    TRY(container_root_find(r, path, follows(path), &place));
    n = path_stat(place.fd, place.path, false, ret_st);
    TRY_SYS(n, "%s", path);
    if (S_ISLNK(ret_st->st_mode)) {
        n = path_resolve(r->fd, path, &link);
        TRY_SYS(n, "%s", path);
    }
    *ret =
        json_pack("{s:o, s:I, s:I, s:o, s:o}", "name", go_json_text(base), "size",
                  (json_int_t)ret_st->st_size, "mode", (json_int_t)go_mode_from_stat(ret_st->st_mode),
                  "mtime", time_json(&ret_st->st_mtim), "linkTarget", go_json_text(link != NULL ? link : ""));
    return NULL;
}

struct error *container_path_stat(struct container *ct, const char *path, const char *shown, json_t **ret)
{
    CLEANUP(container_root_close) struct container_root r = { 0 };
    struct stat st;

    TRY(container_root_open(ct, &r));
    return not_found(stat_place(&r, path, &st, ret), path, shown);
}

/* ---- get
 * ------------------------------------------------------------------------------------------------------------------
 */

/* "/x/." and "/x/" stand for the directory behind a link, "/x/." for it without its name. */
static struct error *open_tar(const struct container_root *r, const char *path, bool is_dir,
                              struct stream **ret)
{
    CLEANUP(root_place_deinit) struct root_place place = { .fd = -1 };
    CLEANUP(freep) char *base = shown_base(path), *dir = NULL, *name = NULL;
    CLEANUP(closep) int fd = -1;
    bool whole = streq(base, "/") || streq(base, ".");

    TRY(container_root_find(r, path, is_dir, &place));
    dir = is_dir ? xstrdup(place.path) : path_dir(place.path);
    fd = path_open(place.fd, dir, O_RDONLY | O_DIRECTORY, 0);
    TRY_SYS(fd, "%s", path);
    if (is_dir)
        return tree_tar_open(fd, whole ? "." : base, NULL, ret);
    name = path_base(place.path);
    return tree_tar_open(fd, "", name, ret);
}

static struct error *send(struct stream *tar, struct stream *out)
{
    int64_t n = stream_copy(out, tar);

    return n < 0 ? task_error((int)n, "send the archive") : NULL;
}

struct error *container_path_get(struct container *ct, const char *path, const char *shown,
                                 struct error *(*start)(void *ctx, const json_t *stat), void *ctx,
                                 struct stream *out)
{
    CLEANUP(container_root_close) struct container_root r = { 0 };
    CLEANUP(stream_closep) struct stream *tar = NULL;
    CLEANUP(json_decrefp) json_t *j = NULL;
    struct stat st;

    TRY(container_root_open(ct, &r));
    TRY(not_found(stat_place(&r, path, &st, &j), path, shown));
    TRY(not_found(open_tar(&r, path, S_ISDIR(st.st_mode), &tar), path, shown));
    container_event(ct, "archive-path", NULL);
    TRY(start(ctx, j));
    return send(tar, out);
}

/* ---- put
 * ------------------------------------------------------------------------------------------------------------------
 */

static struct error *check_writable(const struct container *ct, const struct root_place *p)
{
    if (p->mount != NULL)
        return p->mount->readonly ? err_new(ERR_INVALID, "mounted volume is marked read-only") : NULL;
    return json_get_bool(ct->host_config, "ReadonlyRootfs")
               ? err_new(ERR_INVALID, "container rootfs is marked read-only")
               : NULL;
}

static struct error *find_owner(const struct container_root *r, struct file_owner *ret)
{
    struct run_user user = { 0 };

    TRY(run_user_find(r->fd, json_get_string(r->container->config, "User"), &user));
    *ret = (struct file_owner){ user.uid, user.gid };
    run_user_deinit(&user);
    return NULL;
}

static struct error *open_target(const struct container_root *r, const char *path, int *ret_fd)
{
    CLEANUP(root_place_deinit) struct root_place place = { .fd = -1 };
    struct stat st;
    int n;

    TRY(container_root_find(r, path, true, &place));
    n = path_stat(place.fd, place.path, false, &st);
    TRY_SYS(n, "%s", path);
    if (!S_ISDIR(st.st_mode))
        return err_new(ERR_INVALID, "extraction point is not a directory");
    TRY(check_writable(r->container, &place));
    *ret_fd = path_open(place.fd, place.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    TRY_SYS(*ret_fd, "%s", path);
    return NULL;
}

static struct error *put(struct container *ct, const char *path, const struct archive_put_options *o,
                         struct stream **archive)
{
    CLEANUP(container_root_close) struct container_root r = { 0 };
    CLEANUP(closep) int fd = -1;
    bool own = o->own_user && *json_get_string(ct->config, "User") != '\0';
    struct file_owner owner;

    TRY(container_root_open(ct, &r));
    TRY(not_found(open_target(&r, path, &fd), path, o->shown));
    if (own)
        TRY(find_owner(&r, &owner));
    TRY(op_unpack_into(TAKE(*archive), fd,
                       &(struct unpack_options){ .owner = own ? &owner : NULL, .keep_kind = o->keep_kind }));
    container_event(ct, "extract-to-dir", NULL);
    return NULL;
}

struct error *container_path_put(struct container *ct, const char *path, const struct archive_put_options *o,
                                 struct stream *archive)
{
    struct error *e = put(ct, path, o, &archive);

    stream_close(archive);
    return e;
}

/* ---- export
 * ---------------------------------------------------------------------------------------------------------------
 */

struct error *container_export(struct container *ct, struct error *(*start)(void *ctx), void *ctx,
                               struct stream *out)
{
    CLEANUP(container_root_close) struct container_root r = { 0 };
    CLEANUP(stream_closep) struct stream *tar = NULL;

    TRY(container_root_open(ct, &r));
    TRY(tree_tar_open(r.fd, "", NULL, &tar));
    TRY(start(ctx));
    TRY(send(tar, out));
    container_event(ct, "export", NULL);
    return NULL;
}
