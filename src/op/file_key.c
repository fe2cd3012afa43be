/* SPDX-License-Identifier: Apache-2.0 */
/* file_key.c - what a file op is known by: its actions, and what they read of its inputs */
#include "io/path.h"
#include "op/file_impl.h"
#include "op/text.h"

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

struct error *file_key_text(const struct llb_vertex *v, struct buf *out)
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
    const Pb__NamedUserOpt *n = file_named_user(u);

    if (n != NULL && n->input == (int64_t)input)
        op_input_key_add(k, path)->follow_links = true;
}

struct error *file_key_input(const struct llb_vertex *v, size_t input, struct op_input_key *ret)
{
    bool base = false;

    for (size_t i = 0; i < v->op->file->n_actions; i++) {
        const Pb__FileAction *a = v->op->file->actions[i];
        const Pb__ChownOpt *o = llb_action_owner(a);

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
