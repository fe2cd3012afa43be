/* SPDX-License-Identifier: Apache-2.0 */
#include "export/attestation.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "oci/gojson.h"
#include "oci/image.h"
#include "store/layer.h"
#include "task/task.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define PROVENANCE_PREFIX "https://slsa.dev/provenance/"

static void attestation_deinit(struct attestation *a)
{
    free(a->path);
    free(a->predicate_type);
    free(a->sbom_core);
    json_decref(a->subjects);
    buf_deinit(&a->predicate);
}

void attestations_deinit(struct attestations *a)
{
    for (size_t i = 0; i < a->len; i++)
        attestation_deinit(&a->v[i]);
    free(a->v);
    *a = (struct attestations){ 0 };
}

static struct attestation *add(struct attestations *l, const struct export_attestation *from,
                               const char *path, const char *predicate_type)
{
    struct attestation *a;

    l->v = xreallocarray(l->v, l->len + 1, sizeof(*l->v));
    a = &l->v[l->len++];
    *a = (struct attestation){ .from = from,
                               .path = xstrdup(path),
                               .predicate_type = xstrdup(predicate_type),
                               .sbom_core = xstrdup(from->sbom_core) };
    return a;
}

static bool applies(const struct export_attestation *a, const char *id, bool inlined)
{
    return (id == NULL || streq(a->id, id)) && (inlined || !a->inline_only);
}

bool attestations_any(const struct export_source *src, const char *id, bool inlined)
{
    for (size_t i = 0; i < src->attestation_count; i++) {
        if (applies(&src->attestations[i], id, inlined))
            return true;
    }
    return false;
}

/* ---- files of a result ---- */

static struct error *open_error(int r, const char *path)
{
    if (r == -ENOENT || r == -ENOTDIR)
        return err_new(ERR_NOT_FOUND, "open %s: no such file or directory", path);
    return err_sys(-r, "open %s", path);
}

/* A regular file, whole; type first: a FIFO or a device is never opened. */
static struct error *read_regular(int dir, const char *path, const char *name, struct buf *out)
{
    CLEANUP(closep) int at = path_open(dir, path, O_PATH, 0);
    CLEANUP(closep) int fd = -1;
    char proc[32], chunk[65536];
    struct stat st;
    ssize_t n;

    if (at < 0)
        return open_error(at, name);
    if (fstat(at, &st) < 0)
        return err_sys(errno, "stat %s", name);
    if (!S_ISREG(st.st_mode))
        return err_new(ERR_INVALID, "open %s: not a regular file", name);
    fd_path(proc, at);
    fd = open(proc, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(errno, "open %s", name);
    while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
        if (out->len + (size_t)n > LIMIT_ATTESTATION)
            return err_new(ERR_EXHAUSTED, "%s exceeds %lld bytes", name, (long long)LIMIT_ATTESTATION);
        buf_add(out, chunk, (size_t)n);
    }
    return n < 0 ? err_sys(errno, "read %s", name) : NULL;
}

/* Depth and syntax; numbers and order stay the text's. */
static struct error *check_json(const struct buf *text, const char *name, json_t **ret)
{
    json_error_t e = { .text = "it is nested too deep" };
    json_t *j = json_too_deep(buf_str(text), text->len)
                    ? NULL
                    : json_loadb(buf_str(text), text->len, JSON_DECODE_ANY, &e);

    if (j == NULL)
        return err_new(ERR_INVALID, "%s: invalid JSON: %s", name, e.text);
    *ret = j;
    return NULL;
}

struct error *attestation_predicate(struct attestation *a, const struct map *layers, struct buf *out)
{
    const struct export_attestation *from = a->from;
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(closep) int root = -1;
    json_t *j;

    if (a->predicate.len > 0) {
        buf_add(out, a->predicate.data, a->predicate.len);
        return NULL;
    }
    if (from->snapshot == NULL) {
        TRY(from->content(from->ctx, layers, &text));
        go_json_compact(out, buf_str(&text), text.len);
        return NULL;
    }
    TRY(snapshot_mount_ro(from->snapshot, &root));
    TRY(err_wrap(read_regular(root, a->path, a->path, &text), "cannot read in-toto attestation"));
    if (text.len == 0) {
        buf_adds(out, "null");
        return NULL;
    }
    TRY(check_json(&text, a->path, &j));
    json_decref(j);
    go_json_compact(out, buf_str(&text), text.len);
    return NULL;
}

/* ---- bundles ---- */

static struct error *check_kind(const struct export_attestation *a)
{
    if (!a->bundle && a->path[0] == '\0')
        return err_new(ERR_INVALID, "attestation does not have set path");
    if (a->snapshot == NULL && a->content == NULL)
        return err_new(ERR_INVALID, a->bundle ? "no ref provided for attestation bundle"
                                              : "attestation does not have available content");
    if (!a->bundle && a->content == NULL && str_has_prefix(a->predicate_type, PROVENANCE_PREFIX))
        return err_new(ERR_INVALID, "frontend may not set provenance attestations");
    return NULL;
}

static struct error *subject_json(const json_t *from, json_t **ret)
{
    const char *name = json_string_value(json_object_get(from, "name"));
    json_t *digest = go_json_generic(json_object_get(from, "digest") != NULL ? json_object_get(from, "digest")
                                                                             : json_null());

    if (!json_is_object(digest)) {
        json_decref(digest);
        digest = json_object();
    }
    *ret = json_pack("{s:s, s:o}", "name", name == NULL || name[0] == '\0' ? "_" : name, "digest", digest);
    return NULL;
}

static struct error *statement_parts(const json_t *j, const char *name, const struct export_attestation *from,
                                     struct attestations *l)
{
    const char *type = json_string_value(json_object_get(j, "predicateType"));
    const json_t *predicate = json_object_get(j, "predicate"), *subject;
    struct attestation *a;
    json_t *generic;
    size_t i;

    if (!json_is_object(j))
        return err_new(ERR_INVALID, "cannot decode in-toto statement: %s is no object", name);
    if (type == NULL)
        type = "";
    if (from->predicate_type[0] != '\0' && !streq(type, from->predicate_type))
        return err_new(ERR_INVALID, "bundle entry %s does not match required predicate type %s", type,
                       from->predicate_type);
    if (str_has_prefix(type, PROVENANCE_PREFIX))
        return err_new(ERR_INVALID, "frontend may not bundle provenance attestations");
    a = add(l, from, name, type);
    a->subjects = json_array();
    json_array_foreach(json_object_get(j, "subject"), i, subject)
    {
        json_t *one = NULL;

        TRY(subject_json(subject, &one));
        json_array_append_new(a->subjects, one);
    }
    generic = go_json_generic(predicate == NULL ? json_null() : predicate);
    go_json(&a->predicate, generic, NULL, false);
    json_decref(generic);
    return NULL;
}

static struct error *add_statement(int dir, const char *entry, const char *name,
                                   const struct export_attestation *from, struct attestations *l)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    json_t *j;
    struct error *e;

    TRY(read_regular(dir, entry, name, &text));
    TRY(err_wrap(check_json(&text, name, &j), "cannot decode in-toto statement"));
    e = statement_parts(j, name, from, l);
    json_decref(j);
    return e;
}

static struct error *list_names(int dir, const char *path, struct strv *ret)
{
    DIR *d = fdopendir(dir);
    struct dirent *de;

    if (d == NULL)
        return err_sys(errno, "open %s", path);
    while (ret->len <= LIMIT_ATTESTATIONS && (errno = 0, de = readdir(d)) != NULL) {
        if (!streq(de->d_name, ".") && !streq(de->d_name, ".."))
            strv_add(ret, de->d_name);
    }
    int r = errno;

    closedir(d);
    strv_sort(ret);
    if (ret->len > LIMIT_ATTESTATIONS)
        return err_new(ERR_EXHAUSTED, "attestation bundle holds more than %d files", LIMIT_ATTESTATIONS);
    return r == 0 ? NULL : err_sys(r, "read %s", path);
}

static struct error *unbundle(const struct export_attestation *from, struct attestations *l)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    CLEANUP(closep) int root = -1;
    CLEANUP(closep) int dir = -1;
    const char *path = from->path[0] == '\0' ? "/" : from->path;
    size_t total = 0;
    int list;

    TRY(snapshot_mount_ro(from->snapshot, &root));
    dir = path_open(root, path, O_RDONLY | O_DIRECTORY, 0);
    if (dir < 0)
        return open_error(dir, from->path);
    list = fcntl(dir, F_DUPFD_CLOEXEC, 3);
    TRY_SYS(list, "open %s", path);
    TRY(list_names(list, path, &names));
    for (size_t i = 0; i < names.len; i++) {
        CLEANUP(freep)
        char *name = from->path[0] == '\0' ? xstrdup(names.v[i]) : xasprintf("%s/%s", from->path, names.v[i]);

        TRY(add_statement(dir, names.v[i], name, from, l));
        total += l->v[l->len - 1].predicate.len;
        if (total > LIMIT_ATTESTATION_BUNDLE)
            return err_new(ERR_EXHAUSTED, "attestation bundle holds more than %lld bytes",
                           (long long)LIMIT_ATTESTATION_BUNDLE);
    }
    return NULL;
}

/* "sbom.spdx.json" where the core is called "sbom". */
static bool is_core(const struct attestation *a)
{
    size_t stem = strcspn(a->path, ".");

    return a->sbom_core != NULL && strlen(a->sbom_core) == stem && strncmp(a->path, a->sbom_core, stem) == 0;
}

static void core_first(struct attestations *l)
{
    struct attestation *sorted = xcalloc(l->len + 1, sizeof(*sorted));
    size_t n = 0;

    for (int core = 1; core >= 0; core--) {
        for (size_t i = 0; i < l->len; i++) {
            if (is_core(&l->v[i]) == (core == 1))
                sorted[n++] = l->v[i];
        }
    }
    free(l->v);
    l->v = sorted;
}

struct error *attestations_collect(const struct export_source *src, const char *id, bool inlined,
                                   struct attestations *ret)
{
    for (size_t i = 0; i < src->attestation_count; i++) {
        const struct export_attestation *a = &src->attestations[i];

        if (!applies(a, id, inlined))
            continue;
        TRY(check_kind(a));
        if (a->bundle)
            TRY(unbundle(a, ret));
        else
            add(ret, a, a->path, a->predicate_type);
    }
    core_first(ret);
    return NULL;
}

/* ---- statements ---- */

static json_t *digests_json(const struct strv *digests)
{
    CLEANUP(map_deinit) struct map sorted = { 0 };

    strmap_init(&sorted);
    for (size_t i = 0; i < digests->len; i++) {
        const char *colon = strchr(digests->v[i], ':');
        CLEANUP(freep)
        char *algorithm = colon == NULL ? NULL : xstrndup(digests->v[i], (size_t)(colon - digests->v[i]));

        if (algorithm != NULL)
            strmap_set(&sorted, algorithm, colon + 1);
    }
    map_sort(&sorted);
    return strmap_to_json(&sorted);
}

static void add_self(json_t *to, const json_t *own, const char *name)
{
    const json_t *subject;
    size_t i;

    json_array_foreach(own, i, subject)
    {
        json_array_append(to, (json_t *)subject);
        if (name[0] != '\0' && !streq(name, "_"))
            json_array_append_new(to, json_pack("{s:o, s:O}", "name", go_json_text(name), "digest",
                                                json_object_get(subject, "digest")));
    }
}

static json_t *subjects_json(const struct attestation *a, const json_t *own)
{
    json_t *list = json_array();

    if (json_array_size(a->subjects) > 0) {
        json_array_extend(list, a->subjects);
        return list;
    }
    if (a->subjects != NULL || a->from->subject_count == 0)
        add_self(list, own, "");
    for (size_t i = 0; a->subjects == NULL && i < a->from->subject_count; i++) {
        const struct frontend_subject *s = &a->from->subjects[i];

        if (s->raw)
            json_array_append_new(list, json_pack("{s:o, s:o}", "name",
                                                  go_json_text(s->name[0] == '\0' ? "_" : s->name), "digest",
                                                  digests_json(&s->digests)));
        else
            add_self(list, own, s->name);
    }
    return list;
}

struct error *attestation_statement(struct attestation *a, const struct map *layers, const json_t *own,
                                    struct buf *out)
{
    json_t *subjects = subjects_json(a, own);

    buf_adds(out, "{\"_type\":\"" STATEMENT_TYPE "\",\"predicateType\":");
    buf_add_json_string(out, a->predicate_type, strlen(a->predicate_type), true);
    buf_adds(out, ",\"subject\":");
    go_json(out, subjects, NULL, false);
    json_decref(subjects);
    buf_adds(out, ",\"predicate\":");
    TRY(attestation_predicate(a, layers, out));
    buf_addc(out, '}');
    return NULL;
}

/* ---- SBOMs ---- */

/* The directories of a result's layers. */
struct layer_dirs {
    int *fds;
    size_t len;
};

static void layer_dirs_deinit(struct layer_dirs *d)
{
    for (size_t i = 0; i < d->len; i++)
        closep(&d->fds[i]);
    free(d->fds);
}

static struct error *layer_dirs_open(struct store *store, struct snapshot *s, struct layer_dirs *ret)
{
    ret->fds = xcalloc(snapshot_layer_count(s) + 1, sizeof(*ret->fds));
    for (size_t i = 0; i < snapshot_layer_count(s); i++) {
        int fd = layer_dir(store, snapshot_layer(s, i)->id);

        TRY_SYS(fd, "open layer %s", snapshot_layer(s, i)->id);
        ret->fds[ret->len++] = fd;
    }
    return NULL;
}

/* Of the uppermost layer that has it; what a layer only deletes it does not have. */
static const struct descriptor *layer_of_file(struct snapshot *s, const struct layer_dirs *dirs,
                                              const struct map *layers, const char *file)
{
    for (size_t i = dirs->len; i-- > 0;) {
        struct stat st;

        if (path_stat(dirs->fds[i], file, false, &st) == 0 && !(S_ISCHR(st.st_mode) && st.st_rdev == 0))
            return map_get(layers, snapshot_layer(s, i)->id);
    }
    return NULL;
}

static bool is_spdx(const json_t *j)
{
    const char *version = json_string_value(json_object_get(j, "spdxVersion"));

    return version != NULL && str_has_prefix(version, "SPDX-");
}

static struct error *note_layers(json_t *files, struct snapshot *s, struct store *store,
                                 const struct map *layers)
{
    CLEANUP(layer_dirs_deinit) struct layer_dirs dirs = { 0 };
    json_t *file;
    size_t i;

    TRY(layer_dirs_open(store, s, &dirs));
    json_array_foreach(files, i, file)
    {
        TRY(task_check()); /* as many as the document says */
        const char *name = json_string_value(json_object_get(file, "fileName"));
        const json_t *comment = json_object_get(file, "comment");
        const struct descriptor *d;

        if (name == NULL || (comment != NULL && json_string_length(comment) > 0))
            continue;
        d = layer_of_file(s, &dirs, layers, name);
        if (d != NULL)
            json_object_set_new(file, "comment", json_sprintf("layerID: %s", d->digest.s));
    }
    return NULL;
}

static void note_tool(json_t *doc, const char *version)
{
    json_t *info = json_object_get(doc, "creationInfo"), *creators;

    if (!json_is_object(info)) {
        info = json_object();
        json_object_set_new(doc, "creationInfo", info);
    }
    creators = json_object_get(info, "creators");
    if (!json_is_array(creators)) {
        creators = json_array();
        json_object_set_new(info, "creators", creators);
    }
    json_array_append_new(creators, json_sprintf("Tool: buildkit-%s", version));
}

struct error *sbom_supplement(struct attestation *a, struct snapshot *snapshot, struct store *s,
                              const struct map *layers, const char *version)
{
    CLEANUP(freep) char *base = path_base(a->path);
    size_t stem = strcspn(base, ".");
    CLEANUP(buf_deinit) struct buf text = { 0 };
    json_t *j;

    if (snapshot == NULL || a->sbom_core == NULL || !streq(a->predicate_type, PREDICATE_SPDX) ||
        strlen(a->sbom_core) != stem || strncmp(base, a->sbom_core, stem) != 0)
        return NULL;
    TRY(attestation_predicate(a, layers, &text));
    j = json_loadb(text.data, text.len, 0, NULL);
    struct error *e = is_spdx(j) ? note_layers(json_object_get(j, "files"), snapshot, s, layers) : NULL;

    if (e == NULL && is_spdx(j)) {
        note_tool(j, version);
        buf_clear(&a->predicate);
        go_json(&a->predicate, j, NULL, false);
    }
    json_decref(j);
    return e;
}
