/* SPDX-License-Identifier: Apache-2.0 */
/* classic_run.c - RUN and WORKDIR of a classic build */
#include "engine/classic_impl.h"

#include "frontend/dockerfile/ospath.h"
#include "op/held.h"
#include "op/held_network.h"

struct error *classic_needs_buildkit(const char *flag)
{
    return err_new(
        ERR_INVALID,
        "the %s requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build "
        "images with BuildKit enabled",
        flag);
}

/* ---- RUN
 * --------------------------------------------------------------------------------------------------------------------
 */

/* RUN takes no options here: the first one is named. */
static struct error *check_flags(const struct instruction *ins)
{
    CLEANUP(freep) char *flag = NULL;
    const char *p = ins->code + strcspn(ins->code, " \t\\\n");

    p += strspn(p, " \t\\\n");
    if (ins->run.line.file_count > 0)
        return classic_needs_buildkit("heredoc syntax");
    if (strncmp(p, "--", 2) != 0)
        return NULL;
    flag = xasprintf("--%.*s option", (int)strcspn(p + 2, "= \t"), p + 2);
    return classic_needs_buildkit(flag);
}

struct run {
    struct classic *classic;
    struct classic_stage *stage;
    struct strv args; /* with the shell */
    struct strv vars; /* arguments as KEY=VALUE */
};

static void run_deinit(struct run *r)
{
    strv_deinit(&r->args);
    strv_deinit(&r->vars);
}

/* "|2 A=b C=d /bin/sh -c ..": the arguments that count stand in front. */
static void recorded_command(const struct run *r, struct strv *ret)
{
    CLEANUP(strv_deinit) struct strv vars = { 0 };

    for (size_t i = 0; i < r->vars.len; i++) {
        CLEANUP(freep) char *key = xstrndup(r->vars.v[i], strcspn(r->vars.v[i], "="));

        if (!classic_args_is_transparent(&r->classic->args, key))
            strv_add(&vars, r->vars.v[i]);
    }
    strv_sort(&vars);
    if (r->vars.len > 0)
        strv_addf(ret, "|%zu", vars.len);
    strv_copy(ret, &vars);
    strv_copy(ret, &r->args);
}

static const char **proxy_field(struct llb_proxy *p, const char *key)
{
    CLEANUP(freep) char *lower = str_lower(key);

    return streq(lower, "http_proxy")    ? &p->http
           : streq(lower, "https_proxy") ? &p->https
           : streq(lower, "ftp_proxy")   ? &p->ftp
           : streq(lower, "no_proxy")    ? &p->no_proxy
           : streq(lower, "all_proxy")   ? &p->all
                                         : NULL;
}

/* Arguments: to the environment, but for proxies nobody declared, which must not count in the key. */
static struct llb_state add_vars(const struct run *r, struct llb_builder *b, struct llb_state st,
                                 struct llb_proxy *proxy)
{
    for (size_t i = 0; i < r->vars.len; i++) {
        const char *pair = r->vars.v[i];
        const char *key = llb_strndup(b, pair, strcspn(pair, "=")), **field;

        if (classic_args_is_transparent(&r->classic->args, key) && (field = proxy_field(proxy, key)) != NULL)
            *field = pair + strlen(key) + 1;
        else
            st = llb_add_env(b, st, key, pair + strlen(key) + 1);
    }
    return st;
}

/* "host:address"; checked. */
static struct llb_host_ip *host_list(const struct classic_options *o, struct llb_builder *b)
{
    struct llb_host_ip *v = llb_alloc(b, (o->hosts.len + 1) * sizeof(*v));

    for (size_t i = 0; i < o->hosts.len; i++) {
        size_t len = strcspn(o->hosts.v[i], ":");
        const char *ip = o->hosts.v[i] + len + 1;

        v[i].host = llb_strndup(b, o->hosts.v[i], len);
        v[i].ip = streq(ip, "host-gateway") && o->host_gateway != NULL ? o->host_gateway : ip;
    }
    return v;
}

static bool has_limits(const struct llb_resources *r)
{
    return r->memory != 0 || r->memory_swap != 0 || r->cpu_quota != 0 || r->cpu_shares != 0 ||
           r->cpu_period != 0 || *r->cpuset_cpus != '\0' || *r->cpuset_mems != '\0';
}

static struct error *execute(const struct run *r, const char *code, const struct held_network *network,
                             struct snapshot **ret, bool *ret_cached)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    struct classic *c = r->classic;
    const struct classic_options *o = c->o;
    struct held *held = held_open(r->stage->image.snapshot);
    struct llb_proxy proxy = { 0 };
    struct llb_state st = add_vars(r, b, classic_state(c, b, r->stage, held), &proxy);
    struct llb_mount shm = {
        .target = "/dev/shm", .source = llb_scratch(), .tmpfs = true, .tmpfs_size = o->shm_size
    };
    struct llb_run run = { .args = &r->args,
                           .held_network = network == NULL ? NULL : held_network_name(network),
                           .proxy = &proxy,
                           .mounts = &shm,
                           .mount_count = o->shm_size > 0 ? 1 : 0,
                           .hosts = host_list(o, b),
                           .host_count = o->hosts.len,
                           .ulimits = o->ulimits,
                           .ulimit_count = o->ulimit_count,
                           .cgroup_parent = o->cgroup_parent != NULL && *o->cgroup_parent != '\0'
                                                ? o->cgroup_parent
                                                : NULL };
    struct llb_options options = { .custom_name = code,
                                   .ignore_cache = o->no_cache,
                                   .resources = has_limits(&o->resources) ? &o->resources : NULL };
    struct error *e;

    if (network != NULL)
        st.hostname = llb_strdup(b, held_network_get(network)->host_name);
    e = classic_solve(c, b, llb_run(b, st, &run, &options), CLASSIC_PROCESS, ret, ret_cached);
    held_close(held);
    return e;
}

/* A process that could not be started, without the words that steps of BuildKit put before. Takes `e`. */
static struct error *without_process(struct error *e)
{
    static const char words[] = " did not complete successfully: ";
    const char *rest = str_has_prefix(e->message, "process ") ? strstr(e->message, words) : NULL;
    struct error *mine = rest == NULL ? e : err_new(e->kind, "%s", rest + strlen(words));

    if (mine != e)
        err_free(e);
    return mine;
}

/* A failed process in the classic builder's words. Takes `e`. */
static struct error *exit_error(const struct run *r, struct error *e)
{
    const struct error_detail *d = err_find_detail(e, "gatewayapi.ExitMessage+json");
    CLEANUP(freep) char *joined = NULL;
    CLEANUP(json_decrefp) json_t *j = NULL;
    struct error *mine;

    if (d == NULL)
        return e == NULL ? NULL : without_process(e);
    j = json_loadb(d->value, d->len, 0, NULL);
    joined = strv_join(&r->args, " ");
    mine = err_new(ERR_UNKNOWN, "The command '%s' returned a non-zero code: %lld", joined,
                   (long long)json_integer_value(json_object_get(j, "Code")));
    err_add_detail(mine, d->type_url, d->value, d->len);
    err_free(e);
    return mine;
}

static struct error *run_in_network(const struct run *r, const char *code, struct snapshot **ret,
                                    bool *ret_cached)
{
    struct held_network *network;
    struct error *e;

    TRY(classic_host_check(r->classic));
    e = classic_host_network(r->classic, &network);
    if (e != NULL) { /* the container is there by then, but does not start */
        err_free(classic_say_running(r->classic));
        return e;
    }
    e = exit_error(r, execute(r, code, network, ret, ret_cached));
    held_network_close(network);
    return e;
}

static struct error *run_step(struct run *r, const char *code)
{
    CLEANUP(strv_deinit) struct strv recorded = { 0 };
    CLEANUP(snapshot_unrefp) struct snapshot *files = NULL;
    CLEANUP(freep) char *created_by = NULL;
    struct classic *c = r->classic;
    struct digest config;
    bool hit, cached;

    recorded_command(r, &recorded);
    created_by = strv_join(&recorded, " ");
    config = classic_step_config(r->stage, &recorded, recorded.len > 0);
    TRY(classic_image_probe(c, r->stage, &config, created_by, &hit));
    if (hit)
        return NULL;
    TRY(run_in_network(r, code, &files, &cached));
    if (cached)
        TRY(classic_say(c, " ---> Using cache\n"));
    return classic_image_commit(c, r->stage, files, &config, created_by);
}

struct error *classic_run(struct classic *c, struct classic_stage *s, const struct instruction *ins)
{
    CLEANUP(run_deinit) struct run r = { .classic = c, .stage = s };
    const struct command_line *line = &ins->run.line;

    TRY(check_flags(ins));
    if (line->prepend_shell && line->args.len > 0)
        classic_shell(s, &r.args);
    strv_copy(&r.args, &line->args);
    classic_args_env(&c->args, &s->image.config.env, &r.vars);
    return run_step(&r, ins->code);
}

/* ---- WORKDIR
 * ----------------------------------------------------------------------------------------------------------------
 */

/* The directory that the stage is in now. */
static struct error *make_dir(struct classic *c, struct classic_stage *s, struct snapshot **ret)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    const char *dir = s->image.config.working_dir;
    CLEANUP(freep) char *name = xasprintf("WORKDIR %s", dir);
    struct held *held;
    bool cached;

    if (streq(dir, "/"))
        return NULL;
    held = held_open(s->image.snapshot);
    struct llb_state st =
        llb_file(b, classic_state(c, b, s, held), llb_mkdir(b, NULL, dir, 0755, true, NULL, NULL),
                 &(struct llb_options){ .custom_name = name });
    struct error *e = classic_solve(c, b, st, CLASSIC_QUIET, ret, &cached);

    held_close(held);
    return e;
}

struct error *classic_workdir(struct classic *c, struct classic_stage *s, const char *path)
{
    CLEANUP(strv_deinit) struct strv words = { 0 };
    struct df_image *i = &s->image.config;
    char *dir;

    if (*path == '\0')
        return err_new(ERR_INVALID, "cannot normalize nothing");
    TRY(ospath_workdir(i->working_dir == NULL ? "" : i->working_dir, path, "linux", &dir));
    free(i->working_dir);
    i->working_dir = dir;
    strv_addf(&words, "#(nop) WORKDIR %s", dir);
    return classic_step(c, s, &words, make_dir);
}
