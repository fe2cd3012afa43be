/* SPDX-License-Identifier: Apache-2.0 */
/* recompress.c - an image of the store with its plain layers compressed: documents of its own, the same
 * configs */
#include "export/compress.h"

#include "base/limits.h"
#include "oci/gojson.h"
#include "oci/image.h"
#include "task/task.h"

struct recompress {
    struct store *store;
    struct lease *lease;
    const struct layer_format *format;
    struct map renamed; /* digest of a manifest -> struct descriptor of what stands for it */
};

static void free_descriptor(void *p)
{
    descriptor_deinit(p);
    free(p);
}

static struct error *read_json(struct recompress *c, const struct descriptor *d, json_t **ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    TRY(blob_read(c->store, &d->digest, LIMIT_MANIFEST, &text));
    return json_parse(text.data, text.len, "invalid manifest", ret);
}

/* `j` into the store as what stands for `d`; *ret_digest and *ret_size tell what it became. */
static struct error *put_renamed(struct recompress *c, const json_t *j, const struct descriptor *d)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct digest digest;

    go_json(&text, j, "  ", false);
    TRY(blob_put(c->store, c->lease, text.data, text.len, &digest));
    struct descriptor *new = NEW(struct descriptor);

    descriptor_init(new, d->media_type, &digest, (int64_t)text.len);
    map_set(&c->renamed, d->digest.s, new);
    return NULL;
}

static void set_address(json_t *j, const struct descriptor *d)
{
    json_object_set_new(j, "digest", json_string(d->digest.s));
    json_object_set_new(j, "size", json_integer(d->size));
}

static const char *type_beside(const char *have, const char *oci)
{
    return !streq(have, MT_DOCKER_LAYER)   ? oci
           : streq(oci, MT_OCI_LAYER_GZIP) ? MT_DOCKER_LAYER_GZIP
           : streq(oci, MT_OCI_LAYER_ZSTD) ? MT_DOCKER_LAYER_ZSTD
                                           : MT_DOCKER_LAYER;
}

struct one_layer {
    struct recompress *all;
    json_t *json;
    struct descriptor have, want;
};

static struct error *compress_layer(void *arg)
{
    struct one_layer *l = arg;

    /* a plain layer's digest is its diff ID */
    return layer_compress(l->all->store, l->all->lease, &l->have.digest, &l->have, l->all->format, &l->want);
}

static struct error *parse_layers(json_t *list, struct one_layer *layers)
{
    json_t *one;
    size_t i;

    json_array_foreach(list, i, one)
    {
        layers[i].json = one;
        TRY(descriptor_from_json(one, &layers[i].have));
    }
    return NULL;
}

/* Plain layers side by side, a few at a time. */
static struct error *compress_layers(struct one_layer *layers, size_t n)
{
    struct error *e = NULL;

    for (size_t from = 0; e == NULL && from < n; from += LIMIT_COMPRESS_TASKS) {
        struct group g;

        group_open(&g, 0);
        for (size_t i = from; e == NULL && i < MIN(n, from + LIMIT_COMPRESS_TASKS); i++)
            if (media_type_is_layer(layers[i].have.media_type) &&
                compression_of_media_type(layers[i].have.media_type) == COMPRESSION_NONE)
                e = group_spawn(&g, "compress layer", compress_layer, &layers[i]);
        e = group_finish(&g, e);
    }
    return e;
}

static struct error *convert_layers(struct recompress *c, json_t *list, bool *changed)
{
    size_t n = json_array_size(list);
    CLEANUP(freep) struct one_layer *layers = xcalloc(n + 1, sizeof(*layers));

    for (size_t i = 0; i < n; i++)
        layers[i].all = c;
    struct error *e = parse_layers(list, layers);

    if (e == NULL)
        e = compress_layers(layers, n);
    for (size_t i = 0; i < n; i++) {
        struct one_layer *l = &layers[i];

        if (e == NULL && l->want.media_type != NULL && !digest_eq(&l->want.digest, &l->have.digest)) {
            *changed = true;
            json_object_set_new(l->json, "mediaType",
                                json_string(type_beside(l->have.media_type, l->want.media_type)));
            set_address(l->json, &l->want);
        }
        descriptor_deinit(&l->have);
        descriptor_deinit(&l->want);
    }
    return e;
}

/* A digest that a document mentions. */
static const struct descriptor *renamed(const struct recompress *c, const json_t *digest)
{
    const char *text = json_string_value(digest);

    return text != NULL ? map_get(&c->renamed, text) : NULL;
}

static struct error *convert_manifest(struct recompress *c, json_t *j, bool *changed)
{
    json_t *subject = json_object_get(j, "subject");
    const struct descriptor *of = renamed(c, json_object_get(subject, "digest"));

    if (of != NULL) {
        *changed = true;
        set_address(subject, of);
    }
    return convert_layers(c, json_object_get(j, "layers"), changed);
}

static struct error *convert(struct recompress *c, const struct descriptor *d, int depth);

/* Images first, then what describes them. */
static struct error *convert_index(struct recompress *c, json_t *j, bool *changed, int depth)
{
    json_t *list = json_object_get(j, "manifests"), *one;
    size_t i;

    for (int pass = 0; pass < 2; pass++) {
        json_array_foreach(list, i, one)
        {
            CLEANUP(descriptor_deinit) struct descriptor d = { 0 };
            json_t *notes = json_object_get(one, "annotations");

            TRY(descriptor_from_json(one, &d));
            if (descriptor_is_attestation(&d) != (pass == 1))
                continue;
            TRY(convert(c, &d, depth + 1));
            const struct descriptor *now = map_get(&c->renamed, d.digest.s);
            const struct descriptor *of = renamed(c, json_object_get(notes, "vnd.docker.reference.digest"));

            if (now != NULL)
                set_address(one, now);
            if (of != NULL)
                json_object_set_new(notes, "vnd.docker.reference.digest", json_string(of->digest.s));
            *changed = *changed || now != NULL || of != NULL;
        }
    }
    return NULL;
}

static struct error *convert(struct recompress *c, const struct descriptor *d, int depth)
{
    bool changed = false;
    json_t *j;

    if (depth > LIMIT_INDEX_DEPTH)
        return err_new(ERR_INVALID, "an index holds indexes more than %d levels deep", LIMIT_INDEX_DEPTH);
    if (map_has(&c->renamed, d->digest.s))
        return NULL;
    TRY(read_json(c, d, &j));
    struct error *e = media_type_is_index(d->media_type) ? convert_index(c, j, &changed, depth)
                                                         : convert_manifest(c, j, &changed);

    if (e == NULL && changed)
        e = put_renamed(c, j, d);
    json_decref(j);
    return e;
}

struct error *image_compress(struct store *s, struct lease *l, const struct descriptor *target,
                             const struct layer_format *f, struct descriptor *ret)
{
    struct recompress c = {
        .store = s, .lease = l, .format = f, .renamed = { .free_value = free_descriptor }
    };
    struct error *e = convert(&c, target, 0);
    const struct descriptor *now = e == NULL ? map_get(&c.renamed, target->digest.s) : NULL;

    if (e == NULL)
        descriptor_copy(ret, now != NULL ? now : target);
    map_deinit(&c.renamed);
    return e;
}
