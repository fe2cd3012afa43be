/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - all containers: names, look-up, and what is kept of them on disk */
#include "container/internal.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "container/names.h"
#include "container/shape.h"
#include "io/path.h"
#include "oci/gojson.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define STATE_FILE "container.json"
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

/* ---- on disk
 * ------------------------------------------------------------------------------------------------------------------
 */

static json_t *to_json(struct container *ct, const char *name)
{
    const struct state *s = &ct->state;
    json_t *j = json_object();

    json_object_set_new(j, "Id", json_string(ct->id));
    json_object_set_new(j, "Name", json_string(name));
    json_object_set_new(j, "Created", json_integer(ct->created_ns));
    json_object_set_new(j, "Image", json_string(ct->image_id));
    json_object_set_new(j, "Os", json_string(ct->os));
    json_object_set_new(j, "Snapshot", json_string(snapshot_id(ct->snapshot)));
    json_object_set(j, "Config", ct->config);
    json_object_set(j, "HostConfig", ct->host_config);
    if (ct->networking != NULL)
        json_object_set(j, "NetworkingConfig", ct->networking);
    if (ct->image_descriptor != NULL)
        json_object_set(j, "ImageManifestDescriptor", ct->image_descriptor);
    json_object_set_new(j, "StoppedByUser", json_boolean(ct->stopped_by_user || ct->signalled_by_user));
    json_object_set_new(j, "RestartCount", json_integer(ct->restarts));
    json_object_set_new(j, "State",
                        json_pack("{s:b, s:b, s:b, s:i, s:o, s:I, s:I}", "Running", s->running, "Dead",
                                  s->dead, "OOMKilled", s->oom_killed, "ExitCode", s->exit_code, "Error",
                                  go_json_text(s->error != NULL ? s->error : ""), "StartedAt",
                                  (json_int_t)s->started_ns, "FinishedAt", (json_int_t)s->finished_ns));
    return j;
}

/* Replaces the file at once, so that a killed daemon leaves the old or the new state.  What a power cut may
 * cost is the last change of a container that it ended anyway: no disk is waited for, but when the container
 * is made or named. */
static int write_state(int dir_fd, const char *text, bool durable)
{
    static const char temporary[] = STATE_FILE ".new";

    if (durable)
        return file_write_atomic(dir_fd, STATE_FILE, text, strlen(text), 0600);
    CLEANUP(closep)
    int fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    for (size_t done = 0, len = strlen(text); done < len;) {
        ssize_t n = write(fd, text + done, len - done);

        if (n < 0 && errno != EINTR)
            return -errno;
        done += n > 0 ? (size_t)n : 0;
    }
    return renameat(dir_fd, temporary, dir_fd, STATE_FILE) < 0 ? -errno : 0;
}

struct error *container_save(struct container *ct, bool durable)
{
    CLEANUP(freep) char *name = container_name(ct);
    CLEANUP(freep) char *text = NULL;
    CLEANUP(closep) int dir = open(ct->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return err_sys(errno, "open %s", ct->dir);
    mutex_lock(&ct->lock);
    json_t *j = to_json(ct, name);
    mutex_unlock(&ct->lock);
    text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    TRY_SYS(write_state(dir, text, durable), "write %s/" STATE_FILE, ct->dir);
    return NULL;
}

/* A daemon that was killed left it running: the next one's runner ends it, and it is found ended. */
static void settle_state(struct state *s)
{
    if (!s->running)
        return;
    s->running = false;
    s->exit_code = 128 + SIGKILL;
    s->finished_ns = now_ns();
}

static void read_state(const json_t *j, struct state *s)
{
    const char *error = json_get_string(j, "Error");

    s->running = json_get_bool(j, "Running");
    s->dead = json_get_bool(j, "Dead");
    s->oom_killed = json_get_bool(j, "OOMKilled");
    s->exit_code = (int)json_get_int(j, "ExitCode");
    s->error = *error != '\0' ? xstrdup(error) : NULL;
    s->started_ns = json_get_int(j, "StartedAt");
    s->finished_ns = json_get_int(j, "FinishedAt");
    settle_state(s);
}

static struct error *from_json(struct containers *c, struct container *ct, const json_t *j)
{
    const char *id = json_get_string(j, "Id");

    if (strlen(id) != CONTAINER_ID_LEN)
        return err_new(ERR_DATA_LOSS, "its id is malformed");
    memcpy(ct->id, id, sizeof(ct->id));
    ct->created_ns = json_get_int(j, "Created");
    ct->name = xstrdup(json_get_string(j, "Name"));
    ct->image_id = xstrdup(json_get_string(j, "Image"));
    ct->os = xstrdup(json_get_string(j, "Os"));
    ct->networking = json_incref(json_object_get(j, "NetworkingConfig"));
    ct->image_descriptor = json_incref(json_object_get(j, "ImageManifestDescriptor"));
    TRY(shape_config(json_object_get(j, "Config"), &ct->config));
    TRY(shape_host_config(json_object_get(j, "HostConfig"), &ct->host_config));
    ct->tty = json_get_bool(ct->config, "Tty");
    ct->dir = path_join(c->config->root, ct->id);
    ct->log_path = xasprintf("%s/%s-json.log", ct->dir, ct->id);
    read_state(json_object_get(j, "State"), &ct->state);
    ct->stopped_by_user = json_get_bool(j, "StoppedByUser");
    ct->restarts = json_get_int(j, "RestartCount");
    return snapshot_get(c->config->store, json_get_string(j, "Snapshot"), &ct->snapshot);
}

static struct error *load_one(struct containers *c, const char *entry)
{
    CLEANUP(freep) char *path = xasprintf("%s/%s/" STATE_FILE, c->config->root, entry);
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(container_unrefp) struct container *ct = container_new(c);
    json_error_t why;

    TRY_SYS(file_read(path, &text, LIMIT_CONTROL_FILE), "read %s", path);
    json_t *j = json_loadb(text.data, text.len, 0, &why);
    if (j == NULL)
        return err_new(ERR_DATA_LOSS, "%s: %s", path, why.text);
    struct error *e = from_json(c, ct, j);
    json_decref(j);
    TRY(err_wrap(e, "load container %.12s", entry));
    if (ct->state.dead || (json_get_bool(ct->host_config, "AutoRemove") && ct->state.started_ns != 0))
        return container_discard_files(ct);
    table_add(c, ct);
    return container_save(ct, false);
}

/* Under a hidden name first: a removal that is cut off is finished at the next start. */
struct error *container_discard_files(struct container *ct)
{
    CLEANUP(freep) char *hidden = xasprintf("%s/.%s", ct->all->config->root, ct->id);

    if (rename(ct->dir, hidden) < 0 && errno != ENOENT) /* there: the last attempt has failed later on */
        return err_sys(errno, "rename %s", ct->dir);
    TRY_SYS(path_remove_all(AT_FDCWD, hidden), "remove %s", hidden);
    return NULL;
}

/* What cannot be loaded stays where it is, for somebody to look at, and is said in the log.  A directory
 * without its file is a creation that was cut off. */
void table_load(struct containers *c)
{
    DIR *dir = opendir(c->config->root);
    struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
            continue;
        if (entry->d_name[0] == '.') {
            if (path_remove_all(dirfd(dir), entry->d_name) < 0)
                log_warn("cannot remove what is left of a container", "id", entry->d_name);
            continue;
        }
        struct error *e = load_one(c, entry->d_name);
        if (err_is(e, ERR_NOT_FOUND) && e->errnum == ENOENT) {
            err_free(e);
            if (path_remove_all(dirfd(dir), entry->d_name) < 0)
                log_warn("cannot remove half a container", "id", entry->d_name);
            continue;
        }
        log_err(LOG_ERROR, e, "cannot load a container");
    }
    if (dir != NULL)
        closedir(dir);
}
