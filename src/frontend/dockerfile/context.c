/* SPDX-License-Identifier: Apache-2.0 */
/* The build context: reading the Dockerfile and .dockerignore through the bridge. */
#include "frontend/dockerfile/dockerui.h"

#include "base/limits.h"
#include "frontend/dockerfile/ignore.h"
#include "frontend/dockerfile/remote_context.h"
#include "llb/gopath.h"

#define DEFAULT_CONTEXT "context"
#define DEFAULT_DOCKERFILE "dockerfile"
#define DOCKERIGNORE ".dockerignore"
#define REMOTE_STEP "[internal] load remote build context"

const char *dockerui_local_session(const struct dockerui *ui, const char *local)
{
    CLEANUP(freep) char *key = xasprintf("local-sessionid:%s", local);
    const char *own = dockerui_opt(ui, key);

    return own != NULL ? own : ui->bridge->session_id;
}

/* ---- files of refs
 * ----------------------------------------------------------------------------------------------------- */

struct error *dockerui_read_file(struct dockerui *ui, struct ref *ref, const char *name, struct buf *ret)
{
    const struct bridge_ops *ops = ui->bridge->ops;
    struct read_file_options o = { .length = (int64_t)LIMIT_CONTROL_FILE + 1 };

    TRY(ops->read_file(ui->bridge, ref, name, &o, ret));
    if (ret->len <= LIMIT_CONTROL_FILE)
        return NULL;
    return err_new(ERR_EXHAUSTED, "%s exceeds maximum allowed size of %zu bytes", name, LIMIT_CONTROL_FILE);
}

/* A file that need not be there: any error but its size counts as absent, as in BuildKit. */
static struct error *read_optional(struct dockerui *ui, struct ref *ref, const char *name, struct buf *ret,
                                   bool *ret_found)
{
    struct error *e = dockerui_read_file(ui, ref, name, ret);

    *ret_found = e == NULL;
    if (e == NULL || err_is(e, ERR_EXHAUSTED) || err_is(e, ERR_CANCELLED) || err_is(e, ERR_DEADLINE))
        return e;
    err_free(e);
    return NULL;
}

/* ---- where the context is
 * ---------------------------------------------------------------------------------------------- */

static struct llb_def *take_input(const struct dockerui *ui, const char *name)
{
    struct llb_def *def = ui->inputs != NULL ? map_get(ui->inputs, name) : NULL;

    return def != NULL ? llb_def_ref(def) : NULL;
}

/* A download: an archive is unpacked, anything else is the Dockerfile itself. */
static struct error *locate_download(struct dockerui *ui, const char *url)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    CLEANUP(buf_deinit) struct buf head = { 0 };
    const struct bridge_ops *ops = ui->bridge->ops;
    struct read_file_options o = { .length = 1024 };
    struct ref *ref = NULL;
    struct error *e;

    TRY(err_wrap(llb_marshal(b, remote_file(b, url, REMOTE_STEP), NULL, &def),
                 "failed to marshal httpcontext"));
    e = ops->solve(ui->bridge, def, &ref);
    if (e != NULL)
        return err_wrap(e, "failed to resolve httpcontext");
    def = NULL; /* taken */
    e = ops->read_file(ui->bridge, ref, "context", &o, &head);
    if (e != NULL)
        return err_wrap(e, "failed to read downloaded context");
    ui->context_kind = is_archive(head.data, head.len) ? CONTEXT_ARCHIVE : CONTEXT_FILE;
    if (ui->context_kind == CONTEXT_FILE)
        str_replace(&ui->filename, "context");
    return NULL;
}

static struct error *locate(struct dockerui *ui)
{
    const char *key = dockerui_opt(ui, "contextkey"), *v, *url;
    CLEANUP(git_ref_deinit) struct git_ref git = { 0 };
    bool is_git = false;

    ui->context_name = xstrdup(DEFAULT_CONTEXT);
    v = dockerui_opt(ui, "dockerfilekey");
    ui->force_local_dockerfile = v != NULL;
    ui->dockerfile_name = xstrdup(v != NULL ? v : DEFAULT_DOCKERFILE);
    v = dockerui_opt(ui, "filename");
    ui->filename = xstrdup(v != NULL ? v : "Dockerfile");
    url = dockerui_opt(ui, key != NULL ? key : DEFAULT_CONTEXT);
    ui->context_url = xstrdup(url != NULL ? url : "");
    v = dockerui_opt(ui, "contextsubdir");
    if (v != NULL)
        ui->context_subdir = xstrdup(v);
    TRY(git_ref_parse(ui->context_url, &git, &is_git));
    if (is_git) {
        ui->context_kind = CONTEXT_GIT;
        return NULL;
    }
    if (is_http_url(ui->context_url))
        return locate_download(ui, url);
    if (!ui->force_local_dockerfile)
        ui->dockerfile_input = take_input(ui, ui->dockerfile_name);
    ui->context_input = take_input(ui, DEFAULT_CONTEXT);
    ui->context_kind = ui->context_input != NULL ? CONTEXT_INPUT : CONTEXT_LOCAL;
    return NULL;
}

/* The main context's repository, of which build arguments may change what its URL leaves open. */
static struct error *git_context(const struct dockerui *ui, struct llb_builder *b, struct llb_state *ret)
{
    CLEANUP(freep) char *name = xasprintf(REMOTE_GIT_STEP, ui->context_url);
    const char *keep = dockerui_opt(ui, "build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR");
    const char *epoch = dockerui_opt(ui, "build-arg:SOURCE_DATE_EPOCH");
    struct remote_git_options o = { .name = name, .advice = ui->git_advice };
    bool always = false, is_git;

    if (keep != NULL && parse_bool(keep, &always) == 0 && always) /* anything else is no answer */
        o.keep_git_dir = KEEP_GIT_ALWAYS;
    if (epoch != NULL && *epoch != '\0')
        o.mtime = "commit";
    return remote_git(b, ui->context_url, &o, ret, &is_git);
}

/* The context where it is no folder of the client, whole. */
static struct error *fetched_context(struct dockerui *ui, struct llb_builder *b, struct llb_state *ret)
{
    switch (ui->context_kind) {
    case CONTEXT_GIT:
        return git_context(ui, b, ret);
    case CONTEXT_FILE:
        *ret = remote_file(b, ui->context_url, REMOTE_STEP);
        return NULL;
    case CONTEXT_ARCHIVE:
        *ret = remote_archive(b, ui->context_url, REMOTE_STEP);
        return NULL;
    case CONTEXT_INPUT:
        return llb_from_def(b, llb_def_ref(ui->context_input), ret);
    case CONTEXT_LOCAL:
        break;
    }
    assert(false);
    return NULL;
}

/* ---- .dockerignore
 * ----------------------------------------------------------------------------------------------------- */

static struct error *load_ignore(struct dockerui *ui, struct buf *ret)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    CLEANUP(strv_deinit) struct strv names = { 0 };
    CLEANUP(freep) char *hint = xasprintf("%s-" DOCKERIGNORE, ui->context_name);
    struct llb_local_options local = { .session_id = dockerui_local_session(ui, ui->context_name),
                                       .shared_key_hint = hint,
                                       .follow_paths = &names,
                                       .differ_none = true };
    struct llb_state state;
    struct ref *ref = NULL;
    bool found;

    strv_add(&names, DOCKERIGNORE);
    state = llb_local(b, ui->context_name, &local,
                      &(struct llb_options){ .custom_name = "[internal] load " DOCKERIGNORE });
    TRY(llb_marshal(b, state, NULL, &def));
    struct error *e = ui->bridge->ops->solve(ui->bridge, def, &ref);

    if (e != NULL)
        return e;
    def = NULL; /* taken */
    return read_optional(ui, ref, DOCKERIGNORE, ret, &found);
}

/* Loaded by the first who asks; the others wait. */
static struct error *ensure_ignore(struct dockerui *ui)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct error *e = NULL;
    int r = 0;

    mutex_lock(&ui->lock);
    while (r == 0 && ui->ignore_state == IGNORE_LOADING)
        r = cond_wait(&ui->changed, &ui->lock);
    if (r < 0 || ui->ignore_state == IGNORE_LOADED) {
        mutex_unlock(&ui->lock);
        return r < 0 ? task_error(r, "wait for " DOCKERIGNORE) : NULL;
    }
    ui->ignore_state = IGNORE_LOADING;
    mutex_unlock(&ui->lock);
    e = load_ignore(ui, &text);
    mutex_lock(&ui->lock);
    if (ui->ignore_state == IGNORE_LOADING) { /* the Dockerfile has none of its own */
        ui->ignore_state = e == NULL ? IGNORE_LOADED : IGNORE_UNKNOWN;
        if (e == NULL) {
            ui->ignore = text;
            text = (struct buf){ 0 };
            ui->ignore_name = xstrdup(DOCKERIGNORE);
        }
    }
    cond_broadcast(&ui->changed);
    mutex_unlock(&ui->lock);
    return e;
}

/* For somebody who needs it: so will the next build. */
static struct error *need_ignore(struct dockerui *ui)
{
    const struct bridge_ops *ops = ui->bridge->ops;

    TRY(ensure_ignore(ui));
    if (ops->note_needed != NULL && streq(ui->ignore_name, DOCKERIGNORE))
        ops->note_needed(ui->bridge, DOCKERIGNORE);
    return NULL;
}

/* Loaded text does not change any more: it may be read without the lock. */
static struct error *ignore_patterns(struct dockerui *ui, struct strv *ret)
{
    TRY(need_ignore(ui));
    if (ui->ignore.len == 0)
        return NULL;
    return err_wrap(ignore_parse(ui->ignore.data, ui->ignore.len, ret), "failed parsing %s", ui->ignore_name);
}

void dockerui_preload_ignore(struct dockerui *ui)
{
    if (ui->context_kind == CONTEXT_LOCAL)
        err_free(need_ignore(ui));
}

static struct error *load_expected(void *arg)
{
    struct dockerui *ui = arg;

    if (ui->bridge->ops->needed_before(ui->bridge, DOCKERIGNORE))
        err_free(ensure_ignore(ui)); /* who needs it tries again, and tells */
    return NULL;
}

/* What the last build like this one needed travels beside the Dockerfile. */
static void load_ahead(struct dockerui *ui)
{
    if (ui->context_kind != CONTEXT_LOCAL || ui->bridge->ops->needed_before == NULL)
        return;
    group_open(&ui->ahead, 0);
    err_free(group_spawn(&ui->ahead, "load-ahead", load_expected, ui)); /* no task to spare: later, then */
}

struct error *dockerui_ignore_patterns(struct dockerui *ui, struct strv *ret)
{
    return ui->context_kind != CONTEXT_LOCAL ? NULL : ignore_patterns(ui, ret);
}

/* ---- the Dockerfile
 * ---------------------------------------------------------------------------------------------------- */

static struct error *dockerfile_state(struct dockerui *ui, struct llb_builder *b, struct llb_state *ret)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    CLEANUP(freep) char *name = xasprintf("[internal] load build definition from %s", ui->filename);
    CLEANUP(freep) char *base = gopath_base(ui->filename), *dir = gopath_dir(ui->filename);
    struct llb_local_options local = { .session_id = dockerui_local_session(ui, ui->dockerfile_name),
                                       .shared_key_hint = ui->dockerfile_name,
                                       .follow_paths = &names,
                                       .differ_none = true };

    if (ui->dockerfile_input != NULL)
        return llb_from_def(b, llb_def_ref(ui->dockerfile_input), ret);
    if (!ui->force_local_dockerfile && ui->context_kind != CONTEXT_LOCAL && ui->context_kind != CONTEXT_INPUT)
        return fetched_context(ui, b, ret);
    strv_add(&names, ui->filename);
    strv_addf(&names, "%s.dockerignore", ui->filename);
    if (streq(base, "Dockerfile"))
        strv_take(&names, gopath_join(dir, "dockerfile"));
    *ret = llb_local(b, ui->dockerfile_name, &local, &(struct llb_options){ .custom_name = name });
    return NULL;
}

/* "Dockerfile" may be spelt in lower case. */
static struct error *read_dockerfile(struct dockerui *ui, struct ref *ref, struct buf *ret)
{
    CLEANUP(freep) char *base = gopath_base(ui->filename), *dir = gopath_dir(ui->filename);
    CLEANUP(freep) char *lower = gopath_join(dir, "dockerfile");
    struct error *e = dockerui_read_file(ui, ref, ui->filename, ret), *e2;

    if (e == NULL || !streq(base, "Dockerfile") || err_is(e, ERR_EXHAUSTED) || err_is(e, ERR_CANCELLED))
        return err_wrap(e, "failed to read dockerfile");
    buf_clear(ret);
    e2 = dockerui_read_file(ui, ref, lower, ret);
    if (e2 == NULL) {
        err_free(e);
        return NULL;
    }
    err_free(e2);
    return err_wrap(e, "failed to read dockerfile");
}

/* Stands before the context's, which may be on its way. */
static struct error *read_own_ignore(struct dockerui *ui, struct ref *ref)
{
    CLEANUP(freep) char *name = xasprintf("%s" DOCKERIGNORE, ui->filename);
    CLEANUP(buf_deinit) struct buf text = { 0 };
    bool found;

    TRY(read_optional(ui, ref, name, &text, &found));
    if (!found)
        return NULL;
    mutex_lock(&ui->lock);
    buf_deinit(&ui->ignore);
    ui->ignore = text;
    text = (struct buf){ 0 };
    str_replace(&ui->ignore_name, name);
    ui->ignore_state = IGNORE_LOADED;
    cond_broadcast(&ui->changed);
    mutex_unlock(&ui->lock);
    return NULL;
}

struct error *dockerui_read_entrypoint(struct dockerui *ui, struct dockerui_source *ret)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    struct llb_state state;
    struct ref *ref = NULL;
    int64_t index;

    TRY(locate(ui));
    load_ahead(ui);
    TRY(dockerfile_state(ui, b, &state));
    TRY(err_wrap(llb_marshal(b, state, NULL, &def), "failed to marshal local source"));
    TRY(llb_def_head(def, &ret->head, &index));
    ret->map.definition = llb_def_ref(def);
    TRY(err_wrap(ui->bridge->ops->solve(ui->bridge, def, &ref), "failed to resolve dockerfile"));
    def = NULL; /* taken */
    TRY(read_dockerfile(ui, ref, &ret->text));
    ret->map.filename = ui->filename;
    ret->map.language = "Dockerfile";
    ret->map.data = ret->text.data;
    ret->map.data_len = ret->text.len;
    return read_own_ignore(ui, ref);
}

void dockerui_source_deinit(struct dockerui_source *s)
{
    llb_def_unref(s->map.definition);
    buf_deinit(&s->text);
    *s = (struct dockerui_source){ 0 };
}

/* ---- the main context
 * -------------------------------------------------------------------------------------------------- */

static struct error *scoped_context(struct dockerui *ui, struct llb_builder *b, struct llb_state *ret)
{
    struct llb_copy_info info = { .dir_contents_only = true };
    struct llb_state whole;

    TRY(fetched_context(ui, b, &whole));
    *ret = whole;
    if (ui->context_subdir != NULL)
        *ret = llb_file(b, llb_scratch(), llb_copy(b, NULL, whole, ui->context_subdir, "/", &info), NULL);
    return NULL;
}

struct error *dockerui_main_context(struct dockerui *ui, struct llb_builder *b, const struct strv *paths,
                                    struct llb_state *ret)
{
    CLEANUP(strv_deinit) struct strv excludes = { 0 };
    struct llb_local_options local = { .session_id = dockerui_local_session(ui, ui->context_name),
                                       .shared_key_hint = ui->context_name,
                                       .exclude_patterns = &excludes,
                                       .follow_paths = paths };

    if (ui->context_kind != CONTEXT_LOCAL)
        return scoped_context(ui, b, ret);
    TRY(err_wrap(ignore_patterns(ui, &excludes), "failed to read dockerignore patterns"));
    *ret = llb_local(b, ui->context_name, &local,
                     &(struct llb_options){ .custom_name = "[internal] load build context" });
    return NULL;
}

/* ---- image configs
 * ----------------------------------------------------------------------------------------------------- */

static void copy_resolved(struct resolved_image *dst, const struct resolved_image *src)
{
    dst->ref = xstrdup(src->ref);
    dst->digest = xstrdup(src->digest);
    buf_add(&dst->config, src->config.data, src->config.len);
    dst->other = xstrdup(src->other);
}

static char *resolve_key(const char *ref, const struct resolve_image_options *o)
{
    CLEANUP(freep) char *platform = o->platform != NULL ? platform_format_all(o->platform) : xstrdup("");

    return xasprintf("%s|%s|%s|%s|%d|%s|%s", ref, platform, o->resolve_mode != NULL ? o->resolve_mode : "",
                     o->log_name != NULL ? o->log_name : "", o->oci_layout,
                     o->session_id != NULL ? o->session_id : "", o->store_id != NULL ? o->store_id : "");
}

/* An entry for the key, new when *ret_mine says so. */
static struct resolve_entry *find_entry_locked(struct dockerui *ui, const char *key, bool *ret_mine)
{
    struct resolve_entry *e = ui->resolved;

    while (e != NULL && !streq(e->key, key))
        e = e->next;
    *ret_mine = e == NULL;
    if (e == NULL) {
        e = NEW(struct resolve_entry);
        e->key = xstrdup(key);
        e->next = ui->resolved;
        ui->resolved = e;
    }
    return e;
}

struct error *dockerui_resolve_image(struct dockerui *ui, const char *ref,
                                     const struct resolve_image_options *o, struct resolved_image *ret)
{
    CLEANUP(freep) char *key = resolve_key(ref, o);
    struct resolve_entry *entry;
    struct error *e;
    bool mine;
    int r = 0;

    mutex_lock(&ui->lock);
    entry = find_entry_locked(ui, key, &mine);
    if (mine) {
        mutex_unlock(&ui->lock);
        e = bridge_resolve_image(ui->bridge, ref, o, &entry->image);
        mutex_lock(&ui->lock);
        entry->error = e;
        entry->done = true;
        cond_broadcast(&ui->changed);
    }
    while (r == 0 && !entry->done)
        r = cond_wait(&ui->changed, &ui->lock);
    mutex_unlock(&ui->lock);
    if (r < 0)
        return task_error(r, "resolve %s", ref);
    if (entry->error != NULL)
        return err_clone(entry->error);
    copy_resolved(ret, &entry->image);
    return NULL;
}
