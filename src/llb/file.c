/* SPDX-License-Identifier: Apache-2.0 */
/* File operations: chains of mkdir, mkfile and copy. */
#include "llb/state.h"

#include "llb/encode.h"
#include "llb/gopath.h"
#include "llb/node.h"

#define FIELD_FILE 4

/* ---- building
 * ----------------------------------------------------------------------------------------------------------
 */

/* A number, or "root". Go's ParseInt(s, 10, 32): a sign is allowed. */
static bool parse_owner_id(const char *s, uint32_t *ret)
{
    int64_t v;

    if (streq(s, "root")) {
        *ret = 0;
        return true;
    }
    if (*s == '+' && s[1] >= '0' && s[1] <= '9')
        s++;
    if (parse_i64(s, &v) < 0 || v < INT32_MIN || v > INT32_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}

struct llb_chown llb_chown_parse(struct llb_builder *b, const char *s)
{
    const char *colon = strchr(s, ':');
    struct llb_chown c = { .has_user = true };
    char *user = llb_strndup(b, s, colon != NULL ? (size_t)(colon - s) : strlen(s));

    if (!parse_owner_id(user, &c.uid))
        c.user_name = user;
    if (colon != NULL && colon[1] != '\0') {
        c.has_group = true;
        if (!parse_owner_id(colon + 1, &c.gid))
            c.group_name = llb_strdup(b, colon + 1);
    }
    return c;
}

static struct llb_action *action_new(struct llb_builder *b, struct llb_action *prev, const char *path)
{
    struct llb_action *a = llb_alloc(b, sizeof(*a));

    a->prev = prev;
    a->path = llb_strdup(b, path);
    a->timestamp = -1;
    return a;
}

struct llb_action *llb_mkdir(struct llb_builder *b, struct llb_action *prev, const char *path, uint32_t mode,
                             bool parents, const struct llb_chown *chown, const int64_t *created_ns)
{
    struct llb_action *a = action_new(b, prev, path);

    a->kind = ACTION_MKDIR;
    a->mode = mode & 0777;
    a->make_parents = parents;
    if (chown != NULL) {
        a->has_chown = true;
        a->chown = *chown;
    }
    if (created_ns != NULL)
        a->timestamp = *created_ns;
    return a;
}

struct llb_action *llb_mkfile(struct llb_builder *b, struct llb_action *prev, const char *path, uint32_t mode,
                              const void *data, size_t len)
{
    struct llb_action *a = action_new(b, prev, path);

    a->kind = ACTION_MKFILE;
    a->mode = mode & 0777;
    a->data = llb_strndup(b, data, len);
    a->len = len;
    return a;
}

struct llb_action *llb_copy(struct llb_builder *b, struct llb_action *prev, struct llb_state from,
                            const char *src, const char *dest, const struct llb_copy_info *info)
{
    struct llb_action *a = action_new(b, prev, dest);
    CLEANUP(freep) char *absolute = NULL;

    if (!gopath_is_abs(src) || !gopath_is_clean(src)) {
        CLEANUP(freep) char *clean = gopath_clean(src);

        src = absolute = gopath_join(gopath_is_abs(clean) || from.dir == NULL ? "/" : from.dir, clean);
    }
    a->kind = ACTION_COPY;
    a->src = llb_strdup(b, src);
    a->from = from.out;
    a->has_mode = info->has_mode;
    a->mode = info->mode;
    a->mode_str = llb_strdup(b, info->mode_str);
    a->follow_symlinks = info->follow_symlinks;
    a->dir_contents_only = info->dir_contents_only;
    a->attempt_unpack = info->attempt_unpack;
    a->create_dest_path = info->create_dest_path;
    a->allow_wildcard = info->allow_wildcard;
    a->allow_empty_wildcard = info->allow_empty_wildcard;
    a->include_patterns = llb_strv_dup(b, info->include_patterns);
    a->exclude_patterns = llb_strv_dup(b, info->exclude_patterns);
    a->required_paths = llb_strv_dup(b, info->required_paths);
    if (info->chown != NULL) {
        a->has_chown = true;
        a->chown = *info->chown;
    }
    return a;
}

struct llb_state llb_file(struct llb_builder *b, struct llb_state s, struct llb_action *actions,
                          const struct llb_options *o)
{
    struct llb_node *n = node_new(b, NODE_FILE, o);
    size_t count = 0;

    for (struct llb_action *a = actions; a != NULL; a = a->prev)
        count++;
    n->file.base = s.out;
    n->file.dir = s.dir;
    n->file.action_count = count;
    n->file.actions = llb_alloc(b, count * sizeof(n->file.actions[0]));
    for (struct llb_action *a = actions; a != NULL; a = a->prev)
        n->file.actions[--count] = a;
    node_add_cap(n, CAP_FILE_BASE);
    return llb_with_output(s, node_output(b, n, 0, NULL));
}

void file_dependencies(struct llb_node *n, struct ptrv *ret)
{
    for (size_t i = n->file.action_count; i > 0; i--) {
        if (n->file.base != NULL)
            ptrv_add(ret, n->file.base);
        if (n->file.actions[i - 1]->from != NULL)
            ptrv_add(ret, n->file.actions[i - 1]->from);
    }
}

/* ---- encoding
 * ----------------------------------------------------------------------------------------------------------
 */

/* Absolute and clean, below the state's directory; a copy's destination keeps a slash or "/." at its end. */
static char *normalize_path(const char *parent, const char *path, bool keep_slash)
{
    CLEANUP(freep) char *clean = gopath_clean(path);
    CLEANUP(freep) char *below = NULL;
    char *p;

    if (!gopath_is_abs(clean)) {
        below = gopath_join("/", parent != NULL ? parent : "");
        p = gopath_join(below, clean);
    } else {
        p = TAKE(clean);
    }
    if (keep_slash) {
        CLEANUP(freep) char *plain = p;

        if (str_has_suffix(path, "/") && !str_has_suffix(p, "/"))
            p = xasprintf("%s/", plain);
        else if (str_has_suffix(path, "/."))
            p = xasprintf("%s%s.", plain, streq(plain, "/") ? "" : "/");
        else
            plain = NULL;
    }
    return p;
}

static void encode_owner_part(struct buf *out, unsigned field, const char *name, uint32_t id, int64_t base)
{
    size_t part = pbw_begin(out, field);

    if (name != NULL && *name != '\0') {
        size_t named = pbw_begin(out, 1);

        pbw_str(out, 1, name);
        pbw_int(out, 2, base);
        pbw_end(out, named);
    } else {
        pbw_uint_always(out, 2, id);
    }
    pbw_end(out, part);
}

static void encode_owner(struct buf *out, unsigned field, const struct llb_action *a, int64_t base)
{
    size_t owner;

    if (!a->has_chown)
        return;
    owner = pbw_begin(out, field);
    if (a->chown.has_user)
        encode_owner_part(out, 1, a->chown.user_name, a->chown.uid, base);
    if (a->chown.has_group)
        encode_owner_part(out, 2, a->chown.group_name, a->chown.gid, base);
    pbw_end(out, owner);
}

static void encode_copy(struct buf *out, const struct llb_action *a, const char *dest, int64_t base)
{
    bool symbolic = a->has_mode && a->mode_str != NULL && *a->mode_str != '\0';

    pbw_str(out, 1, a->src);
    pbw_str(out, 2, dest);
    encode_owner(out, 3, a, base);
    if (!symbolic)
        pbw_int(out, 4, a->has_mode ? (int64_t)(int32_t)a->mode : -1);
    pbw_bool(out, 5, a->follow_symlinks);
    pbw_bool(out, 6, a->dir_contents_only);
    pbw_bool(out, 7, a->attempt_unpack);
    pbw_bool(out, 8, a->create_dest_path);
    pbw_bool(out, 9, a->allow_wildcard);
    pbw_bool(out, 10, a->allow_empty_wildcard);
    pbw_int(out, 11, a->timestamp);
    pbw_strv(out, 12, &a->include_patterns);
    pbw_strv(out, 13, &a->exclude_patterns);
    if (symbolic)
        pbw_str(out, 15, a->mode_str);
    pbw_strv(out, 16, &a->required_paths);
}

static void encode_action(struct buf *out, const struct llb_action *a, const char *dir, int64_t base)
{
    static const unsigned fields[] = { [ACTION_MKDIR] = 6, [ACTION_MKFILE] = 5, [ACTION_COPY] = 4 };
    bool normal = gopath_is_abs(a->path) && gopath_is_clean(a->path);
    CLEANUP(freep) char *made = normal ? NULL : normalize_path(dir, a->path, a->kind == ACTION_COPY);
    const char *path = normal ? a->path : made;
    size_t body = pbw_begin(out, fields[a->kind]);

    switch (a->kind) {
    case ACTION_MKDIR:
        pbw_str(out, 1, path);
        pbw_int(out, 2, a->mode);
        pbw_bool(out, 3, a->make_parents);
        encode_owner(out, 4, a, base);
        pbw_int(out, 5, a->timestamp);
        break;
    case ACTION_MKFILE:
        pbw_str(out, 1, path);
        pbw_int(out, 2, a->mode);
        pbw_bytes(out, 3, a->data, a->len);
        encode_owner(out, 4, a, base);
        pbw_int(out, 5, a->timestamp);
        break;
    case ACTION_COPY:
        encode_copy(out, a, path, base);
        break;
    }
    pbw_end(out, body);
}

void file_marshal(struct marshal *m, struct llb_node *n)
{
    struct node_file *f = &n->file;
    int64_t one, *sources = f->action_count == 1 ? &one : xcalloc(f->action_count, sizeof(*sources));
    int64_t base = -1;

    /* Inputs are numbered in the order of the actions, the base before the first source. */
    for (size_t i = 0; i < f->action_count; i++) {
        base = op_inputs_add(m, f->base, true);
        sources[i] = op_inputs_add(m, f->actions[i]->from, true);
    }
    for (size_t i = 0; i < f->action_count; i++) {
        size_t action = pbw_begin(&m->op, 2);

        pbw_int(&m->op, 1, i == 0 ? base : (int64_t)(m->inputs.count + i - 1));
        pbw_int(&m->op, 2, sources[i]);
        pbw_int(&m->op, 3, i + 1 == f->action_count ? 0 : -1);
        encode_action(&m->op, f->actions[i], f->dir, base);
        pbw_end(&m->op, action);
    }
    if (sources != &one)
        free(sources);
    op_encode(m, FIELD_FILE, NULL);
}
