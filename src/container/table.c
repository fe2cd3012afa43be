/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - all containers: names and look-up */
#include "container/internal.h"

#include "base/log.h"
#include "container/names.h"
#include "container/shape.h"
#include "io/path.h"

#include <stdio.h>

#define NAME_ATTEMPTS 50

/* ---- one
 * --------------------------------------------------------------------------------------------------------------------
 */

struct container *container_new(struct containers *c)
{
    struct container *ct = NEW(struct container);

    atomic_init(&ct->refs, 1);
    ct->all = c;
    ct->stdin_fd = ct->root_fd = -1;
    mutex_init(&ct->lock);
    cond_init(&ct->changed);
    semaphore_init(&ct->operations, 1);
    return ct;
}

struct container *container_ref(struct container *ct)
{
    atomic_fetch_add(&ct->refs, 1);
    return ct;
}

void container_unref(struct container *ct)
{
    if (ct == NULL || atomic_fetch_sub(&ct->refs, 1) != 1)
        return;
    json_decref(ct->config);
    json_decref(ct->host_config);
    json_decref(ct->networking);
    json_decref(ct->image_descriptor);
    snapshot_unref(ct->snapshot);
    free(ct->image_id);
    free(ct->os);
    free(ct->dir);
    free(ct->log_path);
    free(ct->name);
    free(ct->state.error);
    health_deinit_locked(ct);
    free(ct->ip);
    free(ct->mac);
    ports_deinit(&ct->ports);
    logfile_unref(ct->log);
    semaphore_deinit(&ct->operations);
    cond_deinit(&ct->changed);
    mutex_deinit(&ct->lock);
    free(ct);
}

void container_unrefp(struct container **ct)
{
    container_unref(*ct);
    *ct = NULL;
}

const char *container_id(const struct container *ct)
{
    return ct->id;
}

bool container_has_tty(const struct container *ct)
{
    return ct->tty;
}

bool container_is_running(struct container *ct)
{
    mutex_lock(&ct->lock);
    bool running = ct->state.running;
    mutex_unlock(&ct->lock);
    return running;
}

bool container_is_paused(struct container *ct)
{
    mutex_lock(&ct->lock);
    bool paused = ct->state.paused;
    mutex_unlock(&ct->lock);
    return paused;
}

bool container_is_restarting(struct container *ct)
{
    mutex_lock(&ct->lock);
    bool restarting = ct->state.restarting;
    mutex_unlock(&ct->lock);
    return restarting;
}

bool container_is_removed(struct container *ct)
{
    mutex_lock(&ct->lock);
    bool removed = ct->state.removed;
    mutex_unlock(&ct->lock);
    return removed;
}

struct process *container_process_get(struct container *ct)
{
    mutex_lock(&ct->lock);
    struct process *p = ct->state.running ? ct->process : NULL;
    if (p != NULL)
        ct->process_users++;
    mutex_unlock(&ct->lock);
    return p;
}

void container_process_put(struct container *ct)
{
    mutex_lock(&ct->lock);
    ct->process_users--;
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
}

struct error *container_get_parts(struct container *ct, struct container_parts *ret)
{
    mutex_lock(&ct->lock);
    bool dead = ct->state.dead, going = ct->state.removing || ct->state.removed;
    mutex_unlock(&ct->lock);
    if (dead)
        return err_new(ERR_CONFLICT, "You cannot commit container %s which is Dead", ct->id);
    if (going)
        return err_new(ERR_CONFLICT, "You cannot commit container %s which is being removed", ct->id);
    *ret = (struct container_parts){ ct->config, ct->image_descriptor, ct->image_id, ct->snapshot };
    return NULL;
}

char *container_name(struct container *ct)
{
    mutex_lock(&ct->all->lock);
    char *name = xstrdup(ct->name);
    mutex_unlock(&ct->all->lock);
    return name;
}

void container_event(struct container *ct, const char *action, ...)
{
    CLEANUP(map_deinit) struct map attributes = { 0 };
    CLEANUP(freep) char *name = container_name(ct);
    const char *key;
    json_t *v;
    va_list more;

    if (ct->all->config->event == NULL)
        return;
    strmap_init(&attributes);
    json_object_foreach(json_object_get(ct->config, "Labels"), key, v)
        strmap_set(&attributes, key, json_string_value(v));
    strmap_set(&attributes, "image", json_get_string(ct->config, "Image"));
    strmap_set(&attributes, "name", name);
    va_start(more, action);
    while ((key = va_arg(more, const char *)) != NULL)
        strmap_set(&attributes, key, va_arg(more, const char *));
    va_end(more);
    map_sort(&attributes);
    ct->all->config->event(ct->all->config->ctx, action, ct->id, &attributes);
}

/* ---- the table
 * ----------------------------------------------------------------------------------------------------------------
 */

void table_add(struct containers *c, struct container *ct)
{
    mutex_lock(&c->lock);
    c->list = xreallocarray(c->list, c->count + 1, sizeof(*c->list));
    c->list[c->count++] = container_ref(ct);
    mutex_unlock(&c->lock);
}

void table_remove(struct containers *c, struct container *ct)
{
    bool found = false;

    mutex_lock(&c->lock);
    for (size_t i = 0; i < c->count && !found; i++) {
        found = c->list[i] == ct;
        if (found)
            memmove(&c->list[i], &c->list[i + 1], (--c->count - i) * sizeof(*c->list));
    }
    mutex_unlock(&c->lock);
    if (found)
        container_unref(ct);
}

static int newest_first(const void *a, const void *b)
{
    const struct container *x = *(struct container *const *)a, *y = *(struct container *const *)b;

    return x->created_ns < y->created_ns ? 1 : x->created_ns > y->created_ns ? -1 : strcmp(x->id, y->id);
}

struct container **table_all(struct containers *c, size_t *ret_count)
{
    mutex_lock(&c->lock);
    struct container **list = xcalloc(c->count + 1, sizeof(*list));
    for (size_t i = 0; i < c->count; i++)
        list[i] = container_ref(c->list[i]);
    *ret_count = c->count;
    mutex_unlock(&c->lock);
    qsort(list, *ret_count, sizeof(*list), newest_first);
    return list;
}

void table_all_free(struct container **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        container_unref(list[i]);
    free(list);
}

static struct container *find_named_locked(struct containers *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->list[i]->name != NULL && streq(c->list[i]->name, name))
            return c->list[i];
    return NULL;
}

/* Full id before name before prefix, as dockerd looks. */
static struct container *find_locked(struct containers *c, const char *what, bool *ret_ambiguous)
{
    struct container *found = NULL;

    *ret_ambiguous = false;
    for (size_t i = 0; i < c->count; i++)
        if (streq(c->list[i]->id, what))
            return c->list[i];
    found = find_named_locked(c, *what == '/' ? what + 1 : what);
    if (found != NULL || *what == '\0')
        return found;
    for (size_t i = 0; i < c->count; i++) {
        if (!str_has_prefix(c->list[i]->id, what))
            continue;
        *ret_ambiguous = found != NULL;
        if (*ret_ambiguous)
            return NULL;
        found = c->list[i];
    }
    return found;
}

struct error *container_find(struct containers *c, const char *what, struct container **ret)
{
    bool ambiguous;

    mutex_lock(&c->lock);
    struct container *ct = find_locked(c, what, &ambiguous);
    if (ct != NULL)
        *ret = container_ref(ct);
    mutex_unlock(&c->lock);
    if (ambiguous)
        return err_new(ERR_INVALID, "multiple IDs found with provided prefix: %s", what);
    return ct == NULL ? err_new(ERR_NOT_FOUND, "No such container: %s", what) : NULL;
}

static struct error *take_name_locked(struct containers *c, struct container *ct, const char *name)
{
    struct container *other = find_named_locked(c, name);

    if (other != NULL && other != ct)
        return err_new(ERR_CONFLICT,
                       "Conflict. The container name \"/%s\" is already in use by container \"%s\". You have "
                       "to remove (or rename) "
                       "that container to be able to reuse that name.",
                       name, other->id);
    free(ct->name);
    ct->name = xstrdup(name);
    return NULL;
}

static struct error *make_up_name(struct containers *c, struct container *ct)
{
    for (unsigned i = 0; i < NAME_ATTEMPTS; i++) {
        CLEANUP(freep) char *name = name_generate(i);

        mutex_lock(&c->lock);
        struct error *e = take_name_locked(c, ct, name);
        mutex_unlock(&c->lock);
        if (e == NULL)
            return NULL;
        err_free(e);
    }
    mutex_lock(&c->lock);
    ct->name = xstrndup(ct->id, 12);
    mutex_unlock(&c->lock);
    return NULL;
}

struct error *table_name(struct containers *c, struct container *ct, const char *name)
{
    if (name == NULL || *name == '\0')
        return make_up_name(c, ct);
    name += *name == '/';
    if (!name_valid(name))
        return err_new(ERR_INVALID, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
                       name);
    mutex_lock(&c->lock);
    struct error *e = take_name_locked(c, ct, name);
    mutex_unlock(&c->lock);
    return e;
}

void containers_count(struct containers *c, int *ret_running, int *ret_paused, int *ret_stopped)
{
    size_t count;
    struct container **list = table_all(c, &count);

    *ret_running = *ret_paused = *ret_stopped = 0;
    for (size_t i = 0; i < count; i++) {
        mutex_lock(&list[i]->lock);
        const struct state *s = &list[i]->state;
        ++*(s->paused ? ret_paused : s->running ? ret_running : ret_stopped);
        mutex_unlock(&list[i]->lock);
    }
    table_all_free(list, count);
}

void containers_of_image(struct containers *c, const char *image_id, struct strv *out, bool *ret_running)
{
    size_t count;
    struct container **list = table_all(c, &count);

    if (ret_running != NULL)
        *ret_running = false;
    for (size_t i = 0; i < count; i++) {
        if (!streq(list[i]->image_id, image_id))
            continue;
        strv_add(out, list[i]->id);
        if (ret_running != NULL)
            *ret_running |= container_is_running(list[i]);
    }
    table_all_free(list, count);
}
