/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage.c - keys, lookups and runs of one node; without the solver's lock, on a node that is BUSY
 *
 * A pre-image is text, one fact a line; a key is the digest of its pre-image without the step's name:
 *
 *   op exec                              op source
 *   name [2/3] RUN make                  name [1/3] FROM docker.io/library/busybox
 *   arg "make"                           is docker-image:sha256:...
 *   in 0 id 8fe2...                      (the content key has "in 0 content sha256:..")
 */
#include "base/log.h"
#include "solver/node.h"

struct snapshot *node_input(const struct node *n, size_t i)
{
    return n->inputs[i]->outputs[n->vertex->inputs[i].index];
}

void node_clear_stage(struct node *n)
{
    for (size_t i = 0; n->run_inputs != NULL && i < n->vertex->input_count; i++)
        snapshot_unref(n->run_inputs[i]);
    free(TAKE(n->run_inputs));
    free(TAKE(n->source_text));
    n->key[0] = n->content_key[0] = '\0';
    buf_deinit(&n->preimage);
    buf_deinit(&n->content_preimage);
}

/* ---- what an op gets
 * ---------------------------------------------------------------------------------------------------------
 */

static void context_init(struct node *n, struct op_context *c)
{
    struct solver *s = n->solver;

    *c = (struct op_context){
        .solver = s,
        .vertex = n->vertex,
        .reporter = n->reporter,
        .store = s->config.store,
        .op_ctx = n->op_ctx,
        .node = n,
        .resolved = n->source_text,
        .sessions = { .manager = s->config.sessions },
    };
    mutex_lock(&s->lock);
    for (size_t i = 0; i < n->jobs.len; i++)
        strv_copy(&c->sessions.ids, &((struct job *)n->jobs.v[i])->sessions.ids);
    mutex_unlock(&s->lock);
}

static void context_deinit(struct op_context *c)
{
    strv_deinit(&c->sessions.ids);
}

struct error *op_lease(struct op_context *c, struct lease **ret)
{
    if (c->node->lease == NULL)
        TRY(lease_open(c->store, &c->node->lease));
    *ret = c->node->lease;
    return NULL;
}

/* ---- keys
 * --------------------------------------------------------------------------------------------------------------------
 */

void op_input_key_deinit(struct op_input_key *k)
{
    for (size_t i = 0; i < k->selector_count; i++) {
        free(k->selectors[i].path);
        strv_deinit(&k->selectors[i].include);
        strv_deinit(&k->selectors[i].exclude);
        strv_deinit(&k->selectors[i].required);
    }
    free(k->selectors);
    *k = (struct op_input_key){ 0 };
}

struct op_selector *op_input_key_add(struct op_input_key *k, const char *path)
{
    k->selectors = xreallocarray(k->selectors, k->selector_count + 1, sizeof *k->selectors);
    struct op_selector *sel = &k->selectors[k->selector_count++];

    *sel = (struct op_selector){ .path = xstrdup(path) };
    return sel;
}

static void add_patterns(struct buf *b, const char *what, const struct strv *patterns)
{
    for (size_t i = 0; i < patterns->len; i++) {
        buf_addf(b, " %s ", what);
        buf_add_json_string(b, patterns->v[i], strlen(patterns->v[i]), false);
    }
}

static void add_selectors(struct buf *b, const struct op_input_key *k)
{
    for (size_t i = 0; i < k->selector_count; i++) {
        const struct op_selector *sel = &k->selectors[i];

        buf_addf(b, " sel%s%s ", sel->wildcard ? "*" : "", sel->follow_links ? "@" : "");
        buf_add_json_string(b, sel->path, strlen(sel->path), false);
        add_patterns(b, "include", &sel->include);
        add_patterns(b, "exclude", &sel->exclude);
    }
}

/* Ids of many layers are long: a key needs only to tell them apart. */
static void add_id(struct buf *b, const struct snapshot *s)
{
    const char *id = s == NULL ? "" : snapshot_id(s);

    if (strlen(id) > 128) {
        struct digest d = digest_of(id, strlen(id));

        buf_addf(b, "#%s", digest_hex(&d));
    } else {
        buf_adds(b, id[0] == '\0' ? "scratch" : id);
    }
}

static struct error *add_input(const struct node *n, size_t i, bool content, bool *ret_by_content,
                               struct buf *out)
{
    CLEANUP(op_input_key_deinit) struct op_input_key k = { 0 };
    struct snapshot *in = node_input(n, i);
    struct digest d;

    if (n->impl->input_key != NULL)
        TRY(n->impl->input_key(n->vertex, i, &k));
    *ret_by_content = *ret_by_content || k.by_content;
    if (content && k.by_content) {
        TRY(content_digest(n->solver, in, &k, &d));
        buf_addf(out, "in %zu content %s\n", i, d.s);
        return NULL;
    }
    buf_addf(out, "in %zu id ", i);
    add_id(out, in);
    add_selectors(out, &k);
    buf_addc(out, '\n');
    return NULL;
}

static struct error *add_op(const struct node *n, struct buf *out)
{
    const struct llb_op *raw = n->vertex->raw;

    if (n->source_text != NULL)
        buf_addf(out, "is %s\n", n->source_text);
    else if (n->impl->key_text != NULL)
        return n->impl->key_text(n->vertex, out);
    else
        buf_addf(out, "bytes %s\n", raw->digest.s);
    return NULL;
}

static struct error *make_key(const struct node *n, bool content, bool *ret_by_content, struct buf *preimage,
                              char ret[NODE_KEY_LEN + 1])
{
    CLEANUP(hasher_freep) struct hasher *h = hasher_new();
    struct digest d;
    size_t body;

    buf_clear(preimage);
    buf_addf(preimage, "op %s\n", n->impl->name);
    hasher_add(h, preimage->data, preimage->len);
    buf_adds(preimage, "name ");
    for (const char *p = n->vertex->name; *p != '\0'; p++)
        buf_addc(preimage, *p == '\n' ? ' ' : *p);
    buf_addc(preimage, '\n');
    body = preimage->len;
    TRY(add_op(n, preimage));
    for (size_t i = 0; i < n->vertex->input_count; i++)
        TRY(add_input(n, i, content, ret_by_content, preimage));
    hasher_add(h, preimage->data + body, preimage->len - body);
    d = hasher_sum(h);
    memcpy(ret, digest_hex(&d), NODE_KEY_LEN + 1);
    return NULL;
}

static char *output_key(const char *key, size_t i)
{
    return i == 0 ? xstrdup(key) : xasprintf("%s@%zu", key, i);
}

/* All outputs or none.  A record whose layers are gone is none. */
static struct error *find(struct node *n, const char *key, bool *ret_hit)
{
    struct store *store = n->solver->config.store;
    size_t i = 0;

    for (; i < n->output_count; i++) {
        CLEANUP(freep) char *k = output_key(key, i);
        CLEANUP(freep) char *id = NULL;
        struct error *e = cache_find(store, k, &id);

        if (e == NULL && id == NULL)
            break;
        if (e == NULL && id[0] != '\0')
            e = snapshot_get(store, id, &n->outputs[i]);
        if (err_is(e, ERR_NOT_FOUND)) {
            err_free(e);
            break;
        }
        TRY(e);
    }
    *ret_hit = i == n->output_count;
    while (!*ret_hit && i-- > 0)
        snapshot_unref(TAKE(n->outputs[i]));
    return NULL;
}

/* A result that cannot be recorded is still a result: the next build makes it again. */
static void record(const struct node *n, const char *key, const struct buf *preimage)
{
    for (size_t i = 0; i < n->output_count; i++) {
        CLEANUP(freep) char *k = output_key(key, i);
        const char *id = n->outputs[i] == NULL ? "" : snapshot_id(n->outputs[i]);

        if (n->outputs[i] == NULL || !snapshot_is_tree(n->outputs[i]))
            log_err(LOG_WARN, cache_put(n->solver->config.store, k, id, preimage->data, preimage->len),
                    "cannot record the result of a step");
    }
}

/* ---- stages
 * ------------------------------------------------------------------------------------------------------------------
 */

struct error *stage_resolve(struct node *n)
{
    struct op_context c;
    struct error *e;

    context_init(n, &c);
    reporter_start(n->reporter);
    e = n->impl->resolve(&c, &n->source_text, &n->outputs[0]);
    if (e != NULL || n->outputs[0] == NULL)
        snapshot_unref(TAKE(n->outputs[0]));
    else
        free(TAKE(n->source_text));
    reporter_complete(n->reporter, e);
    context_deinit(&c);
    return e;
}

struct error *stage_lookup(struct node *n, bool *ret_hit)
{
    bool content = false;
    struct error *e = make_key(n, false, &content, &n->preimage, n->key);

    n->by_content = content;
    if (e == NULL && !n->fresh)
        e = find(n, n->key, ret_hit);
    return e;
}

struct error *stage_content(struct node *n, bool *ret_hit)
{
    bool content = false;
    struct error *e = make_key(n, true, &content, &n->content_preimage, n->content_key);

    if (e != NULL) {
        e = err_wrap(e, "failed to compute cache key");
        if (task_check_sys() == 0) {
            reporter_start(n->reporter);
            reporter_complete(n->reporter, e);
        }
        return e;
    }
    if (n->fresh)
        return NULL;
    TRY(find(n, n->content_key, ret_hit));
    if (*ret_hit)
        record(n, n->key, &n->preimage);
    return NULL;
}

struct error *stage_run(struct node *n)
{
    struct op_context c;
    struct error *e;

    context_init(n, &c);
    reporter_start(n->reporter);
    e = n->impl->run(&c, n->run_inputs, n->outputs, n->output_count);
    for (size_t i = 0; e != NULL && i < n->output_count; i++)
        snapshot_unref(TAKE(n->outputs[i]));
    if (e == NULL) {
        record(n, n->key, &n->preimage);
        if (n->content_key[0] != '\0')
            record(n, n->content_key, &n->content_preimage);
    }
    reporter_complete(n->reporter, e);
    context_deinit(&c);
    return e;
}
