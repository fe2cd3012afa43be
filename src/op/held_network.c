/* SPDX-License-Identifier: Apache-2.0 */
#include "op/held_network.h"

#include "base/bytes.h"
#include "task/task.h"

#include <stdatomic.h>

struct held_network {
    atomic_uint refs;
    char name[26];
    struct run_joined_network network;
    struct held_network *next;
};

/* All that are open; one list a process, names are random. */
static struct mutex lock = MUTEX_INIT;
static struct held_network *open_ones;

struct held_network *held_network_open(struct run_joined_network *n)
{
    struct held_network *h = NEW(struct held_network);

    random_id(h->name, 25);
    h->network = *n;
    *n = RUN_JOINED_NETWORK_NONE;
    atomic_init(&h->refs, 1);
    mutex_lock(&lock);
    h->next = open_ones;
    open_ones = h;
    mutex_unlock(&lock);
    return h;
}

void held_network_unrefp(struct held_network **h)
{
    if (*h == NULL || atomic_fetch_sub(&(*h)->refs, 1) != 1)
        return;
    run_joined_network_deinit(&(*h)->network);
    free(*h);
}

void held_network_close(struct held_network *h)
{
    if (h == NULL)
        return;
    mutex_lock(&lock);
    for (struct held_network **p = &open_ones; *p != NULL; p = &(*p)->next) {
        if (*p == h) {
            *p = h->next;
            break;
        }
    }
    mutex_unlock(&lock);
    held_network_unrefp(&h);
}

const char *held_network_name(const struct held_network *h)
{
    return h->name;
}

struct error *held_network_find(const char *name, struct held_network **ret)
{
    *ret = NULL;
    mutex_lock(&lock);
    for (struct held_network *h = open_ones; h != NULL; h = h->next) {
        if (streq(h->name, name)) {
            atomic_fetch_add(&h->refs, 1);
            *ret = h;
            break;
        }
    }
    mutex_unlock(&lock);
    return *ret != NULL ? NULL : err_new(ERR_NOT_FOUND, "network %s: not held by anybody", name);
}

const struct run_joined_network *held_network_get(const struct held_network *h)
{
    return &h->network;
}
