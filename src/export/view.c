/* SPDX-License-Identifier: Apache-2.0 */
#include "export/view.h"

#include "base/bytes.h"
#include "export/attestation.h"
#include "io/path.h"
#include "io/stream.h"
#include "oci/gojson.h"
#include "session/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

void view_context_init(struct view_context *c, bool split)
{
    c->split = c->split_names = split;
    c->now_ns = now_ns() / NS_PER_SEC * NS_PER_SEC;
    strmap_init(&c->taken);
    mutex_init(&c->lock);
}

void view_context_deinit(struct view_context *c)
{
    if (c->now_ns == 0)
        return;
    map_deinit(&c->taken);
    mutex_deinit(&c->lock);
}

void view_deinit(struct view *v)
{
    if (v->fd >= 0)
        close(v->fd);
    if (v->active != NULL)
        active_abandon(v->active);
    free(v->prefix);
}

/* ---- the tree ---- */

/* Read-only, or (attestations are to be added) a writable child that is dropped with the view. */
static struct error *open_root(const struct view_context *c, const struct export_ref *ref, bool writable,
                               struct view *v)
{
    CLEANUP(snapshot_unrefp) struct snapshot *empty = NULL;
    struct store *s = c->context->store;

    if (writable) {
        TRY(active_begin(s, ref->snapshot, &v->active));
        v->fd = fcntl(active_fd(v->active), F_DUPFD_CLOEXEC, 3);
        TRY_SYS(v->fd, "open the result");
        return NULL;
    }
    if (ref->snapshot != NULL)
        return snapshot_mount_ro(ref->snapshot, &v->fd);
    empty = snapshot_empty(s);
    return snapshot_mount_ro(empty, &v->fd);
}

/* src=PATH: that directory. */
static struct error *narrow(struct view *v, const char *src)
{
    struct stat st;
    int fd, r = path_stat(v->fd, src, true, &st);

    if (r < 0)
        return r == -ENOENT || r == -ENOTDIR
                   ? err_new(ERR_NOT_FOUND, "src=%s: no such file or directory", src)
                   : err_sys(-r, "src=%s", src);
    if (!S_ISDIR(st.st_mode))
        return err_new(ERR_INVALID, "src=%s: not a directory", src);
    fd = path_open(v->fd, src, O_RDONLY | O_DIRECTORY, 0);
    TRY_SYS(fd, "src=%s", src);
    close(v->fd);
    v->fd = fd;
    return NULL;
}

/* ---- its files ---- */

static struct error *digest_file(int dir, const char *path, struct digest *ret)
{
    CLEANUP(closep) int fd = path_open(dir, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    CLEANUP(hasher_freep) struct hasher *h = hasher_new();
    char chunk[65536];
    ssize_t n;

    TRY_SYS(fd, "open %s", path);
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        hasher_add(h, chunk, (size_t)n);
    if (n < 0)
        return err_sys(errno, "read %s", path);
    *ret = hasher_sum(h);
    return NULL;
}

static struct error *take_path(struct view_context *c, const char *path, const char *id)
{
    struct error *e = NULL;

    mutex_lock(&c->lock);
    if (map_has(&c->taken, path))
        e = err_new(ERR_EXISTS, "cannot overwrite %s from %s with %s when split option is disabled", path,
                    strmap_get(&c->taken, path), id);
    else
        strmap_set(&c->taken, path, id);
    mutex_unlock(&c->lock);
    return e;
}

/* Each path once, its content as a subject where `subjects` are wanted. */
static struct error *see_entry(struct view_context *c, const struct view *v, const struct export_ref *ref,
                               const struct sync_entry *entry, json_t *subjects)
{
    struct digest d;

    if (S_ISREG(go_mode_to_stat(entry->mode)) && subjects != NULL) {
        TRY(digest_file(v->fd, entry->path, &d));
        json_array_append_new(subjects, json_pack("{s:o, s:{s:s}}", "name", go_json_text(entry->path),
                                                  "digest", "sha256", digest_hex(&d)));
    }
    if (c->split || c->source->ref_count < 2 || S_ISDIR(go_mode_to_stat(entry->mode)))
        return NULL;
    return take_path(c, entry->path, ref->id);
}

static struct error *see_files(struct view_context *c, const struct view *v, const struct export_ref *ref,
                               json_t *subjects)
{
    struct sync_tree tree = { .dir_fd = v->fd, .prefix = "", .filter = &v->filter };
    struct walk *w;
    struct error *e;
    bool end = false;

    TRY(walk_open(&tree, &w));
    do {
        struct sync_entry entry = { 0 };

        e = walk_next(w, &entry);
        end = e != NULL || entry.path == NULL;
        if (!end)
            e = see_entry(c, v, ref, &entry, subjects);
        sync_entry_deinit(&entry);
    } while (e == NULL && !end);
    walk_close(w);
    return e;
}

/* ---- attestations ---- */

/* "provenance.json", "provenance.linux_arm64.json" where several results share a folder. */
static char *file_name(const struct view_context *c, const struct attestation *a,
                       const struct export_ref *ref)
{
    const char *prefix = strmap_get(&c->exporter->attrs, "attestation-prefix"), *dot;
    CLEANUP(freep) char *base = path_base(a->path);
    CLEANUP(freep) char *name = xasprintf("%s%s", prefix == NULL ? "" : prefix, base);
    CLEANUP(freep) char *folder = platform_folder(ref->id);

    if (!c->source->multi || c->split_names)
        return TAKE(name);
    dot = strrchr(base, '.') == NULL ? name + strlen(name) : strrchr(name, '.');
    return xasprintf("%.*s.%s%s", (int)(dot - name), name, folder, dot);
}

static struct error *write_file(const struct view *v, const char *name, const struct buf *text,
                                int64_t mtime_ns)
{
    CLEANUP(freep) char *base = NULL;
    CLEANUP(closep) int dir = path_open_parent(v->fd, name, false, 0, &base);
    CLEANUP(closep) int fd = -1;
    struct timespec times[2] = { { mtime_ns / NS_PER_SEC, mtime_ns % NS_PER_SEC },
                                 { mtime_ns / NS_PER_SEC, mtime_ns % NS_PER_SEC } };

    /* a prefix of the client's may name folders, which are links of the result's: never outside of it */
    TRY_SYS(dir, "write %s", name);
    if (unlinkat(dir, base, 0) < 0 && errno != ENOENT) /* what the result has under this name gives way */
        return err_sys(errno, "replace %s", name);
    fd = path_open(dir, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    TRY_SYS(fd, "write %s", name);
    TRY_SYS(fd_write_all(fd, text->data, text->len), "write %s", name);
    return futimens(fd, times) < 0 ? err_sys(errno, "write %s", name) : NULL;
}

static struct error *write_attestation(const struct view_context *c, struct attestation *a,
                                       const struct export_ref *ref, const json_t *subjects,
                                       struct strv *names, struct view *v)
{
    CLEANUP(buf_deinit) struct buf compact = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(freep) char *name = file_name(c, a, ref);

    if (strv_has(names, name))
        return err_new(ERR_EXISTS, "duplicate attestation path name %s", name);
    strv_add(names, name);
    TRY(attestation_statement(a, NULL, subjects, &compact));
    go_json_indent(&text, compact.data, compact.len, "  ");
    return write_file(v, name, &text, v->has_epoch ? v->epoch_s * NS_PER_SEC : c->now_ns);
}

static struct error *add_attestations(struct view_context *c, const struct export_ref *ref, struct view *v)
{
    CLEANUP(attestations_deinit) struct attestations l = { 0 };
    CLEANUP(strv_deinit) struct strv names = { 0 };
    json_t *subjects = json_array();
    struct error *e = see_files(c, v, ref, subjects);

    if (e == NULL)
        e = attestations_collect(c->source, ref->id, false, &l);
    for (size_t i = 0; e == NULL && i < l.len; i++)
        e = write_attestation(c, &l.v[i], ref, subjects, &names, v);
    json_decref(subjects);
    return e;
}

struct error *view_open(struct view_context *c, const struct export_ref *ref, struct view *v)
{
    const char *src = strmap_get(&c->exporter->attrs, "src");
    bool attested = attestations_any(c->source, ref->id, false);

    v->fd = -1;
    v->prefix = c->split ? platform_folder(ref->id) : xstrdup("");
    TRY(export_epoch(c->exporter, c->source, ref, &v->has_epoch, &v->epoch_s));
    if (v->has_epoch) {
        v->filter.set_mtime = true;
        v->filter.mtime_ns = v->epoch_s * NS_PER_SEC;
    }
    TRY(open_root(c, ref, attested, v));
    if (src != NULL)
        TRY(narrow(v, src));
    if (attested)
        return add_attestations(c, ref, v);
    return c->split || c->source->ref_count < 2 ? NULL : see_files(c, v, ref, NULL);
}
