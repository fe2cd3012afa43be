/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.c - the file op: actions on writable roots, chained
 *
 * Slot i is input i of the op, slot N+k the result of action k.  An action whose result only the next one
 * continues works on in the same root; a result that is an output, or is read elsewhere, is committed first.
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "io/path.h"
#include "op/context_slot.h"
#include "op/copy.h"
#include "op/impl.h"
#include "op/text.h"
#include "op/unpack.h"
#include "op/user.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct slot {
    struct snapshot *snapshot; /* a reference; NULL with `live` NULL: scratch */
    struct active *live;       /* not committed */
    int ro_fd;                 /* -1: not mounted */
    unsigned uses;             /* by later actions */
};

struct file_run {
    struct op_context *c;
    struct slot *slots;
    size_t count;
    size_t action; /* that is at work */
};

/* ---- errors
 * ------------------------------------------------------------------------------------------------------------------
 */

static struct error *fail(int r, const char *op, const char *path)
{
    char text[128];
    CLEANUP(freep) char *lower = NULL;

    if (r == -ECANCELED || r == -ETIMEDOUT)
        return task_error(r, "%s %s", op, path);
    lower = str_lower(strerror_r(-r, text, sizeof text));
    return err_new(err_kind_from_errno(-r), "%s %s: %s", op, path, lower);
}

/* ---- slots
 * -------------------------------------------------------------------------------------------------------------------
 */

static struct error *settle_slot(struct file_run *f, struct slot *s)
{
    struct active *a = s->live;
    struct error *e;

    if (a == NULL)
        return NULL;
    e = active_commit(a, f->c->vertex->name, "regular", &s->snapshot);
    if (e != NULL)
        return e; /* still live: abandoned at the end */
    s->live = NULL;
    return NULL;
}

static struct error *slot_ro(struct file_run *f, int64_t i, int *ret_fd)
{
    struct slot *s = &f->slots[i];

    TRY(settle_slot(f, s));
    if (s->ro_fd < 0)
        TRY(s->snapshot != NULL && snapshot_is_tree(s->snapshot) ? snapshot_open_tree(s->snapshot, &s->ro_fd)
                                                                 : op_mount_ro(f->c, s->snapshot, &s->ro_fd));
    *ret_fd = s->ro_fd;
    return NULL;
}

/* The root that an action works on. */
static struct error *slot_rw(struct file_run *f, int64_t input, struct active **ret)
{
    struct slot *s = input < 0 ? NULL : &f->slots[input];

    if (s == NULL)
        return active_begin(f->c->store, NULL, ret);
    if (s->live != NULL && s->uses == 1) {
        *ret = TAKE(s->live);
        return NULL;
    }
    TRY(settle_slot(f, s));
    return op_begin(f->c, s->snapshot, ret);
}

/* ---- owners
 * ------------------------------------------------------------------------------------------------------------------
 */

static struct error *named_root(struct file_run *f, const Pb__NamedUserOpt *n, const char *what, int *ret_fd)
{
    if (n->input < 0)
        return err_new(ERR_INVALID, "invalid missing %s mount", what);
    if ((uint64_t)n->input >= f->count)
        return err_new(ERR_INVALID, "invalid user index: %lld", (long long)n->input);
    return slot_ro(f, n->input, ret_fd);
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
    CLEANUP(freep) char *real = NULL;
    r = path_resolve(root, a->path, &real);
    if (r == 0)
        r = dir = path_open_parent(root, real, false, 0, &base);
    if (r < 0)
        return fail(r, "mkdir", a->path);
    if (mkdirat(dir, base, (mode_t)a->mode & 0777) < 0)
        return errno == EEXIST ? NULL : fail(-errno, "mkdir", a->path);
    r = copy_set_meta(dir, base, set ? &owner : NULL, a->mode & 0777, a->timestamp);
    return r < 0 ? fail(r, "chmod", a->path) : NULL;
}

/* A new file by temporary name and rename: whatever lies at the path is replaced, never opened (security.md
 * B19). */
static int write_new(int dir, const char *base, const Pb__FileActionMkfile *a, const struct file_owner *owner)
{
    char tmp[32], salt[17];
    CLEANUP(closep) int fd = -1;
    size_t done = 0;
    int r = 0;

    random_hex(salt, 8);
    snprintf(tmp, sizeof tmp, ".tmp-mkfile%s", salt);
    fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    while (r == 0 && done < a->data.len) {
        ssize_t n = write(fd, a->data.data + done, a->data.len - done);

        if (n < 0 && errno != EINTR)
            r = -errno;
        done += (size_t)MAX(n, 0);
    }
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
    CLEANUP(freep) char *real = NULL;
    CLEANUP(freep) char *base = NULL;
    CLEANUP(closep) int dir = -1;
    struct file_owner owner;
    bool set;
    int r;

    TRY(find_owner(f, a->owner, &owner, &set));
    r = path_resolve(root, shown, &real);
    if (r == 0 && streq(real, "/"))
        return fail(-EISDIR, "mkfile", shown);
    if (r == 0)
        r = dir = path_open_parent(root, real, false, 0, &base);
    if (r >= 0)
        r = write_new(dir, base, a, set ? &owner : NULL);
    return r < 0 ? fail(r, "open", shown) : NULL;
}

static struct error *do_symlink(struct file_run *f, int root, const Pb__FileActionSymlink *a)
{
    CLEANUP(freep) char *shown = path_join("/", a->newpath);
    CLEANUP(freep) char *real = NULL;
    CLEANUP(freep) char *base = NULL;
    CLEANUP(closep) int dir = -1;
    struct file_owner owner;
    bool set;
    int r;

    TRY(find_owner(f, a->owner, &owner, &set));
    r = path_resolve(root, shown, &real);
    if (r == 0)
        r = dir = path_open_parent(root, real, false, 0, &base);
    if (r >= 0 && symlinkat(a->oldpath, dir, base) < 0)
        r = -errno;
    if (r >= 0)
        r = copy_set_meta(dir, base, set ? &owner : NULL, -1, a->timestamp);
    return r < 0 ? fail(r, "symlink", shown) : NULL;
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
        return fail(r, "stat", clean);
    r = path_remove_all(dir, base);
    return r < 0 ? fail(r, "remove", clean) : NULL;
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
    TRY(slot_ro(f, secondary, &from));
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
        /* one source, one action: nothing later in this step may look at the file, or link it a second time
         */
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
        CLEANUP(freep) char *dir = path_dir(joined);
        int r = path_stat(root, dir, true, &st);

        if (r < 0)
            return err_wrap(fail(r, "lstat", dir), "failed to stat %s", a->dest);
    }
    return copy_from(f, secondary, root, a, &o);
}

static struct error *do_action(struct file_run *f, struct active *live, const Pb__FileAction *a)
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

/* ---- the op
 * ------------------------------------------------------------------------------------------------------------------
 */

static const Pb__ChownOpt *action_owner(const Pb__FileAction *a)
{
    switch (a->action_case) {
    case PB__FILE_ACTION__ACTION_MKDIR:
        return a->mkdir->owner;
    case PB__FILE_ACTION__ACTION_MKFILE:
        return a->mkfile->owner;
    case PB__FILE_ACTION__ACTION_SYMLINK:
        return a->symlink->owner;
    case PB__FILE_ACTION__ACTION_COPY:
        return a->copy->owner;
    default:
        return NULL;
    }
}

static const Pb__NamedUserOpt *named(const Pb__UserOpt *u)
{
    return u != NULL && u->user_case == PB__USER_OPT__USER_BY_NAME ? u->by_name : NULL;
}

static void count_use(struct file_run *f, int64_t input)
{
    if (input >= 0 && (uint64_t)input < f->count)
        f->slots[input].uses++;
}

static void count_uses(struct file_run *f, const Pb__FileOp *op)
{
    for (size_t i = 0; i < op->n_actions; i++) {
        const Pb__FileAction *a = op->actions[i];
        const Pb__ChownOpt *o = action_owner(a);

        count_use(f, a->input);
        count_use(f, a->secondary_input);
        if (o != NULL && named(o->user) != NULL)
            count_use(f, named(o->user)->input);
        if (o != NULL && named(o->group) != NULL)
            count_use(f, named(o->group)->input);
        if (a->output >= 0)
            f->slots[f->c->vertex->input_count + i].uses++;
    }
}

static struct error *check_output_indices(const Pb__FileOp *op, size_t count)
{
    CLEANUP(freep) bool *seen = xcalloc(count + 1, sizeof *seen);

    if (count == 0)
        return err_new(ERR_INVALID, "no outputs specified");
    for (size_t i = 0; i < op->n_actions; i++) {
        int64_t out = op->actions[i]->output;

        if (out < 0)
            continue;
        if ((uint64_t)out >= count)
            return err_new(ERR_INVALID, "missing output index %zu", count - 1);
        if (seen[out])
            return err_new(ERR_INVALID, "duplicate output %lld", (long long)out);
        seen[out] = true;
    }
    return NULL;
}

static struct error *run_action(struct file_run *f, const Pb__FileAction *a, size_t slot)
{
    struct active *root = NULL;
    struct error *e;

    TRY(slot_rw(f, a->input, &root));
    f->slots[slot].live = root; /* abandoned with it */
    e = do_action(f, root, a);
    return e;
}

static struct error *run_all(struct file_run *f, const Pb__FileOp *op, struct snapshot **outputs)
{
    size_t inputs = f->c->vertex->input_count;

    for (size_t i = 0; i < op->n_actions; i++) {
        const Pb__FileAction *a = op->actions[i];
        struct slot *s = &f->slots[inputs + i];

        f->action = i;
        struct error *e = run_action(f, a, inputs + i);

        if (e == NULL && a->output >= 0) {
            e = settle_slot(f, s);
            if (e == NULL)
                outputs[a->output] = snapshot_ref(s->snapshot);
        }
        if (e != NULL)
            return e;
    }
    return NULL;
}

/* The first action with an output that stands on what the failed one would have made (or is that one). */
static bool find_output_above(const struct file_run *f, size_t *ret)
{
    const Pb__FileOp *op = f->c->vertex->op->file;
    int64_t inputs = (int64_t)f->c->vertex->input_count;
    CLEANUP(freep) bool *above = xcalloc(op->n_actions + 1, sizeof *above);

    above[f->action] = true;
    for (size_t i = f->action; i < op->n_actions; i++) { /* inputs of an action are earlier ones */
        const int64_t in[] = { op->actions[i]->input - inputs, op->actions[i]->secondary_input - inputs };

        for (size_t k = 0; k < ARRAY_LEN(in); k++)
            if (in[k] >= 0 && in[k] < (int64_t)i)
                above[i] = above[i] || above[in[k]];
        *ret = i;
        if (above[i] && op->actions[i]->output >= 0)
            return true;
    }
    return false;
}

/* What slot `i` holds, settled first; NULL: that is not known, or nothing. */
static struct snapshot *kept_root(struct file_run *f, size_t i)
{
    struct slot *s = &f->slots[i];

    log_err(LOG_WARN, settle_slot(f, s), "what a failed step left cannot be kept");
    return s->snapshot == NULL ? NULL : snapshot_ref(s->snapshot);
}

/* A client that debugs is told which output's action it was (the first that needs the one that failed), and
 * gets what the root of that one held, and that of the action which it copied from. */
static void keep_failed(struct file_run *f)
{
    const Pb__FileOp *op = f->c->vertex->op->file;
    size_t inputs = f->c->vertex->input_count, count = op->n_actions, output;
    int64_t from = op->actions[f->action]->secondary_input;
    struct snapshot **roots;

    if (find_output_above(f, &output))
        op_failed_action(f->c, output);
    if (f->slots[inputs + f->action].live == NULL)
        return;
    roots = xcalloc(count + 1, sizeof *roots);
    roots[f->action] = kept_root(f, inputs + f->action);
    if (from >= (int64_t)inputs && (size_t)from < inputs + f->action)
        roots[from - (int64_t)inputs] = kept_root(f, (size_t)from);
    op_keep_failed(f->c, roots, count);
}

static struct error *file_run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                              size_t output_count)
{
    const Pb__FileOp *op = c->vertex->op->file;
    struct file_run f = { .c = c, .count = c->vertex->input_count + op->n_actions };
    struct error *e;

    TRY(check_output_indices(op, output_count));
    f.slots = xcalloc(f.count + 1, sizeof *f.slots);
    for (size_t i = 0; i < f.count; i++) {
        f.slots[i].ro_fd = -1;
        if (i < c->vertex->input_count && inputs[i] != NULL)
            f.slots[i].snapshot = snapshot_ref(inputs[i]);
    }
    count_uses(&f, op);
    e = run_all(&f, op, outputs);
    if (e != NULL && !err_is(e, ERR_CANCELLED))
        keep_failed(&f);
    for (size_t i = 0; i < f.count; i++) {
        closep(&f.slots[i].ro_fd);
        active_abandon(f.slots[i].live);
        snapshot_unref(f.slots[i].snapshot);
    }
    free(f.slots);
    return e;
}

static size_t file_outputs(const struct llb_vertex *v)
{
    size_t n = 0;

    for (size_t i = 0; i < v->op->file->n_actions; i++)
        n += v->op->file->actions[i]->output >= 0;
    return n;
}

/* ---- keys
 * --------------------------------------------------------------------------------------------------------------------
 */

static void user_text(struct buf *b, const char *what, const Pb__UserOpt *u)
{
    if (u == NULL)
        return;
    if (u->user_case == PB__USER_OPT__USER_BY_ID) {
        buf_addf(b, "%s %u\n", what, u->by_id);
    } else if (u->user_case == PB__USER_OPT__USER_BY_NAME) {
        text_str(b, what, u->by_name->name);
        buf_addf(b, "%s-input %lld\n", what, (long long)u->by_name->input);
    }
}

static void owner_text(struct buf *b, const Pb__ChownOpt *o)
{
    if (o == NULL)
        return;
    user_text(b, "user", o->user);
    user_text(b, "group", o->group);
}

static void copy_text(struct buf *b, const Pb__FileActionCopy *a, bool from_input)
{
    CLEANUP(freep) char *base = path_base(a->src);

    text_str(b, "src", from_input ? base : a->src); /* the rest is in the input's selector */
    text_str(b, "dest", a->dest);
    owner_text(b, a->owner);
    text_int(b, "mode", a->mode, -1);
    text_str(b, "mode", a->mode_str);
    text_int(b, "time", a->timestamp, -1);
    buf_addf(b, "flags %d%d%d%d%d%d%d\n", a->follow_symlink, a->dir_copy_contents, a->attempt_unpack,
             a->create_dest_path, a->allow_wildcard, a->allow_empty_wildcard,
             a->always_replace_existing_dest_paths);
    text_strs(b, "include", a->include_patterns, a->n_include_patterns);
    text_strs(b, "exclude", a->exclude_patterns, a->n_exclude_patterns);
    text_strs(b, "required", a->required_paths, a->n_required_paths);
}

static void mkfile_text(struct buf *b, const Pb__FileActionMkfile *a)
{
    struct digest d = digest_of(a->data.data, a->data.len);

    text_str(b, "path", a->path);
    buf_addf(b, "mode %d\ndata %s\n", a->mode, d.s);
    owner_text(b, a->owner);
    text_int(b, "time", a->timestamp, -1);
}

static void action_text(struct buf *b, const Pb__FileAction *a, size_t input_count)
{
    switch (a->action_case) {
    case PB__FILE_ACTION__ACTION_COPY:
        buf_adds(b, "copy\n");
        copy_text(b, a->copy, a->secondary_input >= 0 && (uint64_t)a->secondary_input < input_count);
        break;
    case PB__FILE_ACTION__ACTION_MKFILE:
        buf_adds(b, "mkfile\n");
        mkfile_text(b, a->mkfile);
        break;
    case PB__FILE_ACTION__ACTION_MKDIR:
        buf_adds(b, "mkdir\n");
        text_str(b, "path", a->mkdir->path);
        buf_addf(b, "mode %d parents %d\n", a->mkdir->mode, a->mkdir->make_parents);
        owner_text(b, a->mkdir->owner);
        text_int(b, "time", a->mkdir->timestamp, -1);
        break;
    case PB__FILE_ACTION__ACTION_RM:
        buf_adds(b, "rm\n");
        text_str(b, "path", a->rm->path);
        buf_addf(b, "flags %d%d\n", a->rm->allow_not_found, a->rm->allow_wildcard);
        break;
    case PB__FILE_ACTION__ACTION_SYMLINK:
        buf_adds(b, "symlink\n");
        text_str(b, "old", a->symlink->oldpath);
        text_str(b, "new", a->symlink->newpath);
        owner_text(b, a->symlink->owner);
        text_int(b, "time", a->symlink->timestamp, -1);
        break;
    default:
        break;
    }
}

static struct error *file_text(const struct llb_vertex *v, struct buf *out)
{
    for (size_t i = 0; i < v->op->file->n_actions; i++) {
        const Pb__FileAction *a = v->op->file->actions[i];

        buf_addf(out, "action %lld %lld %lld ", (long long)a->input, (long long)a->secondary_input,
                 (long long)a->output);
        action_text(out, a, v->input_count);
    }
    return NULL;
}

static void select_owner(struct op_input_key *k, const Pb__UserOpt *u, const char *path, size_t input)
{
    const Pb__NamedUserOpt *n = named(u);

    if (n != NULL && n->input == (int64_t)input)
        op_input_key_add(k, path)->follow_links = true;
}

/* An input that an action works on counts by its id; one that is only read, by what is read of it. */
static struct error *file_input(const struct llb_vertex *v, size_t input, struct op_input_key *ret)
{
    bool base = false;

    for (size_t i = 0; i < v->op->file->n_actions; i++) {
        const Pb__FileAction *a = v->op->file->actions[i];
        const Pb__ChownOpt *o = action_owner(a);

        base = base || a->input == (int64_t)input;
        if (a->action_case == PB__FILE_ACTION__ACTION_COPY && a->secondary_input == (int64_t)input) {
            struct op_selector *s = op_input_key_add(ret, a->copy->src);

            s->wildcard = a->copy->allow_wildcard && path_has_wildcard(a->copy->src, strlen(a->copy->src));
            s->follow_links = a->copy->follow_symlink;
            pb_to_strv(a->copy->include_patterns, a->copy->n_include_patterns, &s->include);
            pb_to_strv(a->copy->exclude_patterns, a->copy->n_exclude_patterns, &s->exclude);
            pb_to_strv(a->copy->required_paths, a->copy->n_required_paths, &s->required);
        }
        if (o != NULL) {
            select_owner(ret, o->user, "/etc/passwd", input);
            select_owner(ret, o->group, "/etc/group", input);
        }
    }
    ret->by_content = !base && ret->selector_count > 0;
    return NULL;
}

static bool file_extends(const struct llb_vertex *v, size_t input)
{
    for (size_t i = 0; i < v->op->file->n_actions; i++)
        if (v->op->file->actions[i]->input == (int64_t)input)
            return true;
    return false;
}

const struct op_impl file_op = {
    .name = "file",
    .key_text = file_text,
    .input_key = file_input,
    .extends = file_extends,
    .output_count = file_outputs,
    .run = file_run,
    .takes_cpu = true,
};
