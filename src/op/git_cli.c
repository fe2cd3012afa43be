/* SPDX-License-Identifier: Apache-2.0 */
/*
 * git_cli.c - running the git program
 *
 * Its environment is made from nothing: no configuration of the host, no hooks, no templates, no password
 * prompts, no keys of the daemon's user.  Credentials travel in the environment, as configuration that is
 * written nowhere.
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "io/spawn.h"
#include "op/git_impl.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGENT "agent"
#define KNOWN_HOSTS "known_hosts"
#define AGENT_BACKLOG 8

struct error *git_make_work(struct git *g)
{
    char id[26];
    int work = store_work_fd(g->c->store);

    if (g->work != NULL)
        return NULL;
    random_id(id, 25);
    g->work = xasprintf("git-%s", id);
    if (mkdirat(work, g->work, 0700) < 0)
        return err_sys(errno, "make a folder for git");
    g->work_path = store_work_path(g->c->store, g->work);
    g->work_fd = openat(work, g->work, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return g->work_fd < 0 ? err_sys(errno, "open a folder for git") : NULL;
}

/* ---- ssh
 * ----------------------------------------------------------------------------------------------------------
 */

/* Short and without blanks, wherever the data lies: sockets and ssh's options want that. */
static char *work_name(const struct git *g, const char *name)
{
    return xasprintf("/proc/%d/fd/%d/%s", (int)getpid(), g->work_fd, name);
}

static struct error *write_known_hosts(struct git *g)
{
    size_t len = strlen(g->known_hosts);
    CLEANUP(closep) int fd = openat(g->work_fd, KNOWN_HOSTS, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, g->known_hosts, len) != (ssize_t)len)
        return err_sys(errno == 0 ? EIO : errno, "write known hosts");
    return NULL;
}

static struct error *listen_for_agent(struct git *g)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CLEANUP(freep) char *name = work_name(g, AGENT);

    TRY(session_ssh_check(&g->c->sessions, g->agent_id));
    snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, AGENT_BACKLOG) < 0)
        return err_sys(errno, "listen for ssh");
    g->agent_fd = TAKE_FD(fd);
    return NULL;
}

static struct error *prepare_ssh(struct git *g)
{
    TRY(git_make_work(g));
    if (*g->known_hosts != '\0')
        TRY(write_known_hosts(g));
    return *g->agent_id == '\0' || g->agent_fd >= 0 ? NULL : listen_for_agent(g);
}

struct agent {
    const struct git *g;
    struct group *connections;
};
struct agent_connection {
    const struct git *g;
    struct stream *stream;
};

static struct error *serve_agent(void *arg)
{
    struct agent_connection *c = arg;
    struct error *e = session_ssh_serve(&c->g->c->sessions, c->g->agent_id, c->stream);

    free(c);
    return e;
}

static struct error *accept_for_agent(void *arg)
{
    const struct agent *a = arg;

    for (;;) {
        int r = task_wait_fd(a->g->agent_fd, POLLIN);

        if (r < 0)
            return task_error(r, "wait for ssh");
        int fd = accept4(a->g->agent_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
            continue;
        struct agent_connection *c = NEW(struct agent_connection);

        *c = (struct agent_connection){ a->g, stream_from_fd(fd) };
        struct error *e = group_spawn(a->connections, "git-agent", serve_agent, c);

        if (e != NULL) {
            stream_close(c->stream);
            free(c);
            log_err(LOG_WARN, e, "cannot serve an ssh agent's connection");
        }
    }
}

/* ---- the environment
 * ----------------------------------------------------------------------------------------------------------
 */

static void add_ssh(const struct git *g, struct strv *env)
{
    CLEANUP(freep) char *known = work_name(g, KNOWN_HOSTS), *agent = work_name(g, AGENT);
    bool strict = *g->known_hosts != '\0';

    strv_addf(env,
              "GIT_SSH_COMMAND=ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none -o "
              "GlobalKnownHostsFile=/dev/null -o UserKnownHostsFile=%s -o StrictHostKeyChecking=%s",
              strict ? known : "/dev/null", strict ? "yes" : "no");
    if (g->agent_fd >= 0)
        strv_addf(env, "SSH_AUTH_SOCK=%s", agent);
}

/* One token serves all of github.com, as everywhere. */
static const char *token_scope(const char *remote)
{
    return str_has_prefix(remote, "https://github.com/")       ? "https://github.com/"
           : str_has_prefix(remote, "https://www.github.com/") ? "https://www.github.com/"
                                                               : remote;
}

/* Configuration that is only in the environment. */
static void add_secret_config(const struct git *g, struct strv *env)
{
    const char *authority = strstr(g->remote, "://");
    int n = 0;

    if (g->authorization != NULL) {
        strv_addf(env, "GIT_CONFIG_KEY_%d=http.%s.extraheader", n, token_scope(g->remote));
        strv_addf(env, "GIT_CONFIG_VALUE_%d=%s", n++, g->authorization);
    }
    if (g->userinfo != NULL && authority != NULL) {
        int scheme = (int)(authority - g->remote);

        strv_addf(env, "GIT_CONFIG_KEY_%d=url.%.*s://%s@%s/.insteadOf", n, scheme, g->remote, g->userinfo,
                  g->host);
        strv_addf(env, "GIT_CONFIG_VALUE_%d=%.*s://%s/", n++, scheme, g->remote, g->host);
    }
    if (n > 0)
        strv_addf(env, "GIT_CONFIG_COUNT=%d", n);
}

static void environment(const struct git *g, const struct git_call *call, struct strv *env)
{
    static const char *const passed[] = { "PATH",       "HTTP_PROXY",  "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
                                          "http_proxy", "https_proxy", "no_proxy",    "all_proxy" };

    for (size_t i = 0; i < ARRAY_LEN(passed); i++) {
        const char *value = getenv(passed[i]);

        if (value != NULL)
            strv_addf(env, "%s=%s", passed[i], value);
    }
    strv_add(env, "GIT_TERMINAL_PROMPT=0");
    strv_add(env, "GIT_CONFIG_NOSYSTEM=1");
    strv_add(env, "GIT_CONFIG_GLOBAL=/dev/null");
    strv_add(env, "HOME=/dev/null");
    strv_add(env, "LC_ALL=C");
    strv_addf(env, "GIT_ALLOW_PROTOCOL=%s", call->own_files ? "file" : "http:https:git:ssh");
    if (call->own_files)
        return;
    add_secret_config(g, env);
    add_ssh(g, env);
}

static void arguments(const struct git *g, const struct git_call *call, const char *const *words,
                      struct strv *argv)
{
    static const char *const settings[] = { "core.hooksPath=/dev/null",
                                            "core.fsmonitor=false",
                                            "init.templateDir=",
                                            "init.defaultBranch=master",
                                            "gc.auto=0",
                                            "maintenance.auto=false",
                                            "protocol.ext.allow=never",
                                            "credential.helper=" };

    strv_add(argv, "git");
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        strv_add(argv, "-c");
        strv_add(argv, settings[i]);
    }
    if (!streq(git_attr(g, "git.advice"), "true")) {
        strv_add(argv, "-c");
        strv_add(argv, "advice.detachedHead=false");
    }
    if (call->work_tree != NULL)
        strv_addf(argv, "--work-tree=%s", call->work_tree);
    if (call->git_dir != NULL)
        strv_addf(argv, "--git-dir=%s", call->git_dir);
    for (; *words != NULL; words++)
        strv_add(argv, *words);
}

/* ---- running
 * ----------------------------------------------------------------------------------------------------------
 */

static int child_setup(void *arg)
{
    (void)arg;
    umask(022);
    return 0;
}

/* git leaves them out of what it says; this is for what it forgets. */
static void scrub(const struct git *g, struct buf *text)
{
    CLEANUP(freep) char *secret = g->userinfo == NULL ? NULL : xasprintf("%s@", g->userinfo);
    CLEANUP(buf_deinit) struct buf clean = { 0 };
    const char *p = buf_str(text), *hit;

    if (secret == NULL || strstr(p, secret) == NULL)
        return;
    for (; (hit = strstr(p, secret)) != NULL; p = hit + strlen(secret))
        buf_add(&clean, p, (size_t)(hit - p));
    buf_adds(&clean, p);
    buf_clear(text);
    buf_add(text, clean.data, clean.len);
}

static struct error *spawn_git(const struct git *g, const struct git_call *call, struct buf *out,
                               struct buf *err, const char *const *words, int *ret_status)
{
    CLEANUP(strv_deinit) struct strv argv = { 0 };
    CLEANUP(strv_deinit) struct strv env = { 0 };

    arguments(g, call, words, &argv);
    environment(g, call, &env);
    return spawn_run(&(struct spawn_options){ .argv = (const char *const *)argv.v,
                                              .env = (const char *const *)env.v,
                                              .cwd = call->work_tree != NULL ? call->work_tree
                                                     : call->git_dir != NULL ? call->git_dir
                                                                             : "/proc",
                                              .new_session = true,
                                              .setup = child_setup },
                     NULL, out, err, LIMIT_GIT_OUTPUT, ret_status);
}

/* The same while the client's ssh agent is served to it. */
static struct error *spawn_with_agent(const struct git *g, const struct git_call *call, struct buf *out,
                                      struct buf *err, const char *const *words, int *ret_status)
{
    CLEANUP(group_deinit) struct group group = { 0 };
    struct agent agent = { g, &group };
    struct error *e;

    group_open(&group, GROUP_KEEP_GOING);
    e = group_spawn(&group, "git-agent-listen", accept_for_agent, &agent);
    if (e == NULL)
        e = spawn_git(g, call, out, err, words, ret_status);
    group_cancel(&group);
    err_free(group_join(&group)); /* git has told what it missed */
    return e;
}

struct error *git_run(struct git *g, const struct git_call *call, struct buf *out, const char *const *words)
{
    CLEANUP(buf_deinit) struct buf err = { 0 };
    bool remote_ssh = g->ssh && !call->own_files;
    int status = 0;

    if (remote_ssh)
        TRY(prepare_ssh(g));
    if (remote_ssh && g->agent_fd >= 0)
        TRY(spawn_with_agent(g, call, out, &err, words, &status));
    else
        TRY(spawn_git(g, call, out, &err, words, &status));
    scrub(g, &err);
    if (g->c->reporter != NULL)
        reporter_log(g->c->reporter, 2, err.data, err.len);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return NULL;
    return err_new(ERR_UNKNOWN, "git stderr:\n%s: exit status %d", buf_str(&err),
                   WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

struct error *git_line(struct git *g, const struct git_call *call, char **ret, const char *const *words)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };

    TRY(git_run(g, call, &out, words));
    *ret = xstrndup(buf_str(&out), strcspn(buf_str(&out), "\n"));
    return NULL;
}

struct error *git_shown(const struct git *g, struct error *e, const char *what)
{
    return err_wrap(e, "%s %s", what, g->remote);
}

bool git_says(const struct error *e, const char *text)
{
    return strstr(e->message, text) != NULL;
}
