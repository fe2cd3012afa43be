/* SPDX-License-Identifier: Apache-2.0 */
/* history_rows.c - records in the database: what is there when the daemon starts again */
#include "buildkit/history_impl.h"

#include "base/limits.h"
#include "base/log.h"
#include "oci/image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define INDEX_DEPTH 2 /* of indexes in indexes */

struct error *history_row_write(struct history *h, struct history_record *r, const struct buf *text)
{
    if (r->id == 0)
        r->id = ++h->last_id;
    return build_record_put(h->builder->config->store, r->id, r->ref, text->data, text->len);
}

struct error *history_row_remove(struct history *h, struct history_record *r)
{
    return r->id == 0 ? NULL : build_record_remove(h->builder->config->store, r->id);
}

/* ---- results ---- */

static void hold(struct store *s, struct lease *l, const struct descriptor *d, int depth);

static struct error *hold_index(struct store *s, struct lease *l, const struct buf *text, int depth)
{
    struct image_index index = { 0 };

    TRY(image_index_parse(text->data, text->len, NULL, &index));
    for (size_t i = 0; i < index.manifest_count; i++)
        hold(s, l, &index.manifests[i], depth + 1);
    image_index_deinit(&index);
    return NULL;
}

static struct error *hold_manifest(struct lease *l, const struct buf *text, bool attestation)
{
    struct image_manifest m = { 0 };

    TRY(image_manifest_parse(text->data, text->len, NULL, &m));
    lease_add_blob(l, &m.config.digest);
    for (size_t i = 0; attestation && i < m.layer_count; i++)
        lease_add_blob(l, &m.layers[i].digest);
    image_manifest_deinit(&m);
    return NULL;
}

/* What cannot be read is not there for others either. */
static void hold(struct store *s, struct lease *l, const struct descriptor *d, int depth)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct error *e;
    bool is_index = false;

    lease_add_blob(l, &d->digest);
    if (depth > INDEX_DEPTH)
        return;
    e = blob_read(s, &d->digest, LIMIT_MANIFEST, &text);
    if (e == NULL)
        e = image_document_kind(text.data, text.len, d->media_type, &is_index);
    if (e == NULL)
        e = is_index ? hold_index(s, l, &text, depth) : hold_manifest(l, &text, descriptor_is_attestation(d));
    err_free(e);
}

void history_hold_results(struct history *h, struct history_record *r)
{
    struct store *s = h->builder->config->store;
    struct error *e = NULL;

    for (size_t i = 0; e == NULL && i < r->result_count; i++) {
        if (r->results[i].media_type == NULL)
            continue;
        if (r->lease == NULL)
            e = lease_open(s, &r->lease);
        if (e == NULL)
            hold(s, r->lease, &r->results[i], 0);
    }
    log_err(LOG_WARN, e, "what a build made is not held");
}

/* ---- at start ---- */

struct load {
    struct history *history;
    struct ptrv bad; /* records that say nothing but their number */
    bool read_all;   /* content of files is in doubt */
};

/* A file that is gone, or is not what it was, is one that the record does not have. */
static bool keep_blob(const struct load *l, const struct history_record *r, struct history_blob *b)
{
    if (b->digest.s[0] == '\0')
        return false;
    if (history_blob_is_whole(l->history, b, l->read_all))
        return true;
    log_warn("what was kept of a build is lost", "build", r->ref, "digest", b->digest.s);
    *b = (struct history_blob){ 0 };
    return false;
}

static void keep_blobs(const struct load *l, struct history_record *r)
{
    size_t kept = 0;

    keep_blob(l, r, &r->log);
    keep_blob(l, r, &r->trace);
    keep_blob(l, r, &r->external_error);
    for (size_t i = 0; i < r->attestation_count; i++) {
        if (keep_blob(l, r, &r->attestations[i].blob))
            r->attestations[kept++] = r->attestations[i];
        else
            free(r->attestations[i].key);
    }
    r->attestation_count = kept;
}

static void load_row(void *ctx, int64_t id, const void *data, size_t len)
{
    struct load *l = ctx;
    struct history_record *r = NULL;
    struct error *e = history_record_parse(data, len, &r);

    l->history->last_id = id;
    if (e == NULL) {
        ptrv_add(&l->history->records, r);
    } else {
        log_err(LOG_WARN, e, "a build's record cannot be read");
        r = NEW(struct history_record);
        ptrv_add(&l->bad, r);
    }
    r->id = id;
}

static void add_name(struct map *names, const struct history_blob *b)
{
    if (b->digest.s[0] != '\0')
        map_set(names, digest_hex(&b->digest), (void *)1);
}

static void name_files(const struct history *h, struct map *names)
{
    for (size_t i = 0; i < h->records.len; i++) {
        const struct history_record *r = h->records.v[i];

        add_name(names, &r->log);
        add_name(names, &r->trace);
        add_name(names, &r->external_error);
        for (size_t k = 0; k < r->attestation_count; k++)
            add_name(names, &r->attestations[k].blob);
    }
}

static struct error *sweep(struct history *h)
{
    int fd = openat(h->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    CLEANUP(map_deinit) struct map names = { 0 };
    const struct dirent *entry;

    if (dir == NULL) {
        struct error *e = err_sys(errno, "list the history's files");

        closep(&fd);
        return e;
    }
    name_files(h, &names);
    while ((entry = readdir(dir)) != NULL) {
        if (streq(entry->d_name, ".") || streq(entry->d_name, "..") || map_has(&names, entry->d_name))
            continue;
        if (unlinkat(h->dir_fd, entry->d_name, 0) < 0)
            log_warn("cannot remove", "file", entry->d_name, "error", strerror(errno));
    }
    closedir(dir);
    return NULL;
}

struct error *history_load(struct history *h)
{
    struct load l = { .history = h };
    struct error *e = build_record_walk(h->builder->config->store, load_row, &l);

    l.read_all = store_is_first_of_boot(h->builder->config->store);
    if (e == NULL) {
        for (size_t i = 0; i < h->records.len; i++) {
            keep_blobs(&l, h->records.v[i]);
            history_hold_results(h, h->records.v[i]);
        }
        mutex_lock(&h->lock);
        history_expire_locked(h, &l.bad);
        mutex_unlock(&h->lock);
        history_forget(h, &l.bad);
        e = sweep(h);
    }
    ptrv_deinit(&l.bad);
    return e;
}
