/* SPDX-License-Identifier: Apache-2.0 */
/* push.c - exporters image and moby, push=true: the image goes to the registries of its names */
#include "registry/push.h"
#include "export/internal.h"
#include "oci/reference.h"

/* `step` under a row of its own. */
static struct error *with_row(struct vertex_reporter *r, const char *row,
                              struct error *(*step)(struct registry_push *p), struct registry_push *p)
{
    reporter_status(r, row, "", 0, 0, false);
    struct error *e = step(p);

    reporter_status(r, row, "", 0, 0, true);
    return e;
}

/* What the row calls it: the name with the digest, the name alone when pushed by digest. */
static char *pushed_name(const struct reference *ref, const struct digest *d)
{
    CLEANUP(freep) char *name = reference_string(ref);

    return ref->tag == NULL ? TAKE(name) : xasprintf("%s@%s", name, d->s);
}

static struct error *push_to(const struct exporter *e, const struct export_context *c,
                             const struct registry_auth *auth, const char *name,
                             const struct committed_image *i, struct vertex_reporter *r)
{
    CLEANUP(reference_deinit) struct reference ref = { 0 };
    CLEANUP(freep) char *shown = NULL;
    CLEANUP(freep) char *row = NULL;
    struct registry_push_options o = { .ref = &ref, .auth = auth };
    struct registry_push *p = NULL;

    TRY(reference_parse(name, &ref));
    if (exporter_flag(e, "push-by-digest", false) && ref.tag != NULL)
        return err_new(ERR_INVALID, "can't push tagged ref %s by digest", name);
    o.insecure = exporter_flag(e, "registry.insecure", false);
    shown = pushed_name(&ref, &i->target.digest);
    row = xasprintf("pushing manifest for %s", shown);
    struct error *err = registry_push_begin(c->registry, &o, c->store, &i->target, &p);

    if (err == NULL)
        err = with_row(r, "pushing layers", registry_push_blobs, p);
    if (err == NULL)
        err = with_row(r, row, registry_push_manifests, p);
    registry_push_end(p);
    return err;
}

struct error *image_push(const struct exporter *e, const struct export_context *c, const struct strv *names,
                         const struct committed_image *i, struct vertex_reporter *r)
{
    struct registry_auth auth = { 0 };

    if (c->registry == NULL)
        return err_new(ERR_UNAVAILABLE, "no registry can be asked");
    session_registry_auth(&c->sessions, &auth);
    for (size_t k = 0; k < names->len; k++)
        TRY(err_wrap(push_to(e, c, &auth, names->v[k], i, r), "failed to push %s", names->v[k]));
    return NULL;
}
