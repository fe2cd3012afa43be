/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert_tool.c - our Dockerfile frontend over the corpus, with a bridge that writes down all it is asked
 *
 *   convert_tool CORPUS OUT
 *
 * The text form is that of convert/main.go, which does the same with BuildKit's frontend: the files must be
 * equal.
 */
#include "base/buf.h"
#include "base/bytes.h"
#include "base/rune.h"
#include "frontend/dockerfile/build.h"
#include "frontend/frontend.h"
#include "llb/state.h"
#include "oci/digest.h"
#include "task/task.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>

struct test_case {
    char *name;
    struct buf file;
    json_t *json; /* options, may be NULL */
    json_t *images;
    struct map opts; /* string map */
    struct map inputs;
};

/* A definition that was solved. */
struct ref {
    struct llb_def *def;
};

struct fake {
    struct bridge bridge;
    struct test_case *tc;
    struct mutex lock;
    struct strv trace;
    struct ptrv refs;
};

static void note(struct fake *f, struct buf *entry)
{
    mutex_lock(&f->lock);
    strv_add(&f->trace, buf_str(entry));
    mutex_unlock(&f->lock);
    buf_deinit(entry);
}

static void add_quoted_pair(struct buf *out, const char *key, const char *value)
{
    buf_add_quoted(out, key, strlen(key));
    buf_addc(out, '=');
    buf_add_quoted(out, value, strlen(value));
}

static void add_map(struct buf *out, const struct map *m)
{
    CLEANUP(map_deinit) struct map sorted = { 0 };

    strmap_init(&sorted);
    strmap_copy(&sorted, m);
    map_sort(&sorted);
    for (size_t i = 0; i < sorted.len; i++) {
        if (i > 0)
            buf_addc(out, ' ');
        add_quoted_pair(out, sorted.entries[i].key, sorted.entries[i].value);
    }
}

static void add_ranges(struct buf *out, const struct llb_range *r, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_addf(out, "%s%d.%d-%d.%d", i > 0 ? "," : "", r[i].start_line, r[i].start_char, r[i].end_line,
                 r[i].end_char);
}

/* ---- definitions
 * ------------------------------------------------------------------------------------------------------- */

static size_t group_number(struct strv *seen, const char *id)
{
    for (size_t i = 0; i < seen->len; i++) {
        if (streq(seen->v[i], id))
            return i;
    }
    strv_add(seen, id);
    return seen->len - 1;
}

static void add_meta(struct buf *out, const struct llb_meta *m, struct strv *groups)
{
    CLEANUP(strv_deinit) struct strv caps = { 0 };

    buf_addf(out, " ignorecache=%s desc=[", m->ignore_cache ? "true" : "false");
    add_map(out, &m->description);
    buf_adds(out, "] caps=[");
    strv_copy(&caps, &m->caps);
    strv_sort(&caps);
    for (size_t i = 0; i < caps.len; i++)
        buf_addf(out, "%s%s", i > 0 ? " " : "", caps.v[i]);
    buf_addc(out, ']');
    if (m->has_export_cache)
        buf_addf(out, " exportcache=%s", m->export_cache ? "true" : "false");
    if (m->progress_group != NULL) {
        buf_addf(out, " group=group%zu ", group_number(groups, m->progress_group->id));
        buf_add_quoted(out, m->progress_group->name, strlen(m->progress_group->name));
        buf_addf(out, " weak=%s", m->progress_group->weak ? "true" : "false");
    }
    if (m->resources != NULL) {
        const struct llb_resources *r = m->resources;

        buf_addf(out, " resources=%lld,%lld,%llu,%llu,%lld,", (long long)r->memory, (long long)r->memory_swap,
                 (unsigned long long)r->cpu_shares, (unsigned long long)r->cpu_period,
                 (long long)r->cpu_quota);
        buf_add_quoted(out, r->cpuset_cpus, strlen(r->cpuset_cpus));
        buf_addc(out, ',');
        buf_add_quoted(out, r->cpuset_mems, strlen(r->cpuset_mems));
    }
    buf_addc(out, '\n');
}

static void add_infos(struct buf *out, const struct llb_source *s)
{
    for (size_t i = 0; i < s->info_count; i++) {
        const struct llb_source_info *info = &s->infos[i];
        struct digest d = digest_of(info->data, info->data_len);
        CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;

        buf_adds(out, "  info ");
        buf_add_quoted(out, info->filename, strlen(info->filename));
        buf_addc(out, ' ');
        buf_add_quoted(out, info->language, strlen(info->language));
        buf_addf(out, " %zu bytes %s\n", info->data_len, d.s);
        if (info->definition == NULL)
            continue;
        err_free(llb_def_decode(info->definition, info->definition_len, &def));
        for (size_t k = 0; def != NULL && k < def->op_count; k++)
            buf_addf(out, "    def %s\n", def->ops[k].digest.s);
    }
}

static void add_def(struct buf *out, const struct llb_def *def)
{
    CLEANUP(strv_deinit) struct strv groups = { 0 };

    for (size_t i = 0; i < def->op_count; i++) {
        buf_addf(out, "  op %s ", def->ops[i].digest.s);
        base64_encode(out, def->ops[i].bytes, def->ops[i].len);
        buf_addc(out, '\n');
    }
    for (size_t i = 0; i < def->op_count; i++) {
        const struct llb_meta *m = llb_def_meta(def, def->ops[i].digest.s);

        buf_addf(out, "  meta %s", def->ops[i].digest.s);
        if (m == NULL)
            buf_adds(out, " none\n");
        else
            add_meta(out, m, &groups);
    }
    buf_addf(out, "  metadata entries %zu\n", def->metadata.len);
    if (def->source == NULL) {
        buf_adds(out, "  no source\n");
        return;
    }
    add_infos(out, def->source);
    for (size_t i = 0; i < def->op_count; i++) {
        const struct llb_locations *l = llb_def_locations(def, def->ops[i].digest.s);

        buf_addf(out, "  locations %s", def->ops[i].digest.s);
        if (l == NULL)
            buf_adds(out, " none");
        for (size_t k = 0; l != NULL && k < l->len; k++) {
            buf_addf(out, " %zu:", l->v[k].info);
            add_ranges(out, l->v[k].ranges, l->v[k].range_count);
        }
        buf_addc(out, '\n');
    }
    buf_addf(out, "  location entries %zu\n", def->source->locations.len);
}

/* Name of the first local source. */
static char *local_name(const struct llb_def *def)
{
    for (size_t i = 0; i < def->op_count; i++) {
        CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
        Pb__Op *op = NULL;
        struct error *e = pb_unpack(&pb__op__descriptor, def->ops[i].bytes, def->ops[i].len, &arena, &op);

        if (e == NULL && op->op_case == PB__OP__OP_SOURCE) {
            const char *name = str_skip_prefix(op->source->identifier, "local://");

            return xstrdup(name != NULL ? name : op->source->identifier);
        }
        err_free(e);
    }
    return xstrdup("");
}

/* ---- the bridge
 * -------------------------------------------------------------------------------------------------------- */

static struct error *fake_solve(struct bridge *b, struct llb_def *def, struct ref **ret)
{
    struct fake *f = CONTAINER_OF(b, struct fake, bridge);
    struct buf entry = { 0 };

    buf_adds(&entry, "solve\n");
    if (llb_def_is_scratch(def))
        buf_adds(&entry, "  metadata entries 0\n  no source\n");
    else
        add_def(&entry, def);
    note(f, &entry);
    if (llb_def_is_scratch(def)) {
        llb_def_unref(def);
        *ret = NULL;
        return NULL;
    }
    *ret = NEW(struct ref);
    (*ret)->def = def;
    mutex_lock(&f->lock);
    ptrv_add(&f->refs, *ret);
    mutex_unlock(&f->lock);
    return NULL;
}

static struct error *fake_solve_frontend(struct bridge *b, const char *frontend, const struct map *opts,
                                         const struct map *inputs, struct frontend_result *ret)
{
    struct fake *f = CONTAINER_OF(b, struct fake, bridge);
    struct buf entry = { 0 };

    buf_addf(&entry, "frontend %s ", frontend);
    add_map(&entry, opts);
    buf_addc(&entry, '\n');
    note(f, &entry);
    return NULL;
}

static struct error *find_file(struct fake *f, struct ref *ref, const char *path, struct buf *ret)
{
    CLEANUP(freep) char *local = local_name(ref->def);
    const json_t *file =
        json_object_get(json_object_get(json_object_get(f->tc->json, "locals"), local), path);
    const char *base = strmap_get(&f->tc->opts, "filename"), *encoded;

    if (file != NULL && streq(json_string_value(file), "absent:"))
        return err_new(ERR_NOT_FOUND, "open %s: file does not exist", path);
    if (file != NULL) {
        encoded = str_skip_prefix(json_string_value(file), "base64:");
        if (encoded != NULL)
            base64_decode(ret, encoded, strlen(encoded));
        else
            buf_add(ret, json_string_value(file), json_string_length(file));
        return NULL;
    }
    if (streq(path, base != NULL && *base != '\0' ? base : "Dockerfile") && !streq(local, "context")) {
        buf_add(ret, f->tc->file.data, f->tc->file.len);
        return NULL;
    }
    return err_new(ERR_NOT_FOUND, "open %s: file does not exist", path);
}

static struct error *fake_read_file(struct bridge *b, struct ref *ref, const char *path,
                                    const struct read_file_options *o, struct buf *out)
{
    return find_file(CONTAINER_OF(b, struct fake, bridge), ref, path, out);
}

static struct error *fake_stat_file(struct bridge *b, struct ref *ref, const char *path,
                                    struct file_stat *ret)
{
    CLEANUP(buf_deinit) struct buf data = { 0 };

    TRY(find_file(CONTAINER_OF(b, struct fake, bridge), ref, path, &data));
    ret->path = xstrdup(path);
    ret->size = (int64_t)data.len;
    return NULL;
}

static struct error *fake_resolve_image(struct bridge *b, const char *ref,
                                        const struct resolve_image_options *o, struct resolved_image *ret)
{
    struct fake *f = CONTAINER_OF(b, struct fake, bridge);
    CLEANUP(freep) char *platform = o->platform != NULL ? platform_format_all(o->platform) : xstrdup("-");
    CLEANUP(freep) char *key = xasprintf("%s %s", ref, platform);
    const json_t *image = json_object_get(f->tc->images, key);
    struct buf entry = { 0 };

    buf_addf(&entry, "resolve %s platform=%s mode=%s log=", ref, platform,
             o->resolve_mode != NULL ? o->resolve_mode : "");
    buf_add_quoted(&entry, o->log_name, strlen(o->log_name));
    if (o->oci_layout)
        buf_addf(&entry, " oci session=%s store=%s", o->session_id, o->store_id);
    buf_addc(&entry, '\n');
    note(f, &entry);
    if (image == NULL)
        image = json_object_get(f->tc->images, ref);
    if (image == NULL)
        image = json_object_get(f->tc->images, "*");
    if (image == NULL)
        return err_new(ERR_NOT_FOUND, "%s: not found", ref);
    ret->ref = xstrdup(ref);
    ret->digest = xstrdup(json_string_value(json_object_get(image, "digest")));
    buf_adds(&ret->config, json_string_value(json_object_get(image, "config")));
    return NULL;
}

static struct error *fake_evaluate(struct bridge *b, struct ref *ref)
{
    return NULL;
}

static const struct llb_def *fake_ref_def(struct bridge *b, struct ref *ref)
{
    return ref != NULL ? ref->def : NULL;
}

static struct error *fake_warn(struct bridge *b, const struct frontend_warning *w)
{
    struct buf entry = { 0 };

    buf_addf(&entry, "warn %s level=%d %s url=%s detail=", w->digest, w->level, w->short_text, w->url);
    for (size_t i = 0; i < w->detail->len; i++)
        buf_addf(&entry, " %s", w->detail->v[i]);
    buf_adds(&entry, " ranges=");
    add_ranges(&entry, w->ranges, w->range_count);
    buf_addc(&entry, '\n');
    note(CONTAINER_OF(b, struct fake, bridge), &entry);
    return NULL;
}

static struct error *fake_source_time(struct bridge *b, const Pb__SourceOp *op, const char *log_name,
                                      struct source_time *ret)
{
    struct fake *f = CONTAINER_OF(b, struct fake, bridge);
    const json_t *seconds = json_object_get(json_object_get(f->tc->json, "times"), op->identifier);
    CLEANUP(map_deinit) struct map attrs = { 0 };
    struct buf entry = { 0 };

    *ret = (struct source_time){ 0 };
    if (str_has_prefix(op->identifier, "local://")) /* see main.go */
        return NULL;
    strmap_init(&attrs);
    for (size_t i = 0; i < op->n_attrs; i++)
        strmap_set(&attrs, op->attrs[i]->key, op->attrs[i]->value);
    buf_addf(&entry, "metadata %s ", op->identifier);
    add_map(&entry, &attrs);
    buf_adds(&entry, " log=");
    buf_add_quoted(&entry, log_name, strlen(log_name));
    buf_addc(&entry, '\n');
    note(f, &entry);
    *ret = (struct source_time){ .known = seconds != NULL, .seconds = json_integer_value(seconds) };
    if (str_has_prefix(op->identifier, "git://"))
        ret->offset = 3600; /* as main.go writes the commit */
    return NULL;
}

static void fake_import_caches(struct bridge *b, const struct cache_imports *l)
{
    for (size_t i = 0; i < l->len; i++) {
        struct buf entry = { 0 };

        buf_addf(&entry, "cache %s ", l->v[i].type);
        add_map(&entry, &l->v[i].attrs);
        buf_addc(&entry, '\n');
        note(CONTAINER_OF(b, struct fake, bridge), &entry);
    }
}

static const struct bridge_ops fake_ops = {
    .solve = fake_solve,
    .solve_frontend = fake_solve_frontend,
    .read_file = fake_read_file,
    .stat_file = fake_stat_file,
    .resolve_image = fake_resolve_image,
    .evaluate = fake_evaluate,
    .ref_def = fake_ref_def,
    .warn = fake_warn,
    .source_time = fake_source_time,
    .import_caches = fake_import_caches,
};

/* ---- results
 * -----------------------------------------------------------------------------------------------------------
 */

static const char *ref_text(const struct ref *r)
{
    return r != NULL ? r->def->ops[r->def->op_count - 1].digest.s : "scratch";
}

static int compare_refs(const void *a, const void *b)
{
    const struct frontend_result_ref *x = a, *y = b;

    return x->key == NULL || y->key == NULL ? 0 : strcmp(x->key, y->key);
}

static int compare_metadata(const void *a, const void *b)
{
    const struct frontend_metadata *x = a, *y = b;

    return strcmp(x->key, y->key);
}

static int compare_attestations(const void *a, const void *b)
{
    const struct frontend_attestation *x = a, *y = b;

    return x->key == NULL || y->key == NULL ? 0 : strcmp(x->key, y->key);
}

static void add_attestation(struct buf *out, struct frontend_attestation *a)
{
    buf_addf(out, "  attestation[%s] kind=%d %s path=", a->key != NULL ? a->key : "", a->kind,
             ref_text(a->ref));
    buf_add_quoted(out, a->path != NULL ? a->path : "", a->path != NULL ? strlen(a->path) : 0);
    buf_addf(out, " type=%s\n", a->predicate_type);
    qsort(a->metadata, a->metadata_count, sizeof(a->metadata[0]), compare_metadata);
    for (size_t i = 0; i < a->metadata_count; i++)
        buf_addf(out, "    %s %.*s\n", a->metadata[i].key, (int)a->metadata[i].len,
                 (const char *)a->metadata[i].value);
}

static void add_result(struct buf *out, struct frontend_result *r)
{
    buf_adds(out, "result\n");
    if (r->ref_count > 0)
        qsort(r->refs, r->ref_count, sizeof(r->refs[0]), compare_refs);
    if (r->metadata_count > 0)
        qsort(r->metadata, r->metadata_count, sizeof(r->metadata[0]), compare_metadata);
    for (size_t i = 0; i < r->ref_count; i++) {
        if (r->refs[i].key != NULL)
            buf_addf(out, "  ref[%s] %s\n", r->refs[i].key, ref_text(r->refs[i].ref));
        else if (r->refs[i].ref != NULL)
            buf_addf(out, "  ref %s\n", ref_text(r->refs[i].ref));
    }
    for (size_t i = 0; i < r->metadata_count; i++)
        buf_addf(out, "  metadata %s %.*s\n", r->metadata[i].key, (int)r->metadata[i].len,
                 (const char *)r->metadata[i].value);
    if (r->attestation_count > 0)
        qsort(r->attestations, r->attestation_count, sizeof(r->attestations[0]), compare_attestations);
    for (size_t i = 0; i < r->attestation_count; i++)
        add_attestation(out, &r->attestations[i]);
}

static int int_member(const json_t *o, const char *name)
{
    return (int)json_integer_value(json_object_get(o, name));
}

static void add_error(struct buf *out, const struct error *e)
{
    buf_addf(out, "error %s\n", e->message);
    for (size_t i = 0; i < e->detail_count; i++) {
        json_t *j, *info, *range;
        size_t k;
        CLEANUP(buf_deinit) struct buf data = { 0 };
        const char *text;

        if (!str_has_suffix(e->details[i].type_url, "errdefs.Source+json"))
            continue;
        j = json_loadb(e->details[i].value, e->details[i].len, 0, NULL);
        assert(j != NULL);
        info = json_object_get(j, "info");
        text = json_string_value(json_object_get(info, "data"));
        base64_decode(&data, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
        text = json_string_value(json_object_get(info, "filename"));
        buf_adds(out, "  source ");
        buf_add_quoted(out, text, strlen(text));
        buf_addf(out, " %zu bytes ranges=", data.len);
        json_array_foreach(json_object_get(j, "ranges"), k, range)
        {
            const json_t *start = json_object_get(range, "start"), *end = json_object_get(range, "end");

            buf_addf(out, "%s%d.%d-%d.%d", k > 0 ? "," : "", int_member(start, "line"),
                     int_member(start, "character"), int_member(end, "line"), int_member(end, "character"));
        }
        buf_addc(out, '\n');
        json_decref(j);
    }
}

/* ---- cases
 * -------------------------------------------------------------------------------------------------------------
 */

static void free_def(void *p)
{
    llb_def_unref(p);
}

/* The input that main.go makes for a name. */
static struct llb_def *make_input(const char *name)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    CLEANUP(freep) char *local_step = xasprintf("input %s", name), *made_step = xasprintf("made %s", name);
    CLEANUP(platform_deinit) struct platform p = { 0 };
    struct llb_copy_info info = { 0 };
    struct llb_def *def = NULL;
    struct llb_state st;

    err_free(platform_parse("linux/amd64", &p));
    st = llb_local(b, name, &(struct llb_local_options){ .session_id = "input" },
                   &(struct llb_options){ .custom_name = local_step });
    st = llb_file(b, llb_scratch(),
                  llb_mkdir(b, llb_copy(b, NULL, st, "/", "/", &info), "/made", 0755, false, NULL, NULL),
                  &(struct llb_options){ .custom_name = made_step });
    err_free(llb_marshal(b, st, &p, &def));
    return def;
}

static void load_options(struct test_case *tc)
{
    const char *key;
    json_t *value;
    size_t i;

    strmap_init(&tc->opts);
    tc->inputs.free_value = free_def;
    json_object_foreach(json_object_get(tc->json, "opts"), key, value)
        strmap_set(&tc->opts, key, json_string_value(value));
    json_array_foreach(json_object_get(tc->json, "inputs"), i, value)
        map_set(&tc->inputs, json_string_value(value), make_input(json_string_value(value)));
}

static size_t load_workers(const struct test_case *tc, struct platform **ret)
{
    const json_t *list = json_object_get(tc->json, "workers");
    size_t count = MAX(json_array_size(list), (size_t)1);

    *ret = xcalloc(count, sizeof(**ret));
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        struct error *e = platform_parse(name != NULL ? name : "linux/amd64", &(*ret)[i]);

        assert(e == NULL);
    }
    return count;
}

static void run_case(struct test_case *tc, struct buf *out)
{
    struct fake f = { .bridge = { .ops = &fake_ops }, .tc = tc };
    struct platform *workers;
    struct frontend_result result = { 0 };
    CLEANUP(buf_deinit) struct buf last = { 0 };
    const char *session = json_string_value(json_object_get(tc->json, "session"));
    struct error *e;

    mutex_init(&f.lock);
    f.bridge.session_id = session != NULL ? session : "session";
    f.bridge.worker_count = load_workers(tc, &workers);
    f.bridge.workers = workers;
    e = frontend_dockerfile_build(&f.bridge, &tc->opts, &tc->inputs, &result);
    if (e != NULL)
        add_error(&last, e);
    else
        add_result(&last, &result);
    bool failed = e != NULL || strstr(buf_str(&last), "\"buildError\"") != NULL;

    strv_sort(&f.trace);
    for (size_t i = 0; i < f.trace.len; i++) {
        /* It travels beside the look-ups of base images, where BuildKit asks for it after them: whether it
         * was asked for before an error is no difference. */
        if (failed && strstr(f.trace.v[i], "\"[internal] load .dockerignore\"") != NULL)
            continue;
        if (i == 0 || !streq(f.trace.v[i], f.trace.v[i - 1]))
            buf_adds(out, f.trace.v[i]);
    }
    buf_add(out, buf_str(&last), last.len);
    err_free(e);
    frontend_result_deinit(&result);
    for (size_t i = 0; i < f.refs.len; i++) {
        llb_def_unref(((struct ref *)f.refs.v[i])->def);
        free(f.refs.v[i]);
    }
    ptrv_deinit(&f.refs);
    strv_deinit(&f.trace);
    for (size_t i = 0; i < f.bridge.worker_count; i++)
        platform_deinit(&workers[i]);
    free(workers);
    mutex_deinit(&f.lock);
}

static bool read_whole(const char *path, struct buf *ret)
{
    FILE *in = fopen(path, "re");
    char chunk[4096];
    size_t n;

    if (in == NULL)
        return false;
    while ((n = fread(chunk, 1, sizeof(chunk), in)) > 0)
        buf_add(ret, chunk, n);
    fclose(in);
    return true;
}

static json_t *read_json(const char *path)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    json_error_t je;
    json_t *j;

    if (!read_whole(path, &text))
        return NULL;
    j = json_loadb(text.data, text.len, JSON_ALLOW_NUL, &je);
    if (j == NULL) {
        fprintf(stderr, "%s: %s\n", path, je.text);
        exit(1);
    }
    return j;
}

static void write_whole(const char *path, const struct buf *text)
{
    FILE *f = fopen(path, "we");

    if (f == NULL || fwrite(text->data, 1, text->len, f) != text->len || fclose(f) != 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
}

/* Every question that is asked of a case that asks nothing itself; "" is the build. */
static const char *const requests[] = { "", "outline", "targets", "lint", "convertllb" };

static void convert_file(const char *corpus, const char *out, const char *name, json_t *images)
{
    CLEANUP(freep) char *file = xasprintf("%s/%s.Dockerfile", corpus, name);
    CLEANUP(freep) char *json = xasprintf("%s/%s.json", corpus, name);
    struct test_case tc = { .images = images };

    read_whole(file, &tc.file);
    tc.json = read_json(json);
    load_options(&tc);
    bool asks = strmap_get(&tc.opts, "requestid") != NULL;
    for (size_t i = 0; i < (asks ? 1 : ARRAY_LEN(requests)); i++) {
        CLEANUP(buf_deinit) struct buf text = { 0 };
        CLEANUP(freep) char *request = xasprintf("frontend.%s", requests[i]);
        CLEANUP(freep) char *result = xasprintf("%s/%s%s%s.txt", out, name, i > 0 ? "." : "", requests[i]);

        if (i > 0)
            strmap_set(&tc.opts, "requestid", request);
        run_case(&tc, &text);
        write_whole(result, &text);
    }
    map_deinit(&tc.opts);
    map_deinit(&tc.inputs);
    json_decref(tc.json);
    buf_deinit(&tc.file);
}

int main(int argc, char **argv)
{
    CLEANUP(freep) char *path = argc > 1 ? xasprintf("%s/images.json", argv[1]) : NULL;
    struct dirent *entry;
    json_t *images;
    DIR *dir;

    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: %s CORPUS OUT [NAME]\n", argv[0]);
        return 2;
    }
    images = read_json(path);
    dir = opendir(argv[1]);
    if (dir == NULL || images == NULL) {
        fprintf(stderr, "%s: no corpus\n", argv[1]);
        return 1;
    }
    while ((entry = readdir(dir)) != NULL) {
        CLEANUP(freep) char *name = xstrdup(entry->d_name);

        if (!str_has_suffix(name, ".Dockerfile"))
            continue;
        name[strlen(name) - strlen(".Dockerfile")] = '\0';
        if (argc == 3 || streq(argv[3], name))
            convert_file(argv[1], argv[2], name, images);
    }
    closedir(dir);
    json_decref(images);
    return 0;
}
