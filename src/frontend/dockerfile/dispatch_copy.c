/* SPDX-License-Identifier: Apache-2.0 */
/* COPY and ADD: from the context, a stage, an image, a URL, a git repository, or heredocs. */
#include "base/bytes.h"
#include "base/rune.h"
#include "frontend/dockerfile/build_stage.h"
#include "frontend/dockerfile/gitref.h"
#include "frontend/dockerfile/ospath.h"
#include "frontend/dockerfile/remote_context.h"
#include "llb/gopath.h"
#include "io/path.h"
#include "oci/purl.h"

#include <ctype.h>
#include <errno.h>

struct copy {
    struct convert *c;
    struct build_stage *s;
    const struct instruction *ins;
    const struct copy_args *args;
    struct lint *lint;
    bool add;
    struct llb_state source; /* context or stage */
    char *dest;
    char *text, *name;         /* of the step: without and with "[stage 1/2] " */
    struct llb_copy_info mode; /* what all its copies have */
    struct llb_chown chown;
    struct buf history;
    struct llb_action *actions;
};

static void copy_deinit(struct copy *x)
{
    free(x->dest);
    free(x->text);
    free(x->name);
    buf_deinit(&x->history);
}

/* ---- options
 * -----------------------------------------------------------------------------------------------------------
 */

static struct error *octal_error(const char *chmod)
{
    return err_new(ERR_INVALID,
                   "invalid chmod parameter: '%s'. it should be octal string and between 0 and 07777", chmod);
}

/* Symbolic modes: clauses of "[ugoa]*" and operators with permissions, separated by commas. */
static bool is_symbolic_mode(const char *s)
{
    for (;;) {
        s += strspn(s, "augo");
        if (*s == '\0' || strchr("+-=", *s) == NULL)
            return false;
        while (*s != '\0' && strchr("+-=", *s) != NULL) {
            s++;
            s += strspn(s, "rwxXstugo");
        }
        if (*s == '\0')
            return true;
        if (*s++ != ',')
            return false;
    }
}

static struct error *set_mode(struct copy *x)
{
    const char *chmod = x->args->chmod;
    size_t digits = strspn(chmod, "01234567");

    if (*chmod == '\0')
        return NULL;
    x->mode.has_mode = true;
    if (chmod[digits] == '\0') {
        const char *significant = chmod + strspn(chmod, "0");

        if (strlen(significant) > 4)
            return octal_error(chmod);
        for (const char *p = significant; *p != '\0'; p++)
            x->mode.mode = x->mode.mode << 3 | (uint32_t)(*p - '0');
        return NULL;
    }
    if (isdigit((unsigned char)*chmod))
        return octal_error(chmod);
    if (!is_symbolic_mode(chmod))
        return err_new(ERR_INVALID, "invalid syntax");
    x->mode.mode_str = chmod;
    return NULL;
}

static struct error *set_owner(struct copy *x)
{
    const char *chown = x->args->chown;

    if (*chown == '\0')
        return NULL;
    x->chown = llb_chown_parse(x->c->b, chown);
    if (x->args->link &&
        ((x->chown.user_name != NULL && *x->chown.user_name != '\0') || x->chown.group_name != NULL))
        return err_new(
            ERR_INVALID,
            "--chown=%s: user and group names can't be resolved when used with --link, use numeric "
            "uid[:gid] instead",
            chown);
    x->mode.chown = &x->chown;
    return NULL;
}

struct error *copy_git_source(const char *src, struct git_ref *ret, bool *ret_yes)
{
    TRY(git_ref_parse(src, ret, ret_yes));
    if (ret->local_looking)
        *ret_yes = false; /* "github.com/x/y" is a path here */
    return NULL;
}

bool copy_is_url(const char *src)
{
    return str_has_prefix(src, "http://") || str_has_prefix(src, "https://");
}

static struct error *check_checksum(const struct copy *x)
{
    CLEANUP(git_ref_deinit) struct git_ref git = { 0 };
    CLEANUP(err_freep) struct error *e = NULL;
    bool yes = false;

    if (*x->args->checksum == '\0')
        return NULL;
    if (x->args->paths.len != 1)
        return err_new(ERR_INVALID, "checksum can't be specified for multiple sources");
    e = git_ref_parse(x->args->paths.v[0], &git, &yes);
    if (!copy_is_url(x->args->paths.v[0]) && !(yes && e == NULL))
        return err_new(ERR_INVALID, "checksum requires HTTP(S) or Git sources");
    return NULL;
}

/* Destination of the instruction, seen from the working directory. */
static struct error *set_dest(struct copy *x)
{
    const char *os = x->s->platform->os, *dir = x->s->state.dir != NULL ? x->s->state.dir : "";
    CLEANUP(freep) char *p = NULL;

    TRY(err_wrap(ospath_strip_drive(x->args->dest, os, true, &p), "removing drive letter"));
    if (ospath_is_abs(p, os))
        return ospath_normalize("/", p, os, true, &x->dest);
    return ospath_normalize(dir, *p == '\0' || streq(p, ".") ? "./" : p, os, true, &x->dest);
}

/* ---- sources
 * -----------------------------------------------------------------------------------------------------------
 */

static void add_copy(struct copy *x, struct llb_state from, const char *src, const struct llb_copy_info *info)
{
    if (!x->c->o->only_check) /* else nobody will see the step */
        x->actions = llb_copy(x->c->b, x->actions, from, src, x->dest, info);
}

static struct error *merge_git_options(const struct copy *x, const struct git_ref *g,
                                       struct llb_git_options *o)
{
    const struct copy_args *args = x->args;

    o->keep_git_dir = args->keep_git_dir_set && args->keep_git_dir;
    if (g->keep_git_dir_set) {
        if (args->keep_git_dir_set && args->keep_git_dir != g->keep_git_dir)
            return err_new(ERR_INVALID, "inconsistent keep-git-dir configuration");
        o->keep_git_dir = g->keep_git_dir;
    }
    if (*args->checksum != '\0' && *g->checksum != '\0' && !streq(args->checksum, g->checksum)) {
        CLEANUP(freep) char *a = str_quote(args->checksum), *b = str_quote(g->checksum);

        return err_new(ERR_INVALID, "checksum mismatch %s != %s", a, b);
    }
    o->checksum = *g->checksum != '\0' ? g->checksum : args->checksum;
    return NULL;
}

static struct error *add_git(struct copy *x, const struct git_ref *g)
{
    struct llb_git_options o = { .remote = g->remote,
                                 .scheme = g->scheme,
                                 .host = g->host,
                                 .path = g->path,
                                 .ref = g->ref,
                                 .subdir = g->subdir,
                                 .advice = x->c->ui->git_advice,
                                 .skip_submodules = g->submodules_set && !g->submodules,
                                 .fetch_by_commit = g->fetch_by_commit };
    struct llb_copy_info info = x->mode;

    if (!x->add)
        return err_new(ERR_INVALID, "source can't be a git ref for COPY");
    TRY(merge_git_options(x, g, &o));
    info.create_dest_path = true;
    add_copy(x, llb_git(x->c->b, &o, &(struct llb_options){ .custom_name = x->name }), "/", &info);
    return NULL;
}

struct error *copy_check_digest(const char *s)
{
    const char *colon = strchr(s, ':');

    if (colon == NULL || colon == s || colon[1] == '\0')
        return err_new(ERR_INVALID, "invalid checksum digest format");
    if (!str_has_prefix(s, "sha256:") && !str_has_prefix(s, "sha384:") && !str_has_prefix(s, "sha512:"))
        return err_new(ERR_INVALID, "unsupported digest algorithm");
    if (strspn(colon + 1, "0123456789abcdef") != strlen(colon + 1))
        return err_new(ERR_INVALID, "invalid checksum digest format");
    if (strlen(colon + 1) != (str_has_prefix(s, "sha256:") ? 64 : str_has_prefix(s, "sha384:") ? 96 : 128))
        return err_new(ERR_INVALID, "invalid checksum digest length");
    return NULL;
}

static struct error *add_url(struct copy *x, const char *src)
{
    CLEANUP(freep) char *file = remote_filename(src);
    struct llb_http_options h = { .filename = file, .checksum = x->args->checksum };
    struct llb_copy_info info = x->mode;

    if (!x->add)
        return err_new(ERR_INVALID, "source can't be a URL for COPY");
    if (*x->args->checksum != '\0')
        TRY(copy_check_digest(x->args->checksum));
    info.create_dest_path = true;
    info.attempt_unpack = x->args->unpack_set && x->args->unpack;
    add_copy(x, llb_http(x->c->b, src, &h, &(struct llb_options){ .custom_name = x->name, .command = "" }),
             file, &info);
    return NULL;
}

/* --parents: "a/./b/c" copies b/c from a; without the pivot everything from the root. */
static struct error *split_parents(const struct copy *x, const char *src, char **ret_src,
                                   struct strv *include, char **ret_required)
{
    const char *os = x->s->platform->os, *pivot = strstr(src, "/./");
    CLEANUP(freep) char *dir = pivot != NULL ? xstrndup(src, (size_t)(pivot - src)) : xstrdup("/");
    CLEANUP(freep) char *pattern = NULL;

    TRY(err_wrap(ospath_normalize("/", pivot != NULL ? pivot + 3 : src, os, false, &pattern),
                 "removing drive letter"));
    strv_add(include, *pattern == '/' ? pattern + 1 : pattern);
    /* A plain path must exist; a pattern may match nothing. */
    if (!path_has_wildcard(dir, strlen(dir)) && !path_has_wildcard(pattern, strlen(pattern)))
        *ret_required = gopath_join(dir, pattern);
    *ret_src = TAKE(dir);
    return NULL;
}

static struct error *add_path(struct copy *x, const char *src)
{
    CLEANUP(strv_deinit) struct strv include = { 0 }, required = { 0 };
    CLEANUP(freep) char *dir = NULL, *normal = NULL, *must_exist = NULL;
    struct llb_copy_info info = x->mode;

    if (x->add || *x->args->from == '\0')
        check_copy_source(x->c, x->lint, x->add, src, x->ins->lines);
    if (x->args->parents)
        TRY(split_parents(x, src, &dir, &include, &must_exist));
    TRY(err_wrap(ospath_normalize("/", dir != NULL ? dir : src, x->s->platform->os, false, &normal),
                 "removing drive letter"));
    if (must_exist != NULL) {
        char *path;

        TRY(err_wrap(ospath_normalize("/", must_exist, x->s->platform->os, false, &path),
                     "removing drive letter"));
        strv_take(&required, path);
    }
    info.follow_symlinks = true;
    info.dir_contents_only = true;
    info.include_patterns = &include;
    info.required_paths = &required;
    info.attempt_unpack = x->args->unpack_set ? x->args->unpack : x->add;
    info.create_dest_path = true;
    info.allow_wildcard = true;
    info.allow_empty_wildcard = true;
    add_copy(x, x->source, normal, &info);
    return NULL;
}

/* Everybody who has the image can read its history.  A user of ssh is no secret. */
static char *shown_source(const char *src)
{
    const char *user = str_skip_prefix(src, "ssh://");

    if (user != NULL && user[strcspn(user, ":@/")] == '@')
        return xstrdup(src);
    return url_redact(src);
}

static struct error *add_source(struct copy *x, const char *src)
{
    CLEANUP(git_ref_deinit) struct git_ref git = { 0 };
    CLEANUP(freep) char *shown = shown_source(src);
    bool yes = false;

    buf_addc(&x->history, ' ');
    buf_adds(&x->history, shown);
    TRY(copy_git_source(src, &git, &yes));
    if (yes)
        return add_git(x, &git);
    return copy_is_url(src) ? add_url(x, src) : add_path(x, src);
}

static struct error *add_content(struct copy *x, const struct source_content *content)
{
    struct llb_builder *b = x->c->b;
    const char *os = x->s->platform->os;
    CLEANUP(freep) char *file = NULL, *slashed = NULL;
    struct llb_copy_info info = x->mode;
    struct llb_options o = { .custom_name = "[internal] preparing inline document",
                             .platform = x->s->platform };
    struct llb_state st;

    buf_addf(&x->history, " <<%s", content->path);
    TRY(err_wrap(ospath_strip_drive(content->path, os, false, &file), "removing drive letter"));
    st =
        llb_file(b, llb_scratch(), llb_mkfile(b, NULL, file, 0644, content->data, strlen(content->data)), &o);
    slashed = ospath_to_slash(file, os);
    info.create_dest_path = true;
    add_copy(x, st, slashed, &info);
    return NULL;
}

/* ---- all
 * ---------------------------------------------------------------------------------------------------------------
 */

static struct error *add_all(struct copy *x)
{
    const struct copy_args *args = x->args;

    buf_adds(&x->history, x->add ? "ADD" : "COPY");
    if (args->parents)
        buf_adds(&x->history, " --parents");
    if (*args->chown != '\0')
        buf_addf(&x->history, " --chown=%s", args->chown);
    if (*args->chmod != '\0')
        buf_addf(&x->history, " --chmod=%s", args->chmod);
    for (size_t i = 0; i < args->paths.len; i++)
        TRY(add_source(x, args->paths.v[i]));
    for (size_t i = 0; i < args->content_count; i++)
        TRY(add_content(x, &args->contents[i]));
    buf_addc(&x->history, ' ');
    buf_adds(&x->history, args->dest);
    buf_adds(&x->history, " # buildkit");
    return NULL;
}

/* --link: the files become a layer of their own, merged onto what is below; shown as one step. */
static void link_files(struct copy *x, const struct llb_options *o)
{
    struct convert *c = x->c;
    struct build_stage *s = x->s;
    CLEANUP(freep) char *group = NULL, *text = NULL, *name = NULL;
    struct llb_state sides[2] = { s->state };
    struct llb_options files = *o, merge = *o;
    char id[26];

    random_id(id, sizeof(id) - 1);
    s->cmd_index--;
    group = step_name(s, x->text, c->ui->multi_platform, s->platform, s->state.env);
    files.group_id = merge.group_id = id;
    files.group_name = merge.group_name = group;
    files.group_weak = true;
    files.platform = s->platform;
    sides[1] = llb_file(c->b, llb_scratch(), x->actions, &files);
    s->cmd_index--;
    text = xasprintf("LINK %s", x->text);
    name = step_name(s, text, c->ui->multi_platform, s->platform, s->state.env);
    merge.custom_name = name;
    s->state = llb_with_output(s->state, llb_merge(c->b, sides, 2, &merge).out);
}

static struct error *copy(struct copy *x)
{
    struct convert *c = x->c;
    struct build_stage *s = x->s;
    struct words_env env = env_of(&s->state.env);
    struct llb_options o = { .ignore_cache = s->ignore_cache };

    TRY(set_dest(x));
    TRY(set_owner(x));
    x->mode.exclude_patterns = &x->args->exclude;
    TRY(set_mode(x));
    TRY(check_checksum(x));
    if (!c->o->only_check) {
        x->text = step_text(&c->words, x->ins->code, &env);
        x->name = step_name(s, x->text, c->ui->multi_platform, s->platform, s->state.env);
    }
    TRY(add_all(x));
    if (c->o->only_check)
        return NULL; /* nobody will see the step */
    o.custom_name = x->name;
    options_locate(c, &o, x->ins->lines);
    if (x->args->link && *x->args->chmod == '\0' && llb_cap_enabled("mergeop"))
        link_files(x, &o);
    else
        s->state = llb_file(c->b, s->state, x->actions, &o);
    stage_history(c, s, &x->history, true);
    return NULL;
}

static void mark_sources(const struct copy *x, struct map *paths)
{
    for (size_t i = 0; i < x->args->paths.len; i++) {
        if (!x->add || !copy_is_url(x->args->paths.v[i]))
            mark_path(x->c, paths, x->args->paths.v[i]);
    }
}

struct error *dispatch_copy(struct convert *c, struct build_stage *s, struct build_command *cmd,
                            struct lint *lint)
{
    struct copy x = { .c = c, .s = s, .ins = cmd->ins, .args = &cmd->ins->copy, .lint = lint };
    struct build_stage *from = cmd->source_count > 0 ? cmd->sources[0] : NULL;
    struct error *e;

    x.add = cmd->ins->kind == INSTR_ADD;
    if (from != NULL && !from->dispatched) {
        CLEANUP(freep) char *a = str_quote(cmd->ins->copy.from), *b = str_quote(s->name);

        return err_new(ERR_INVALID,
                       "cannot copy from stage %s, it needs to be defined before current stage %s", a, b);
    }
    x.source = from != NULL ? from->state : llb_new_state(c->context);
    e = copy(&x);
    if (e == NULL)
        mark_sources(&x, from != NULL ? from->paths : &c->ctx_paths);
    copy_deinit(&x);
    return e;
}
