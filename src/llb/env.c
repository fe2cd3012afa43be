/* SPDX-License-Identifier: Apache-2.0 */
/* env.c - the environment that a state hands on */
#include "llb/node.h"
#include "llb/state.h"

/*
 * The newest entries by name: a tree that branches on two bits of the hash a level.  It is never changed: a
 * new entry gives copies of the nodes that lead to it, so that each environment has its own and most is
 * shared.
 */
struct llb_names {
    const struct llb_names *child[4];
    const struct llb_env *entry;
};

/* 0: the names of equal hashes all go below child 0. */
static unsigned branch(uint64_t hash, unsigned level)
{
    return level < 32 ? (unsigned)(hash >> 2 * level) & 3 : 0;
}

static const struct llb_env *find_name(const struct llb_names *n, const char *key, uint64_t hash)
{
    for (unsigned level = 0; n != NULL; level++) {
        if (n->entry->hash == hash && streq(n->entry->key, key))
            return n->entry;
        n = n->child[branch(hash, level)];
    }
    return NULL;
}

static const struct llb_names *add_name(struct llb_builder *b, const struct llb_names *n,
                                        const struct llb_env *e)
{
    const struct llb_names *root = NULL, **link = &root;

    for (unsigned level = 0;; level++) {
        struct llb_names *copy = llb_alloc(b, sizeof(*copy));

        *link = copy;
        if (n == NULL) {
            copy->entry = e;
            return root;
        }
        *copy = *n;
        if (n->entry->hash == e->hash && streq(n->entry->key, e->key)) {
            copy->entry = e;
            return root;
        }
        link = &copy->child[branch(e->hash, level)];
        n = *link;
    }
}

static const struct llb_env *env_push(struct llb_builder *b, const struct llb_env *env, const char *key,
                                      const char *value)
{
    struct llb_env *e = llb_alloc(b, sizeof(*e));

    e->parent = env;
    e->key = llb_strdup(b, key);
    e->value = llb_strdup(b, value != NULL ? value : "");
    e->deleted = value == NULL;
    e->hash = str_hash(key);
    e->names = add_name(b, env != NULL ? env->names : NULL, e);
    return e;
}

const struct llb_env *llb_env_set(struct llb_builder *b, const struct llb_env *env, const char *key,
                                  const char *value)
{
    return env_push(b, env, key, value);
}

const struct llb_env *llb_env_delete(struct llb_builder *b, const struct llb_env *env, const char *key)
{
    return env_push(b, env, key, NULL);
}

const char *llb_env_get(const struct llb_env *env, const char *key)
{
    const struct llb_env *e = env != NULL ? find_name(env->names, key, str_hash(key)) : NULL;

    return e == NULL || e->deleted ? NULL : e->value;
}

void llb_env_entries(const struct llb_env *env, struct ptrv *ret)
{
    size_t first = ret->len;

    for (const struct llb_env *e = env; e != NULL; e = e->parent) {
        if (!e->deleted && find_name(env->names, e->key, e->hash) == e)
            ptrv_add(ret, (void *)e);
    }
    for (size_t i = first, k = ret->len; i + 1 < k; i++) {
        void *swap = ret->v[i];

        ret->v[i] = ret->v[--k];
        ret->v[k] = swap;
    }
}

void llb_env_keys(const struct llb_env *env, struct strv *ret)
{
    CLEANUP(ptrv_deinit) struct ptrv entries = { 0 };

    llb_env_entries(env, &entries);
    for (size_t i = 0; i < entries.len; i++)
        strv_add(ret, ((const struct llb_env *)entries.v[i])->key);
}
