/* SPDX-License-Identifier: Apache-2.0 */
/*
 * content.c - content digests of selected paths, kept in memory
 */
#include "solver/content.h"

#include "io/path.h"
#include "io/pattern.h"
#include "solver/node.h"

#include <errno.h>
#include <sys/stat.h>

#define CACHE_MAX 4096

struct content_cache {
    struct mutex lock;
    struct map digests; /* snapshot id and selectors -> malloc'd digest */
    struct map indexes; /* snapshot id -> struct ptrv of struct sync_index */
};

static void index_list_free(void *arg)
{
    ptrv_deinit(arg);
    free(arg);
}

struct content_cache *content_cache_new(void)
{
    struct content_cache *c = NEW(struct content_cache);

    mutex_init(&c->lock);
    c->digests.free_value = free;
    c->indexes.free_value = index_list_free;
    return c;
}

void content_cache_free(struct content_cache *c)
{
    map_deinit(&c->digests);
    map_deinit(&c->indexes);
    mutex_deinit(&c->lock);
    free(c);
}

void content_index_add(struct solver *s, const char *snapshot_id, const struct sync_index *index)
{
    struct content_cache *c = s->content;
    struct ptrv *list;

    mutex_lock(&c->lock);
    list = map_get(&c->indexes, snapshot_id);
    if (list == NULL) {
        list = NEW(struct ptrv);
        map_set(&c->indexes, snapshot_id, list);
    }
    ptrv_add(list, (void *)index);
    mutex_unlock(&c->lock);
}

void content_index_remove(struct solver *s, const char *snapshot_id, const struct sync_index *index)
{
    struct content_cache *c = s->content;
    struct ptrv *list;

    mutex_lock(&c->lock);
    list = map_get(&c->indexes, snapshot_id);
    for (size_t i = 0; list != NULL && i < list->len; i++) {
        if (list->v[i] == index) {
            ptrv_remove(list, i);
            break;
        }
    }
    if (list != NULL && list->len == 0)
        map_remove(&c->indexes, snapshot_id);
    mutex_unlock(&c->lock);
}

/* The caller holds a reference on the snapshot, so that the index stays. */
static const struct sync_index *index_of(struct content_cache *c, const char *snapshot_id)
{
    const struct ptrv *list;
    const struct sync_index *x = NULL;

    mutex_lock(&c->lock);
    list = map_get(&c->indexes, snapshot_id);
    if (list != NULL)
        x = list->v[0];
    mutex_unlock(&c->lock);
    return x;
}

/* ---- one selector
 * ------------------------------------------------------------------------------------------------------------
 */

/* A directory above the entry at hand. */
struct parent {
    char *path;
    bool *include, *exclude; /* what each pattern said; NULL: no patterns */
    struct buf text;         /* its own entry, told when something below is included */
    bool told;
};

struct selection {
    const struct content_view *view;
    const struct op_selector *sel;
    struct pattern_set include, exclude;
    struct hasher *hash;
    char *base; /* where names begin: resolved path of the selected one, or of the part before wildcards */
    const char *wild; /* pattern below base; NULL: none */
    char *match;      /* the path below base that matched `wild` */
    bool no_header;   /* the selected directory itself does not count, only what is in it */
    struct parent *parents;
    size_t depth;
    struct strv included; /* only when `required` asks */
};

static void parent_deinit(struct parent *p)
{
    free(p->path);
    free(p->include);
    free(p->exclude);
    buf_deinit(&p->text);
}

static void selection_deinit(struct selection *s)
{
    while (s->depth > 0)
        parent_deinit(&s->parents[--s->depth]);
    free(s->parents);
    free(s->base);
    free(s->match);
    pattern_set_deinit(&s->include);
    pattern_set_deinit(&s->exclude);
    strv_deinit(&s->included);
}

static bool below(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return n == 0 || (strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/'));
}

/* The path as seen from a directory above it (or itself: ""). */
static const char *relative(const char *path, const char *dir)
{
    path += strlen(dir);
    return path + strspn(path, "/");
}

static struct error *describe(const struct selection *s, const struct content_entry *e, struct buf *out)
{
    const char *name = relative(e->path, s->base);

    buf_add(out, name, strlen(name) + 1);
    buf_addf(out, "%o %u %u %u %u", e->mode, e->uid, e->gid, e->major, e->minor);
    if (e->link != NULL)
        buf_addf(out, " -> %s", e->link);
    buf_addc(out, '\0');
    TRY(content_xattrs(s->view, e->path, out));
    buf_addc(out, '\0');
    if (S_ISREG(e->mode)) {
        uint8_t sum[32];

        TRY(content_of(s->view, e->path, sum));
        buf_add(out, sum, sizeof sum);
    }
    return NULL;
}

/* Does the entry pass the patterns? `self` keeps what they said for those below. */
static struct error *filter(const struct selection *s, const char *candidate, struct parent *self, bool *ret)
{
    const struct parent *above = s->depth == 0 ? NULL : &s->parents[s->depth - 1];
    bool out = false;

    *ret = true;
    if (candidate[0] == '\0') { /* the selected path itself: there is nothing to match */
        *ret = s->include.count == 0;
        return NULL;
    }
    if (s->include.count > 0) {
        self->include = xcalloc(s->include.count, sizeof(bool));
        TRY(pattern_set_match_walk(&s->include, candidate, above == NULL ? NULL : above->include,
                                   self->include, ret));
    }
    if (s->exclude.count > 0) {
        self->exclude = xcalloc(s->exclude.count, sizeof(bool));
        TRY(pattern_set_match_walk(&s->exclude, candidate, above == NULL ? NULL : above->exclude,
                                   self->exclude, &out));
    }
    *ret = *ret && !out;
    return NULL;
}

static void tell(struct selection *s, const char *path, const struct buf *text)
{
    hasher_add(s->hash, text->data, text->len);
    if (s->sel->required.len > 0)
        strv_addf(&s->included, "/%s", path);
}

static struct error *selected(struct selection *s, const struct content_entry *e)
{
    const char *candidate = relative(e->path, s->match != NULL ? s->match : s->base);
    struct parent self = { 0 };
    struct error *err;
    bool in = false;

    while (s->depth > 0 && !below(e->path, s->parents[s->depth - 1].path))
        parent_deinit(&s->parents[--s->depth]);
    err = filter(s, candidate, &self, &in);
    if (err == NULL && (in || S_ISDIR(e->mode)))
        err = describe(s, e, &self.text);
    if (err == NULL && in) {
        for (size_t i = 0; i < s->depth; i++) {
            if (!s->parents[i].told)
                tell(s, s->parents[i].path, &s->parents[i].text);
            s->parents[i].told = true;
        }
        if (!s->no_header || candidate[0] != '\0')
            tell(s, e->path, &self.text);
        self.told = true;
    }
    if (err != NULL || !S_ISDIR(e->mode)) {
        parent_deinit(&self);
        return err;
    }
    self.told = self.told || (s->no_header && candidate[0] == '\0');
    self.path = xstrdup(e->path);
    s->parents = xreallocarray(s->parents, s->depth + 1, sizeof *s->parents);
    s->parents[s->depth++] = self;
    return NULL;
}

static struct error *digest_into(const struct content_view *view, const struct op_selector *sel,
                                 struct hasher *h);

/* A wildcard that matched a symlink takes what it points to. */
static struct error *follow(struct selection *s, const struct content_entry *e)
{
    struct op_selector target = { .path = (char *)e->path, .follow_links = true };
    const char *name = relative(e->path, s->base);

    hasher_add(s->hash, name, strlen(name) + 1);
    return digest_into(s->view, &target, s->hash);
}

static size_t components(const char *path)
{
    size_t n = path[0] != '\0';

    for (; *path != '\0'; path++)
        n += *path == '/';
    return n;
}

static struct error *visit(void *ctx, const struct content_entry *e, bool *skip)
{
    struct selection *s = ctx;
    const char *name = relative(e->path, s->base);

    if (s->wild == NULL || (s->match != NULL && below(e->path, s->match)))
        return selected(s, e);
    if (name[0] == '\0')
        return NULL;
    int r = path_match(s->wild, name);

    if (r < 0)
        return err_new(ERR_INVALID, "syntax error in pattern");
    if (r != 1) {
        *skip = components(name) >= components(s->wild);
        return NULL;
    }
    free(s->match);
    s->match = xstrdup(e->path);
    if (s->sel->follow_links && S_ISLNK(e->mode))
        return follow(s, e);
    return selected(s, e);
}

/* Split before the first component with a wildcard: "/a/b" and "*.c/d"; "" when there is none. */
static char *split_wildcard(const char *path, const char **ret_wild)
{
    const char *p = path;

    for (;;) {
        size_t n;

        p += strspn(p, "/");
        n = strcspn(p, "/");
        if (*p == '\0' || path_has_wildcard(p, n))
            break;
        p += n;
    }
    *ret_wild = *p == '\0' ? NULL : p;
    return xstrndup(path, (size_t)(p - path));
}

static struct error *check_required(const struct selection *s)
{
    for (size_t i = 0; i < s->sel->required.len; i++) {
        bool found = false;

        for (size_t n = 0; n < s->included.len && !found; n++)
            found = str_has_prefix(s->included.v[n], s->sel->required.v[i]);
        if (!found)
            return err_new(ERR_NOT_FOUND, "\"%s\": not found", s->sel->required.v[i]);
    }
    return NULL;
}

static struct error *compile(const char *what, const struct strv *patterns, struct pattern_set *ret)
{
    struct error *e = pattern_set_init(ret, (const char *const *)patterns->v, patterns->len);
    CLEANUP(freep) char *all = e == NULL ? NULL : strv_join(patterns, " ");

    return e == NULL ? NULL : err_wrap(e, "invalid %spatterns: [%s]", what, all);
}

static struct error *digest_into(const struct content_view *view, const struct op_selector *sel,
                                 struct hasher *h)
{
    CLEANUP(selection_deinit) struct selection s = { .view = view, .sel = sel, .hash = h };
    CLEANUP(freep) char *clean = path_join("/", sel->path);
    CLEANUP(freep) char *prefix = NULL;
    bool filtered = sel->include.len > 0 || sel->exclude.len > 0;
    int r;

    TRY(compile("include", &sel->include, &s.include));
    TRY(compile("exclude", &sel->exclude, &s.exclude));
    if (sel->wildcard)
        prefix = split_wildcard(clean, &s.wild);
    else
        prefix = xstrdup(clean);
    s.no_header = streq(clean, "/") || str_has_suffix(sel->path, "/");
    r = content_resolve(view, prefix, s.wild != NULL || sel->follow_links, &s.base);
    if (r == -ENOENT && (s.wild != NULL || filtered))
        return check_required(&s);
    if (r == -ENOENT && view->scratch)
        return err_new(ERR_NOT_FOUND, "%s: no such file or directory", clean);
    if (r == -ENOENT)
        return err_new(ERR_NOT_FOUND, "\"%s\": not found", clean);
    if (r < 0)
        return task_error(r, "resolve %s", clean);
    TRY(content_walk(view, s.base, visit, &s));
    return check_required(&s);
}

/* ---- a key of several
 * -------------------------------------------------------------------------------------------------------- */

static struct error *digest_all(const struct content_view *view, const struct op_input_key *k,
                                struct digest *ret)
{
    CLEANUP(hasher_freep) struct hasher *h = hasher_new();
    struct op_selector all = { .path = (char *)"/" };

    if (k->selector_count == 0)
        TRY(digest_into(view, &all, h));
    for (size_t i = 0; i < k->selector_count; i++) {
        hasher_add(h, "selector", 9);
        TRY(digest_into(view, &k->selectors[i], h));
    }
    *ret = hasher_sum(h);
    return NULL;
}

static struct error *digest_of_snapshot(struct content_cache *c, struct snapshot *snap,
                                        const struct op_input_key *k, struct digest *ret)
{
    struct content_view view = { .index = index_of(c, snapshot_id(snap)), .root_fd = -1 };
    struct error *e;

    if (view.index == NULL)
        TRY(snapshot_mount_ro(snap, &view.root_fd));
    e = digest_all(&view, k, ret);
    closep(&view.root_fd);
    return e;
}

static struct error *digest_of_scratch(const struct op_input_key *k, struct digest *ret)
{
    static const struct sync_index empty;
    struct content_view view = { .index = &empty, .root_fd = -1, .scratch = true };

    return digest_all(&view, k, ret);
}

static void add_strv(struct buf *b, const struct strv *v)
{
    buf_addf(b, "%zu:", v->len);
    for (size_t i = 0; i < v->len; i++)
        buf_addf(b, "%zu:%s", strlen(v->v[i]), v->v[i]);
}

static char *cache_key(const char *snapshot, const struct op_input_key *k)
{
    struct buf b = { 0 };

    buf_adds(&b, snapshot);
    for (size_t i = 0; i < k->selector_count; i++) {
        const struct op_selector *sel = &k->selectors[i];

        buf_addf(&b, "\n%d%d%zu:%s", sel->wildcard, sel->follow_links, strlen(sel->path), sel->path);
        add_strv(&b, &sel->include);
        add_strv(&b, &sel->exclude);
        add_strv(&b, &sel->required);
    }
    return buf_take(&b);
}

struct error *content_digest(struct solver *s, struct snapshot *snap, const struct op_input_key *k,
                             struct digest *ret)
{
    struct content_cache *c = s->content;
    const char *id = snap == NULL ? "" : snapshot_id(snap);
    CLEANUP(freep) char *key = cache_key(id, k);
    const struct digest *known;
    struct error *e;

    mutex_lock(&c->lock);
    known = map_get(&c->digests, key);
    if (known != NULL)
        *ret = *known;
    mutex_unlock(&c->lock);
    if (known != NULL)
        return NULL;
    e = id[0] == '\0' ? digest_of_scratch(k, ret) : digest_of_snapshot(c, snap, k, ret);
    if (e != NULL)
        return err_wrap(e, "failed to calculate checksum of ref %.40s", id[0] == '\0' ? "scratch" : id);
    mutex_lock(&c->lock);
    if (c->digests.len >= CACHE_MAX) {
        map_deinit(&c->digests);
        c->digests = (struct map){ .free_value = free };
    }
    map_set(&c->digests, key, xmemdup(ret, sizeof *ret));
    mutex_unlock(&c->lock);
    return NULL;
}
