/* SPDX-License-Identifier: Apache-2.0 */
/*
 * git_repo.c - the commit of a remote into a repository here
 *
 * Each remote has one bare repository, kept between builds as a cache mount that one user at a time has and
 * the ledger collects: a commit that is there is not fetched again.  A repository whose use did not end
 * properly, or that has grown many packs, is thrown away; it holds nothing that a fetch cannot bring back.
 */
#include "base/limits.h"
#include "base/log.h"
#include "io/path.h"
#include "op/blob.h"
#include "op/git_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define IN_USE "minke-in-use" /* in the mount, while the repository is written to */
#define REPOSITORY "repository"

/* ---- repositories
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *init_repo(struct git *g, const char *path, bool sha256)
{
    const char *format = sha256 ? "--object-format=sha256" : "--object-format=sha1";

    return GIT(g, &(struct git_call){ 0 }, NULL, "init", "--bare", "--template=", format, "--", path);
}

struct error *git_new_repo(struct git *g, const char *name, bool sha256, char **ret_path)
{
    TRY(git_make_work(g));
    *ret_path = path_join(g->work_path, name);
    return init_repo(g, *ret_path, sha256);
}

static size_t count_packs(int mount_fd)
{
    int fd = openat(mount_fd, REPOSITORY "/objects/pack", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    size_t n = 0;

    if (d == NULL) {
        closep(&fd);
        return 0;
    }
    for (struct dirent *de; (de = readdir(d)) != NULL;)
        n += str_has_suffix(de->d_name, ".pack");
    closedir(d);
    return n;
}

/* By the remote and who asks: another user's password opens another repository. */
static char *mount_name(const struct git *g, bool sha256)
{
    CLEANUP(freep)
    char *text = xasprintf("%s\n%s\n%s", g->remote, g->userinfo != NULL ? g->userinfo : "",
                           g->authorization != NULL ? g->authorization : "");
    struct digest d = digest_of(text, strlen(text));

    explicit_bzero(text, strlen(text));
    return xasprintf("source.git:%s:%s", sha256 ? "sha256" : "sha1", digest_hex(&d));
}

static struct error *acquire(struct git *g, bool sha256)
{
    CLEANUP(freep) char *name = mount_name(g, sha256);
    CLEANUP(freep) char *what = xasprintf("shared git repo for %s", g->remote);

    for (;;) {
        TRY(cache_mount_acquire(g->c->store, name, CACHE_LOCKED, NULL, what, &g->shared));
        int fd = cache_mount_fd(g->shared);

        if (faccessat(fd, IN_USE, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && count_packs(fd) < LIMIT_GIT_PACKS)
            break;
        cache_mount_discard(TAKE(g->shared));
    }
    return NULL;
}

static struct error *open_shared(struct git *g, bool sha256)
{
    struct stat st;

    TRY(acquire(g, sha256));
    int fd = cache_mount_fd(g->shared);
    CLEANUP(closep) int mark = openat(fd, IN_USE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (mark < 0)
        return err_sys(errno, "mark a git repository");
    g->bare = xasprintf("/proc/%d/fd/%d/" REPOSITORY, (int)getpid(), fd);
    if (fstatat(fd, REPOSITORY "/HEAD", &st, AT_SYMLINK_NOFOLLOW) == 0)
        return NULL;
    TRY(init_repo(g, g->bare, sha256));
    return GIT(g, &(struct git_call){ .git_dir = g->bare }, NULL, "remote", "add", "--", "origin", g->remote);
}

void git_release(struct git *g, const struct error *e)
{
    if (g->shared == NULL)
        return;
    if (err_is(e, ERR_CANCELLED) || err_is(e, ERR_DEADLINE)) {
        cache_mount_discard(TAKE(g->shared));
    } else {
        (void)!unlinkat(cache_mount_fd(g->shared), IN_USE, 0);
        cache_mount_release(TAKE(g->shared));
    }
    freep(&g->bare);
}

/* ---- fetching
 * ----------------------------------------------------------------------------------------------------------
 */

static bool has_object(struct git *g, const char *sha)
{
    CLEANUP(freep) char *object = xasprintf("%s^{commit}", sha);
    struct buf none = { 0 };
    struct error *e = GIT(g, &(struct git_call){ .git_dir = g->bare }, &none, "rev-parse", "--verify",
                          "--quiet", "--end-of-options", object);

    buf_deinit(&none);
    err_free(e);
    return e == NULL;
}

static bool is_shallow(const struct git *g)
{
    CLEANUP(freep) char *path = path_join(g->bare, "shallow");

    return access(path, F_OK) == 0;
}

/* With all of its history, for who hands it on. */
static struct error *fetch_whole(struct git *g, const char *what)
{
    const struct git_call bare = { .git_dir = g->bare };

    if (is_shallow(g))
        return GIT(g, &bare, NULL, "fetch", "--unshallow", "--no-tags", "--force", "--", "origin", what);
    return GIT(g, &bare, NULL, "fetch", "--no-tags", "--force", "--", "origin", what);
}

/* `what` (a commit or refspec) alone; servers that cannot, all there is. */
static struct error *fetch(struct git *g, const char *what)
{
    const struct git_call bare = { .git_dir = g->bare };
    struct error *e = g->checkout_bundle ? fetch_whole(g, what)
                                         : GIT(g, &bare, NULL, "fetch", "--depth=1", "--no-tags", "--force",
                                               "--", "origin", what);

    if (e == NULL || err_is(e, ERR_CANCELLED))
        return e;
    if (git_says(e, "--depth") || git_says(e, "shallow")) {
        err_free(e);
        e = GIT(g, &bare, NULL, "fetch", "--no-tags", "--force", "--", "origin", what);
        if (e == NULL || err_is(e, ERR_CANCELLED))
            return e;
    }
    if (!git_says(e, "not our ref") && !git_says(e, "unadvertised object") &&
        !git_says(e, "couldn't find remote ref"))
        return e;
    err_free(e);
    if (is_shallow(g))
        return GIT(g, &bare, NULL, "fetch", "--unshallow", "--force", "--", "origin",
                   "+refs/*:refs/remote/*");
    return GIT(g, &bare, NULL, "fetch", "--force", "--", "origin", "+refs/*:refs/remote/*");
}

static struct error *fetch_commit(struct git *g, const char *sha, const char *name)
{
    CLEANUP(freep) char *spec = xasprintf("%s:refs/minke/fetched", name);
    bool named = !git_is_commit(name) && !g->by_commit;
    struct error *e;

    if (has_object(g, sha) && !(g->checkout_bundle && is_shallow(g)))
        return NULL;
    e = fetch(g, named ? spec : sha);
    if (e == NULL && !has_object(g, sha))
        e = fetch(g, sha); /* the ref has moved on since it was resolved */
    TRY(git_shown(g, e, "failed to fetch remote"));
    if (!has_object(g, sha))
        return err_new(ERR_UNKNOWN, "fetched ref %s does not contain commit %s", name, sha);
    return NULL;
}

/* Does the error tell of the repository here rather than of the remote? */
static bool is_broken(const struct error *e)
{
    static const char *const signs[] = { "corrupt",           "bad object",
                                         "unable to read",    "loose object",
                                         "refname conflict",  "unable to update local ref",
                                         "would clobber",     "bad pack",
                                         "unresolved deltas", "not a git repository" };

    for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
        if (git_says(e, signs[i]))
            return true;
    }
    return false;
}

static struct error *fetch_shared(struct git *g, const char *sha, const char *name)
{
    for (bool again = false;; again = true) {
        TRY(open_shared(g, strlen(sha) == 64));
        struct error *e = fetch_commit(g, sha, name);

        if (e == NULL || again || !is_broken(e))
            return e;
        log_err(LOG_WARN, e, "a kept git repository is broken: fetching anew");
        cache_mount_discard(TAKE(g->shared));
        freep(&g->bare);
    }
}

/* ---- a repository for one checkout
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *put_file(const char *path, const void *data, size_t len)
{
    CLEANUP(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 || write(fd, data, len) != (ssize_t)len)
        return err_sys(errno == 0 ? EIO : errno, "write %s", path);
    return NULL;
}

static struct error *copy_shallow(const struct git *g, const char *own)
{
    CLEANUP(freep) char *from = path_join(g->bare, "shallow"), *to = path_join(own, "shallow");
    CLEANUP(buf_deinit) struct buf text = { 0 };

    if (!is_shallow(g))
        return NULL;
    TRY_SYS(file_read(from, &text, LIMIT_GIT_OUTPUT), "read %s", from);
    return put_file(to, text.data, text.len);
}

struct error *git_borrow(struct git *g, bool sha256, char **ret_path)
{
    CLEANUP(freep) char *line = xasprintf("%s/objects\n", g->bare), *alternates = NULL;

    TRY(git_new_repo(g, "own", sha256, ret_path));
    alternates = path_join(*ret_path, "objects/info/alternates");
    TRY(put_file(alternates, line, strlen(line)));
    TRY(copy_shallow(g, *ret_path));
    return GIT(g, &(struct git_call){ .git_dir = *ret_path }, NULL, "remote", "add", "--", "origin",
               g->remote);
}

/* ---- bundles
 * ----------------------------------------------------------------------------------------------------------
 */

/* What a bundle holds, by the length of its first object's name. */
static struct error *is_sha256(struct git *g, const char *bundle, bool *ret)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };
    size_t n;

    TRY(err_wrap(GIT(g, &(struct git_call){ .own_files = true }, &out, "ls-remote", "--", bundle),
                 "failed to inspect git bundle"));
    n = strspn(buf_str(&out), "0123456789abcdef");
    if (n != 40 && n != 64)
        return err_new(ERR_UNKNOWN, "failed to inspect git bundle: no refs found");
    *ret = n == 64;
    return NULL;
}

struct error *git_stage_bundle(struct git *g)
{
    CLEANUP(blob_locator_deinit) struct blob_locator l = { 0 };
    CLEANUP(freep) char *repo = NULL, *file = NULL;
    CLEANUP(closep) int fd = -1;
    bool sha256 = false;

    if (g->origin != NULL)
        return NULL;
    TRY(git_make_work(g));
    TRY(blob_locator_parse(g->bundle, &l));
    file = path_join(g->work_path, "bundle.pack");
    fd = openat(g->work_fd, "bundle.pack", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(errno, "keep a git bundle");
    TRY(err_wrap(blob_locator_fetch(g->c, &l, git_attr(g, "oci.session"), git_attr(g, "oci.store"), fd),
                 "failed to fetch git bundle %s", l.name));
    TRY(is_sha256(g, file, &sha256));
    TRY(git_new_repo(g, "bundle", sha256, &repo));
    const struct git_call call = { .git_dir = repo, .own_files = true };

    TRY(err_wrap(GIT(g, &call, NULL, "fetch", "--", file, "+refs/*:refs/*"), "failed to import git bundle %s",
                 l.name));
    g->origin = TAKE(repo);
    return NULL;
}

static struct error *fetch_bundle(struct git *g, const char *sha)
{
    TRY(git_stage_bundle(g));
    g->bare = xstrdup(g->origin);
    if (!has_object(g, sha))
        return err_new(ERR_UNKNOWN, "commit %s not found in bundle %s", sha, g->bundle);
    return NULL;
}

struct error *git_fetch(struct git *g, const char *sha, const char *name)
{
    if (g->bare != NULL)
        return NULL;
    if (*g->bundle != '\0')
        return fetch_bundle(g, sha);
    TRY(git_find_authorization(g));
    return fetch_shared(g, sha, name);
}
