/* SPDX-License-Identifier: Apache-2.0 */
/* state_file.c - what is kept of a container on disk: container.json in its directory */
#include "container/internal.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
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
