/* SPDX-License-Identifier: Apache-2.0 */
#include "op/git.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "io/spawn.h"
#include "op/copy.h"
#include "op/op.h"
#include "registry/exchange.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct git {
    struct op_context *c;
    char *remote, *host, *ref, *subdir;
    const char *checksum, *mtime;
    bool keep_dir, skip_submodules, by_commit;
    char *authorization; /* value of http.<scope>.extraheader; NULL */
    char *work;          /* name below the store's work folder; NULL until made */
    char *bare, *tree;   /* paths in it */
};

static void git_deinit(struct git *g)
{
    if (g->work != NULL)
        store_discard(g->c->store, g->work);
    free(g->remote);
    free(g->host);
    free(g->ref);
    free(g->subdir);
    if (g->authorization != NULL)
        explicit_bzero(g->authorization, strlen(g->authorization));
    free(g->authorization);
    free(g->work);
    free(g->bare);
    free(g->tree);
}

/* ---- what is asked for ---- */

bool git_is_commit(const char *text)
{
    size_t n = strspn(text, "0123456789abcdef");

    return text[n] == '\0' && (n == 40 || n == 64);
}

static bool allowed_scheme(const char *remote, size_t n)
{
    static const char *const all[] = { "http", "https", "git" };

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (strlen(all[i]) == n && strncasecmp(all[i], remote, n) == 0)
            return true;
    }
    return false;
}

bool git_remote_split(const char *remote, char **ret_host, char **ret_path)
{
    const char *p = strstr(remote, "://");

    for (const char *s = remote; *s != '\0'; s++) {
        if ((unsigned char)*s <= 0x20 || *s == 0x7f)
            return false;
    }
    if (p == NULL || !allowed_scheme(remote, (size_t)(p - remote)))
        return false;
    p += 3;
    size_t n = strcspn(p, "/");
    const char *path = p + n;

    for (size_t i = n; i > 0; i--) {
        if (p[i - 1] == '@') {
            p += i;
            n -= i;
            break;
        }
    }
    if (n == 0 || *p == '-')
        return false;
    *ret_host = xstrndup(p, n);
    *ret_path = *path == '\0' ? xstrdup("/") : path_clean(path);
    return true;
}

static const char *attr(const struct op_context *c, const char *key)
{
    const char *s = pb_get_str(c->vertex->op->source->attrs, c->vertex->op->source->n_attrs, key);

    return s == NULL ? "" : s;
}

static bool is_ssh(const char *remote)
{
    return strncasecmp(remote, "ssh://", 6) == 0 ||
           (strstr(remote, "://") == NULL && strchr(remote, '@') != NULL && strchr(remote, ':') != NULL);
}

static void cut_git_suffix(char *path)
{
    if (str_has_suffix(path, ".git"))
        path[strlen(path) - 4] = '\0';
}

/* The remote: git.fullurl, which must be the repository that the identifier names, else https to that. */
static struct error *read_remote(struct git *g, const char *id)
{
    const char *full = attr(g->c, "git.fullurl");
    CLEANUP(freep) char *bare_id = xasprintf("https://%s", id);
    CLEANUP(freep) char *id_host = NULL;
    CLEANUP(freep) char *id_path = NULL;
    CLEANUP(freep) char *path = NULL;

    if (is_ssh(full))
        return err_new(ERR_UNIMPLEMENTED, "git over ssh is not supported yet");
    if (!git_remote_split(bare_id, &id_host, &id_path))
        return err_new(ERR_INVALID, "invalid git remote");
    g->remote = *full != '\0' ? xstrndup(full, strcspn(full, "#?")) : xstrdup(bare_id);
    if (!git_remote_split(g->remote, &g->host, &path))
        return err_new(ERR_INVALID, "failed to parse git.fullurl");
    cut_git_suffix(id_path);
    cut_git_suffix(path);
    if (strcasecmp(id_host, g->host) != 0 || !streq(id_path, path))
        return err_new(ERR_INVALID, "git.fullurl does not match source identifier");
    return NULL;
}

static struct error *refuse_unbuilt(const struct op_context *c)
{
    static const char *const attrs[] = { "git.bundle",
                                         "git.checkoutbundle",
                                         "git.sig.pubkey",
                                         "git.sig.rejectexpired",
                                         "git.sig.requiresignedtag",
                                         "git.sig.ignoresignedtag",
                                         "git.mountsshsock" };

    for (size_t i = 0; i < ARRAY_LEN(attrs); i++) {
        if (*attr(c, attrs[i]) != '\0')
            return err_new(ERR_UNIMPLEMENTED, "git sources with %s are not supported yet", attrs[i]);
    }
    return NULL;
}

static struct error *git_init(struct git *g)
{
    const char *id = g->c->vertex->op->source->identifier + strlen("git://");
    const char *fragment = strchr(id, '#');
    CLEANUP(freep) char *where = xstrndup(id, fragment == NULL ? strlen(id) : (size_t)(fragment - id));
    const char *colon = fragment == NULL ? NULL : strchr(fragment, ':');

    g->ref = fragment == NULL ? xstrdup("")
             : colon == NULL  ? xstrdup(fragment + 1)
                              : xstrndup(fragment + 1, (size_t)(colon - fragment - 1));
    g->subdir = path_join("/", colon == NULL ? "" : colon + 1);
    g->checksum = attr(g->c, "git.checksum");
    g->mtime = attr(g->c, "git.mtime");
    g->keep_dir = streq(attr(g->c, "git.keepgitdir"), "true");
    g->skip_submodules = streq(attr(g->c, "git.skipsubmodules"), "true");
    g->by_commit = streq(attr(g->c, "git.fetchbycommit"), "true");
    if (g->ref[0] == '-')
        return err_new(ERR_INVALID, "invalid git ref \"%s\"", g->ref);
    if (strspn(g->checksum, "0123456789abcdefABCDEF") != strlen(g->checksum))
        return err_new(ERR_INVALID, "invalid checksum %s for Git URL, expected hex commit hash", g->checksum);
    TRY(read_remote(g, where));
    return refuse_unbuilt(g->c);
}

static struct error *find_authorization(struct git *g)
{
    const char *header = attr(g->c, "git.authheadersecret"), *token = attr(g->c, "git.authtokensecret");

    if (g->c->sessions.ids.len == 0 || g->authorization != NULL)
        return NULL;
    for (int i = 0; i < 4; i++) {
        const char *base = i % 2 == 0 ? header : token;
        CLEANUP(freep) char *name = i < 2 ? xasprintf("%s.%s", base, g->host) : xstrdup(base);
        CLEANUP(buf_deinit) struct buf secret = { 0 };
        CLEANUP(buf_deinit) struct buf coded = { 0 };

        if (*base == '\0')
            continue;
        struct error *e = session_secret(&g->c->sessions, name, &secret);

        if (err_is(e, ERR_CANCELLED))
            return e;
        err_free(e); /* the next one, or none: a public repository needs none */
        if (e != NULL)
            continue;
        if (i % 2 == 1) {
            CLEANUP(freep) char *pair = xasprintf("x-access-token:%s", buf_str(&secret));

            base64_encode(&coded, pair, strlen(pair));
        }
        g->authorization = xasprintf("Authorization: %s%s", i % 2 == 1 ? "basic " : "",
                                     i % 2 == 1 ? buf_str(&coded) : buf_str(&secret));
        if (strpbrk(g->authorization, "\r\n") != NULL)
            return err_new(ERR_INVALID, "secret %s does not fit into a header", name);
        return NULL;
    }
    return NULL;
}

/* ---- the git program ---- */

static int child_setup(void *arg)
{
    (void)arg;
    umask(022);
    return 0;
}

static const char *token_scope(const char *remote)
{
    return str_has_prefix(remote, "https://github.com/")       ? "https://github.com/"
           : str_has_prefix(remote, "https://www.github.com/") ? "https://www.github.com/"
                                                               : remote;
}

static void environment(const struct git *g, bool own_files, struct strv *env)
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
    strv_addf(env, "GIT_ALLOW_PROTOCOL=%s", own_files ? "file" : "http:https:git");
    if (g->authorization != NULL && !own_files) {
        strv_add(env, "GIT_CONFIG_COUNT=1");
        strv_addf(env, "GIT_CONFIG_KEY_0=http.%s.extraheader", token_scope(g->remote));
        strv_addf(env, "GIT_CONFIG_VALUE_0=%s", g->authorization);
    }
}

struct call {
    const char *git_dir, *work_tree; /* NULL: none */
    bool own_files;                  /* may read our repository by a file URL, and nothing else */
};

/* Run git with the words up to NULL; what it wrote to stdout in `out` (may be NULL). */
static struct error *git_run(const struct git *g, const struct call *call, struct buf *out,
                             const char *const *words)
{
    CLEANUP(strv_deinit) struct strv argv = { 0 };
    CLEANUP(strv_deinit) struct strv env = { 0 };
    CLEANUP(buf_deinit) struct buf err = { 0 };
    static const char *const settings[] = { "core.hooksPath=/dev/null",
                                            "core.fsmonitor=false",
                                            "init.templateDir=",
                                            "init.defaultBranch=master",
                                            "gc.auto=0",
                                            "protocol.ext.allow=never",
                                            "credential.helper=" };
    int status = 0;

    strv_add(&argv, "git");
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        strv_add(&argv, "-c");
        strv_add(&argv, settings[i]);
    }
    if (!streq(attr(g->c, "git.advice"), "true")) {
        strv_add(&argv, "-c");
        strv_add(&argv, "advice.detachedHead=false");
    }
    if (call->work_tree != NULL)
        strv_addf(&argv, "--work-tree=%s", call->work_tree);
    if (call->git_dir != NULL)
        strv_addf(&argv, "--git-dir=%s", call->git_dir);
    for (; *words != NULL; words++)
        strv_add(&argv, *words);
    environment(g, call->own_files, &env);
    TRY(spawn_run(&(struct spawn_options){ .argv = (const char *const *)argv.v,
                                           .env = (const char *const *)env.v,
                                           .cwd = call->work_tree != NULL ? call->work_tree
                                                  : call->git_dir != NULL ? call->git_dir
                                                                          : "/proc",
                                           .new_session = true,
                                           .setup = child_setup },
                  NULL, out, &err, LIMIT_GIT_OUTPUT, &status));
    reporter_log(g->c->reporter, 2, err.data, err.len);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return NULL;
    return err_new(ERR_UNKNOWN, "git stderr:\n%s: exit status %d", buf_str(&err),
                   WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

#define GIT(g, call, out, ...) git_run(g, call, out, (const char *const[]){ __VA_ARGS__, NULL })

/* One line of output without its end. */
static struct error *git_line(const struct git *g, const struct call *call, char **ret,
                              const char *const *words)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };

    TRY(git_run(g, call, &out, words));
    *ret = xstrndup(buf_str(&out), strcspn(buf_str(&out), "\n"));
    return NULL;
}

/* ---- resolving ---- */

struct refs {
    char *sha, *head, *tag, *peeled;
    char *name; /* of what was found */
};

static void refs_deinit(struct refs *r)
{
    free(r->sha);
    free(r->head);
    free(r->tag);
    free(r->peeled);
    free(r->name);
}

static const char *behind(const char *s, const char *prefix)
{
    const char *rest = str_skip_prefix(s, prefix);

    return rest != NULL ? rest : s;
}

static struct error *shown(const struct git *g, struct error *e, const char *what)
{
    CLEANUP(freep) char *remote = exchange_url_redact(g->remote);

    return err_wrap(e, "%s %s", what, remote);
}

static struct error *default_branch(struct git *g)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };
    struct error *e = GIT(g, &(struct call){ 0 }, &out, "ls-remote", "--symref", "--", g->remote, "HEAD");

    TRY(shown(g, e, "error fetching default branch for repository"));
    const char *p = strstr(buf_str(&out), "ref: refs/heads/");

    if (p == NULL)
        return err_new(ERR_UNKNOWN, "could not find default branch for repository: %s", g->host);
    p += strlen("ref: refs/heads/");
    free(g->ref);
    g->ref = xstrndup(p, strcspn(p, "\t\n"));
    if (g->ref[0] == '-' || g->ref[0] == '\0')
        return err_new(ERR_INVALID, "invalid git ref \"%s\"", g->ref);
    return NULL;
}

/* "sha<TAB>name" lines: which of the ref's possible names are there. */
static void read_refs(const char *text, const char *ref, struct refs *r)
{
    CLEANUP(freep) char *partial = xasprintf("refs/%s", behind(ref, "refs/"));
    CLEANUP(freep) char *head = xasprintf("refs/heads/%s", behind(ref, "refs/heads/"));
    CLEANUP(freep) char *tag = xasprintf("refs/tags/%s", behind(ref, "refs/tags/"));
    CLEANUP(freep) char *peeled = xasprintf("%s^{}", tag);
    CLEANUP(strv_deinit) struct strv lines = { 0 };

    strv_split(&lines, text, '\n');
    for (size_t i = 0; i < lines.len; i++) {
        const char *tab = strchr(lines.v[i], '\t');
        char **where = tab == NULL               ? NULL
                       : streq(tab + 1, head)    ? &r->head
                       : streq(tab + 1, tag)     ? &r->tag
                       : streq(tab + 1, peeled)  ? &r->peeled
                       : streq(tab + 1, partial) ? &r->sha
                                                 : NULL;

        if (where != NULL && *where == NULL)
            *where = xstrndup(lines.v[i], (size_t)(tab - lines.v[i]));
    }
    r->name = TAKE(*(r->sha != NULL ? &partial : r->head != NULL ? &head : &tag));
    if (r->sha == NULL)
        r->sha = TAKE(r->head);
    if (r->sha != NULL)
        freep(&r->peeled); /* a branch stands before a tag */
    else
        r->sha = TAKE(r->tag);
}

static struct error *ask_remote(struct git *g, struct refs *r)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };

    TRY(find_authorization(g));
    if (g->ref[0] == '\0')
        TRY(default_branch(g));
    CLEANUP(freep) char *peeled = xasprintf("%s^{}", g->ref);
    struct error *e = GIT(g, &(struct call){ 0 }, &out, "ls-remote", "--", g->remote, g->ref, peeled);

    TRY(shown(g, e, "failed to fetch remote"));
    read_refs(buf_str(&out), g->ref, r);
    if (r->sha == NULL)
        return err_new(ERR_UNKNOWN, "repository does not contain ref %s, output: \"%s\"", g->ref,
                       buf_str(&out));
    if (!git_is_commit(r->sha) || (r->peeled != NULL && !git_is_commit(r->peeled)))
        return err_new(ERR_UNKNOWN, "invalid commit sha \"%s\"", r->sha);
    if (!str_has_prefix(r->sha, g->checksum) &&
        (r->peeled == NULL || !str_has_prefix(r->peeled, g->checksum)))
        return err_new(ERR_UNKNOWN, "expected checksum to match %s, got %s%s", g->checksum,
                       r->peeled != NULL ? " or " : "", r->peeled != NULL ? r->peeled : r->sha);
    if (r->peeled != NULL && !g->keep_dir) {
        free(r->sha);
        r->sha = TAKE(r->peeled);
    }
    return NULL;
}

static struct error *find_commit(struct git *g, struct refs *r)
{
    if (git_is_commit(g->ref)) {
        if (!str_has_prefix(g->ref, g->checksum))
            return err_new(ERR_UNKNOWN, "expected checksum to match %s, got %s", g->checksum, g->ref);
        r->sha = xstrdup(g->ref);
        r->name = xstrdup(g->ref);
        return NULL;
    }
    if (!g->by_commit)
        return ask_remote(g, r);
    if (*g->checksum == '\0')
        return err_new(ERR_INVALID, "fetch-by-commit requires a checksum or a commit SHA ref");
    if (!git_is_commit(g->checksum))
        return err_new(ERR_INVALID, "fetch-by-commit requires a full commit SHA checksum, got \"%s\"",
                       g->checksum);
    r->sha = xstrdup(g->checksum);
    r->name = g->ref[0] == '\0'                 ? xstrdup(g->checksum)
              : str_has_prefix(g->ref, "refs/") ? xstrdup(g->ref)
                                                : xasprintf("refs/heads/%s", g->ref);
    return NULL;
}

/* "git:<commit>[.git#<ref>][:<subdir>]..", all that makes the result. */
static struct error *resolve(struct op_context *c, char **ret_text, struct snapshot **ret_result)
{
    CLEANUP(git_deinit) struct git g = { .c = c };
    CLEANUP(refs_deinit) struct refs r = { 0 };
    struct buf text = { 0 };

    TRY(git_init(&g));
    TRY(find_commit(&g, &r));
    buf_addf(&text, "git:%s", r.sha);
    if (g.keep_dir)
        buf_addf(&text, ".git#%s", r.name);
    if (!streq(g.subdir, "/"))
        buf_addf(&text, ":%s", g.subdir + 1);
    if (g.skip_submodules)
        buf_adds(&text, "(skip-submodules)");
    if (*g.mtime != '\0' && !streq(g.mtime, "checkout"))
        buf_addf(&text, "(mtime=%s)", g.mtime);
    *ret_text = buf_take(&text);
    return NULL;
}

/* ---- fetching ---- */

static struct error *make_work(struct git *g)
{
    char id[26];
    int work = store_work_fd(g->c->store);

    random_id(id, 25);
    g->work = xasprintf("git-%s", id);
    if (mkdirat(work, g->work, 0700) < 0)
        return err_sys(errno, "make a folder for git");
    CLEANUP(freep) char *folder = store_work_path(g->c->store, g->work);
    g->bare = path_join(folder, "bare");
    g->tree = path_join(folder, "tree");
    if (mkdir(g->bare, 0700) < 0 || mkdir(g->tree, 0755) < 0)
        return err_sys(errno, "make a folder for git");
    return NULL;
}

static bool says(const struct error *e, const char *text)
{
    return strstr(e->message, text) != NULL;
}

/* `what` (a commit or refspec) alone; servers that cannot, all there is. */
static struct error *fetch(const struct git *g, const char *what)
{
    const struct call bare = { .git_dir = g->bare };
    struct error *e = GIT(g, &bare, NULL, "fetch", "--depth=1", "--no-tags", "--force", "--", "origin", what);

    if (e == NULL || err_is(e, ERR_CANCELLED))
        return e;
    if (says(e, "--depth") || says(e, "shallow")) {
        err_free(e);
        e = GIT(g, &bare, NULL, "fetch", "--no-tags", "--force", "--", "origin", what);
        if (e == NULL || err_is(e, ERR_CANCELLED))
            return e;
    }
    if (!says(e, "not our ref") && !says(e, "unadvertised object") && !says(e, "couldn't find remote ref"))
        return e;
    err_free(e);
    return GIT(g, &bare, NULL, "fetch", "--force", "--", "origin", "+refs/*:refs/remote/*");
}

static bool has_object(const struct git *g, const char *sha)
{
    CLEANUP(freep) char *object = xasprintf("%s^{commit}", sha);
    struct error *e = GIT(g, &(struct call){ .git_dir = g->bare }, NULL, "rev-parse", "--verify", "--quiet",
                          "--end-of-options", object);

    err_free(e);
    return e == NULL;
}

/* The commit (or the tag of it) `sha` into the repository of this run. */
static struct error *fetch_commit(struct git *g, const char *sha, const char *name)
{
    const char *format = strlen(sha) == 64 ? "--object-format=sha256" : "--object-format=sha1";
    struct error *e;

    TRY(find_authorization(g));
    TRY(make_work(g));
    const struct call bare = { .git_dir = g->bare };

    TRY(GIT(g, &(struct call){ 0 }, NULL, "init", "--bare", "--template=", format, "--", g->bare));
    TRY(GIT(g, &bare, NULL, "remote", "add", "--", "origin", g->remote));
    CLEANUP(freep) char *spec = xasprintf("%s:refs/minke/fetched", name);

    e = fetch(g, git_is_commit(name) || g->by_commit ? sha : spec);
    if (e == NULL && !has_object(g, sha))
        e = fetch(g, sha); /* the ref has moved on since it was resolved */
    TRY(shown(g, e, "failed to fetch remote"));
    if (!has_object(g, sha))
        return err_new(ERR_UNKNOWN, "fetched ref %s does not contain commit %s", name, sha);
    return NULL;
}

/* ---- checking out ---- */

static struct error *checkout_plain(const struct git *g, const char *sha)
{
    const struct call call = { .git_dir = g->bare, .work_tree = g->tree };

    return shown(g, GIT(g, &call, NULL, "checkout", "--no-overlay", sha, "--", "."),
                 "failed to checkout remote");
}

/* A repository in the tree: one commit deep, with the name that was asked for. */
static struct error *checkout_keeping(const struct git *g, const char *sha, const char *name)
{
    CLEANUP(freep) char *dir = xasprintf("%s/.git", g->tree);
    CLEANUP(freep) char *from = xasprintf("file://%s", g->bare);
    CLEANUP(freep) char *head = xasprintf("%s/FETCH_HEAD", dir);
    CLEANUP(freep) char *to = exchange_url_redact(g->remote);
    CLEANUP(freep)
    char *spec = git_is_commit(name) ? xstrdup("refs/minke/wanted") : xasprintf("refs/minke/wanted:%s", name);
    const struct call call = { .git_dir = dir, .work_tree = g->tree, .own_files = true };
    const char *format = strlen(sha) == 64 ? "--object-format=sha256" : "--object-format=sha1";

    TRY(GIT(g, &(struct call){ .git_dir = g->bare }, NULL, "update-ref", "refs/minke/wanted", sha));
    TRY(GIT(g, &(struct call){ 0 }, NULL, "init", "--template=", format, "--", g->tree));
    TRY(GIT(g, &call, NULL, "remote", "add", "--", "origin", from));
    TRY(GIT(g, &call, NULL, "fetch", "-u", "--depth=1", "--", "origin", spec));
    TRY(shown(g, GIT(g, &call, NULL, "checkout", "FETCH_HEAD"), "failed to checkout remote"));
    TRY(GIT(g, &call, NULL, "remote", "set-url", "--", "origin", *to != '\0' ? to : g->host));
    TRY(GIT(g, &call, NULL, "reflog", "expire", "--all", "--expire=now"));
    (void)!unlink(head);
    return NULL;
}

static struct error *submodules(const struct git *g, bool own_dir)
{
    CLEANUP(freep) char *list = xasprintf("%s/.gitmodules", g->tree);
    CLEANUP(freep) char *dir = own_dir ? xasprintf("%s/.git", g->tree) : xstrdup(g->bare);
    const struct call call = { .git_dir = dir, .work_tree = g->tree };
    struct stat st;

    if (g->skip_submodules || lstat(list, &st) < 0)
        return NULL;
    struct error *e = GIT(g, &call, NULL, "submodule", "update", "--init", "--recursive", "--depth=1");

    if (e != NULL && says(e, "shallow")) {
        err_free(e);
        e = GIT(g, &call, NULL, "submodule", "update", "--init", "--recursive");
    }
    return shown(g, e, "failed to update submodules for");
}

/* The subdirectory, each part of it a real directory (security.md B7). */
static struct error *open_subdir(const struct git *g, int *ret)
{
    CLEANUP(strv_deinit) struct strv parts = { 0 };
    CLEANUP(closep) int fd = open(g->tree, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return err_sys(errno, "open the checkout");
    if (!streq(g->subdir, "/"))
        strv_split(&parts, g->subdir + 1, '/');
    for (size_t i = 0; i < parts.len; i++) {
        int next = openat(fd, parts.v[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (next < 0 && (errno == ENOTDIR || errno == ELOOP))
            return err_new(ERR_INVALID, "invalid subdir %s: git subpath \"%s\" contains non-directory \"%s\"",
                           g->subdir + 1, g->subdir + 1, parts.v[i]);
        if (next < 0)
            return err_new(err_kind_from_errno(errno), "invalid subdir %s: failed to lstat \"%s\": %s",
                           g->subdir + 1, parts.v[i],
                           errno == ENOENT ? "no such file or directory" : "failed");
        close(fd);
        fd = next;
    }
    *ret = TAKE_FD(fd);
    return NULL;
}

static struct error *commit_time(const struct git *g, const char *sha, int64_t *ret_ns)
{
    CLEANUP(freep) char *object = xasprintf("%s^{commit}", sha);
    CLEANUP(freep) char *line = NULL;
    int64_t seconds;

    *ret_ns = -1;
    if (!streq(g->mtime, "commit"))
        return NULL;
    TRY(git_line(g, &(struct call){ .git_dir = g->bare }, &line,
                 (const char *const[]){ "log", "-1", "--format=%ct", object, "--", NULL }));
    if (parse_i64(line, &seconds) < 0)
        return err_new(ERR_UNKNOWN, "failed to parse commit timestamp \"%s\"", line);
    *ret_ns = seconds * NS_PER_SEC;
    return NULL;
}

static struct error *into_layer(const struct git *g, int64_t time_ns, struct snapshot **ret)
{
    CLEANUP(closep) int from = -1;
    CLEANUP(freep) char *remote = exchange_url_redact(g->remote);
    CLEANUP(freep) char *what = xasprintf("git snapshot for %s#%s", remote, g->ref);
    struct active *a;

    TRY(open_subdir(g, &from));
    TRY(active_begin(g->c->store, NULL, &a));
    struct error *e =
        copy_path(from, "/", active_fd(a), "/",
                  &(struct copy_options){ .timestamp_ns = time_ns, .mode = -1, .dir_contents = true });

    if (e == NULL)
        return active_commit(a, what, "source.git.checkout", ret);
    active_abandon(a);
    return e;
}

static struct error *run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                         size_t output_count)
{
    CLEANUP(git_deinit) struct git g = { .c = c };
    CLEANUP(refs_deinit) struct refs r = { 0 };
    CLEANUP(freep) char *sha = NULL;
    int64_t time_ns;

    TRY(git_init(&g));
    TRY(find_commit(&g, &r));
    const char *text = c->resolved == NULL ? NULL : str_skip_prefix(c->resolved, "git:");

    sha = text == NULL ? xstrdup(r.sha) : xstrndup(text, strspn(text, "0123456789abcdef"));
    if (!git_is_commit(sha))
        return err_new(ERR_INTERNAL, "git source without a commit");
    TRY(fetch_commit(&g, sha, r.name));
    bool keeps = g.keep_dir && streq(g.subdir, "/");

    if (keeps)
        TRY(checkout_keeping(&g, sha, r.name));
    else
        TRY(checkout_plain(&g, sha));
    TRY(submodules(&g, keeps));
    TRY(commit_time(&g, sha, &time_ns));
    return into_layer(&g, time_ns, &outputs[0]);
}

const struct op_impl git_source = { .name = "git", .resolve = resolve, .run = run };
