/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - many containers as JSON, in short, and which of them */
#include "container/internal.h"

#include "base/bytes.h"
#include "container/mounts.h"
#include "container/shape.h"

/* ---- list
 * ---------------------------------------------------------------------------------------------------------------------
 */

static char *command_text(const struct container *ct)
{
    CLEANUP(strv_deinit) struct strv words = { 0 };
    struct buf b = { 0 };

    json_get_strings(ct->config, "Entrypoint", &words);
    json_get_strings(ct->config, "Cmd", &words);
    for (size_t i = 0; i < words.len; i++) {
        /* As dockerd quotes an argument with a blank in it. */
        bool quote = i > 0 && strchr(words.v[i], ' ') != NULL;

        buf_addf(&b, "%s%s%s%s", i > 0 ? " " : "", quote ? "'" : "", words.v[i], quote ? "'" : "");
    }
    return buf_take(&b);
}

static const char *shown_image(const struct container *ct)
{
    const char *name = json_get_string(ct->config, "Image");
    const struct containers_config *c = ct->all->config;

    return c->image_is == NULL || c->image_is(c->ctx, name, ct->image_id) ? name : ct->image_id;
}

static json_t *summary(struct container *ct, bool size, int version)
{
    CLEANUP(freep) char *name = container_name(ct);
    CLEANUP(freep) char *slashed = xasprintf("/%s", name);
    CLEANUP(freep) char *command = command_text(ct);
    CLEANUP(freep) char *status = container_status_text(ct);
    const json_t *labels = json_object_get(ct->config, "Labels");
    const char *mode = json_get_string(ct->host_config, "NetworkMode");
    json_t *o = json_object();

    json_object_set_new(o, "Id", json_string(ct->id));
    json_object_set_new(o, "Names", json_pack("[s]", slashed));
    json_object_set_new(o, "Image", json_string(shown_image(ct)));
    json_object_set_new(o, "ImageID", json_string(ct->image_id));
    if (version >= 48 && ct->image_descriptor != NULL)
        json_object_set_new(o, "ImageManifestDescriptor", json_deep_copy(ct->image_descriptor));
    json_object_set_new(o, "Command", json_string(command));
    json_object_set_new(o, "Created", json_integer(ct->created_ns / NS_PER_SEC));
    mutex_lock(&ct->lock);
    json_object_set_new(o, "Ports", ct->state.running ? ports_summary(&ct->ports, ct->config) : json_array());
    json_t *settings = json_pack("{s:o}", "Networks", container_networks_locked(ct, version));
    json_t *state = json_string(container_state_word(&ct->state));
    mutex_unlock(&ct->lock);
    if (size) {
        int64_t own = container_size(ct);

        if (own > 0)
            json_object_set_new(o, "SizeRw", json_integer(own));
        json_object_set_new(o, "SizeRootFs", json_integer(own + container_image_size(ct)));
    }
    json_object_set_new(o, "Labels", json_is_object(labels) ? json_deep_copy(labels) : json_object());
    json_object_set_new(o, "State", state);
    json_object_set_new(o, "Status", json_string(status));
    json_object_set_new(o, "HostConfig", json_pack("{s:s}", "NetworkMode", mode));
    json_object_set_new(o, "NetworkSettings", settings);
    json_object_set_new(o, "Mounts", container_mounts_json(ct->host_config));
    return o;
}

/* ---- filters
 * ------------------------------------------------------------------------------------------------------------------
 */

static bool empty(const struct strv *v)
{
    return v == NULL || v->len == 0;
}

/* "key" or "key=value" for each: all must hold. */
static bool has_labels(const struct container *ct, const struct strv *wanted)
{
    const json_t *labels = json_object_get(ct->config, "Labels");

    for (size_t i = 0; wanted != NULL && i < wanted->len; i++) {
        CLEANUP(freep) char *key = xstrdup(wanted->v[i]);
        char *value = strchr(key, '=');

        if (value != NULL)
            *value++ = '\0';
        const json_t *have = json_object_get(labels, key);
        if (have == NULL || (value != NULL && !streq(value, json_string_value(have))))
            return false;
    }
    return true;
}

static bool matches_name(const char *name, const struct strv *wanted)
{
    if (empty(wanted))
        return true;
    for (size_t i = 0; i < wanted->len; i++) {
        const char *w = wanted->v[i];
        bool start = *w == '^';
        CLEANUP(freep) char *text = xstrdup(w + start + (w[start] == '/'));
        size_t len = strlen(text);
        bool end = len > 0 && text[len - 1] == '$';

        if (end)
            text[--len] = '\0';
        if (start && end ? streq(name, text)
            : start      ? str_has_prefix(name, text)
            : end        ? str_has_suffix(name, text)
                         : strstr(name, text) != NULL)
            return true;
    }
    return false;
}

static bool matches_prefix(const char *value, const struct strv *wanted)
{
    if (empty(wanted))
        return true;
    for (size_t i = 0; i < wanted->len; i++)
        if (str_has_prefix(value, wanted->v[i]))
            return true;
    return false;
}

static bool matches_exit(const struct state *s, const struct strv *wanted)
{
    if (empty(wanted))
        return true;
    for (size_t i = 0; i < wanted->len; i++) {
        int64_t code;

        if (parse_i64(wanted->v[i], &code) == 0 && code == s->exit_code && !s->running && s->started_ns != 0)
            return true;
    }
    return false;
}

static bool matches_image(const struct container *ct, const struct strv *wanted)
{
    const struct containers_config *c = ct->all->config;

    if (empty(wanted))
        return true;
    for (size_t i = 0; i < wanted->len; i++)
        if (str_has_prefix(ct->image_id, wanted->v[i]) ||
            (c->image_is != NULL && c->image_is(c->ctx, wanted->v[i], ct->image_id)))
            return true;
    return false;
}

static bool matches_volume(const struct container *ct, const struct strv *wanted)
{
    CLEANUP(container_mounts_deinit) struct container_mounts list = { 0 };
    struct error *e;

    if (empty(wanted))
        return true;
    e = container_mounts_parse(ct->host_config, &list);
    err_free(e);
    for (size_t i = 0; i < list.count; i++)
        if (strv_has(wanted, list.v[i].dest) ||
            (list.v[i].source != NULL && strv_has(wanted, list.v[i].source)))
            return true;
    return false;
}

/* "80", "80/tcp"; `published`: by the host's port, else by the container's. */
static bool matches_port(const json_t *ports, const struct strv *wanted, bool published)
{
    json_t *p;
    size_t k;

    if (empty(wanted))
        return true;
    json_array_foreach(ports, k, p)
    {
        CLEANUP(freep)
        char *plain = xasprintf("%lld", (long long)json_get_int(p, published ? "PublicPort" : "PrivatePort"));
        CLEANUP(freep) char *full = xasprintf("%s/%s", plain, json_get_string(p, "Type"));

        if (!streq(plain, "0") &&
            (strv_has(wanted, full) || (streq(json_get_string(p, "Type"), "tcp") && strv_has(wanted, plain))))
            return true;
    }
    return false;
}

static bool passes(struct container *ct, const struct container_filters *f)
{
    CLEANUP(freep) char *name = container_name(ct);
    CLEANUP(freep) char *health = NULL;
    struct state s;
    json_t *ports;

    mutex_lock(&ct->lock);
    health = xstrdup(ct->health.status != NULL ? ct->health.status : "none");
    s = ct->state;
    s.error = NULL;
    ports = ports_summary(&ct->ports, ct->config);
    mutex_unlock(&ct->lock);
    bool ok =
        matches_prefix(ct->id, f->id) && matches_name(name, f->name) && has_labels(ct, f->label) &&
        (empty(f->status) || strv_has(f->status, container_state_word(&s))) && matches_exit(&s, f->exited) &&
        matches_image(ct, f->ancestor) && matches_volume(ct, f->volume) &&
        (empty(f->network) || strv_has(f->network, json_get_string(ct->host_config, "NetworkMode")) ||
         matches_prefix(container_network_id(json_get_string(ct->host_config, "NetworkMode")), f->network)) &&
        matches_port(ports, f->publish, true) && matches_port(ports, f->expose, false) &&
        (empty(f->health) || strv_has(f->health, health)) &&
        (empty(f->is_task) || strv_has(f->is_task, "false") || strv_has(f->is_task, "0"));
    json_decref(ports);
    return ok;
}

static struct error *check_filters(const struct container_filters *f)
{
    static const char *const states[] = { "created",  "running", "paused", "restarting",
                                          "removing", "exited",  "dead" };

    for (size_t i = 0; f->status != NULL && i < f->status->len; i++) {
        bool known = false;

        for (size_t k = 0; k < ARRAY_LEN(states); k++)
            known |= streq(states[k], f->status->v[i]);
        if (!known)
            return err_new(ERR_INVALID,
                           "invalid filter 'status=%s': invalid value for state (%s): must be one of "
                           "created, running, paused, "
                           "restarting, removing, exited, dead",
                           f->status->v[i], f->status->v[i]);
    }
    for (size_t i = 0; f->exited != NULL && i < f->exited->len; i++) {
        int64_t code;

        if (parse_i64(f->exited->v[i], &code) < 0)
            return err_new(ERR_INVALID, "invalid filter 'exited=%s'", f->exited->v[i]);
    }
    return NULL;
}

/* Creation time of the one named by a before/since filter; 0 without a filter. */
static struct error *reference_time(struct containers *c, const struct strv *names, int64_t *ret)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;

    *ret = 0;
    if (empty(names))
        return NULL;
    TRY(container_find(c, names->v[names->len - 1], &ct));
    *ret = ct->created_ns;
    return NULL;
}

struct error *containers_list(struct containers *c, bool all, bool size, int64_t limit,
                              const struct container_filters *f, int version, json_t **ret)
{
    int64_t before, since;
    size_t count;

    TRY(check_filters(f));
    TRY(reference_time(c, f->before, &before));
    TRY(reference_time(c, f->since, &since));
    all |= !empty(f->status) || limit > 0;
    json_t *list = json_array();
    struct container **found = table_all(c, &count);
    for (size_t i = 0; i < count; i++) {
        struct container *ct = found[i];

        if ((!all && !container_is_running(ct)) || (before != 0 && ct->created_ns >= before) ||
            ct->created_ns <= since || !passes(ct, f))
            continue;
        if (limit > 0 && (int64_t)json_array_size(list) >= limit)
            break;
        json_array_append_new(list, summary(ct, size, version));
    }
    table_all_free(found, count);
    *ret = list;
    return NULL;
}

struct error *containers_prune(struct containers *c, const struct strv *label, const struct strv *label_not,
                               int64_t until_ns, json_t **ret)
{
    json_t *deleted = json_null();
    int64_t bytes = 0;
    size_t count;
    struct container **list = table_all(c, &count);

    for (size_t i = 0; i < count && task_check_sys() == 0; i++) {
        struct container *ct = list[i];
        int64_t own;

        if (container_is_running(ct) || (until_ns != 0 && ct->created_ns > until_ns) ||
            !has_labels(ct, label) || (!empty(label_not) && has_labels(ct, label_not)))
            continue;
        own = container_size(ct);
        struct error *e = container_remove(ct, ct->id, false);
        if (e != NULL) { /* somebody started or removed it meanwhile */
            err_free(e);
            continue;
        }
        bytes += own;
        if (json_is_null(deleted))
            deleted = json_array();
        json_array_append_new(deleted, json_string(ct->id));
    }
    table_all_free(list, count);
    *ret = json_pack("{s:o, s:I}", "ContainersDeleted", deleted, "SpaceReclaimed", (json_int_t)bytes);
    return NULL;
}
