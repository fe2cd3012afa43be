/* SPDX-License-Identifier: Apache-2.0 */
/* stage.c - lookups and runs of one node; without the solver's lock, on a node that is BUSY */
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

/* ---- records ---- */

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
    TRY(node_make_chain_key(n, KEY_CHAIN, n->chain_key));
    return remote_match(n);
}

struct error *stage_resolve(struct node *n)
{
    struct op_context c;
    struct error *e;

    op_context_init(n, &c);
    reporter_start(n->reporter);
    e = n->impl->resolve(&c, &n->source_text, &n->outputs[0]);
    if (e == NULL && n->outputs[0] != NULL) {
        free(TAKE(n->source_text));
        e = key_result(n);
    }
    if (e != NULL)
        snapshot_unref(TAKE(n->outputs[0]));
    reporter_complete(n->reporter, e);
    op_context_deinit(&c);
    return n->impl->resolve_is_run ? e : err_wrap(e, "failed to load cache key");
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
        TRY(node_make_chain_key(n, KEY_CHAIN, n->chain_key));
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
        TRY(node_make_key(n, KEY_ID, &content, &n->preimage, n->key));
    } else {
        CLEANUP(buf_deinit) struct buf unused = { 0 };
        node_key none;

        TRY(node_make_key(n, KEY_CHAIN, &content, &unused, none)); /* only for `content` */
    }
    n->by_content = content;
    return n->fresh ? NULL : lookup(n, ret);
}

static struct error *lookup_content(struct node *n, enum node_outcome *ret)
{
    bool hit = false;

    TRY(node_make_chain_key(n, KEY_CHAIN_CONTENT, n->chain_content_key));
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
        e = node_make_key(n, KEY_CONTENT, &content, &n->content_preimage, n->content_key);
    if (e == NULL && !n->fresh)
        e = lookup_content(n, ret);
    if (e == NULL)
        return NULL;
    if (task_check_sys() == 0) {
        reporter_start(n->reporter);
        reporter_complete(n->reporter, e);
    }
    return err_wrap(e, "failed to compute cache key");
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

    op_context_init(n, &c);
    for (size_t i = 0; e == NULL && i < n->output_count; i++)
        if (n->needed[i])
            e = remote_load(&n->hits[i], &c, &n->outputs[i]);
    for (size_t i = 0; e != NULL && i < n->output_count; i++)
        snapshot_unref(TAKE(n->outputs[i]));
    if (e == NULL)
        record_fetched(n);
    op_context_deinit(&c);
    return e;
}

struct error *stage_run(struct node *n)
{
    struct op_context c;
    struct error *e;

    op_context_init(n, &c);
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
    op_context_deinit(&c);
    return e;
}
