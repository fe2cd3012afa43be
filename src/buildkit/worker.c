/* SPDX-License-Identifier: Apache-2.0 */
/* worker.c - what we say of ourselves: the worker record, versions, capabilities */
#include "buildkit/internal.h"

#include "oci/platform.h"

#define LABEL "org.mobyproject.buildkit.worker."

/* LLBBridge functions that work here (protocol.md 3.3); a client must not see one that does not. */
static const struct {
    const char *id;
    bool deprecated;
} frontend_caps[] = {
    { "frontend.caps", false },
    { "frontend.inputs", false },
    { "gateway.evaluate", false },
    { "gateway.exec", false },
    { "gateway.exec.extrahosts", false },
    { "gateway.exec.filesystem", false },
    { "gateway.exec.secretenv", false },
    { "gateway.exec.signals", false },
    { "gateway.solve.evaluate", false },
    { "gateway.solve.metadata", false },
    { "gateway.warnings", false },
    { "proto.refarray", false },
    { "readdir", false },
    { "readfile", false },
    { "reference.output", false },
    { "resolveimage", false },
    { "resolveimage.resolvemode", false },
    { "return", false },
    { "returnmap", false },
    { "solve.base", false },
    { "solve.inlinereturn", true },
    { "source.metaresolver", false },
    { "source.metaresolver.http.checksumrequest", false },
    { "source.metaresolver.image.attestations", false },
    { "statfile", false },
};

Caps__ApiCap **worker_frontend_caps(struct pb_arena *a, size_t *ret_count)
{
    Caps__ApiCap **v = pb_array(a, ARRAY_LEN(frontend_caps));

    for (size_t i = 0; i < ARRAY_LEN(frontend_caps); i++) {
        v[i] = PB_NEW(a, caps__api_cap);
        v[i]->id = (char *)frontend_caps[i].id;
        v[i]->enabled = true;
        v[i]->deprecated = frontend_caps[i].deprecated;
    }
    *ret_count = ARRAY_LEN(frontend_caps);
    return v;
}

Caps__ApiCap **worker_llb_caps(struct pb_arena *a, size_t *ret_count)
{
    size_t n;
    const struct llb_cap *caps = llb_caps(&n);
    Caps__ApiCap **v = pb_array(a, n);

    *ret_count = 0;
    for (size_t i = 0; i < n; i++) {
        Caps__ApiCap *c;
        if (!caps[i].enabled)
            continue; /* buildx asks for presence alone */
        c = v[(*ret_count)++] = PB_NEW(a, caps__api_cap);
        c->id = (char *)caps[i].id;
        c->enabled = true;
    }
    return v;
}

static void fill_labels(struct builder *b, struct map *m)
{
    const struct builder_config *c = b->config;

    strmap_set(m, LABEL "executor", c->executor);
    strmap_set(m, LABEL "hostname", c->hostname);
    strmap_set(m, LABEL "network", "bridge");
    strmap_set(m, LABEL "selinux.enabled", "false");
    strmap_set(m, LABEL "snapshotter", "overlayfs");
    if (c->engine) {
        strmap_set(m, LABEL "containerd.namespace", "moby");
        strmap_set(m, LABEL "containerd.uuid", b->worker_id);
    }
    if (c->host_gateway_ip != NULL)
        strmap_set(m, LABEL "moby.host-gateway-ip", c->host_gateway_ip);
    for (size_t i = 0; i < c->extra_labels.len; i++) {
        const char *eq = strchr(c->extra_labels.v[i], '=');
        CLEANUP(freep) char *key = NULL;
        if (eq == NULL)
            continue;
        key = xstrndup(c->extra_labels.v[i], (size_t)(eq - c->extra_labels.v[i]));
        strmap_set(m, key, eq + 1);
    }
}

static void fill_platforms(struct pb_arena *a, Bkt__WorkerRecord *w)
{
    size_t n;
    const struct platform *p = platform_supported(&n);

    w->platforms = pb_array(a, n);
    w->n_platforms = n;
    for (size_t i = 0; i < n; i++) {
        w->platforms[i] = PB_NEW(a, pb__platform);
        w->platforms[i]->os = pb_str(a, p[i].os);
        w->platforms[i]->architecture = pb_str(a, p[i].architecture);
        w->platforms[i]->variant = pb_str(a, p[i].variant);
    }
}

static void fill_gc(const struct builder *b, struct pb_arena *a, Bkt__WorkerRecord *w)
{
    const struct builder_config *c = b->config;

    w->gc_policy = pb_array(a, c->gc_count);
    w->n_gc_policy = c->gc_count;
    for (size_t i = 0; i < c->gc_count; i++) {
        Bkt__GcPolicy *g = w->gc_policy[i] = PB_NEW(a, bkt__gc_policy);
        g->all = c->gc[i].all;
        g->keep_duration = c->gc[i].keep_ns;
        g->reserved_space = c->gc[i].reserved_bytes;
        g->max_used_space = c->gc[i].max_used_bytes;
        g->min_free_space = c->gc[i].min_free_bytes;
        g->filters = pb_from_strv(a, &c->gc[i].filters, &g->n_filters);
    }
}

struct error *worker_init(struct builder *b)
{
    struct pb_arena *a = &b->worker_arena;
    struct map labels = { 0 };
    Bkt__WorkerRecord *w = PB_NEW(a, bkt__worker_record);

    strmap_init(&labels);
    fill_labels(b, &labels);
    map_sort(&labels);
    w->id = b->worker_id;
    w->n_labels = labels.len;
    w->labels = pb_array(a, labels.len);
    for (size_t i = 0; i < labels.len; i++) {
        w->labels[i] = PB_NEW(a, kv__str);
        w->labels[i]->key = pb_str(a, labels.entries[i].key);
        w->labels[i]->value = pb_str(a, labels.entries[i].value);
    }
    map_deinit(&labels);
    fill_platforms(a, w);
    fill_gc(b, a, w);
    w->buildkit_version = PB_NEW(a, bkt__buildkit_version);
    w->buildkit_version->package = (char *)"github.com/moby/buildkit";
    w->buildkit_version->version = pb_str(a, b->config->version);
    w->buildkit_version->dockerfile_version = (char *)WORKER_DOCKERFILE_VERSION;
    b->worker = w;
    return NULL;
}

void worker_add_devices(const struct builder *b, struct pb_arena *a, Bkt__WorkerRecord *w)
{
    struct cdi_devices d;

    runner_devices(b->config->ops->runner, &d);
    w->n_cdi_devices = d.len;
    w->cdi_devices = pb_array(a, d.len);
    for (size_t i = 0; i < d.len; i++) {
        const struct map *from = &d.v[i].annotations;
        Bkt__CdiDevice *to = w->cdi_devices[i] = PB_NEW(a, bkt__cdi_device);

        to->name = pb_str(a, d.v[i].name);
        to->auto_allow = d.v[i].auto_allow;
        to->n_annotations = from->len;
        to->annotations = pb_array(a, from->len);
        for (size_t k = 0; k < from->len; k++) {
            to->annotations[k] = PB_NEW(a, kv__str);
            to->annotations[k]->key = pb_str(a, from->entries[k].key);
            to->annotations[k]->value = pb_str(a, from->entries[k].value);
        }
    }
    cdi_devices_deinit(&d);
}
