/* SPDX-License-Identifier: Apache-2.0 */
/* prepare_mounts.c - what a container finds mounted: files of the network, sources, secrets, sockets */
#include "run/prepare.h"

#include "base/limits.h"
#include "io/path.h"
#include "run/hosts.h"

#define FILE_OPTIONS "nosuid,noexec,nodev,rbind,ro"

void prepared_mounts_deinit(struct prepared_mounts *m)
{
    free(m->v);
}

bool prepare_is_step(const struct run_spec *s)
{
    return s->extra == NULL || s->extra->step;
}

char *prepared_keep(struct prepared *p, char *owned)
{
    ptrv_add(&p->owned, owned);
    return owned;
}

/* `source` and `options` are taken; a step's mount points may become stubs. */
static void add_mount(struct prepared_mounts *m, const struct run_spec *s, const char *dest, const char *type,
                      char *source, char *options)
{
    char *clean = prepared_keep(m->owner, path_join("/", dest));

    m->v = xreallocarray(m->v, m->len + 1, sizeof(*m->v));
    m->v[m->len++] = (struct spec_mount){
        .dest = clean,
        .type = type,
        .source = prepared_keep(m->owner, source),
        .options = prepared_keep(m->owner, options),
    };
    if (prepare_is_step(s))
        stubs_note(&m->owner->stubs, clean, s->remove_mount_stubs);
}

static char *tmpfs_options(const struct run_mount *r)
{
    struct buf b = { 0 };

    if (r->options != NULL && *r->options != '\0')
        buf_adds(&b, r->options);
    else
        buf_adds(&b, r->readonly ? "nosuid,ro" : "nosuid");
    if (r->tmpfs_size > 0)
        buf_addf(&b, ",size=%lld", (long long)r->tmpfs_size);
    if (r->tmpfs_mode != 0)
        buf_addf(&b, ",mode=%o", r->tmpfs_mode);
    return buf_take(&b);
}

static struct error *add_binds(struct prepared_mounts *m, const struct run_spec *s)
{
    for (size_t i = 0; i < s->mount_count; i++) {
        const struct run_mount *r = &s->mounts[i];
        char *source;

        if (strlen(r->dest) >= LIMIT_PATH)
            return err_new(ERR_INVALID, "mount target is longer than %d bytes", LIMIT_PATH);
        if (r->tmpfs) {
            add_mount(m, s, r->dest, "tmpfs", xstrdup("tmpfs"), tmpfs_options(r));
            continue;
        }
        TRY(err_wrap(bundle_add_mount(&m->owner->bundle, r->source_fd, r->selector, r->readonly, &source),
                     "failed to mount %s", r->dest));
        if (r->options != NULL && *r->options != '\0')
            add_mount(m, s, r->dest, "bind", source,
                      xasprintf("rbind,%s,%s", r->readonly ? "ro" : "rw", r->options));
        else
            add_mount(m, s, r->dest, "bind", source, xstrdup(r->readonly ? "rbind,ro" : "rbind"));
    }
    return NULL;
}

static struct error *add_secrets(struct prepared_mounts *m, const struct run_spec *s)
{
    for (size_t i = 0; i < s->secret_count; i++) {
        const struct run_secret_file *f = &s->secrets[i];
        char *source;

        TRY(bundle_add_file(&m->owner->bundle, f->data, f->len, f->uid, f->gid, f->mode & 07777, &source));
        add_mount(m, s, f->dest, "bind", source, xstrdup("ro,rbind,nodev,nosuid"));
    }
    return NULL;
}

static struct error *add_sockets(struct prepared_mounts *m, const struct run_spec *s)
{
    struct prepared *p = m->owner;

    p->sockets = xcalloc(s->socket_count + 1, sizeof(*p->sockets)); /* and the gate's */
    for (size_t i = 0; i < s->socket_count; i++) {
        const struct run_socket *k = &s->sockets[i];
        char *source;

        TRY(bundle_add_socket(&p->bundle, k->uid, k->gid, k->mode & 07777, &p->sockets[i].fd, &source));
        p->sockets[i].socket = k;
        p->socket_count++;
        add_mount(m, s, k->dest, "bind", source, xstrdup("rbind"));
    }
    if (p->gate != NULL)
        p->sockets[p->socket_count++] =
            (struct socket_source){ .socket = gate_socket(p->gate), .fd = gate_take_listen_fd(p->gate) };
    return NULL;
}

static struct error *add_text_file(struct prepared_mounts *m, const struct run_spec *s, const char *dest,
                                   const char *text, bool writable)
{
    char *source;

    TRY(bundle_add_file(&m->owner->bundle, text, strlen(text), 0, 0, 0644, &source));
    add_mount(m, s, dest, "bind", source, xstrdup(writable ? "rbind" : FILE_OPTIONS));
    return NULL;
}

static const struct strv *first_filled(const struct strv *a, const struct strv *b)
{
    return a != NULL && a->len > 0 ? a : b;
}

/* Steps get read-only files; a container may change its own. */
static struct error *add_network_files(struct prepared_mounts *m, struct runner *r, const struct run_spec *s,
                                       const char *hostname)
{
    CLEANUP(buf_deinit) struct buf resolv = { 0 };
    CLEANUP(buf_deinit) struct buf hosts = { 0 };
    const struct run_extra *x = s->extra;
    struct resolv_config c = {
        .servers = first_filled(x != NULL ? &x->dns : NULL, &r->dns),
        .search = first_filled(x != NULL ? &x->dns_search : NULL, &r->dns_search),
        .options = first_filled(x != NULL ? &x->dns_options : NULL, &r->dns_options),
        .host_network = prepare_on_host_network(r, s) && s->gate == NULL,
    };

    if (s->joined_network != NULL) {
        TRY(add_text_file(m, s, "/etc/resolv.conf", s->joined_network->resolv_conf, false));
        return add_text_file(m, s, "/etc/hosts", s->joined_network->hosts, false);
    }
    TRY(resolv_generate(&resolv, &c));
    if (prepare_is_step(s))
        TRY(hosts_generate(&hosts, hostname, s->hosts, s->host_count));
    else
        TRY(hosts_generate_container(&hosts, hostname,
                                     m->owner->netns != NULL ? netns_ip(m->owner->netns) : NULL, s->hosts,
                                     s->host_count));
    TRY(add_text_file(m, s, "/etc/resolv.conf", buf_str(&resolv), !prepare_is_step(s)));
    if (!prepare_is_step(s))
        TRY(add_text_file(m, s, "/etc/hostname", prepared_keep(m->owner, xasprintf("%s\n", hostname)), true));
    return add_text_file(m, s, "/etc/hosts", buf_str(&hosts), !prepare_is_step(s));
}

struct error *prepare_mounts(struct prepared_mounts *m, struct runner *r, const struct run_spec *s,
                             const char *hostname)
{
    TRY(add_network_files(m, r, s, hostname));
    TRY(add_binds(m, s));
    TRY(add_secrets(m, s));
    return add_sockets(m, s);
}
