/* SPDX-License-Identifier: Apache-2.0 */
/* git_refs.c - what a ref means now, and the objects behind it */
#include "op/git_impl.h"

#include "base/rune.h"

void git_refs_deinit(struct git_refs *r)
{
    free(r->sha);
    free(r->peeled);
    free(r->name);
}

void git_objects_deinit(struct git_objects *o)
{
    free(o->commit_sha);
    buf_deinit(&o->commit);
    buf_deinit(&o->tag);
}

/* ---- asking the remote
 * ----------------------------------------------------------------------------------------------------------
 */

static const char *behind(const char *s, const char *prefix)
{
    const char *rest = str_skip_prefix(s, prefix);

    return rest != NULL ? rest : s;
}

/* Where to ask: a staged bundle is a repository here. */
static struct git_call asking(const struct git *g, const char **ret_where)
{
    *ret_where = g->origin != NULL ? g->origin : g->remote;
    return (struct git_call){ .own_files = g->origin != NULL };
}

static struct error *default_branch(struct git *g)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };
    const char *where;
    const struct git_call call = asking(g, &where);
    struct error *e = GIT(g, &call, &out, "ls-remote", "--symref", "--", where, "HEAD");

    TRY(git_shown(g, e, "error fetching default branch for repository"));
    const char *p = strstr(buf_str(&out), "ref: refs/heads/");

    if (p == NULL)
        return err_new(ERR_UNKNOWN, "could not find default branch for repository: %s", g->remote);
    p += strlen("ref: refs/heads/");
    free(g->ref);
    g->ref = xstrndup(p, strcspn(p, "\t\n"));
    if (g->ref[0] == '-' || g->ref[0] == '\0')
        return err_new(ERR_INVALID, "invalid git ref \"%s\"", g->ref);
    return NULL;
}

struct advertised {
    char *sha, *head, *tag, *peeled;
};

static void advertised_deinit(struct advertised *a)
{
    free(a->sha);
    free(a->head);
    free(a->tag);
    free(a->peeled);
}

/* "sha<TAB>name" lines: which of the ref's possible names are there.  A branch stands before a tag. */
static void read_refs(const char *text, const char *ref, struct git_refs *r)
{
    CLEANUP(advertised_deinit) struct advertised a = { 0 };
    CLEANUP(freep) char *partial = xasprintf("refs/%s", behind(ref, "refs/"));
    CLEANUP(freep) char *head = xasprintf("refs/heads/%s", behind(ref, "refs/heads/"));
    CLEANUP(freep) char *tag = xasprintf("refs/tags/%s", behind(ref, "refs/tags/"));
    CLEANUP(freep) char *peeled = xasprintf("%s^{}", tag);
    CLEANUP(strv_deinit) struct strv lines = { 0 };

    strv_split(&lines, text, '\n');
    for (size_t i = 0; i < lines.len; i++) {
        const char *tab = strchr(lines.v[i], '\t');
        char **where = tab == NULL               ? NULL
                       : streq(tab + 1, head)    ? &a.head
                       : streq(tab + 1, tag)     ? &a.tag
                       : streq(tab + 1, peeled)  ? &a.peeled
                       : streq(tab + 1, partial) ? &a.sha
                                                 : NULL;

        if (where != NULL && *where == NULL)
            *where = xstrndup(lines.v[i], (size_t)(tab - lines.v[i]));
    }
    bool is_tag = a.sha == NULL && a.head == NULL;

    r->name = TAKE(*(a.sha != NULL ? &partial : is_tag ? &tag : &head));
    r->sha = a.sha != NULL ? TAKE(a.sha) : is_tag ? TAKE(a.tag) : TAKE(a.head);
    if (is_tag)
        r->peeled = TAKE(a.peeled);
}

/* "sha peeled name", "-" for none: by remote and ref, whatever else differs. */
static char *note_key(const struct git *g)
{
    return xasprintf("git %s#%s", g->origin != NULL ? g->bundle : g->remote, g->ref);
}

static bool recall_refs(struct git *g, const char *key, struct git_refs *r)
{
    CLEANUP(freep) char *noted = op_recall(g->c, key);
    CLEANUP(strv_deinit) struct strv parts = { 0 };

    if (noted == NULL)
        return false;
    strv_split(&parts, noted, ' ');
    if (parts.len != 3)
        return false;
    r->sha = xstrdup(parts.v[0]);
    r->peeled = streq(parts.v[1], "-") ? NULL : xstrdup(parts.v[1]);
    r->name = xstrdup(parts.v[2]);
    return true;
}

static struct error *check_sum(const struct git *g, const struct git_refs *r)
{
    if (str_has_prefix(r->sha, g->checksum) || (r->peeled != NULL && str_has_prefix(r->peeled, g->checksum)))
        return NULL;
    return err_new(ERR_UNKNOWN, "expected checksum to match %s, got %s%s", g->checksum,
                   r->peeled != NULL ? " or " : "", r->peeled != NULL ? r->peeled : r->sha);
}

static struct error *ask_remote(struct git *g, struct git_refs *r)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };
    CLEANUP(freep) char *key = note_key(g);
    CLEANUP(freep) char *note = NULL;
    const char *where;

    if (recall_refs(g, key, r))
        return check_sum(g, r);
    TRY(git_find_authorization(g));
    if (g->ref[0] == '\0')
        TRY(default_branch(g));
    CLEANUP(freep) char *peeled = xasprintf("%s^{}", g->ref);
    const struct git_call call = asking(g, &where);
    struct error *e = GIT(g, &call, &out, "ls-remote", "--", where, g->ref, peeled);

    TRY(git_shown(g, e, "failed to fetch remote"));
    read_refs(buf_str(&out), g->ref, r);
    if (r->sha == NULL) {
        CLEANUP(freep) char *said = str_quote(buf_str(&out));

        return err_new(ERR_UNKNOWN, "repository does not contain ref %s, output: %s", g->ref, said);
    }
    if (!git_is_commit(r->sha) || (r->peeled != NULL && !git_is_commit(r->peeled)))
        return err_new(ERR_UNKNOWN, "invalid commit sha \"%s\"", r->sha);
    TRY(check_sum(g, r));
    note = xasprintf("%s %s %s", r->sha, r->peeled != NULL ? r->peeled : "-", r->name);
    op_note(g->c, key, note);
    return NULL;
}

static void is_itself(struct git_refs *r, const char *sha)
{
    r->sha = xstrdup(sha);
    r->name = xstrdup(sha);
}

static struct error *by_commit(struct git *g, struct git_refs *r)
{
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

struct error *git_find_refs(struct git *g, struct git_refs *r)
{
    if (git_is_commit(g->ref)) {
        if (!str_has_prefix(g->ref, g->checksum))
            return err_new(ERR_UNKNOWN, "expected checksum to match %s, got %s", g->checksum, g->ref);
        is_itself(r, g->ref);
        return NULL;
    }
    if (*g->bundle != '\0' && g->ref[0] == '\0') {
        if (!git_is_commit(g->checksum))
            return err_new(ERR_INVALID, "invalid commit sha \"%s\"", g->checksum);
        is_itself(r, g->checksum);
        return NULL;
    }
    if (g->by_commit)
        return by_commit(g, r);
    if (*g->bundle != '\0')
        TRY(git_stage_bundle(g));
    return ask_remote(g, r);
}

/* ---- objects
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *cat(struct git *g, const char *type, const char *sha, struct buf *out)
{
    return GIT(g, &(struct git_call){ .git_dir = g->bare }, out, "cat-file", type, sha);
}

struct error *git_read_objects(struct git *g, const struct git_refs *r, struct git_objects *ret)
{
    CLEANUP(freep) char *type = NULL;
    CLEANUP(freep) char *peeling = xasprintf("%s^{commit}", r->sha);

    TRY(git_fetch(g, r->sha, r->name));
    const struct git_call in = { .git_dir = g->bare };

    TRY(git_line(g, &in, &type, (const char *const[]){ "cat-file", "-t", r->sha, NULL }));
    if (streq(type, "tag")) {
        TRY(git_line(g, &in, &ret->commit_sha,
                     (const char *const[]){ "rev-parse", "--verify", "--end-of-options", peeling, NULL }));
        TRY(cat(g, "tag", r->sha, &ret->tag));
    } else if (!streq(type, "commit")) {
        return err_new(ERR_UNKNOWN, "expected commit or tag object, got %s", type);
    }
    TRY(cat(g, "commit", ret->commit_sha != NULL ? ret->commit_sha : r->sha, &ret->commit));
    return g->verify ? git_verify(g, r, ret) : NULL;
}
