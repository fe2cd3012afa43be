/* SPDX-License-Identifier: Apache-2.0 */
/* git_remote.c - what a git source asks for, and with whose credentials */
#include "base/bytes.h"
#include "io/path.h"
#include "op/blob.h"
#include "op/git_impl.h"

#include <strings.h>

bool git_is_commit(const char *text)
{
    size_t n = strspn(text, "0123456789abcdef");

    return text[n] == '\0' && (n == 40 || n == 64);
}

const char *git_attr(const struct git *g, const char *key)
{
    const Pb__SourceOp *op = g->c->vertex->op->source;
    const char *s = pb_get_str(op->attrs, op->n_attrs, key);

    return s == NULL ? "" : s;
}

/* ---- addresses
 * ----------------------------------------------------------------------------------------------------------
 */

static bool allowed_scheme(const char *remote, size_t n)
{
    static const char *const all[] = { "http", "https", "git", "ssh" };

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (strlen(all[i]) == n && strncasecmp(all[i], remote, n) == 0)
            return true;
    }
    return false;
}

/* Blanks and control characters have no business in an address. */
static bool is_printable(const char *s)
{
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s <= 0x20 || *s == 0x7f)
            return false;
    }
    return true;
}

/* "user@host" in front of `n` bytes: where the host begins. */
static size_t host_start(const char *authority, size_t n)
{
    for (size_t i = n; i > 0; i--) {
        if (authority[i - 1] == '@')
            return i;
    }
    return 0;
}

/* "user@host:path" as scp writes it. */
static bool split_scp(const char *remote, char **ret_host, char **ret_path)
{
    const char *at = strchr(remote, '@'), *colon = at == NULL ? NULL : strchr(at, ':');

    if (at == NULL || at == remote || *remote == '-' || colon == NULL || colon == at + 1 || at[1] == '-' ||
        colon[1] == '-' || memchr(remote, '/', (size_t)(colon - remote)) != NULL)
        return false;
    *ret_host = xstrndup(at + 1, (size_t)(colon - at - 1));
    *ret_path = path_join("/", colon + 1);
    return true;
}

bool git_remote_split(const char *remote, char **ret_host, char **ret_path)
{
    const char *p = strstr(remote, "://");

    if (!is_printable(remote))
        return false;
    if (p == NULL)
        return split_scp(remote, ret_host, ret_path);
    if (!allowed_scheme(remote, (size_t)(p - remote)))
        return false;
    p += 3;
    size_t n = strcspn(p, "/"), user = host_start(p, n);
    const char *path = p + n;

    p += user;
    n -= user;
    if (n == 0 || *p == '-' || p[-1] == '-')
        return false;
    *ret_host = xstrndup(p, n);
    *ret_path = *path == '\0' ? xstrdup("/") : path_clean(path);
    return true;
}

static bool is_ssh(const char *remote)
{
    return strncasecmp(remote, "ssh://", 6) == 0 || strstr(remote, "://") == NULL;
}

static void cut_git_suffix(char *path)
{
    if (str_has_suffix(path, ".git"))
        path[strlen(path) - 4] = '\0';
}

/* User and password go into the environment, not into arguments, files and messages. */
static void take_userinfo(struct git *g)
{
    char *authority = strstr(g->remote, "://");
    size_t n;

    if (authority == NULL || g->ssh)
        return;
    authority += 3;
    n = host_start(authority, strcspn(authority, "/"));
    if (n == 0)
        return;
    g->userinfo = xstrndup(authority, n - 1);
    explicit_bzero(authority, n);
    memmove(authority, authority + n, strlen(authority + n) + 1);
}

/* The remote: git.fullurl, which must be the repository that the identifier names, else https to that. */
static struct error *read_remote(struct git *g, const char *id)
{
    const char *full = git_attr(g, "git.fullurl");
    CLEANUP(freep)
    char *id_url = strchr(id, '@') != NULL && strstr(id, "://") == NULL && is_ssh(id) &&
                           memchr(id, '/', strcspn(id, ":")) == NULL
                       ? xstrdup(id)
                       : xasprintf("https://%s", id);
    CLEANUP(freep) char *id_host = NULL, *id_path = NULL, *path = NULL;

    if (!git_remote_split(id_url, &id_host, &id_path))
        return err_new(ERR_INVALID, "invalid git remote");
    g->remote = *full != '\0' ? xstrndup(full, strcspn(full, "#?")) : xstrdup(id_url);
    if (!git_remote_split(g->remote, &g->host, &path))
        return err_new(ERR_INVALID, "failed to parse git.fullurl");
    g->ssh = is_ssh(g->remote);
    cut_git_suffix(id_path);
    cut_git_suffix(path);
    if (strcasecmp(id_host, g->host) != 0 || !streq(id_path, path))
        return err_new(ERR_INVALID, "git.fullurl does not match source identifier");
    take_userinfo(g);
    return NULL;
}

/* ---- attributes
 * ----------------------------------------------------------------------------------------------------------
 */

static bool is_set(const struct git *g, const char *key)
{
    return streq(git_attr(g, key), "true");
}

static void read_signature_attrs(struct git *g)
{
    static const char *const all[] = { "git.sig.pubkey", "git.sig.rejectexpired", "git.sig.requiresignedtag",
                                       "git.sig.ignoresignedtag" };

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        g->verify |= *git_attr(g, all[i]) != '\0';
    g->pub_key = git_attr(g, all[0]);
    g->reject_expired = is_set(g, all[1]);
    g->require_signed_tag = is_set(g, all[2]);
    g->ignore_signed_tag = is_set(g, all[3]);
}

static struct error *check_bundle_attrs(const struct git *g)
{
    struct blob_locator l = { 0 };

    if (*g->bundle != '\0') {
        struct error *e = blob_locator_parse(g->bundle, &l);

        blob_locator_deinit(&l);
        TRY(err_wrap(e, "failed to parse git.bundle locator \"%s\"", g->bundle));
        if (*g->checksum == '\0')
            return err_new(ERR_INVALID, "git.bundle requires git.checksum to be set");
        if (git_is_commit(g->ref) && !str_has_prefix(g->ref, g->checksum))
            return err_new(ERR_INVALID, "expected checksum to match %s, got %s", g->checksum, g->ref);
    }
    if (g->checkout_bundle && g->keep_dir)
        return err_new(ERR_INVALID, "git.checkoutbundle is incompatible with git.keepgitdir");
    if (g->checkout_bundle && !streq(g->subdir, "/"))
        return err_new(ERR_INVALID, "git.checkoutbundle is incompatible with git.subdir");
    return NULL;
}

struct error *git_init(struct git *g)
{
    const char *id = g->c->vertex->op->source->identifier + strlen("git://");
    const char *fragment = strchr(id, '#');
    CLEANUP(freep) char *where = xstrndup(id, fragment == NULL ? strlen(id) : (size_t)(fragment - id));
    const char *colon = fragment == NULL ? NULL : strchr(fragment, ':');

    g->work_fd = g->agent_fd = -1;
    g->ref = fragment == NULL ? xstrdup("")
             : colon == NULL  ? xstrdup(fragment + 1)
                              : xstrndup(fragment + 1, (size_t)(colon - fragment - 1));
    g->subdir = path_join("/", colon == NULL ? "" : colon + 1);
    g->checksum = git_attr(g, "git.checksum");
    g->mtime = git_attr(g, "git.mtime");
    g->bundle = git_attr(g, "git.bundle");
    g->agent_id = git_attr(g, "git.mountsshsock");
    g->known_hosts = git_attr(g, "git.knownsshhosts");
    g->keep_dir = is_set(g, "git.keepgitdir");
    g->skip_submodules = is_set(g, "git.skipsubmodules");
    g->by_commit = is_set(g, "git.fetchbycommit");
    g->checkout_bundle = is_set(g, "git.checkoutbundle");
    read_signature_attrs(g);
    if (g->ref[0] == '-')
        return err_new(ERR_INVALID, "invalid git ref \"%s\"", g->ref);
    if (strspn(g->checksum, "0123456789abcdefABCDEF") != strlen(g->checksum))
        return err_new(ERR_INVALID, "invalid checksum %s for Git URL, expected hex commit hash", g->checksum);
    TRY(read_remote(g, where));
    return check_bundle_attrs(g);
}

/* ---- secrets
 * ----------------------------------------------------------------------------------------------------------
 */

static void wipe(char *secret)
{
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

static void wipe_buf(struct buf *b)
{
    if (b->data != NULL)
        explicit_bzero(b->data, b->len);
    buf_deinit(b);
}

static struct error *use_secret(struct git *g, const char *name, bool token, const struct buf *secret)
{
    CLEANUP(wipe_buf) struct buf coded = { 0 };
    CLEANUP(wipe_buf) struct buf pair = { 0 };

    if (token) {
        buf_addf(&pair, "x-access-token:%s", buf_str((struct buf *)secret));
        base64_encode(&coded, pair.data, pair.len);
        g->authorization = xasprintf("Authorization: basic %s", buf_str(&coded));
    } else {
        g->authorization = xasprintf("Authorization: %s", buf_str((struct buf *)secret));
    }
    if (strpbrk(g->authorization, "\r\n") == NULL)
        return NULL;
    wipe(TAKE(g->authorization));
    return err_new(ERR_INVALID, "secret %s does not fit into a header", name);
}

struct error *git_find_authorization(struct git *g)
{
    const char *header = git_attr(g, "git.authheadersecret"), *token = git_attr(g, "git.authtokensecret");

    if (g->c->sessions.ids.len == 0 || g->authorization != NULL || g->ssh)
        return NULL;
    for (int i = 0; i < 4; i++) {
        const char *base = i % 2 == 0 ? header : token;
        CLEANUP(freep) char *name = i < 2 ? xasprintf("%s.%s", base, g->host) : xstrdup(base);
        CLEANUP(wipe_buf) struct buf secret = { 0 };

        if (*base == '\0')
            continue;
        struct error *e = session_secret(&g->c->sessions, name, &secret);

        if (err_is(e, ERR_CANCELLED))
            return e;
        err_free(e); /* the next one, or none: a public repository needs none */
        if (e == NULL)
            return use_secret(g, name, i % 2 == 1, &secret);
    }
    return NULL;
}

void git_deinit(struct git *g)
{
    git_release(g, NULL);
    closep(&g->agent_fd);
    closep(&g->work_fd);
    if (g->work != NULL)
        store_discard(g->c->store, g->work);
    wipe(g->authorization);
    wipe(g->userinfo);
    free(g->remote);
    free(g->host);
    free(g->ref);
    free(g->subdir);
    free(g->work);
    free(g->work_path);
    free(g->bare);
    free(g->origin);
}
