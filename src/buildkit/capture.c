/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/capture.h"

#include "base/log.h"
#include "oci/gojson.h"
#include "oci/purl.h"
#include "oci/reference.h"
#include "proxy/record.h"
#include "store/layer.h"

static void grants_deinit(struct grants *g)
{
    for (size_t i = 0; i < g->len; i++)
        free(g->v[i].id);
    free(g->v);
}

void capture_deinit(struct capture *c)
{
    for (size_t i = 0; i < c->material_count; i++) {
        free(c->materials[i].name);
        free(c->materials[i].pin);
        free(c->materials[i].bundle);
        platform_deinit(&c->materials[i].platform);
    }
    free(c->materials);
    for (size_t i = 0; i < c->gap_count; i++) {
        free((char *)c->gaps[i].op);
        free((char *)c->gaps[i].name);
        free((char *)c->gaps[i].method);
        free((char *)c->gaps[i].uri);
        free((char *)c->gaps[i].reason);
    }
    free(c->gaps);
    strv_deinit(&c->locals);
    grants_deinit(&c->secrets);
    grants_deinit(&c->ssh);
    *c = (struct capture){ 0 };
}

/* ---- adding ---- */

static bool same_platform(const struct platform *a, const struct platform *b)
{
    if (!platform_is_set(a) || !platform_is_set(b))
        return platform_is_set(a) == platform_is_set(b);
    return platform_eq(a, b);
}

/* One of a kind and name is enough; of images, one for each platform. */
static struct material *add_material(struct capture *c, enum material_kind kind, const char *name,
                                     const char *pin, bool local, const struct platform *platform)
{
    struct material *m;

    for (size_t i = 0; i < c->material_count; i++) {
        m = &c->materials[i];
        if (m->kind == kind && streq(m->name, name) && m->local == local &&
            (platform == NULL || same_platform(&m->platform, platform)))
            return m;
    }
    c->materials = xreallocarray(c->materials, c->material_count + 1, sizeof(*c->materials));
    m = &c->materials[c->material_count++];
    *m = (struct material){
        .kind = kind, .name = xstrdup(name), .pin = xstrdup(pin == NULL ? "" : pin), .local = local
    };
    if (platform != NULL)
        platform_copy(&m->platform, platform);
    return m;
}

void capture_image(struct capture *c, const char *ref, const char *digest, const struct platform *platform,
                   bool local)
{
    static const struct platform none;

    add_material(c, MATERIAL_IMAGE, ref, digest, local, platform == NULL ? &none : platform);
}

/* Optional only when everybody who asked could do without. */
static void add_grant(struct grants *g, const char *id, bool optional)
{
    for (size_t i = 0; i < g->len; i++) {
        if (streq(g->v[i].id, id)) {
            g->v[i].optional = g->v[i].optional && optional;
            return;
        }
    }
    g->v = xreallocarray(g->v, g->len + 1, sizeof(*g->v));
    g->v[g->len++] = (struct grant){ xstrdup(id), optional };
}

/* ---- sources ---- */

static const char *attr(const struct llb_vertex *v, const char *key)
{
    const char *s = pb_get_str(v->op->source->attrs, v->op->source->n_attrs, key);

    return s == NULL ? "" : s;
}

static void add_image_source(struct capture *c, const struct ref_vertex *rv, const char *ref, bool local)
{
    const Pb__Platform *p = rv->vertex->op->platform;
    CLEANUP(platform_deinit) struct platform platform = { 0 };

    if (p != NULL && p->os[0] != '\0') {
        platform_set(&platform, p->os, p->architecture, p->variant);
        platform_normalize(&platform);
    } else {
        platform_copy(&platform, platform_host());
    }
    capture_image(c, ref, rv->pin, &platform, local);
}

static void add_blob_source(struct capture *c, const char *ref, bool local)
{
    const char *at = strrchr(ref, '@');

    add_material(c, MATERIAL_BLOB, ref, at == NULL ? "" : at + 1, local, NULL);
}

/* "git://host/path#ref:subdir" with the attribute git.fullurl: the repository and the ref. */
static void add_git_source(struct capture *c, const struct ref_vertex *rv, const char *rest)
{
    const char *full = attr(rv->vertex, "git.fullurl"), *hash = strchr(rest, '#');
    CLEANUP(freep) char *bare = xstrndup(rest, hash == NULL ? strlen(rest) : (size_t)(hash - rest));
    CLEANUP(freep) char *ref = hash == NULL ? xstrdup("") : xstrndup(hash + 1, strcspn(hash + 1, ":"));
    CLEANUP(freep) char *remote = full[0] != '\0' ? xstrdup(full) : xasprintf("https://%s", bare);
    CLEANUP(freep) char *url = ref[0] == '\0' ? xstrdup(remote) : xasprintf("%s#%s", remote, ref);
    CLEANUP(freep) char *shown = url_redact(url);
    const char *token = attr(rv->vertex, "git.authtokensecret"),
               *header = attr(rv->vertex, "git.authheadersecret"),
               *ssh = attr(rv->vertex, "git.mountsshsock");

    const char *bundle = attr(rv->vertex, "git.bundle");
    struct material *m = add_material(c, MATERIAL_GIT, shown, rv->pin, false, NULL);

    if (bundle[0] != '\0' && m->bundle == NULL)
        m->bundle = xstrdup(bundle);
    if (token[0] != '\0')
        add_grant(&c->secrets, token, true);
    if (header[0] != '\0')
        add_grant(&c->secrets, header, true);
    if (ssh[0] != '\0')
        add_grant(&c->ssh, ssh, true);
}

static void add_source(struct capture *c, const struct ref_vertex *rv)
{
    const char *id = rv->vertex->op->source->identifier, *rest;

    if ((rest = str_skip_prefix(id, "docker-image://")) != NULL)
        add_image_source(c, rv, rest, false);
    else if ((rest = str_skip_prefix(id, "oci-layout://")) != NULL)
        add_image_source(c, rv, rest, true);
    else if ((rest = str_skip_prefix(id, "docker-image+blob://")) != NULL)
        add_blob_source(c, rest, false);
    else if ((rest = str_skip_prefix(id, "oci-layout+blob://")) != NULL)
        add_blob_source(c, rest, true);
    else if ((rest = str_skip_prefix(id, "git://")) != NULL)
        add_git_source(c, rv, rest);
    else if ((rest = str_skip_prefix(id, "local://")) != NULL) {
        if (!strv_has(&c->locals, rest))
            strv_add(&c->locals, rest);
    } else {
        CLEANUP(freep) char *shown = url_redact(id);

        add_material(c, MATERIAL_HTTP, shown, rv->pin, false, NULL);
    }
}

/* ---- steps ---- */

static void add_exec(struct capture *c, const Pb__ExecOp *op)
{
    for (size_t i = 0; i < op->n_mounts; i++) {
        const Pb__Mount *m = op->mounts[i];

        if (m->mount_type == PB__MOUNT_TYPE__SECRET && m->secret_opt != NULL)
            add_grant(&c->secrets, m->secret_opt->id, m->secret_opt->optional);
        if (m->mount_type == PB__MOUNT_TYPE__SSH && m->ssh_opt != NULL)
            add_grant(&c->ssh, m->ssh_opt->id[0] == '\0' ? "default" : m->ssh_opt->id, m->ssh_opt->optional);
    }
    for (size_t i = 0; i < op->n_secretenv; i++)
        add_grant(&c->secrets, op->secretenv[i]->id, op->secretenv[i]->optional);
    c->network = c->network || op->network != PB__NET_MODE__NONE;
}

/* ---- what steps fetched ---- */

static void add_gap(struct capture *c, const struct llb_vertex *v, const char *method, const char *uri,
                    const char *reason)
{
    CLEANUP(strv_deinit) struct strv args = { 0 };

    for (size_t i = 0; i < c->gap_count; i++) { /* several refs may hold the step */
        const struct capture_gap *g = &c->gaps[i];

        if (streq(g->op, v->digest.s) && streq(g->uri, uri) && streq(g->method, method) &&
            streq(g->reason, reason))
            return;
    }
    pb_to_strv(v->op->exec->meta->args, v->op->exec->meta->n_args, &args);
    c->gaps = xreallocarray(c->gaps, c->gap_count + 1, sizeof(*c->gaps));
    c->gaps[c->gap_count++] = (struct capture_gap){ .op = xstrdup(v->digest.s),
                                                    .name = strv_join(&args, " "),
                                                    .method = xstrdup(method),
                                                    .uri = xstrdup(uri),
                                                    .reason = xstrdup(reason) };
    c->incomplete = true;
}

/* With the layers that the step made; NULL: they came from elsewhere, or there are none. */
static char *fetched_text(struct store *s, const struct ref_vertex *rv)
{
    char *text = NULL;

    for (size_t i = 0; text == NULL && i < rv->output_count; i++) {
        const struct snapshot *out = rv->outputs[i];

        if (out == NULL || snapshot_is_tree(out) || snapshot_layer_count(out) == 0)
            continue;
        log_err(LOG_WARN, layer_fetched(s, snapshot_layer_id(out, snapshot_layer_count(out) - 1), &text),
                "what a step fetched is not known");
    }
    return text;
}

static void add_fetched(struct capture *c, struct store *s, const struct ref_vertex *rv)
{
    CLEANUP(proxy_record_freep) struct proxy_record *r = NULL;
    CLEANUP(freep) char *text = fetched_text(s, rv);
    size_t n;

    c->proxied = true;
    struct error *e = text != NULL ? proxy_record_decode(text, &r) : NULL;

    log_err(LOG_WARN, e, "what a step fetched is not known");
    if (r == NULL) {
        add_gap(c, rv->vertex, "", "", "not_recorded");
        return;
    }
    const struct proxy_material *m = proxy_record_materials(r, &n);

    for (size_t i = 0; i < n; i++)
        add_material(c, MATERIAL_HTTP, m[i].url, m[i].digest.s, false, NULL);
    const struct proxy_gap *g = proxy_record_gaps(r, &n);

    for (size_t i = 0; i < n; i++)
        add_gap(c, rv->vertex, g[i].method, g[i].url, g[i].reason);
}

static void write_member_if(struct go_writer *w, const char *name, const char *value)
{
    if (*value != '\0')
        go_write_member(w, name, value);
}

void capture_gap_write(const struct capture_gap *g, struct go_writer *w)
{
    go_write_open(w, '{');
    write_member_if(w, "op", g->op);
    write_member_if(w, "name", g->name);
    write_member_if(w, "method", g->method);
    write_member_if(w, "uri", g->uri);
    write_member_if(w, "reason", g->reason);
    go_write_close(w, '}');
}

bool capture_ref(struct capture *c, struct store *s, struct ref *r)
{
    CLEANUP(ref_vertices_deinit) struct ref_vertices l = ref_vertices(r);

    for (size_t i = 0; i < l.len; i++) {
        const Pb__Op *op = l.v[i].vertex->op;

        if (op->op_case == PB__OP__OP_SOURCE)
            add_source(c, &l.v[i]);
        else if (op->op_case == PB__OP__OP_EXEC)
            add_exec(c, op->exec);
        else if (op->op_case == PB__OP__OP_BUILD)
            c->incomplete = true; /* what it made inside is not told */
        if (op->op_case == PB__OP__OP_EXEC && op->exec->proxied)
            add_fetched(c, s, &l.v[i]);
    }
    return l.v != NULL;
}

/* ---- order ---- */

static int by_kind_and_name(const void *a, const void *b)
{
    const struct material *x = a, *y = b;
    int r = x->kind != y->kind ? (int)x->kind - (int)y->kind : strcmp(x->name, y->name);

    if (r != 0 || x->kind != MATERIAL_IMAGE)
        return r;
    /* The same image for several platforms: whichever was solved first, the document is the same. */
    CLEANUP(freep) char *p = platform_format_all(&x->platform);
    CLEANUP(freep) char *q = platform_format_all(&y->platform);

    return strcmp(p, q);
}

static int by_op_and_uri(const void *a, const void *b)
{
    const struct capture_gap *x = a, *y = b;
    int r = strcmp(x->op, y->op);

    r = r != 0 ? r : strcmp(x->uri, y->uri);
    r = r != 0 ? r : strcmp(x->method, y->method);
    return r != 0 ? r : strcmp(x->reason, y->reason);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct grant *)a)->id, ((const struct grant *)b)->id);
}

static struct error *name_and_tag(const char *ref, char **ret, bool *ret_by_digest)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };

    TRY(reference_parse(ref, &r));
    *ret_by_digest = r.digest != NULL;
    *ret = xasprintf("%s/%s:%s", r.domain, r.path, r.tag == NULL ? "latest" : r.tag);
    return NULL;
}

static struct error *drop_digest_names(struct capture *c)
{
    CLEANUP(map_deinit) struct map tagged = { 0 };
    size_t kept = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < c->material_count; i++) {
            struct material *m = &c->materials[i];
            CLEANUP(freep) char *name = NULL;
            bool by_digest = false;

            if (m->kind == MATERIAL_IMAGE)
                TRY(name_and_tag(m->name, &name, &by_digest));
            if (pass == 0 && name != NULL && !by_digest)
                map_set(&tagged, name, m);
            if (pass == 0)
                continue;
            if (by_digest && map_has(&tagged, name)) {
                free(m->name);
                free(m->pin);
                platform_deinit(&m->platform);
            } else {
                c->materials[kept++] = *m;
            }
        }
    }
    c->material_count = kept;
    return NULL;
}

static void sort_grants(struct grants *g)
{
    if (g->len > 0)
        qsort(g->v, g->len, sizeof(*g->v), by_id);
}

struct error *capture_finish(struct capture *c)
{
    TRY(drop_digest_names(c));
    if (c->material_count > 0)
        qsort(c->materials, c->material_count, sizeof(*c->materials), by_kind_and_name);
    if (c->gap_count > 0)
        qsort(c->gaps, c->gap_count, sizeof(*c->gaps), by_op_and_uri);
    strv_sort(&c->locals);
    sort_grants(&c->secrets);
    sort_grants(&c->ssh);
    return NULL;
}
