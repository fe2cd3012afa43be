/* SPDX-License-Identifier: Apache-2.0 */
/* git.c - the source: a commit checked out into a layer */
#include "op/git.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "io/copy.h"
#include "io/path.h"
#include "op/copy.h"
#include "op/git_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* One checkout: a repository that ends with it, and the files. */
struct checkout {
    struct git *g;
    const char *sha, *name;
    bool sha256;
    char *own, *tree; /* paths */
};

static void checkout_deinit(struct checkout *k)
{
    free(k->own);
    free(k->tree);
}

/* ---- resolving
 * ----------------------------------------------------------------------------------------------------------
 */

/* The commit; the tag itself where the repository is kept and shows it. */
static const char *wanted(const struct git *g, const struct git_refs *r)
{
    return r->peeled != NULL && !g->keep_dir ? r->peeled : r->sha;
}

/* "git:<commit>[.git#<ref>][:<subdir>]..", all that makes the result. */
static char *describe(const struct git *g, const struct git_refs *r)
{
    struct buf text = { 0 };

    buf_addf(&text, "git:%s", wanted(g, r));
    if (g->keep_dir)
        buf_addf(&text, ".git#%s", r->name);
    if (!streq(g->subdir, "/"))
        buf_addf(&text, ":%s", g->subdir + 1);
    if (g->skip_submodules)
        buf_adds(&text, "(skip-submodules)");
    if (*g->mtime != '\0' && !streq(g->mtime, "checkout"))
        buf_addf(&text, "(mtime=%s)", g->mtime);
    if (g->checkout_bundle)
        buf_addf(&text, "(bundle=%s)", r->name);
    return buf_take(&text);
}

static struct error *resolve_git(struct git *g, char **ret_text)
{
    CLEANUP(git_refs_deinit) struct git_refs r = { 0 };
    CLEANUP(git_objects_deinit) struct git_objects o = { 0 };

    TRY(git_init(g));
    TRY(git_find_refs(g, &r));
    if (g->verify)
        TRY(git_read_objects(g, &r, &o));
    *ret_text = describe(g, &r);
    op_pin(g->c, r.sha);
    return NULL;
}

static struct error *resolve(struct op_context *c, char **ret_text, struct snapshot **ret_result)
{
    CLEANUP(git_deinit) struct git g = { .c = c, .work_fd = -1, .agent_fd = -1 };
    struct error *e = resolve_git(&g, ret_text);

    git_release(&g, e);
    return e;
}

void git_meta_deinit(struct git_meta *m)
{
    free(m->ref);
    free(m->checksum);
    free(m->commit_checksum);
    buf_deinit(&m->commit_object);
    buf_deinit(&m->tag_object);
}

static struct error *meta_of(struct git *g, bool objects, struct git_meta *ret)
{
    CLEANUP(git_refs_deinit) struct git_refs r = { 0 };
    CLEANUP(git_objects_deinit) struct git_objects o = { 0 };

    TRY(git_init(g));
    TRY(git_find_refs(g, &r));
    ret->ref = xstrdup(r.name);
    ret->checksum = xstrdup(r.sha);
    ret->commit_checksum = g->keep_dir ? NULL : xstrdup(r.peeled);
    if (!objects && !g->verify)
        return NULL;
    TRY(git_read_objects(g, &r, &o));
    free(ret->commit_checksum);
    ret->commit_checksum = TAKE(o.commit_sha);
    ret->commit_object = o.commit;
    ret->tag_object = o.tag;
    o.commit = o.tag = (struct buf){ 0 };
    return NULL;
}

struct error *git_resolve_meta(struct op_context *c, bool objects, struct git_meta *ret)
{
    CLEANUP(git_deinit) struct git g = { .c = c, .work_fd = -1, .agent_fd = -1 };
    struct error *e = meta_of(&g, objects, ret);

    git_release(&g, e);
    return e;
}

/* ---- checking out
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *checkout_plain(const struct checkout *k)
{
    const struct git_call call = { .git_dir = k->own, .work_tree = k->tree };

    return git_shown(k->g, GIT(k->g, &call, NULL, "checkout", "--no-overlay", k->sha, "--", "."),
                     "failed to checkout remote");
}

/* A repository in the tree: one commit deep, with the name that was asked for. */
static struct error *checkout_keeping(const struct checkout *k)
{
    struct git *g = k->g;
    CLEANUP(freep) char *dir = xasprintf("%s/.git", k->tree);
    CLEANUP(freep) char *from = xasprintf("file://%s", k->own);
    CLEANUP(freep) char *head = xasprintf("%s/FETCH_HEAD", dir);
    CLEANUP(freep)
    char *spec =
        git_is_commit(k->name) ? xstrdup("refs/minke/wanted") : xasprintf("refs/minke/wanted:%s", k->name);
    const struct git_call call = { .git_dir = dir, .work_tree = k->tree, .own_files = true };
    const char *format = k->sha256 ? "--object-format=sha256" : "--object-format=sha1";

    TRY(GIT(g, &(struct git_call){ .git_dir = k->own }, NULL, "update-ref", "refs/minke/wanted", k->sha));
    TRY(GIT(g, &(struct git_call){ 0 }, NULL, "init", "--template=", format, "--", k->tree));
    TRY(GIT(g, &call, NULL, "remote", "add", "--", "origin", from));
    TRY(GIT(g, &call, NULL, "fetch", "-u", "--depth=1", "--", "origin", spec));
    TRY(git_shown(g, GIT(g, &call, NULL, "checkout", "FETCH_HEAD"), "failed to checkout remote"));
    TRY(GIT(g, &call, NULL, "remote", "set-url", "--", "origin", g->remote));
    TRY(GIT(g, &call, NULL, "reflog", "expire", "--all", "--expire=now"));
    (void)!unlink(head);
    return NULL;
}

static struct error *submodules(const struct checkout *k, bool own_dir)
{
    struct git *g = k->g;
    CLEANUP(freep) char *list = xasprintf("%s/.gitmodules", k->tree);
    CLEANUP(freep) char *dir = own_dir ? xasprintf("%s/.git", k->tree) : xstrdup(k->own);
    const struct git_call call = { .git_dir = dir, .work_tree = k->tree };
    struct stat st;

    if (g->skip_submodules || lstat(list, &st) < 0)
        return NULL;
    TRY(git_find_authorization(g));
    struct error *e = GIT(g, &call, NULL, "submodule", "update", "--init", "--recursive", "--depth=1");

    if (e != NULL && git_says(e, "shallow")) {
        err_free(e);
        e = GIT(g, &call, NULL, "submodule", "update", "--init", "--recursive");
    }
    return git_shown(g, e, "failed to update submodules for");
}

/* The subdirectory, each part of it a real directory (security.md B7). */
static struct error *open_subdir(const struct checkout *k, int *ret)
{
    const char *subdir = k->g->subdir;
    CLEANUP(strv_deinit) struct strv parts = { 0 };
    CLEANUP(closep) int fd = open(k->tree, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return err_sys(errno, "open the checkout");
    if (!streq(subdir, "/"))
        strv_split(&parts, subdir + 1, '/');
    for (size_t i = 0; i < parts.len; i++) {
        int next = openat(fd, parts.v[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (next < 0 && (errno == ENOTDIR || errno == ELOOP))
            return err_new(ERR_INVALID, "invalid subdir %s: git subpath \"%s\" contains non-directory \"%s\"",
                           subdir + 1, subdir + 1, parts.v[i]);
        if (next < 0)
            return err_new(err_kind_from_errno(errno),
                           "invalid subdir %s: failed to lstat \"%s\": statat %s: %s", subdir + 1, parts.v[i],
                           parts.v[i], errno == ENOENT ? "no such file or directory" : "failed");
        close(fd);
        fd = next;
    }
    *ret = TAKE_FD(fd);
    return NULL;
}

static struct error *commit_time(const struct checkout *k, int64_t *ret_ns)
{
    CLEANUP(freep) char *object = xasprintf("%s^{commit}", k->sha);
    CLEANUP(freep) char *line = NULL;
    int64_t seconds;

    *ret_ns = -1;
    if (!streq(k->g->mtime, "commit"))
        return NULL;
    TRY(git_line(k->g, &(struct git_call){ .git_dir = k->own }, &line,
                 (const char *const[]){ "log", "-1", "--format=%ct", object, "--", NULL }));
    if (parse_i64(line, &seconds) < 0)
        return err_new(ERR_UNKNOWN, "failed to parse commit timestamp \"%s\"", line);
    *ret_ns = seconds * NS_PER_SEC;
    return NULL;
}

static struct error *make_tree(struct checkout *k)
{
    bool keeps = k->g->keep_dir && streq(k->g->subdir, "/");

    k->tree = path_join(k->g->work_path, "tree");
    if (mkdir(k->tree, 0755) < 0)
        return err_sys(errno, "make a folder for git");
    TRY(keeps ? checkout_keeping(k) : checkout_plain(k));
    return submodules(k, keeps);
}

/* git never writes into a layer: it gets a copy. */
static struct error *fill_from_tree(struct checkout *k, int root)
{
    CLEANUP(closep) int from = -1;
    int64_t time_ns;

    TRY(make_tree(k));
    TRY(commit_time(k, &time_ns));
    TRY(open_subdir(k, &from));
    return copy_path(from, "/", root, "/",
                     &(struct copy_options){ .timestamp_ns = time_ns, .mode = -1, .dir_contents = true });
}

/* ---- as a bundle
 * ----------------------------------------------------------------------------------------------------------
 */

/* The name that the commit has in a bundle: that of a tag stays, all else is a branch. */
static char *bundle_ref(const struct git *g)
{
    const char *name = g->ref;

    if (*name == '\0' || git_is_commit(name))
        return xstrdup("refs/heads/main");
    if (str_has_prefix(name, "refs/tags/"))
        return xstrdup(name);
    name = str_has_prefix(name, "refs/") ? name + strlen("refs/") : name;
    return xasprintf("refs/heads/%s", str_has_prefix(name, "heads/") ? name + strlen("heads/") : name);
}

static struct error *fill_with_bundle(struct checkout *k, int root)
{
    CLEANUP(freep) char *ref = bundle_ref(k->g), *file = path_join(k->g->work_path, "out.bundle");
    CLEANUP(closep) int from = -1;
    CLEANUP(closep) int to = -1;
    const struct git_call call = { .git_dir = k->own };
    struct timespec epoch[2] = { { 0, 0 }, { 0, 0 } };

    TRY(GIT(k->g, &call, NULL, "update-ref", ref, k->sha));
    TRY(err_wrap(GIT(k->g, &call, NULL, "bundle", "create", file, ref), "failed to create git bundle for %s",
                 k->sha));
    from = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    to = openat(root, "bundle", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (from < 0 || to < 0 || fchmod(to, 0644) < 0)
        return err_sys(errno, "write a git bundle");
    TRY_SYS(copy_content(from, to, -1), "write a git bundle");
    return futimens(to, epoch) < 0 ? err_sys(errno, "write a git bundle") : NULL;
}

/* ---- the source
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *into_layer(struct checkout *k, struct snapshot **ret)
{
    struct git *g = k->g;
    CLEANUP(freep)
    char *what =
        xasprintf("git %s for %s#%s", g->checkout_bundle ? "bundle checkout" : "snapshot", g->remote, g->ref);
    struct active *a;

    TRY(active_begin(g->c->store, NULL, &a));
    struct error *e =
        g->checkout_bundle ? fill_with_bundle(k, active_fd(a)) : fill_from_tree(k, active_fd(a));

    if (e == NULL)
        return active_commit(a, what, "source.git.checkout", ret);
    active_abandon(a);
    return e;
}

static struct error *run_git(struct git *g, struct snapshot **ret)
{
    CLEANUP(git_refs_deinit) struct git_refs r = { 0 };
    CLEANUP(checkout_deinit) struct checkout k = { .g = g };
    CLEANUP(freep) char *sha = NULL;

    TRY(git_init(g));
    TRY(git_find_refs(g, &r));
    const char *text = g->c->resolved == NULL ? NULL : str_skip_prefix(g->c->resolved, "git:");

    sha = text == NULL ? xstrdup(wanted(g, &r)) : xstrndup(text, strspn(text, "0123456789abcdef"));
    if (!git_is_commit(sha))
        return err_new(ERR_INTERNAL, "git source without a commit");
    TRY(git_make_work(g));
    TRY(git_fetch(g, sha, r.name));
    k.sha = sha;
    k.name = r.name;
    k.sha256 = strlen(sha) == 64;
    TRY(git_borrow(g, k.sha256, &k.own));
    return into_layer(&k, ret);
}

static struct error *run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                         size_t output_count)
{
    CLEANUP(git_deinit) struct git g = { .c = c, .work_fd = -1, .agent_fd = -1 };
    struct error *e = run_git(&g, &outputs[0]);

    git_release(&g, e);
    return e;
}

const struct op_impl git_source = { .name = "git", .resolve = resolve, .run = run };
