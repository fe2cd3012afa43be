/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key.c - what a node is known by
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
#include "solver/node.h"

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

struct error *node_make_key(struct node *n, enum key_kind kind, bool *ret_by_content, struct buf *preimage,
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

struct error *node_make_chain_key(struct node *n, enum key_kind kind, node_key ret)
{
    CLEANUP(buf_deinit) struct buf preimage = { 0 };
    bool imported, unused = false;

    TRY(solver_imported(n->solver, &imported));
    if (!imported && n->caches.len == 0)
        return NULL;
    for (size_t i = 0; i < n->vertex->input_count; i++)
        if (n->inputs[i]->chain_key[0] == '\0')
            return NULL;
    return node_make_key(n, kind, &unused, &preimage, ret);
}
