/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local.c - directories of the client; what one sent last time stays in a slot (context_slot.h)
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "op/attrs.h"
#include "op/context_slot.h"
#include "op/impl.h"

#include <errno.h>
#include <jansson.h>
#include <unistd.h>

#define DIFF_COPY "/moby.filesync.v1.FileSync/DiffCopy"

/* A result: the slot's tree. */
struct local_tree {
    struct solver *solver;
    struct context_slot *slot;
    char *id; /* of the snapshot, once the index is known to the solver */
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

static struct error *string_list(const struct llb_vertex *v, const char *key, struct strv *ret)
{
    const char *text = source_attr(v, key);
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
        if (!json_is_string(item)) {
            json_decref(j);
            return err_new(ERR_INVALID, "invalid value for %s \"%s\"", key, text);
        }
        strv_add(ret, json_string_value(item));
    }
    json_decref(j);
    return NULL;
}

static struct error *local_attrs_init(const struct llb_vertex *v, struct local_attrs *a)
{
    const char *only = source_attr(v, "local.metadatatransfer");

    *a = (struct local_attrs){
        .name = v->op->source->identifier + strlen("local://"),
        .session = source_attr(v, "local.session"),
        .hint = source_attr(v, "local.sharedkeyhint"),
        .differ_none = streq(source_attr(v, "local.differ"), "none"),
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

/* ---- results
 * -----------------------------------------------------------------------------------------------------------------
 */

static void tree_free(void *arg)
{
    struct local_tree *t = arg;

    if (t->id != NULL)
        content_index_remove(t->solver, t->id, &t->slot->index);
    if (t->slot != NULL)
        context_slot_free(t->slot);
    free(t->id);
    free(t);
}

static void tree_freep(struct local_tree **t)
{
    if (*t != NULL)
        tree_free(*t);
}

static struct error *tree_complete(void *arg)
{
    return context_slot_lay_out(((struct local_tree *)arg)->slot);
}

static const struct tree_ops tree_ops = { tree_free, tree_complete };

struct context_slot *local_slot(const struct snapshot *s)
{
    const struct local_tree *t = s != NULL ? snapshot_tree_ctx(s, &tree_ops) : NULL;

    return t != NULL ? t->slot : NULL;
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
    struct context_slot *slot;
};

static void transferred(void *ctx, int64_t bytes, bool done)
{
    struct transfer *t = ctx;

    reporter_status(t->reporter, t->row, "transferring", bytes, 0, done);
}

static int changing(void *ctx)
{
    struct transfer *t = ctx;

    return context_slot_set_aside(t->slot);
}

static struct error *sync_slot(struct op_context *c, const struct local_attrs *a, struct session *session,
                               struct context_slot *s)
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
        .pack = s->pack.fd >= 0 ? &s->pack : NULL,
        .progress = transferred,
        .changing = changing,
        .ctx = &t,
    };
    struct error *e = session_sync_in(session, &o, s->tree_fd, &s->index);

    if (e == NULL)
        e = context_slot_save(s);
    if (e != NULL)
        context_slot_discard(s);
    return e;
}

static struct error *as_snapshot(struct op_context *c, struct local_tree **tree, struct snapshot **ret)
{
    char proc[32], path[LIMIT_PATH + 1];
    struct local_tree *t = *tree;
    ssize_t n;

    fd_path(proc, t->slot->tree_fd);
    n = readlink(proc, path, sizeof path);
    if (n < 0 || (size_t)n == sizeof path)
        return err_sys(n < 0 ? errno : ENAMETOOLONG, "find the context's directory");
    path[n] = '\0';
    t->id = tree_id(&t->slot->index);
    content_index_add(c->solver, t->id, &t->slot->index);
    *ret = snapshot_from_tree(c->store, t->id, path, &tree_ops, t);
    *tree = NULL;
    return NULL;
}

static struct error *acquire(struct op_context *c, const struct local_attrs *a, struct session *session,
                             struct local_tree *t)
{
    CLEANUP(freep)
    char *key = xasprintf("source.local:%s:%s:%s%s", a->name, a->hint, session_shared_key(session),
                          a->metadata_only ? ":metadata" : "");
    CLEANUP(freep) char *what = xasprintf("local source for %s", a->name);

    t->solver = c->solver;
    return context_slot_acquire(c->store, key, what, &t->slot);
}

static struct error *local_resolve(struct op_context *c, char **ret_text, struct snapshot **ret_result)
{
    CLEANUP(local_attrs_deinit) struct local_attrs a;
    CLEANUP(session_unrefp) struct session *session = NULL;
    CLEANUP(tree_freep) struct local_tree *tree = NEW(struct local_tree);
    struct error *e = local_attrs_init(c->vertex, &a);

    TRY(e);
    TRY(find_session(c, &a, &session));
    TRY(acquire(c, &a, session, tree));
    TRY(sync_slot(c, &a, session, tree->slot));
    return as_snapshot(c, &tree, ret_result);
}

static struct error *local_run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                               size_t output_count)
{
    return err_new(ERR_INTERNAL, "a local source has its result from resolving"); /* never called */
}

const struct op_impl local_source = {
    .name = "source", .resolve = local_resolve, .resolve_is_run = true, .run = local_run
};
