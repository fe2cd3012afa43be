/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local.c - directories of the client
 *
 * What a client sent last time stays in a *slot*, a cache mount of its own that one build at a time has:
 * `tree` is the directory, `index` what lies in it (with digests), so that only changed files travel and none
 * is read again.  The index is moved away before the tree changes: a crash leaves a tree without one, which
 * is emptied.  An index of an earlier boot is not trusted, for nothing of a slot is synced to disk.
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "op/impl.h"
#include "session/sync.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_LIMIT (4 * GIB)
#define DIFF_COPY "/moby.filesync.v1.FileSync/DiffCopy"

struct slot {
    struct solver *solver;
    struct cache_mount *mount;
    int tree_fd;
    struct sync_index index;
    struct buf saved; /* the index file as it was found */
    bool aside;       /* it is out of the way: the tree changes */
    char *id;         /* of the snapshot, once the index is known to the solver */
};

/* ---- attributes
 * --------------------------------------------------------------------------------------------------------------
 */

struct local_attrs {
    const char *name, *session, *hint;
    struct strv include, exclude, follow, metadata_exclude;
    bool differ_none, metadata_only;
};

static void local_attrs_deinit(struct local_attrs *a)
{
    strv_deinit(&a->include);
    strv_deinit(&a->exclude);
    strv_deinit(&a->follow);
    strv_deinit(&a->metadata_exclude);
}

static const char *attr(const struct llb_vertex *v, const char *key)
{
    const char *s = pb_get_str(v->op->source->attrs, v->op->source->n_attrs, key);

    return s == NULL ? "" : s;
}

static struct error *string_list(const struct llb_vertex *v, const char *key, struct strv *ret)
{
    const char *text = attr(v, key);
    json_t *j, *item;
    size_t i;

    if (text[0] == '\0')
        return NULL;
    j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_array(j)) {
        json_decref(j);
        return err_new(ERR_INVALID, "invalid value for %s \"%s\"", key, text);
    }
    json_array_foreach(j, i, item)
    {
        if (json_is_string(item))
            strv_add(ret, json_string_value(item));
    }
    json_decref(j);
    return NULL;
}

static struct error *local_attrs_init(const struct llb_vertex *v, struct local_attrs *a)
{
    const char *only = attr(v, "local.metadatatransfer");

    *a = (struct local_attrs){
        .name = v->op->source->identifier + strlen("local://"),
        .session = attr(v, "local.session"),
        .hint = attr(v, "local.sharedkeyhint"),
        .differ_none = streq(attr(v, "local.differ"), "none"),
    };
    if (only[0] != '\0' && parse_bool(only, &a->metadata_only) < 0)
        return err_new(ERR_INVALID, "invalid value for local.metadatatransfer \"%s\"", only);
    TRY(string_list(v, "local.includepattern", &a->include));
    TRY(string_list(v, "local.excludepatterns", &a->exclude));
    TRY(string_list(v, "local.followpaths", &a->follow));
    return string_list(v, "local.metadatatransferexclude", &a->metadata_exclude);
}

/* The session that the source names, else any of the build's that serves files. */
static struct error *find_session(const struct op_context *c, const struct local_attrs *a,
                                  struct session **ret)
{
    struct error *e;

    if (a->session[0] != '\0') {
        e = session_get(c->sessions.manager, a->session, ret);
        if (e == NULL || c->sessions.ids.len == 0 || e->kind == ERR_CANCELLED)
            return e;
        err_free(e);
    }
    if (c->sessions.ids.len == 0)
        return err_new(ERR_INVALID, "could not access local files without session");
    return session_group_get(&c->sessions, DIFF_COPY, ret);
}

/* ---- slots
 * -------------------------------------------------------------------------------------------------------------------
 */

static void slot_free(void *arg)
{
    struct slot *s = arg;

    if (s->id != NULL)
        content_index_remove(s->solver, s->id, &s->index);
    closep(&s->tree_fd);
    sync_index_deinit(&s->index);
    buf_deinit(&s->saved);
    if (s->mount != NULL)
        cache_mount_release(s->mount);
    free(s->id);
    free(s);
}

static void slot_freep(struct slot **s)
{
    if (*s != NULL)
        slot_free(*s);
}

/* Of this boot: page cache and disk may differ after another one. */
static const char *index_name(char dst[64])
{
    snprintf(dst, 64, "index-%s", boot_id());
    return dst;
}

static int empty_slot(struct slot *s)
{
    int dir = cache_mount_fd(s->mount), r;

    closep(&s->tree_fd);
    sync_index_deinit(&s->index);
    s->index = (struct sync_index){ 0 };
    buf_clear(&s->saved);
    r = path_remove_all(dir, "tree");
    if (r == 0 && mkdirat(dir, "tree", 0755) < 0)
        r = -errno;
    if (r < 0)
        return r;
    s->tree_fd = openat(dir, "tree", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return s->tree_fd < 0 ? -errno : 0;
}

/* The tree with what is known of it; without an index it is emptied. */
static struct error *slot_load(struct slot *s)
{
    int dir = cache_mount_fd(s->mount), r;
    struct error *e = NULL;
    char name[64];

    r = path_read_file(dir, index_name(name), &s->saved, INDEX_LIMIT);
    if (r == 0)
        e = sync_index_load(s->saved.data, s->saved.len, &s->index);
    if (r == 0 && e == NULL) {
        s->tree_fd = openat(dir, "tree", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        r = s->tree_fd < 0 ? -errno : 0;
    }
    if (r == 0 && e == NULL)
        return NULL;
    err_free(e);
    (void)!unlinkat(dir, name, 0);
    TRY_SYS(empty_slot(s), "empty the context's directory");
    return NULL;
}

/* The tree is about to change. */
static int slot_set_aside(struct slot *s)
{
    int dir = cache_mount_fd(s->mount);
    char name[64];

    if (s->saved.len == 0)
        return 0; /* there is none */
    s->aside = true;
    return renameat(dir, index_name(name), dir, "index.old") < 0 ? -errno : 0;
}

/* Put the index in place again, written anew only when it changed. */
static struct error *slot_save(struct slot *s)
{
    CLEANUP(buf_deinit) struct buf now = { 0 };
    CLEANUP(closep) int fd = -1;
    int dir = cache_mount_fd(s->mount);
    char name[64];

    index_name(name);
    sync_index_save(&s->index, &now);
    if (now.len == s->saved.len && (now.len == 0 || memcmp(now.data, s->saved.data, now.len) == 0) &&
        (!s->aside || renameat(dir, "index.old", dir, name) == 0))
        return NULL;
    fd = openat(dir, "index.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    for (size_t done = 0; fd >= 0 && done < now.len;) {
        ssize_t n = write(fd, now.data + done, now.len - done);

        if (n < 0 && errno != EINTR)
            return err_sys(errno, "keep the index of a context");
        done += (size_t)MAX(n, 0);
    }
    if (fd < 0 || renameat(dir, "index.new", dir, name) < 0)
        return err_sys(errno, "keep the index of a context");
    return NULL;
}

/* What the tree holds, by name: no times, so that a tree that was only touched is the same. */
static char *tree_id(const struct sync_index *x)
{
    CLEANUP(hasher_freep) struct hasher *h = hasher_new();
    CLEANUP(buf_deinit) struct buf b = { 0 };

    for (size_t i = 0; i < x->len; i++) {
        const struct sync_entry *e = &x->entries[i];

        buf_clear(&b);
        buf_add(&b, e->path, strlen(e->path) + 1);
        buf_addf(&b, "%x %u %u %lld %lld %u ", e->mode, e->uid, e->gid, (long long)e->devmajor,
                 (long long)e->devminor, e->xattrs_len);
        buf_add(&b, e->xattrs, e->xattrs_len);
        buf_adds(&b, e->linkname == NULL ? "" : e->linkname);
        buf_addc(&b, '\0');
        buf_add(&b, e->content, sizeof e->content);
        hasher_add(h, b.data, b.len);
    }
    struct digest d = hasher_sum(h);

    return xasprintf("tree:%s", digest_hex(&d));
}

/* ---- the source
 * --------------------------------------------------------------------------------------------------------------
 */

struct transfer {
    struct vertex_reporter *reporter;
    char *row;
    struct slot *slot;
};

static void transferred(void *ctx, int64_t bytes, bool done)
{
    struct transfer *t = ctx;

    reporter_status(t->reporter, t->row, "transferring", bytes, 0, done);
}

static int changing(void *ctx)
{
    struct transfer *t = ctx;

    return slot_set_aside(t->slot);
}

static struct error *sync_slot(struct op_context *c, const struct local_attrs *a, struct session *session,
                               struct slot *s)
{
    CLEANUP(freep) char *row = xasprintf("transferring %s:", a->name);
    struct transfer t = { c->reporter, row, s };
    struct sync_options o = {
        .name = a->name,
        .include = &a->include,
        .exclude = &a->exclude,
        .follow = &a->follow,
        .differ_none = a->differ_none,
        .metadata_only = a->metadata_only,
        .metadata_exclude = &a->metadata_exclude,
        .progress = transferred,
        .changing = changing,
        .ctx = &t,
    };
    struct error *e = session_sync_in(session, &o, s->tree_fd, &s->index);

    if (e == NULL)
        e = slot_save(s);
    if (e != NULL)
        cache_mount_discard(TAKE(s->mount)); /* what is there is in no known state */
    return e;
}

static struct error *as_snapshot(struct op_context *c, struct slot **slot, struct snapshot **ret)
{
    char proc[32], path[LIMIT_PATH + 1];
    struct slot *s = *slot;
    ssize_t n;

    fd_path(proc, s->tree_fd);
    n = readlink(proc, path, sizeof path);
    if (n < 0 || (size_t)n == sizeof path)
        return err_sys(n < 0 ? errno : ENAMETOOLONG, "find the context's directory");
    path[n] = '\0';
    s->id = tree_id(&s->index);
    content_index_add(c->solver, s->id, &s->index);
    *ret = snapshot_from_tree(c->store, s->id, path, slot_free, s);
    *slot = NULL;
    return NULL;
}

static struct error *acquire(struct op_context *c, const struct local_attrs *a, struct session *session,
                             struct slot **ret)
{
    CLEANUP(freep)
    char *key = xasprintf("source.local:%s:%s:%s%s", a->name, a->hint, session_shared_key(session),
                          a->metadata_only ? ":metadata" : "");
    CLEANUP(freep) char *what = xasprintf("local source for %s", a->name);
    struct slot *s = NEW(struct slot);
    struct error *e;

    s->solver = c->solver;
    s->tree_fd = -1;
    e = cache_mount_acquire(c->store, key, CACHE_PRIVATE, NULL, what, &s->mount);
    if (e == NULL)
        e = slot_load(s);
    if (e != NULL) {
        slot_free(s);
        return e;
    }
    *ret = s;
    return NULL;
}

static struct error *local_resolve(struct op_context *c, char **ret_text, struct snapshot **ret_result)
{
    CLEANUP(local_attrs_deinit) struct local_attrs a;
    CLEANUP(session_unrefp) struct session *session = NULL;
    CLEANUP(slot_freep) struct slot *slot = NULL;
    struct error *e = local_attrs_init(c->vertex, &a);

    TRY(e);
    TRY(find_session(c, &a, &session));
    TRY(acquire(c, &a, session, &slot));
    TRY(sync_slot(c, &a, session, slot));
    return as_snapshot(c, &slot, ret_result);
}

static struct error *local_run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                               size_t output_count)
{
    return err_new(ERR_INTERNAL, "a local source has its result from resolving"); /* never called */
}

const struct op_impl local_source = { .name = "source", .resolve = local_resolve, .run = local_run };
