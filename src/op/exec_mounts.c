/* SPDX-License-Identifier: Apache-2.0 */
#include "op/exec_mounts.h"

#include "base/limits.h"
#include "base/log.h"
#include "io/path.h"
#include "op/impl.h"

#include <errno.h>
#include <unistd.h>

struct ssh_mount {
    struct session_group sessions;
    char *id;
};

static const char *type_name(Pb__MountType t)
{
    static const char *const names[] = { "BIND", "SECRET", "SSH", "CACHE", "TMPFS" };

    return (unsigned)t < ARRAY_LEN(names) ? names[t] : "unknown";
}

static char *keep_text(struct exec_mounts *m, char *text)
{
    ptrv_add(&m->texts, text);
    return text;
}

static int keep_fd(struct exec_mounts *m, int fd)
{
    m->fds = xreallocarray(m->fds, m->fd_count + 1, sizeof *m->fds);
    return m->fds[m->fd_count++] = fd;
}

/* ---- one mount
 * ---------------------------------------------------------------------------------------------------------------
 */

static char *dest_of(struct exec_mounts *m, const Pb__Mount *mount)
{
    if (mount->dest[0] == '/')
        return keep_text(m, path_clean(mount->dest));
    CLEANUP(freep) char *base = path_join("/", m->spec.cwd);
    return keep_text(m, path_join(base, mount->dest));
}

static struct run_mount *add_mount(struct exec_mounts *m, const Pb__Mount *mount, int fd)
{
    struct run_mount *r;

    m->mounts = xreallocarray(m->mounts, m->mount_count + 1, sizeof *m->mounts);
    r = &m->mounts[m->mount_count++];
    *r = (struct run_mount){
        .dest = dest_of(m, mount),
        .source_fd = fd,
        .selector = mount->selector[0] == '\0' || streq(mount->selector, "/") ? NULL : mount->selector,
        .readonly = mount->readonly,
    };
    return r;
}

static struct error *add_active(struct exec_mounts *m, size_t i, struct snapshot *base, int *ret_fd)
{
    const Pb__Mount *mount = m->spec.mounts[i];
    struct active *a;

    TRY(op_begin(m->spec.context, base, &a));
    m->actives = xreallocarray(m->actives, m->active_count + 1, sizeof *m->actives);
    m->actives[m->active_count++] = (struct exec_active){ a, i, mount->output };
    *ret_fd = active_fd(a);
    return NULL;
}

/* Which of the op's results mount i is; -1: none. They are counted in the order of the mounts. */
static int64_t output_of(const struct exec_mounts_spec *s, size_t i)
{
    int64_t n = 0;

    if (s->mounts[i]->output == -1)
        return -1;
    for (size_t k = 0; k < i; k++)
        n += s->mounts[k]->output != -1;
    return n;
}

static struct error *bind(struct exec_mounts *m, size_t i, struct snapshot *in, bool has_input)
{
    const Pb__Mount *mount = m->spec.mounts[i];
    bool root = streq(mount->dest, "/"), ro = mount->readonly && has_input && !root;
    int fd;

    if (!ro) {
        TRY(add_active(m, i, in, &fd));
    } else {
        TRY(op_mount_ro(m->spec.context, in, &fd));
        keep_fd(m, fd);
        if (mount->output != -1)
            m->kept[output_of(&m->spec, i)] = in == NULL ? NULL : snapshot_ref(in);
    }
    m->mount_fds[i] = fd;
    if (root) {
        m->root_fd = fd;
        m->root_readonly = mount->readonly;
        return NULL;
    }
    add_mount(m, mount, fd);
    return NULL;
}

static const char *cache_id(const Pb__Mount *mount)
{
    return mount->cache_opt->id[0] != '\0' ? mount->cache_opt->id : mount->dest;
}

/* A cache over nothing and one over an empty result are the same. */
static const char *input_id(const Pb__Mount *m, struct snapshot *const *inputs)
{
    return m->input < 0 || inputs[m->input] == NULL ? "" : snapshot_id(inputs[m->input]);
}

/* The directory of an earlier mount of the same cache, -1: none.  A step has a cache once, however often it
 * mounts it: it must not wait for itself. */
static int held_cache(const struct exec_mounts *m, size_t i, struct snapshot *const *inputs)
{
    const Pb__Mount *mount = m->spec.mounts[i];

    for (size_t k = 0; k < i; k++) {
        const Pb__Mount *other = m->spec.mounts[k];

        if (other->mount_type == PB__MOUNT_TYPE__CACHE && streq(cache_id(other), cache_id(mount)) &&
            streq(input_id(other, inputs), input_id(mount, inputs)))
            return m->mount_fds[k];
    }
    return -1;
}

static struct error *acquire_cache(struct exec_mounts *m, size_t i, struct snapshot *in, int *ret_fd)
{
    const Pb__Mount *mount = m->spec.mounts[i];
    const char *owner = m->spec.owner;
    CLEANUP(freep) char *what = NULL;
    struct cache_mount *cm;

    if (mount->cache_opt->id[0] != '\0')
        what = xasprintf("cached mount %s from %s with id \"%s\"", mount->dest, owner, mount->cache_opt->id);
    else
        what = xasprintf("cached mount %s from %s", mount->dest, owner);
    enum cache_sharing sharing = mount->cache_opt->sharing == PB__CACHE_SHARING__LOCKED    ? CACHE_LOCKED
                                 : mount->cache_opt->sharing == PB__CACHE_SHARING__PRIVATE ? CACHE_PRIVATE
                                                                                           : CACHE_SHARED;
    TRY(cache_mount_acquire(m->spec.context->store, cache_id(mount), sharing, in, what, &cm));
    ptrv_add(&m->caches, cm);
    *ret_fd = cache_mount_fd(cm);
    return NULL;
}

static struct error *cache(struct exec_mounts *m, size_t i, struct snapshot **inputs)
{
    const Pb__Mount *mount = m->spec.mounts[i];
    struct snapshot *in = mount->input >= 0 ? inputs[mount->input] : NULL;

    if (mount->cache_opt == NULL)
        return err_new(ERR_INVALID, "missing cache mount options");
    m->mount_fds[i] = held_cache(m, i, inputs);
    if (m->mount_fds[i] < 0)
        TRY(acquire_cache(m, i, in, &m->mount_fds[i]));
    add_mount(m, mount, m->mount_fds[i]);
    if (mount->output != -1)
        m->kept[output_of(&m->spec, i)] = in == NULL ? NULL : snapshot_ref(in);
    return NULL;
}

static struct error *tmpfs(struct exec_mounts *m, const Pb__Mount *mount)
{
    struct run_mount *r = add_mount(m, mount, -1);

    r->tmpfs = true;
    r->tmpfs_size = mount->tmpfs_opt == NULL ? 0 : mount->tmpfs_opt->size;
    return NULL;
}

static struct error *secret(struct exec_mounts *m, const Pb__Mount *mount)
{
    const Pb__SecretOpt *o = mount->secret_opt;
    struct buf *data;
    struct error *e;

    if (o == NULL)
        return err_new(ERR_INVALID, "invalid secret mount options");
    if (o->id[0] == '\0')
        return err_new(ERR_INVALID, "secret ID missing from mount options");
    data = NEW(struct buf);
    ptrv_add(&m->data, data);
    e = session_secret(&m->spec.context->sessions, o->id, data);
    if (e != NULL && o->optional && e->kind == ERR_NOT_FOUND) {
        err_free(e);
        return NULL;
    }
    TRY(e);
    m->secrets = xreallocarray(m->secrets, m->secret_count + 1, sizeof *m->secrets);
    m->secrets[m->secret_count++] = (struct run_secret_file){
        .dest = dest_of(m, mount),
        .data = data->data,
        .len = data->len,
        .uid = o->uid,
        .gid = o->gid,
        .mode = o->mode & 0777,
    };
    return NULL;
}

static struct error *serve_agent(void *ctx, struct stream *conn)
{
    struct ssh_mount *s = ctx;

    return session_ssh_serve(&s->sessions, s->id, conn);
}

static struct error *ssh(struct exec_mounts *m, const Pb__Mount *mount)
{
    const struct session_group *sessions = &m->spec.context->sessions;
    const Pb__SshOpt *o = mount->ssh_opt;
    struct ssh_mount *s;
    struct error *e;

    if (o == NULL)
        return err_new(ERR_INVALID, "invalid SSH mount options");
    e = session_ssh_check(sessions, o->id);
    if (e != NULL && o->optional && e->kind != ERR_CANCELLED) {
        err_free(e);
        return NULL;
    }
    TRY(e);
    s = NEW(struct ssh_mount);
    s->sessions.manager = sessions->manager;
    strv_copy(&s->sessions.ids, &sessions->ids);
    s->id = xstrdup(o->id);
    ptrv_add(&m->ssh, s);
    m->sockets = xreallocarray(m->sockets, m->socket_count + 1, sizeof *m->sockets);
    m->sockets[m->socket_count++] = (struct run_socket){ .dest = dest_of(m, mount),
                                                         .uid = o->uid,
                                                         .gid = o->gid,
                                                         .mode = o->mode & 0777,
                                                         .serve = serve_agent,
                                                         .ctx = s };
    return NULL;
}

static struct error *one(struct exec_mounts *m, size_t i, struct snapshot **inputs)
{
    const Pb__Mount *mount = m->spec.mounts[i];
    bool has_input = mount->input >= 0;
    struct snapshot *in = has_input ? inputs[mount->input] : NULL;

    if (streq(mount->dest, "/") && mount->mount_type != PB__MOUNT_TYPE__BIND)
        return err_new(ERR_INVALID, "invalid mount type %s for %s", type_name(mount->mount_type),
                       mount->dest);
    switch (mount->mount_type) {
    case PB__MOUNT_TYPE__BIND:
        return bind(m, i, in, has_input);
    case PB__MOUNT_TYPE__CACHE:
        return cache(m, i, inputs);
    case PB__MOUNT_TYPE__TMPFS:
        return tmpfs(m, mount);
    case PB__MOUNT_TYPE__SECRET:
        return secret(m, mount);
    case PB__MOUNT_TYPE__SSH:
        return ssh(m, mount);
    default:
        return err_new(ERR_INVALID, "mount type %s not implemented", type_name(mount->mount_type));
    }
}

static int by_dest(const void *a, const void *b)
{
    return strcmp(((const struct run_mount *)a)->dest, ((const struct run_mount *)b)->dest);
}

/* ---- all
 * ---------------------------------------------------------------------------------------------------------------------
 */

struct error *exec_mounts_begin(const struct exec_mounts_spec *s, struct snapshot **inputs,
                                size_t output_count, struct exec_mounts *ret)
{
    struct error *e = NULL;

    *ret = (struct exec_mounts){ .spec = *s, .root_fd = -1, .output_count = output_count };
    ret->kept = xcalloc(output_count + 1, sizeof *ret->kept);
    ret->mount_fds = xcalloc(s->mount_count + 1, sizeof *ret->mount_fds);
    for (size_t i = 0; i < s->mount_count; i++)
        ret->mount_fds[i] = -1;
    for (size_t i = 0; i < s->mount_count && e == NULL; i++)
        e = one(ret, i, inputs);
    if (e == NULL && ret->root_fd < 0)
        e = err_new(ERR_INVALID, "root mount is required");
    if (e != NULL) {
        exec_mounts_end(ret);
        return e;
    }
    if (ret->mount_count > 1)
        qsort(ret->mounts, ret->mount_count, sizeof *ret->mounts, by_dest);
    return NULL;
}

static struct error *commit(struct exec_mounts *m, struct exec_active *x, struct snapshot **ret)
{
    CLEANUP(freep)
    char *what = xasprintf("mount %s from %s", m->spec.mounts[x->mount]->dest, m->spec.owner);

    TRY(active_commit(x->active, what, "regular", ret));
    x->active = NULL;
    return NULL;
}

struct error *exec_mounts_commit(struct exec_mounts *m, struct snapshot **outputs)
{
    for (size_t i = 0; i < m->active_count; i++) {
        struct exec_active *x = &m->actives[i];

        if (x->output != -1)
            TRY(commit(m, x, &outputs[output_of(&m->spec, x->mount)]));
    }
    for (size_t i = 0; i < m->output_count; i++)
        if (m->kept[i] != NULL)
            outputs[i] = TAKE(m->kept[i]);
    return NULL;
}

void exec_mounts_freeze(struct exec_mounts *m, struct snapshot **inputs, struct snapshot **ret)
{
    for (size_t i = 0; i < m->spec.mount_count; i++) {
        int64_t input = m->spec.mounts[i]->input;

        ret[i] = input >= 0 && inputs[input] != NULL ? snapshot_ref(inputs[input]) : NULL;
    }
    for (size_t i = 0; i < m->active_count; i++) {
        struct exec_active *x = &m->actives[i];
        struct snapshot *now = NULL;
        struct error *e = commit(m, x, &now);

        log_err(LOG_WARN, e, "what a failed step left cannot be kept");
        if (now == NULL)
            continue;
        snapshot_unref(ret[x->mount]);
        ret[x->mount] = now;
    }
}

void exec_mounts_end(struct exec_mounts *m)
{
    for (size_t i = 0; i < m->active_count; i++)
        active_abandon(m->actives[i].active);
    for (size_t i = 0; i < m->fd_count; i++)
        close(m->fds[i]);
    for (size_t i = 0; i < m->caches.len; i++)
        cache_mount_release(m->caches.v[i]);
    for (size_t i = 0; i < m->texts.len; i++)
        free(m->texts.v[i]);
    for (size_t i = 0; i < m->data.len; i++) {
        struct buf *b = m->data.v[i];

        if (b->data != NULL)
            explicit_bzero(b->data, b->len);
        buf_deinit(b);
        free(b);
    }
    for (size_t i = 0; i < m->ssh.len; i++) {
        struct ssh_mount *s = m->ssh.v[i];

        strv_deinit(&s->sessions.ids);
        free(s->id);
        free(s);
    }
    for (size_t i = 0; m->kept != NULL && i < m->output_count; i++)
        snapshot_unref(m->kept[i]);
    ptrv_deinit(&m->caches);
    ptrv_deinit(&m->texts);
    ptrv_deinit(&m->data);
    ptrv_deinit(&m->ssh);
    free(m->mounts);
    free(m->secrets);
    free(m->sockets);
    free(m->actives);
    free(m->kept);
    free(m->mount_fds);
    free(m->fds);
    *m = (struct exec_mounts){ .root_fd = -1 };
}
