/* SPDX-License-Identifier: Apache-2.0 */
/* A whole Dockerfile through the frontend, with a builder that knows one image: what comes out must load. */
#include "fuzz.h"

#include "frontend/dockerfile/build.h"
#include "frontend/frontend.h"

struct ref {
    struct llb_def *def;
};

struct fake {
    struct bridge bridge;
    const uint8_t *data;
    size_t len;
    struct ref refs[16];
    size_t count;
};

static struct error *solve(struct bridge *b, struct llb_def *def, struct ref **ret)
{
    struct fake *f = CONTAINER_OF(b, struct fake, bridge);
    CLEANUP(llb_graph_freep) struct llb_graph *graph = NULL;

    assert(f->count < ARRAY_LEN(f->refs));
    f->refs[f->count].def = def;
    *ret = &f->refs[f->count++];
    if (!llb_def_is_scratch(def)) {
        struct error *e = llb_load(def, &graph);

        assert(e == NULL || strstr(e->message, "deeper") != NULL);
        err_free(e);
    }
    return NULL;
}

static struct error *solve_frontend(struct bridge *b, const char *frontend, const struct map *opts,
                                    const struct map *inputs, struct frontend_result *ret)
{
    return err_new(ERR_UNIMPLEMENTED, "no other frontends");
}

static struct error *read_file(struct bridge *b, struct ref *ref, const char *path,
                               const struct read_file_options *o, struct buf *out)
{
    struct fake *f = CONTAINER_OF(b, struct fake, bridge);

    if (streq(path, ".dockerignore")) {
        buf_adds(out, "*.md\n!a.md\n");
        return NULL;
    }
    if (!streq(path, "Dockerfile"))
        return err_new(ERR_NOT_FOUND, "no such file");
    buf_add(out, f->data, f->len);
    return NULL;
}

static struct error *resolve_image(struct bridge *b, const char *ref, const struct resolve_image_options *o,
                                   struct resolved_image *ret)
{
    ret->ref = xstrdup(ref);
    ret->digest = xstrdup("sha256:0123456789012345678901234567890123456789012345678901234567890123");
    buf_adds(
        &ret->config,
        "{\"os\":\"linux\",\"architecture\":\"amd64\",\"config\":{\"Env\":[\"A=b\"],\"OnBuild\":[\"RUN x\"]},"
        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:00\"]}}");
    return NULL;
}

static struct error *source_time(struct bridge *b, const Pb__SourceOp *op, const char *log_name,
                                 struct source_time *ret)
{
    *ret = (struct source_time){ 0 };
    return NULL;
}

static struct error *evaluate(struct bridge *b, struct ref *ref)
{
    return NULL;
}

static const struct llb_def *ref_def(struct bridge *b, struct ref *ref)
{
    return ref->def;
}

static struct error *warn(struct bridge *b, const struct frontend_warning *w)
{
    assert(w->short_text != NULL);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct bridge_ops ops = {
        .solve = solve,
        .solve_frontend = solve_frontend,
        .read_file = read_file,
        .resolve_image = resolve_image,
        .source_time = source_time,
        .evaluate = evaluate,
        .ref_def = ref_def,
        .warn = warn,
    };
    struct fake f = { .bridge = { .ops = &ops, .session_id = "s" }, .data = data, .len = len };
    CLEANUP(map_deinit) struct map opts = { 0 };
    struct frontend_result result = { 0 };

    strmap_init(&opts);
    strmap_set(&opts, "build-arg:A", "1");
    strmap_set(&opts, "context:named", "docker-image://busybox");
    err_free(frontend_dockerfile_build(&f.bridge, &opts, NULL, &result));
    frontend_result_deinit(&result);
    for (size_t i = 0; i < f.count; i++)
        llb_def_unref(f.refs[i].def);
    return 0;
}
