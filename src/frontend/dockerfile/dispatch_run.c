/* SPDX-License-Identifier: Apache-2.0 */
/* RUN: the process, its mounts, its name. */
#include "base/rune.h"
#include "frontend/dockerfile/build_stage.h"
#include "frontend/dockerfile/ospath.h"
#include "llb/gopath.h"
#include "oci/purl.h"

/* Everything that is gathered for one llb_run. */
struct run {
    struct convert *c;
    struct build_stage *s;
    const struct instruction *ins;
    struct strv args;
    char *document; /* the step's text with what a heredoc alone is about; NULL: none */
    struct llb_mount *mounts;
    struct llb_secret *secrets;
    struct llb_ssh *ssh;
    struct llb_device *devices;
    struct llb_run llb;
};

static void run_deinit(struct run *r)
{
    strv_deinit(&r->args);
    free(r->document);
    free(r->mounts);
    free(r->secrets);
    free(r->ssh);
    free(r->devices);
}

static void add_mount(struct run *r, struct llb_mount m)
{
    r->mounts = xreallocarray(r->mounts, r->llb.mount_count + 1, sizeof(r->mounts[0]));
    r->mounts[r->llb.mount_count++] = m;
}

/* ---- heredocs
 * ----------------------------------------------------------------------------------------------------------
 */

/* First line of the trimmed text, with "..." when there are more. */
static void add_summary(struct buf *out, const char *doc)
{
    size_t len, line;
    const char *text = str_trim_space(doc, strlen(doc), &len);
    const char *end = memchr(text, '\n', len);

    line = end != NULL ? (size_t)(end - text) : len;
    if (end != NULL && line > 0 && text[line - 1] == '\r')
        line--;
    buf_addf(out, " (%.*s%s)", (int)line, text, end != NULL ? "..." : "");
}

/* A script with its own interpreter: it becomes a file, which is run. */
static void run_script(struct run *r, const char *name, const char *data, struct strv *words)
{
    struct convert *c = r->c;
    struct llb_options o = { .custom_name = "[internal] preparing inline document",
                             .platform = r->s->platform };
    struct llb_state st = llb_dir(c->b, llb_scratch(), "/");

    st = llb_file(c->b, st, llb_mkfile(c->b, NULL, name, 0755, data, strlen(data)), &o);
    add_mount(r,
              (struct llb_mount){ .target = "/dev/pipes/", .source = st, .selector = "/", .readonly = true });
    strv_take(words, gopath_join("/dev/pipes/", name));
}

/* `RUN <<EOF` alone: the document is the script. */
static void run_document(struct run *r, const struct inline_file *f, struct strv *words)
{
    CLEANUP(buf_deinit) struct buf name = { 0 };
    const char *data = f->chomp ? heredoc_chomp(&r->c->mem, f->data) : f->data;
    bool windows = r->s->image.platform.os != NULL && streq(r->s->image.platform.os, "windows");

    if (!windows && str_has_prefix(data, "#!"))
        run_script(r, f->name, data, words);
    else
        strv_add(words, data);
    buf_adds(&name, r->ins->code);
    add_summary(&name, f->data);
    r->document = buf_take(&name);
}

static struct error *run_words(struct run *r)
{
    const struct command_line *line = &r->ins->run.line;
    CLEANUP(buf_deinit) struct buf whole = { 0 };
    CLEANUP(strv_deinit) struct strv words = { 0 };
    const struct strv *plain = &words;
    struct df_heredoc h = { 0 };

    if (line->file_count == 0) {
        plain = &line->args;
    } else if (line->args.len != 1 || !line->prepend_shell) {
        buf_addc(&whole, '[');
        for (size_t i = 0; i < line->args.len; i++)
            buf_addf(&whole, "%s%s", i > 0 ? " " : "", line->args.v[i]);
        return err_new(ERR_INVALID, "parsing produced an invalid run command: %s]", buf_str(&whole));
    } else if (heredoc_parse(&r->c->mem, line->args.v[0], &h)) {
        run_document(r, &line->files[0], &words);
    } else {
        /* A command line with documents in it: the shell gets it as it was. */
        buf_adds(&whole, line->args.v[0]);
        for (size_t i = 0; i < line->file_count; i++)
            buf_addf(&whole, "\n%s%s", line->files[i].data, line->files[i].name);
        strv_add(&words, buf_str(&whole));
    }
    if (line->prepend_shell)
        with_shell(&r->s->image, plain, &r->args);
    else
        strv_copy(&r->args, plain);
    return NULL;
}

/* ---- mounts
 * ------------------------------------------------------------------------------------------------------------
 */

static struct error *add_secret(struct run *r, const struct mount_flag *m)
{
    struct llb_builder *b = r->c->b;
    const char *os = r->s->platform->os;
    bool windows = streq(os, "windows");
    CLEANUP(freep) char *slashed = ospath_to_slash(m->target, os), *base = NULL;
    struct llb_secret s = { .mode = 0400, .optional = !m->required };

    if (*m->source != '\0' || *m->id != '\0') {
        s.id = llb_strdup(b, *m->source != '\0' ? m->source : m->id);
    } else {
        if (*slashed == '\0')
            return err_new(ERR_INVALID, "one of source, target required");
        base = gopath_base(slashed);
        s.id = llb_strdup(b, base);
    }
    if (windows && *slashed != '\0' && !ospath_is_abs(slashed, os)) {
        CLEANUP(freep) char *quoted = str_quote(slashed);

        return err_new(ERR_INVALID,
                       "secret target %s must be an absolute path with forward slashes on Windows, e.g. "
                       "--mount=type=secret,id=%s,target=C:/path/to/secret",
                       quoted, s.id);
    }
    if (*slashed != '\0') {
        s.target = llb_strdup(b, slashed);
    } else if (m->env == NULL) {
        if (windows)
            return err_new(ERR_INVALID,
                           "secret target is required on Windows, e.g. "
                           "--mount=type=secret,id=%s,target=C:/path/to/secret",
                           s.id);
        base = gopath_base(s.id);
        s.target = llb_printf(b, "/run/secrets/%s", base);
    }
    s.env = llb_strdup(b, m->env);
    if (m->uid_set || m->gid_set || m->mode_set) {
        s.uid = m->uid;
        s.gid = m->gid;
        s.mode = m->mode_set ? m->mode : 0400;
    }
    r->secrets = xreallocarray(r->secrets, r->llb.secret_count + 1, sizeof(r->secrets[0]));
    r->secrets[r->llb.secret_count++] = s;
    return NULL;
}

static struct error *add_ssh(struct run *r, const struct mount_flag *m)
{
    struct llb_ssh s = { .id = m->id, .target = m->target, .mode = 0600, .optional = !m->required };

    if (*m->source != '\0')
        return err_new(ERR_INVALID, "ssh does not support source");
    if (m->uid_set || m->gid_set || m->mode_set) {
        s.uid = m->uid;
        s.gid = m->gid;
        s.mode = m->mode_set ? m->mode : 0600;
    }
    r->ssh = xreallocarray(r->ssh, r->llb.ssh_count + 1, sizeof(r->ssh[0]));
    r->ssh[r->llb.ssh_count++] = s;
    return NULL;
}

/* A cache with an owner of its own starts as a directory that has it. */
static struct llb_state owned_cache(struct convert *c, struct llb_state st, const struct mount_flag *m)
{
    struct llb_chown owner = { .has_user = true, .has_group = true, .uid = m->uid, .gid = m->gid };

    return llb_file(c->b, st,
                    llb_mkdir(c->b, NULL, "/cache", m->mode_set ? m->mode : 0755, false, &owner, NULL),
                    &(struct llb_options){ .custom_name = "[internal] setting cache mount permissions" });
}

static struct error *mount_target(struct run *r, const struct mount_flag *m, const char **ret)
{
    CLEANUP(freep) char *below = NULL, *target = NULL;

    if (gopath_is_abs(m->target)) {
        target = xstrdup(m->target);
    } else {
        below = gopath_join("/", r->s->state.dir != NULL ? r->s->state.dir : "");
        target = gopath_join(below, m->target);
    }
    if (streq(target, "/"))
        return err_new(ERR_INVALID, "invalid mount target \"/\"");
    *ret = llb_strdup(r->c->b, target);
    return NULL;
}

static void set_cache(struct run *r, const struct mount_flag *m, struct llb_mount *to)
{
    CLEANUP(freep) char *clean = gopath_clean(m->target);

    to->cache_id = llb_printf(r->c->b, "%s/%s", r->c->ui->cache_ns, *m->id != '\0' ? m->id : clean);
    if (m->sharing == SHARING_PRIVATE)
        to->sharing = PB__CACHE_SHARING__PRIVATE;
    else if (m->sharing == SHARING_LOCKED)
        to->sharing = PB__CACHE_SHARING__LOCKED;
}

/* bind, cache, tmpfs. `source`: the stage of the mount, used when it names one or is a cache. */
static struct error *add_plain_mount(struct run *r, const struct mount_flag *m, struct build_stage *source)
{
    struct convert *c = r->c;
    bool from_stage = *m->from != '\0' || m->type == MOUNT_CACHE;
    struct llb_mount to = { .source = llb_new_state(c->context) };
    CLEANUP(freep) char *selector = NULL;

    if (from_stage) {
        if (!source->dispatched) {
            CLEANUP(freep) char *from = str_quote(*m->from != '\0' ? m->from : "scratch");
            CLEANUP(freep) char *target = str_quote(m->target);

            return err_new(
                ERR_INVALID,
                "cannot mount from stage %s to %s, stage needs to be defined before current command", from,
                target);
        }
        to.source = source->state;
    }
    if (m->type == MOUNT_TMPFS) {
        to.source = llb_scratch();
        to.tmpfs = true;
        to.tmpfs_size = m->size_limit;
    }
    to.readonly = m->read_only;
    to.no_output = !m->read_only && m->type == MOUNT_BIND;
    if (m->type == MOUNT_CACHE)
        set_cache(r, m, &to);
    TRY(mount_target(r, m, &to.target));
    selector = gopath_join("/", m->source);
    if (!streq(selector, "/")) {
        to.selector = llb_strdup(c->b, selector);
    } else if (m->uid_set || m->gid_set || m->mode_set) {
        to.source = owned_cache(c, to.source, m);
        to.selector = "/cache";
    }
    add_mount(r, to);
    mark_path(c, from_stage ? source->paths : &c->ctx_paths, m->source);
    return NULL;
}

static struct error *add_mounts(struct run *r, struct build_command *cmd)
{
    const struct run_args *run = &r->ins->run;

    for (size_t i = 0; i < run->mount_count; i++) {
        switch (run->mounts[i].type) {
        case MOUNT_SECRET:
            TRY(add_secret(r, &run->mounts[i]));
            break;
        case MOUNT_SSH:
            TRY(add_ssh(r, &run->mounts[i]));
            break;
        case MOUNT_BIND:
        case MOUNT_CACHE:
        case MOUNT_TMPFS:
            TRY(add_plain_mount(r, &run->mounts[i], cmd->sources[i]));
            break;
        }
    }
    return NULL;
}

/* ---- name and history
 * -------------------------------------------------------------------------------------------------- */

/* Values that come from secrets show as **** in the step's name. */
struct masked_env {
    const struct run_args *run;
    const struct llb_env *base;
};

static const char *masked_get(const void *ctx, const char *name)
{
    const struct masked_env *m = ctx;

    for (size_t i = 0; i < m->run->mount_count; i++) {
        if (m->run->mounts[i].type == MOUNT_SECRET && m->run->mounts[i].env != NULL &&
            streq(m->run->mounts[i].env, name))
            return "****";
    }
    return llb_env_get(m->base, name);
}

static char *run_name(struct run *r)
{
    struct words_options words = r->c->words;
    struct masked_env masked = { &r->ins->run, r->s->state.env };
    struct words_env env = { masked_get, &masked };
    CLEANUP(freep) char *text = NULL;

    words.raw_quotes = true;
    words.raw_escapes = true;
    words.skip_unset = true;
    text = step_text(&words, r->document != NULL ? r->document : r->ins->code, &env);
    return step_name(r->s, text, r->c->ui->multi_platform, r->s->state.platform, r->s->state.env);
}

/* "RUN |1 A=b /bin/sh -c ...": the arguments that were in force stand in front. */
static void run_history(struct run *r, const struct llb_env *env)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(map_deinit) struct map args = { 0 };

    strmap_init(&args);
    for (size_t i = 0; i < r->s->arg_count; i++) {
        const struct build_arg *a = &r->s->args[i];
        const char *v = llb_env_get(env, a->key);

        strmap_set(&args, a->key, v != NULL ? v : a->value != NULL ? a->value : "");
    }
    buf_adds(&text, "RUN");
    if (args.len > 0)
        buf_addf(&text, " |%zu", args.len);
    for (size_t i = 0; i < args.len; i++) {
        CLEANUP(freep) char *shown = url_redact(args.entries[i].value);

        buf_addf(&text, " %s=%s", args.entries[i].key, shown);
    }
    for (size_t i = 0; i < r->args.len; i++) {
        buf_addc(&text, ' ');
        buf_adds(&text, r->args.v[i]);
    }
    if (args.len == 0 && r->args.len == 0)
        buf_addc(&text, ' ');
    buf_adds(&text, " # buildkit");
    stage_history(r->c, r->s, &text, true);
}

/* ---- all
 * ---------------------------------------------------------------------------------------------------------------
 */

static void add_devices(struct run *r)
{
    const struct run_args *run = &r->ins->run;

    if (!llb_cap_enabled("exec.meta.cdi") || run->device_count == 0)
        return;
    r->devices = xcalloc(run->device_count, sizeof(r->devices[0]));
    for (size_t i = 0; i < run->device_count; i++)
        r->devices[i] = (struct llb_device){ run->devices[i].name, !run->devices[i].required };
    r->llb.devices = r->devices;
    r->llb.device_count = run->device_count;
}

static struct error *set_modes(struct run *r)
{
    const struct run_args *run = &r->ins->run;

    if (streq(run->security, "insecure"))
        r->llb.security = PB__SECURITY_MODE__INSECURE;
    else if (!streq(run->security, "sandbox"))
        return err_new(ERR_INVALID, "unsupported security mode \"%s\"", run->security);
    r->llb.has_network = !streq(run->network, "default");
    if (streq(run->network, "none"))
        r->llb.network = PB__NET_MODE__NONE;
    else if (streq(run->network, "host"))
        r->llb.network = PB__NET_MODE__HOST;
    else if (r->llb.has_network)
        return err_new(ERR_INVALID, "unsupported network mode \"%s\"", run->network);
    return NULL;
}

static void set_limits(struct run *r, struct llb_options *o)
{
    const struct dockerui *ui = r->c->ui;

    r->llb.ulimits = ui->ulimits;
    r->llb.ulimit_count = ui->ulimit_count;
    r->llb.hosts = ui->hosts;
    r->llb.host_count = ui->host_count;
    if (ui->shm_size > 0)
        add_mount(r, (struct llb_mount){ .target = "/dev/shm",
                                         .source = llb_scratch(),
                                         .tmpfs = true,
                                         .tmpfs_size = ui->shm_size });
    if (*ui->cgroup_parent != '\0')
        r->llb.cgroup_parent = ui->cgroup_parent;
    if (ui->has_resources)
        o->resources = &ui->resources;
}

static struct error *run(struct run *r, struct build_command *cmd)
{
    struct convert *c = r->c;
    struct build_stage *s = r->s;
    const struct llb_env *env = s->state.env;
    struct llb_options o = { .command = r->ins->code, .ignore_cache = s->ignore_cache };
    CLEANUP(freep) char *name = NULL;

    TRY(run_words(r));
    options_locate(c, &o, r->ins->lines);
    r->llb.proxy = c->proxy;
    TRY(add_mounts(r, cmd));
    TRY(set_modes(r));
    if (c->o->only_check)
        return NULL; /* nobody will see the step */
    add_devices(r);
    name = run_name(r);
    o.custom_name = name;
    set_limits(r, &o);
    r->llb.args = &r->args;
    r->llb.mounts = r->mounts;
    r->llb.secrets = r->secrets;
    r->llb.ssh = r->ssh;
    s->state = llb_run(c->b, s->state, &r->llb, &o);
    run_history(r, env);
    return NULL;
}

struct error *dispatch_run(struct convert *c, struct build_stage *s, struct build_command *cmd)
{
    struct run r = { .c = c, .s = s, .ins = cmd->ins };
    struct error *e;

    set_add(s->paths, "/"); /* a process may read anything */
    e = run(&r, cmd);
    run_deinit(&r);
    return e;
}
