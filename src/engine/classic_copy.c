/* SPDX-License-Identifier: Apache-2.0 */
/* classic_copy.c - COPY and ADD of a classic build */
#include "engine/classic_impl.h"

#include "frontend/dockerfile/ospath.h"
#include "frontend/dockerfile/remote_context.h"
#include "io/path.h"
#include "op/held.h"
#include "op/user.h"

#include <errno.h>
#include <strings.h>

struct source {
    const char *path;      /* below the root, clean */
    struct held *held;     /* of a download; NULL: the common source */
    struct snapshot *file; /* the download */
};

struct copy {
    struct classic *classic;
    struct classic_stage *stage;
    const struct copy_args *args;
    bool add;
    const char *keyword;
    struct llb_builder *b;
    struct classic_image from; /* COPY --from */
    struct snapshot *files;    /* where plain paths are: the context's or from's; borrowed */
    int root;                  /* of `files`; -1: there are none */
    struct source *sources;
    size_t source_count;
    struct strv hashes; /* "file:..", one for each path that is copied */
    char *dest;
    struct llb_chown owner;
};

static void copy_deinit(struct copy *x)
{
    for (size_t i = 0; i < x->source_count; i++) {
        held_close(x->sources[i].held);
        snapshot_unref(x->sources[i].file);
    }
    free(x->sources);
    classic_image_deinit(&x->from);
    closep(&x->root);
    strv_deinit(&x->hashes);
    free(x->dest);
    llb_builder_free(x->b);
}

/* Flags that would change what is copied must not be passed over. */
static struct error *check_flags(const struct copy_args *a)
{
    if (*a->chmod != '\0')
        return classic_needs_buildkit("--chmod option");
    if (a->exclude.len > 0)
        return classic_needs_buildkit("--exclude option");
    if (a->parents)
        return classic_needs_buildkit("--parents option");
    if (a->checksum != NULL && *a->checksum != '\0')
        return classic_needs_buildkit("--checksum option");
    if (a->keep_git_dir_set)
        return classic_needs_buildkit("--keep-git-dir option");
    if (a->unpack_set)
        return classic_needs_buildkit("--unpack option");
    return a->content_count > 0 ? classic_needs_buildkit("heredoc syntax") : NULL;
}

/* ---- where from
 * ------------------------------------------------------------------------------------------------------------
 */

/* A stage by name or number; NULL when it is none. */
static struct error *find_stage(const struct classic *c, const char *name, const struct classic_stage **ret)
{
    int64_t at;

    *ret = NULL;
    for (size_t i = 0; i < c->done_count; i++) {
        if (*c->done[i].name != '\0' && strcasecmp(c->done[i].name, name) == 0) {
            *ret = &c->done[i];
            return NULL;
        }
    }
    if (parse_i64(name, &at) < 0)
        return NULL;
    if (at == (int64_t)c->done_count)
        return err_new(ERR_INVALID, "refers to current build stage");
    if (at < 0 || at > (int64_t)c->done_count)
        return err_new(ERR_INVALID, "index out of bounds");
    *ret = &c->done[at];
    return NULL;
}

static struct error *load_from(struct copy *x)
{
    const struct classic_stage *stage;
    const struct platform *p = platform_is_set(&x->classic->platform) ? &x->classic->platform : NULL;

    TRY(find_stage(x->classic, x->args->from, &stage));
    if (stage != NULL) {
        classic_image_copy(&x->from, &stage->image);
        return NULL;
    }
    return classic_image_get(x->classic, x->args->from, true, p, &x->from);
}

static struct error *open_files(struct copy *x)
{
    bool from = x->args->from != NULL && *x->args->from != '\0';

    if (from)
        TRY(err_wrap(load_from(x), "invalid from flag value %s", x->args->from));
    x->files = from ? x->from.snapshot : x->classic->context;
    if (x->files == NULL && from)
        x->files = x->from.snapshot = snapshot_empty(x->classic->engine->store);
    return x->files == NULL ? NULL : snapshot_mount_ro(x->files, &x->root);
}

static struct source *add_source(struct copy *x)
{
    x->sources = xreallocarray(x->sources, x->source_count + 1, sizeof(*x->sources));
    x->sources[x->source_count] = (struct source){ 0 };
    return &x->sources[x->source_count++];
}

static struct error *hash_path(struct copy *x, struct snapshot *files, const char *path, const char *prefix)
{
    struct op_input_key k = { .by_content = true };
    struct digest d;
    struct error *e;

    op_input_key_add(&k, path)->follow_links = true;
    e = content_digest(x->classic->engine->solver, files, &k, &d);
    op_input_key_deinit(&k);
    if (e == NULL)
        strv_addf(&x->hashes, "%s%s", prefix, digest_hex(&d));
    return e;
}

/* ---- downloads
 * -------------------------------------------------------------------------------------------------------------
 */

static struct error *add_download(struct copy *x, const char *url)
{
    CLEANUP(freep) char *name = NULL, *path = NULL;
    struct classic *c = x->classic;
    struct source *s;
    bool cached;

    if (!x->add)
        return err_new(ERR_INVALID, "source can't be a URL for COPY");
    name = remote_filename(url);
    if (streq(name, "__unnamed__") && str_has_suffix(x->args->dest, "/"))
        return err_new(ERR_INVALID, "cannot determine filename for source %s", url);
    path = xasprintf("/%s", name);
    s = add_source(x);
    s->path = llb_strdup(x->b, path);
    TRY(classic_download_error(
        url, classic_solve(c, x->b,
                           llb_http(x->b, url, &(struct llb_http_options){ .filename = name },
                                    &(struct llb_options){ .custom_name = url }),
                           CLASSIC_DOWNLOAD, &s->file, &cached)));
    s->held = held_open(s->file);
    TRY(classic_say(c, "\n"));
    return hash_path(x, s->file, s->path, "");
}

/* ---- paths
 * -----------------------------------------------------------------------------------------------------------------
 */

static struct error *not_found(const struct copy *x, const char *path)
{
    bool from = *x->args->from != '\0';

    return err_new(ERR_NOT_FOUND, "%sstat %s: file does not exist",
                   from ? "" : "file not found in build context or excluded by .dockerignore: ", path);
}

static struct error *hash_one(struct copy *x, const char *path, const char *shown)
{
    struct stat st;
    int r = path_stat(x->root, path, true, &st);

    if (r == -ENOENT || r == -ENOTDIR)
        return not_found(x, shown);
    if (r == -ELOOP || r == -EXDEV)
        return err_new(ERR_INVALID, "forbidden path outside the build context: %s", shown);
    TRY_SYS(r, "stat %s", shown);
    return hash_path(x, x->files, path, S_ISDIR(st.st_mode) ? "dir:" : "file:");
}

static struct error *add_path(struct copy *x, const char *given)
{
    CLEANUP(freep) char *path = NULL;
    CLEANUP(strv_deinit) struct strv matches = { 0 };
    const char *shown = *given == '/' ? given + 1 : given;
    struct source *s;

    if (x->root < 0)
        return err_new(ERR_INVALID, "missing build context");
    shown = str_has_prefix(shown, "./") ? shown + 2 : shown;
    TRY(ospath_normalize("/", given, "linux", false, &path));
    s = add_source(x);
    s->path = llb_strdup(x->b, path);
    if (!path_has_wildcard(path, strlen(path)))
        return hash_one(x, path, shown);
    TRY(copy_matches(x->root, NULL, path, true, &matches));
    for (size_t i = 0; i < matches.len; i++)
        TRY(hash_one(x, matches.v[i], matches.v[i]));
    return NULL;
}

static struct error *add_sources(struct copy *x)
{
    for (size_t i = 0; i < x->args->paths.len; i++) {
        const char *path = x->args->paths.v[i];

        TRY(is_http_url(path) ? add_download(x, path) : add_path(x, path));
    }
    return x->hashes.len > 0 ? NULL : err_new(ERR_INVALID, "no source files were specified");
}

/* ---- owners
 * ----------------------------------------------------------------------------------------------------------------
 */

static struct error *find_user(int root, const char *name, uint32_t *ret)
{
    struct file_owner owner = { 0 };
    uint64_t number;
    bool found = false;

    if (parse_u64(name, &number) == 0 && number <= UINT32_MAX) {
        *ret = (uint32_t)number;
        return NULL;
    }
    if (root >= 0)
        TRY(user_by_name(root, name, &owner, &found));
    *ret = owner.uid;
    return found ? NULL : err_new(ERR_INVALID, "can't find uid for user %s: no such user: %s", name, name);
}

static struct error *find_group(int root, const char *name, uint32_t *ret)
{
    uint64_t number;
    bool found = false;

    if (parse_u64(name, &number) == 0 && number <= UINT32_MAX) {
        *ret = (uint32_t)number;
        return NULL;
    }
    if (root >= 0)
        TRY(group_by_name(root, name, ret, &found));
    return found ? NULL : err_new(ERR_INVALID, "can't find gid for group %s: no such group: %s", name, name);
}

/* Names are those of the image that is built; without a group the user's name is one. */
static struct error *find_owner(struct copy *x)
{
    CLEANUP(closep) int root = -1;
    CLEANUP(strv_deinit) struct strv parts = { 0 };

    strv_split(&parts, x->args->chown, ':');
    if (parts.len > 2)
        return err_new(ERR_INVALID, "invalid chown string format: %s", x->args->chown);
    if (x->stage->image.snapshot != NULL)
        TRY(snapshot_mount_ro(x->stage->image.snapshot, &root));
    x->owner.has_user = x->owner.has_group = true;
    TRY(find_user(root, parts.v[0], &x->owner.uid));
    return find_group(root, parts.v[parts.len - 1], &x->owner.gid);
}

/* ---- copying
 * ----------------------------------------------------------------------------------------------------------------
 */

static struct error *set_dest(struct copy *x)
{
    const char *dest = x->args->dest, *dir = x->stage->image.config.working_dir;

    if (ospath_is_abs(dest, "linux"))
        return ospath_normalize("/", dest, "linux", true, &x->dest);
    return ospath_normalize(dir == NULL || *dir == '\0' ? "/" : dir,
                            *dest == '\0' || streq(dest, ".") ? "./" : dest, "linux", true, &x->dest);
}

static struct error *execute(struct copy *x, const char *code, struct snapshot **ret, bool *ret_cached)
{
    struct classic *c = x->classic;
    struct held *files = held_open(x->files), *base = held_open(x->stage->image.snapshot);
    struct llb_options o = { .custom_name = code, .ignore_cache = c->o->no_cache };
    struct llb_state common = held_state(files, x->b);
    struct llb_action *actions = NULL;
    const struct strv none = { 0 };
    struct error *e;

    for (size_t i = 0; i < x->source_count; i++) {
        const struct source *s = &x->sources[i];
        struct llb_copy_info info = { .create_dest_path = true,
                                      .chown = *x->args->chown != '\0' ? &x->owner : NULL };
        if (s->held == NULL) {
            info.follow_symlinks = info.dir_contents_only = true;
            info.allow_wildcard = info.allow_empty_wildcard = true;
            info.include_patterns = info.required_paths = info.exclude_patterns = &none;
            info.attempt_unpack = x->add;
        }
        actions = llb_copy(x->b, actions, s->held == NULL ? common : held_state(s->held, x->b), s->path,
                           x->dest, &info);
    }
    e = classic_solve(c, x->b, llb_file(x->b, classic_state(c, x->b, x->stage, base), actions, &o),
                      CLASSIC_QUIET, ret, ret_cached);
    held_close(files);
    held_close(base);
    return e;
}

/* One source: its own hash; several: that of all. */
static char *source_hash(const struct copy *x)
{
    CLEANUP(freep) char *all = NULL;
    struct digest d;

    if (x->hashes.len == 1)
        return xstrdup(x->hashes.v[0]);
    all = strv_join(&x->hashes, ",");
    d = digest_of(all, strlen(all));
    return xasprintf("multi:%s", digest_hex(&d));
}

static struct error *copy_step(struct copy *x, const char *code)
{
    CLEANUP(strv_deinit) struct strv cmd = { 0 };
    CLEANUP(snapshot_unrefp) struct snapshot *files = NULL;
    CLEANUP(freep) char *hash = source_hash(x), *created_by = NULL;
    bool owned = *x->args->chown != '\0', hit, cached;
    struct digest config;

    classic_shell(x->stage, &cmd);
    strv_addf(&cmd, "#(nop) %s %s%s%s%s in %s ", x->keyword, owned ? "--chown=" : "", x->args->chown,
              owned ? " " : "", hash, x->args->dest);
    created_by = strv_join(&cmd, " ");
    config = classic_step_config(x->stage, &cmd, false);
    TRY(classic_image_probe(x->classic, x->stage, &config, created_by, &hit));
    if (hit)
        return NULL;
    TRY(set_dest(x));
    if (owned)
        TRY(err_wrap(find_owner(x), "unable to convert uid/gid chown string to host mapping"));
    TRY(execute(x, code, &files, &cached));
    if (cached)
        TRY(classic_say(x->classic, " ---> Using cache\n"));
    return classic_image_commit(x->classic, x->stage, files, &config, created_by);
}

struct error *classic_copy(struct classic *c, struct classic_stage *s, const struct instruction *ins)
{
    CLEANUP(copy_deinit)
    struct copy x = {
        .classic = c, .stage = s, .args = &ins->copy, .add = ins->kind == INSTR_ADD, .root = -1
    };

    classic_image_init(&x.from);
    x.keyword = x.add ? "ADD" : "COPY";
    x.b = llb_builder_new();
    TRY(check_flags(x.args));
    TRY(open_files(&x));
    TRY(err_wrap(add_sources(&x), "%s failed", x.keyword));
    if (x.hashes.len > 1 && !str_has_suffix(x.args->dest, "/"))
        return err_new(ERR_INVALID,
                       "When using %s with more than one source file, the destination must be a directory "
                       "and end with a /",
                       x.keyword);
    return copy_step(&x, ins->code);
}
