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
 *
 * Chain keys have "in 0 key .." instead of ids: results that were fetched are found by them before those of
 * their inputs are here.
 */
#include "base/log.h"
#include "solver/node.h"

struct snapshot *node_input(const struct node *n, size_t i)
{
    return n->inputs[i]->outputs[n->vertex->inputs[i].index];
}

void node_clear_failed(struct node *n)
{
    for (size_t i = 0; i < n->failed_count; i++)
        snapshot_unref(n->failed[i]);
    free(TAKE(n->failed));
    n->failed_count = 0;
    n->failed_at = (struct failure_place){ FAILED_STEP, 0 };
}

void node_clear_stage(struct node *n)
{
    for (size_t i = 0; n->run_inputs != NULL && i < n->vertex->input_count; i++)
        snapshot_unref(n->run_inputs[i]);
    free(TAKE(n->run_inputs));
    node_clear_failed(n);
    free(TAKE(n->source_text));
    free(TAKE(n->pin));
    n->key[0] = n->content_key[0] = n->chain_key[0] = n->chain_content_key[0] = '\0';
    n->keyed = false;
    remote_forget(n);
    buf_deinit(&n->preimage);
    buf_deinit(&n->content_preimage);
}

static bool has_results(const struct node *n)
{
    for (size_t i = 0; i < n->vertex->input_count; i++)
        if (!n->input_done[i])
            return false;
    return true;
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
    if (c->node == NULL) {
        *ret = c->lease;
        return NULL;
    }
    if (c->node->lease == NULL)
        TRY(lease_open(c->store, &c->node->lease));
    *ret = c->node->lease;
    return NULL;
}

void op_keep_failed(struct op_context *c, struct snapshot **mounts, size_t count)
{
    assert(c->node->failed == NULL);
    c->node->failed = mounts;
    c->node->failed_count = count;
}

void op_failed_action(struct op_context *c, size_t action)
{
    c->node->failed_at = (struct failure_place){ FAILED_ACTION, action };
}

void op_pin(struct op_context *c, const char *pin)
{
    free(c->node->pin);
    c->node->pin = xstrdup(pin);
}

/* The jobs that the context is for: one outside of a solve, else all that wait for the node. */
static size_t noting_jobs(const struct op_context *c)
{
    return c->node == NULL ? c->job != NULL : c->node->jobs.len;
}

static struct job *noting_job(const struct op_context *c, size_t i)
{
    return c->node == NULL ? c->job : c->node->jobs.v[i];
}

char *op_recall(const struct op_context *c, const char *key)
{
    char *found = NULL;

    mutex_lock(&c->solver->lock);
    for (size_t i = 0; found == NULL && i < noting_jobs(c); i++)
        found = xstrdup(strmap_get(&noting_job(c, i)->noted, key));
    mutex_unlock(&c->solver->lock);
    return found;
}

void op_note(const struct op_context *c, const char *key, const char *value)
{
    mutex_lock(&c->solver->lock);
    for (size_t i = 0; i < noting_jobs(c); i++) {
        struct job *j = noting_job(c, i);

        if (!map_has(&j->noted, key))
            strmap_set(&j->noted, key, value);
    }
    mutex_unlock(&c->solver->lock);
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

/* How inputs stand in a key. */
enum key_kind { KEY_ID, KEY_CONTENT, KEY_CHAIN, KEY_CHAIN_CONTENT };

struct error *node_input_content(const struct node *n, size_t i, struct snapshot *in, struct digest *ret)
{
    CLEANUP(op_input_key_deinit) struct op_input_key k = { 0 };

    ret->s[0] = '\0';
    if (n->impl->input_key != NULL)
        TRY(n->impl->input_key(n->vertex, i, &k));
    return k.by_content ? content_digest(n->solver, in, &k, ret) : NULL;
}

/* The content of input i as a digest; a failure is noted as that input's. */
static struct error *add_content(struct node *n, size_t i, const struct op_input_key *k, struct buf *out)
{
    struct digest d;
    struct error *e = content_digest(n->solver, node_input(n, i), k, &d);

    if (e != NULL)
        n->failed_at = (struct failure_place){ FAILED_CONTENT, i };
    else
        buf_addf(out, "in %zu content %s\n", i, d.s);
    return e;
}

static struct error *add_input(struct node *n, size_t i, enum key_kind kind, bool *ret_by_content,
                               struct buf *out)
{
    CLEANUP(op_input_key_deinit) struct op_input_key k = { 0 };
    bool content = kind == KEY_CONTENT || kind == KEY_CHAIN_CONTENT;

    if (n->impl->input_key != NULL)
        TRY(n->impl->input_key(n->vertex, i, &k));
    *ret_by_content = *ret_by_content || k.by_content;
    if (content && k.by_content)
        return add_content(n, i, &k, out);
    if (kind == KEY_CHAIN || kind == KEY_CHAIN_CONTENT) {
        buf_addf(out, "in %zu key %s@%lld", i, n->inputs[i]->chain_key,
                 (long long)n->vertex->inputs[i].index);
    } else {
        buf_addf(out, "in %zu id ", i);
        add_id(out, node_input(n, i));
    }
    add_selectors(out, &k);
    buf_addc(out, '\n');
    return NULL;
}

const char *node_source(const struct node *n)
{
    if (n->source_text != NULL)
        return n->source_text;
    if (n->impl->resolve == NULL || n->outputs[0] == NULL)
        return NULL;
    return snapshot_id(n->outputs[0]); /* a synced tree: its id is its content */
}

static struct error *add_op(const struct node *n, const char *source, struct buf *out)
{
    const struct llb_op *raw = n->vertex->raw;

    if (source != NULL)
        buf_addf(out, "is %s\n", source);
    else if (n->impl->key_text != NULL)
        return n->impl->key_text(n->vertex, out);
    else
        buf_addf(out, "bytes %s\n", raw->digest.s);
    return NULL;
}

struct error *node_record_digest(const struct node *n, const char *source, size_t output, struct digest *ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    buf_addf(&text, "minke.v1 op %s\n", n->impl->name);
    TRY(add_op(n, source, &text));
    buf_addf(&text, "output %zu\n", output);
    *ret = digest_of(text.data, text.len);
    return NULL;
}

static struct error *make_key(struct node *n, enum key_kind kind, bool *ret_by_content, struct buf *preimage,
                              node_key ret)
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
    TRY(add_op(n, node_source(n), preimage));
    for (size_t i = 0; i < n->vertex->input_count; i++)
        TRY(add_input(n, i, kind, ret_by_content, preimage));
    hasher_add(h, preimage->data + body, preimage->len - body);
    d = hasher_sum(h);
    memcpy(ret, digest_hex(&d), sizeof(node_key));
    return NULL;
}

/* A chain key, where all inputs that it names have one.  Without results that were fetched, now or earlier,
 * nobody needs it. */
static struct error *make_chain_key(struct node *n, enum key_kind kind, node_key ret)
{
    CLEANUP(buf_deinit) struct buf preimage = { 0 };
    bool imported, unused = false;

    TRY(solver_imported(n->solver, &imported));
    if (!imported && n->caches.len == 0)
        return NULL;
    for (size_t i = 0; i < n->vertex->input_count; i++)
        if (n->inputs[i]->chain_key[0] == '\0')
            return NULL;
    return make_key(n, kind, &unused, &preimage, ret);
}

/* The first one's is the step's; `made` gets others'. */
static const char *output_key(const char *key, size_t i, char **made)
{
    *made = i == 0 ? NULL : xasprintf("%s@%zu", key, i);
    return i == 0 ? key : *made;
}

#define KEY_ONLY "?" /* in place of a result: the step was found elsewhere, its layers were not needed */

/* All outputs that are needed, or none.  A record whose layers are gone is none. */
static struct error *find(struct node *n, const char *key, bool *ret_hit)
{
    struct store *store = n->solver->config.store;
    size_t i = 0;

    for (; i < n->output_count; i++) {
        CLEANUP(freep) char *made = NULL;
        CLEANUP(freep) char *id = NULL;
        struct error *e = cache_find(store, output_key(key, i, &made), &id);

        if (id != NULL && streq(id, KEY_ONLY))
            free(TAKE(id));
        if (e == NULL && id == NULL && n->needed[i])
            break;
        if (e == NULL && id != NULL && id[0] != '\0')
            e = snapshot_find(store, id, &n->outputs[i]);
        if (err_is(e, ERR_NOT_FOUND)) {
            err_freep(&e);
            if (n->needed[i])
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
        if (n->hits != NULL && !n->needed[i])
            continue; /* it was not fetched */
        CLEANUP(freep) char *made = NULL;
        const char *k = output_key(key, i, &made);
        const char *id = n->outputs[i] == NULL ? "" : snapshot_id(n->outputs[i]);

        if (n->outputs[i] == NULL || !snapshot_is_tree(n->outputs[i]))
            log_err(LOG_WARN,
                    cache_put(n->solver->config.store, k, id, preimage == NULL ? NULL : preimage->data,
                              preimage == NULL ? 0 : preimage->len),
                    "cannot record the result of a step");
    }
}

/* ---- stages
 * ------------------------------------------------------------------------------------------------------------------
 */

/* A result that came with its resolving is keyed by its content. */
static struct error *key_result(struct node *n)
{
    TRY(make_chain_key(n, KEY_CHAIN, n->chain_key));
    return remote_match(n);
}

struct error *stage_resolve(struct node *n)
{
    struct op_context c;
    struct error *e;

    context_init(n, &c);
    reporter_start(n->reporter);
    e = n->impl->resolve(&c, &n->source_text, &n->outputs[0]);
    if (e == NULL && n->outputs[0] != NULL) {
        free(TAKE(n->source_text));
        e = key_result(n);
    }
    if (e != NULL)
        snapshot_unref(TAKE(n->outputs[0]));
    reporter_complete(n->reporter, e);
    context_deinit(&c);
    return err_wrap(e, "failed to load cache key");
}

/* By ids, when the results of all inputs are here; then by the chain. */
static struct error *find_local(struct node *n, const char *key, const char *chain_key, bool *ret_hit)
{
    if (key[0] != '\0')
        TRY(find(n, key, ret_hit));
    if (*ret_hit || chain_key[0] == '\0')
        return NULL;
    CLEANUP(freep) char *k = xasprintf("chain-%s", chain_key);

    return find(n, k, ret_hit);
}

/* What a look into remote caches came to.  A keyed node has had its promise. */
static enum node_outcome remote_outcome(struct node *n)
{
    if (n->keyed)
        return OUTCOME_MISS;
    remote_choose_hits(n);
    return n->hits != NULL || remote_matched(n) ? OUTCOME_PROMISE : OUTCOME_MISS;
}

/* A chain that is known to lead to results that were fetched is as good as a record without layers: what
 * stands above is looked up before this is made.  And what was promised now is known from now on. */
static struct error *chain_outcome(const struct node *n, const char *chain_key, enum node_outcome *ret)
{
    CLEANUP(freep) char *k = xasprintf("chain-%s", chain_key);
    CLEANUP(freep) char *id = NULL;

    if (n->keyed || chain_key[0] == '\0' || *ret == OUTCOME_HIT)
        return NULL;
    if (*ret == OUTCOME_PROMISE)
        return cache_put(n->solver->config.store, k, KEY_ONLY, NULL, 0);
    TRY(cache_find(n->solver->config.store, k, &id));
    if (id != NULL && streq(id, KEY_ONLY))
        *ret = OUTCOME_PROMISE;
    return NULL;
}

static struct error *lookup(struct node *n, enum node_outcome *ret)
{
    bool hit = false;

    if (!n->keyed)
        TRY(make_chain_key(n, KEY_CHAIN, n->chain_key));
    TRY(find_local(n, n->key, n->chain_key, &hit));
    if (!n->keyed)
        TRY(remote_match(n)); /* also for a hit: for the steps above it */
    *ret = hit ? OUTCOME_HIT : remote_outcome(n);
    return chain_outcome(n, n->chain_key, ret);
}

struct error *stage_lookup(struct node *n, enum node_outcome *ret)
{
    bool content = false;

    if (has_results(n)) {
        TRY(make_key(n, KEY_ID, &content, &n->preimage, n->key));
    } else {
        CLEANUP(buf_deinit) struct buf unused = { 0 };
        node_key none;

        TRY(make_key(n, KEY_CHAIN, &content, &unused, none)); /* only for `content` */
    }
    n->by_content = content;
    return n->fresh ? NULL : lookup(n, ret);
}

static struct error *lookup_content(struct node *n, enum node_outcome *ret)
{
    bool hit = false;

    TRY(make_chain_key(n, KEY_CHAIN_CONTENT, n->chain_content_key));
    TRY(find_local(n, n->content_key, n->chain_content_key, &hit));
    if (!n->keyed)
        TRY(remote_match_content(n));
    if (!n->keyed && n->chain_content_key[0] != '\0') /* what it is, however its inputs came to be */
        memcpy(n->chain_key, n->chain_content_key, sizeof(node_key));
    *ret = hit ? OUTCOME_HIT : remote_outcome(n);
    if (hit && n->key[0] != '\0')
        record(n, n->key, &n->preimage);
    return chain_outcome(n, n->chain_content_key, ret);
}

struct error *stage_content(struct node *n, enum node_outcome *ret)
{
    bool content = false;
    struct error *e = NULL;

    if (has_results(n))
        e = make_key(n, KEY_CONTENT, &content, &n->content_preimage, n->content_key);
    if (e == NULL && !n->fresh)
        e = lookup_content(n, ret);
    if (e == NULL)
        return NULL;
    e = err_wrap(e, "failed to compute cache key");
    if (task_check_sys() == 0) {
        reporter_start(n->reporter);
        reporter_complete(n->reporter, e);
    }
    return e;
}

/* What was fetched is found again by its chain, and by ids where they are known. */
static void record_fetched(const struct node *n)
{
    const char *chains[] = { n->chain_key, n->chain_content_key };

    if (n->key[0] != '\0')
        record(n, n->key, &n->preimage);
    if (n->content_key[0] != '\0')
        record(n, n->content_key, &n->content_preimage);
    for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
        CLEANUP(freep) char *k = xasprintf("chain-%s", chains[i]);

        if (chains[i][0] != '\0')
            record(n, k, NULL);
    }
    log_err(LOG_WARN, solver_set_imported(n->solver), "cannot record the result of a step");
}

struct error *stage_fetch(struct node *n)
{
    struct op_context c;
    struct error *e = NULL;

    context_init(n, &c);
    for (size_t i = 0; e == NULL && i < n->output_count; i++)
        if (n->needed[i])
            e = remote_load(&n->hits[i], &c, &n->outputs[i]);
    for (size_t i = 0; e != NULL && i < n->output_count; i++)
        snapshot_unref(TAKE(n->outputs[i]));
    if (e == NULL)
        record_fetched(n);
    context_deinit(&c);
    return e;
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
        layers_hash_in_step(n);
    }
    reporter_complete(n->reporter, e);
    context_deinit(&c);
    return e;
}
