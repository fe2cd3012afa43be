/* SPDX-License-Identifier: Apache-2.0 */
#include "export/compress.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "task/task.h"

#define CHUNK (256 * KIB)

/* ---- attributes ---- */

static struct error *parse_kind(const char *name, enum compression *ret)
{
    if (streq(name, "uncompressed"))
        *ret = COMPRESSION_NONE;
    else if (streq(name, "gzip"))
        *ret = COMPRESSION_GZIP;
    else if (streq(name, "zstd"))
        *ret = COMPRESSION_ZSTD;
    else if (streq(name, "estargz"))
        return err_new(ERR_UNIMPLEMENTED, "compression type estargz is not supported by this builder");
    else
        return err_new(ERR_INVALID, "unsupported compression type %s", name);
    return NULL;
}

/* BuildKit takes any number and its libraries make the best of it. */
static int bounded_level(enum compression kind, int64_t level)
{
    if (kind == COMPRESSION_GZIP)
        return level < 0 || level > 9 ? -1 : (int)level;
    return level < 1 ? -1 : (int)MIN(level, INT64_C(22));
}

struct error *layer_format_parse(const struct map *attrs, struct layer_format *ret)
{
    const char *kind = strmap_get(attrs, "compression"), *level = strmap_get(attrs, "compression-level"),
               *force = strmap_get(attrs, "force-compression");
    int64_t n;

    if (kind != NULL) {
        TRY(parse_kind(kind, &ret->kind));
        ret->keep_plain = ret->kind == COMPRESSION_NONE;
    }
    ret->level = -1;
    if (level != NULL && parse_i64(level, &n) < 0)
        return err_new(ERR_INVALID,
                       "non-integer value %s specified for compression-level: strconv.ParseInt: parsing "
                       "\"%s\": invalid syntax",
                       level, level);
    if (level != NULL)
        ret->level = bounded_level(ret->kind, n);
    if (force != NULL) {
        ret->force = true;
        if (force[0] != '\0' && parse_bool(force, &ret->force) < 0)
            return err_new(ERR_INVALID,
                           "non-bool value %s specified for force-compression: strconv.ParseBool: parsing "
                           "\"%s\": invalid syntax",
                           force, force);
    }
    return NULL;
}

/* ---- what is known ----
 *
 * "layer/<diff id>/<kind>[-<level>]" = "<digest>".  Apart from what layers came as (diff_id_blob_put), so
 * that the digest of an image in the store does not depend on whether it was pushed before. */

static char *fact_key(const struct digest *diff_id, const struct layer_format *f)
{
    if (f->level < 0)
        return xasprintf("layer/%s/%s", diff_id->s, compression_name(f->kind));
    return xasprintf("layer/%s/%s-%d", diff_id->s, compression_name(f->kind), f->level);
}

static const char *media_type_of(enum compression kind)
{
    return kind == COMPRESSION_GZIP   ? MT_OCI_LAYER_GZIP
           : kind == COMPRESSION_ZSTD ? MT_OCI_LAYER_ZSTD
                                      : MT_OCI_LAYER;
}

/* What a foreign layer is to everybody who may have it. */
static void as_own(const struct descriptor *have, struct descriptor *ret)
{
    descriptor_init(ret, media_type_of(compression_of_media_type(have->media_type)), &have->digest,
                    have->size);
}

static struct error *find_known(struct store *s, struct lease *l, const char *key,
                                const struct layer_format *f, struct descriptor *ret, bool *ret_found)
{
    CLEANUP(freep) char *value = NULL;
    struct digest d;
    struct blob_info info;

    TRY(fact_get(s, key, &value));
    *ret_found = value != NULL && digest_parse(value, &d) == 0;
    if (!*ret_found)
        return NULL;
    lease_add_blob(l, &d);
    struct error *e = blob_stat(s, &d, &info);

    if (err_is(e, ERR_NOT_FOUND)) { /* collected since */
        err_free(e);
        *ret_found = false;
        return NULL;
    }
    TRY(e);
    descriptor_init(ret, media_type_of(f->kind), &d, info.size);
    return NULL;
}

/* ---- compressing ---- */

/* The layer's tar in the new format, to be read once. */
static struct error *open_formatted(struct store *s, const struct descriptor *have,
                                    const struct layer_format *f, struct stream **ret)
{
    CLEANUP(stream_closep) struct stream *in = NULL;
    struct stream *plain;

    TRY(blob_open(s, &have->digest, &in));
    if (compression_of_media_type(have->media_type) == COMPRESSION_NONE)
        return compress_stream(TAKE(in), f->kind, f->level, ret);
    TRY(decompress_stream(TAKE(in), &plain));
    return compress_stream(plain, f->kind, f->level, ret);
}

static struct error *fill_ingest(struct ingest *to, struct stream *from)
{
    CLEANUP(freep) char *chunk = xmalloc(CHUNK);
    ssize_t n;

    while ((n = stream_read(from, chunk, CHUNK)) > 0)
        TRY(ingest_write(to, chunk, (size_t)n));
    return n < 0 ? task_error((int)n, "compress a layer") : NULL;
}

static struct error *make_blob(struct store *s, const struct descriptor *have, const struct layer_format *f,
                               struct ingest *to, struct descriptor *ret)
{
    CLEANUP(stream_closep) struct stream *in = NULL;
    struct digest d;
    struct blob_info info;

    TRY(ingest_reset(to));
    TRY(open_formatted(s, have, f, &in));
    TRY(fill_ingest(to, in));
    TRY(ingest_commit(to, &(struct digest){ 0 }, -1, &d));
    TRY(blob_stat(s, &d, &info));
    descriptor_init(ret, media_type_of(f->kind), &d, info.size);
    return NULL;
}

static struct error *compress_once(struct store *s, struct lease *l, const char *key,
                                   const struct descriptor *have, const struct layer_format *f,
                                   struct descriptor *ret)
{
    struct ingest *to = NULL;
    int64_t have_bytes;
    bool found = false;

    TRY(ingest_begin(s, l, key, &have_bytes, &to));
    struct error *e = find_known(s, l, key, f, ret, &found); /* by the one we waited for */

    if (e == NULL && !found)
        e = make_blob(s, have, f, to, ret);
    ingest_close(to, false);
    TRY(e);
    return found ? NULL : fact_put(s, key, ret->digest.s);
}

struct error *layer_compress(struct store *s, struct lease *l, const struct digest *diff_id,
                             const struct descriptor *have, const struct layer_format *f,
                             struct descriptor *ret)
{
    enum compression now = compression_of_media_type(have->media_type);
    bool foreign = media_type_is_foreign_layer(have->media_type), found = false;
    CLEANUP(freep) char *key = NULL;

    if ((foreign && f->keep_foreign) || now == f->kind ||
        (now == COMPRESSION_NONE ? f->keep_plain : !f->force)) {
        if (foreign && !f->keep_foreign)
            as_own(have, ret);
        else
            descriptor_copy(ret, have);
        return NULL;
    }
    if (f->kind == COMPRESSION_NONE) {
        struct blob_info info;
        struct error *e = blob_stat(s, diff_id, &info);

        if (e == NULL) { /* virtual, costs nothing */
            lease_add_blob(l, diff_id);
            descriptor_init(ret, MT_OCI_LAYER, diff_id, info.size);
            return NULL;
        }
        err_free(e);
    }
    key = fact_key(diff_id, f);
    TRY(find_known(s, l, key, f, ret, &found));
    return found ? NULL : compress_once(s, l, key, have, f, ret);
}
