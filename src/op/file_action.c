/* SPDX-License-Identifier: Apache-2.0 */
/* file_action.c - what the file op does: mkdir, mkfile, symlink, rm, copy */
#include "base/bytes.h"
#include "io/path.h"
#include "io/stream.h"
#include "op/context_slot.h"
#include "op/copy.h"
#include "op/file_impl.h"
#include "op/unpack.h"
#include "op/user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- owners
 * ------------------------------------------------------------------------------------------------------------------
 */

const Pb__NamedUserOpt *file_named_user(const Pb__UserOpt *u)
{
    return u != NULL && u->user_case == PB__USER_OPT__USER_BY_NAME ? u->by_name : NULL;
}

static struct error *named_root(struct file_run *f, const Pb__NamedUserOpt *n, const char *what, int *ret_fd)
{
    if (n->input < 0)
        return err_new(ERR_INVALID, "invalid missing %s mount", what);
    if ((uint64_t)n->input >= f->count)
        return err_new(ERR_INVALID, "invalid user index: %lld", (long long)n->input);
    return file_slot_ro(f, n->input, ret_fd);
}

/* *ret_set false: nothing was asked for.  Names that are not found are root's, as with BuildKit. */
static struct error *find_owner(struct file_run *f, const Pb__ChownOpt *o, struct file_owner *ret,
                                bool *ret_set)
{
    const Pb__UserOpt *user = o == NULL ? NULL : o->user, *group = o == NULL ? NULL : o->group;
    bool found;
    int fd;

    *ret = (struct file_owner){ 0 };
    *ret_set = o != NULL;
    if (user != NULL && user->user_case == PB__USER_OPT__USER_BY_ID) {
        *ret = (struct file_owner){ user->by_id, user->by_id };
    } else if (user != NULL && user->user_case == PB__USER_OPT__USER_BY_NAME) {
        TRY(named_root(f, user->by_name, "user", &fd));
        TRY(user_by_name(fd, user->by_name->name, ret, &found));
    }
    if (group != NULL && group->user_case == PB__USER_OPT__USER_BY_ID) {
        ret->gid = group->by_id;
    } else if (group != NULL && group->user_case == PB__USER_OPT__USER_BY_NAME) {
        TRY(named_root(f, group->by_name, "group", &fd));
        TRY(group_by_name(fd, group->by_name->name, &ret->gid, &found));
    }
    return NULL;
}

/* ---- actions
 * -----------------------------------------------------------------------------------------------------------------
 */

/* Where the file that `path` leads to is or would be: its directory, and its name there, which is no link. */
static int open_place(int root, const char *path, int *ret_dir, char **ret_base)
{
    CLEANUP(freep) char *real = NULL;
    int r = path_resolve(root, path, &real);

    if (r == 0)
        r = *ret_dir = path_open_parent(root, real, false, 0, ret_base);
    return MIN(r, 0);
}

static struct error *do_mkdir(struct file_run *f, int root, const Pb__FileActionMkdir *a)
{
    CLEANUP(closep) int dir = -1;
    CLEANUP(freep) char *base = NULL;
    struct file_owner owner;
    bool set;
    int r;

    TRY(find_owner(f, a->owner, &owner, &set));
    if (a->make_parents)
        return copy_mkdirs(root, a->path, (uint32_t)a->mode & 0777, set ? &owner : NULL, a->timestamp);
    r = open_place(root, a->path, &dir, &base);
    if (r < 0)
        return copy_path_err(r, "mkdir", a->path);
    if (mkdirat(dir, base, (mode_t)a->mode & 0777) < 0)
        return errno == EEXIST ? NULL : copy_path_err(-errno, "mkdir", a->path);
    r = copy_set_meta(dir, base, set ? &owner : NULL, a->mode & 0777, a->timestamp);
    return r < 0 ? copy_path_err(r, "chmod", a->path) : NULL;
}

/* A new file by temporary name and rename: whatever lies at the path is replaced, never opened (security.md
 * B19). */
static int write_new(int dir, const char *base, const Pb__FileActionMkfile *a, const struct file_owner *owner)
{
    char tmp[32], salt[17];
    CLEANUP(closep) int fd = -1;

    random_hex(salt, 8);
    snprintf(tmp, sizeof tmp, ".tmp-mkfile%s", salt);
    fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = fd_write_all(fd, a->data.data, a->data.len);

    if (r == 0)
        r = copy_set_meta(dir, tmp, owner, a->mode & 0777, a->timestamp);
    if (r == 0 && renameat(dir, tmp, dir, base) < 0)
        r = -errno;
    if (r < 0)
        (void)!unlinkat(dir, tmp, 0);
    return r;
}

static struct error *do_mkfile(struct file_run *f, int root, const Pb__FileActionMkfile *a)
{
    CLEANUP(freep) char *shown = path_join("/", a->path);
    CLEANUP(freep) char *base = NULL;
    CLEANUP(closep) int dir = -1;
    struct file_owner owner;
    bool set;
    int r;

    TRY(find_owner(f, a->owner, &owner, &set));
    r = open_place(root, shown, &dir, &base);
    if (r == 0 && streq(base, ".")) /* the root */
        return copy_path_err(-EISDIR, "mkfile", shown);
    if (r == 0)
        r = write_new(dir, base, a, set ? &owner : NULL);
    return r < 0 ? copy_path_err(r, "open", shown) : NULL;
}

static struct error *do_symlink(struct file_run *f, int root, const Pb__FileActionSymlink *a)
{
    CLEANUP(freep) char *shown = path_join("/", a->newpath);
    CLEANUP(freep) char *base = NULL;
    CLEANUP(closep) int dir = -1;
    struct file_owner owner;
    bool set;
    int r;

    TRY(find_owner(f, a->owner, &owner, &set));
    r = open_place(root, shown, &dir, &base);
    if (r == 0 && symlinkat(a->oldpath, dir, base) < 0)
        r = -errno;
    if (r == 0)
        r = copy_set_meta(dir, base, set ? &owner : NULL, -1, a->timestamp);
    return r < 0 ? copy_path_err(r, "symlink", shown) : NULL;
}

/* The last component is removed itself; those above it are resolved inside the root (security.md B10). */
static struct error *remove_one(int root, const char *path, bool allow_missing)
{
    CLEANUP(freep) char *clean = path_join("/", path);
    CLEANUP(freep) char *base = NULL;
    CLEANUP(closep) int dir = -1;
    struct stat st;
    int r;

    if (streq(clean, "/"))
        return err_new(ERR_INVALID, "rmPath: invalid empty path");
    r = dir = path_open_parent(root, clean, false, 0, &base);
    if (r >= 0 && !allow_missing && fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    if ((r == -ENOENT || r == -ENOTDIR) && allow_missing)
        return NULL;
    if (r < 0)
        return copy_path_err(r, "stat", clean);
    r = path_remove_all(dir, base);
    return r < 0 ? copy_path_err(r, "remove", clean) : NULL;
}

static struct error *do_rm(int root, const Pb__FileActionRm *a)
{
    CLEANUP(strv_deinit) struct strv paths = { 0 };
    CLEANUP(freep) char *clean = copy_clean(a->path);

    if (!a->allow_wildcard)
        return remove_one(root, a->path, a->allow_not_found);
    TRY(copy_matches(root, NULL, clean, false, &paths));
    for (size_t i = 0; i < paths.len; i++)
        TRY(remove_one(root, paths.v[i], a->allow_not_found));
    return NULL;
}

static struct error *copy_one(int from, const char *src, int to, const char *dst, const Pb__FileActionCopy *a,
                              const struct copy_options *o)
{
    bool unpacked = false;

    if (a->attempt_unpack)
        TRY(unpack_if_archive(from, src, to, dst, o, &unpacked));
    return unpacked ? NULL : copy_path(from, src, to, dst, o);
}

static bool link_later(void *ctx, int to_fd, int from_fd)
{
    return active_link_later(ctx, to_fd, from_fd);
}

static struct error *copy_all(int from, int root, const Pb__FileActionCopy *a, const struct copy_options *o)
{
    CLEANUP(freep) char *src = copy_clean(a->src);
    CLEANUP(freep) char *dst = copy_clean(a->dest);
    CLEANUP(strv_deinit) struct strv paths = { 0 };

    if (a->allow_wildcard)
        TRY(copy_matches(from, o->packed, src, a->follow_symlink, &paths));
    else
        strv_add(&paths, src);
    if (paths.len == 0 && !a->allow_empty_wildcard)
        return err_new(ERR_NOT_FOUND, "%s not found", src);
    for (size_t i = 0; i < paths.len; i++)
        TRY(copy_one(from, paths.v[i], root, dst, a, o));
    return NULL;
}

/* A synced context is copied as it lies in its slot. */
static struct error *copy_packed(struct file_run *f, int64_t secondary, int root, const Pb__FileActionCopy *a,
                                 const struct copy_options *o, bool *ret_done)
{
    struct context_slot *slot = local_slot(f->slots[secondary].snapshot);
    struct copy_options mine = *o;
    struct copy_packed packed;
    bool begun = false;

    if (slot != NULL)
        TRY(context_slot_copy_begin(slot, &packed, &begun));
    *ret_done = begun;
    if (!begun)
        return NULL;
    mine.packed = &packed;
    struct error *e = copy_all(slot->tree_fd, root, a, &mine);

    context_slot_copy_end(slot);
    return e;
}

static struct error *copy_from(struct file_run *f, int64_t secondary, int root, const Pb__FileActionCopy *a,
                               const struct copy_options *o)
{
    CLEANUP(closep) int empty = -1;
    bool done = false;
    int from;

    if (secondary < 0) {
        TRY(op_mount_ro(f->c, NULL, &empty));
        return copy_all(empty, root, a, o);
    }
    TRY(copy_packed(f, secondary, root, a, o, &done));
    if (done)
        return NULL;
    TRY(file_slot_ro(f, secondary, &from));
    return copy_all(from, root, a, o);
}

static struct error *do_copy(struct file_run *f, struct active *live, int64_t secondary,
                             const Pb__FileActionCopy *a)
{
    CLEANUP(strv_deinit) struct strv include = { 0 };
    CLEANUP(strv_deinit) struct strv exclude = { 0 };
    int root = active_fd(live), upper = active_upper_fd(live);
    struct file_owner owner;
    struct copy_options o = {
        .timestamp_ns = a->timestamp,
        .mode = a->mode_str[0] != '\0' ? -1 : a->mode,
        .mode_text = a->mode_str,
        .dir_contents = a->dir_copy_contents,
        .follow_links = a->follow_symlink,
        .always_replace = a->always_replace_existing_dest_paths,
        .include = &include,
        .exclude = &exclude,
        .upper_root = &upper,
        /* one source, one action: nothing later in this step may look at the file, or link it again */
        .share = f->c->vertex->op->file->n_actions == 1,
        .link_later = link_later,
        .link_ctx = live,
    };
    struct stat st;
    bool set;

    TRY(find_owner(f, a->owner, &owner, &set));
    o.owner = set ? &owner : NULL;
    pb_to_strv(a->include_patterns, a->n_include_patterns, &include);
    pb_to_strv(a->exclude_patterns, a->n_exclude_patterns, &exclude);
    if (!a->create_dest_path) {
        CLEANUP(freep) char *joined = path_join("/", a->dest);
        CLEANUP(freep) char *real = NULL;
        CLEANUP(freep) char *dir = NULL;
        int r = path_resolve(root, joined, &real); /* a link to nowhere is no reason to make what it names */

        dir = path_dir(r < 0 ? joined : real);
        if (r == 0)
            r = path_stat(root, dir, true, &st);
        if (r < 0)
            return err_wrap(copy_path_err(r, "lstat", dir), "failed to stat %s", a->dest);
    }
    return copy_from(f, secondary, root, a, &o);
}

struct error *file_action_run(struct file_run *f, struct active *live, const Pb__FileAction *a)
{
    int root = active_fd(live);

    switch (a->action_case) {
    case PB__FILE_ACTION__ACTION_MKDIR:
        return do_mkdir(f, root, a->mkdir);
    case PB__FILE_ACTION__ACTION_MKFILE:
        return do_mkfile(f, root, a->mkfile);
    case PB__FILE_ACTION__ACTION_SYMLINK:
        return do_symlink(f, root, a->symlink);
    case PB__FILE_ACTION__ACTION_RM:
        return do_rm(root, a->rm);
    case PB__FILE_ACTION__ACTION_COPY:
        return do_copy(f, live, a->secondary_input, a->copy);
    default:
        return err_new(ERR_INVALID, "invalid action type");
    }
}
