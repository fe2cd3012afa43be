/* SPDX-License-Identifier: Apache-2.0 */
#include "op/held.h"

#include "base/bytes.h"
#include "task/task.h"

#define URL_PREFIX "held://"

struct held {
    char *url;
    struct snapshot *snapshot;
    struct held *next;
};

/* All that are open, by address; one list a process, ids are random. */
static struct mutex lock = MUTEX_INIT;
static struct held *open_ones;

struct held *held_open(struct snapshot *s)
{
    struct held *h = NEW(struct held);
    char id[26];

    random_id(id, 25);
    h->url = xasprintf(URL_PREFIX "%s", id);
    h->snapshot = s == NULL ? NULL : snapshot_ref(s);
    mutex_lock(&lock);
    h->next = open_ones;
    open_ones = h;
    mutex_unlock(&lock);
    return h;
}

void held_close(struct held *h)
{
    if (h == NULL)
        return;
    mutex_lock(&lock);
    for (struct held **p = &open_ones; *p != NULL; p = &(*p)->next) {
        if (*p == h) {
            *p = h->next;
            break;
        }
    }
    mutex_unlock(&lock);
    snapshot_unref(h->snapshot);
    free(h->url);
    free(h);
}

struct llb_state held_state(const struct held *h, struct llb_builder *b)
{
    if (h->snapshot == NULL || *snapshot_id(h->snapshot) == '\0')
        return llb_scratch();
    return llb_source(b, h->url, &(struct llb_options){ .custom_name = "[internal] load held result" });
}

static struct error *resolve(struct op_context *c, char **ret_text, struct snapshot **ret_result)
{
    const char *url = c->vertex->op->source->identifier;

    mutex_lock(&lock);
    for (struct held *h = open_ones; h != NULL && *ret_result == NULL; h = h->next) {
        if (streq(h->url, url))
            *ret_result = snapshot_ref(h->snapshot);
    }
    mutex_unlock(&lock);
    if (*ret_result == NULL)
        return err_new(ERR_NOT_FOUND, "%s: not held by anybody", url);
    *ret_text = xasprintf("held:%s", snapshot_id(*ret_result));
    return NULL;
}

static struct error *run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                         size_t output_count)
{
    return err_new(ERR_INTERNAL, "%s: a held result does not run", c->vertex->op->source->identifier);
}

const struct op_impl held_source = { .name = "held", .resolve = resolve, .resolve_is_run = true, .run = run };
