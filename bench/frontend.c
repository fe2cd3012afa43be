/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frontend.c - how long the Dockerfile frontend takes in the server: a conversion, and a check, of 10 000
 * lines
 *
 *   bench_frontend [ROUNDS [SHAPE [convert|check]]]
 *
 * One line for each shape of file: "SHAPE CONVERT-MS CHECK-MS", medians of CPU time (0 for what was not asked
 * for).  The bridge is one that
 * answers at once, so that all the time is the frontend's own: reading the text, stages, checks, the
 * definition with its digests, the image config.
 */
#include "base/bytes.h"
#include "frontend/dockerfile/build.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LINES 10000
#define MAX_ROUNDS 101

/* ---- shapes of files
 * ------------------------------------------------------------------------------------------------ */

static void plain(struct buf *out)
{
    for (int i = 0; i < LINES / 10; i++) {
        if (i % 10 == 0)
            buf_addf(out, "FROM %s AS s%d\n", i == 0 ? "busybox" : "debian:12", i);
        buf_addf(out,
                 "ARG VERSION%d=1.%d\nENV DIR%d=/opt/app VERSION=$VERSION%d\nWORKDIR /opt/app/%d\n"
                 "COPY --chown=1000:1000 src/%d/*.c src/%d/\nRUN make -C src/%d VERSION=${VERSION} \\\n"
                 "    && make install\n# a comment\n\nLABEL org.example.v%d=\"$VERSION\"\n",
                 i, i, i, i, i, i, i, i, i);
    }
}

static void runs(struct buf *out)
{
    buf_adds(out, "FROM busybox\n");
    for (int i = 1; i < LINES; i++)
        buf_addf(out, "RUN echo %d > /f\n", i);
}

static void copies(struct buf *out)
{
    buf_adds(out, "FROM busybox\n");
    for (int i = 1; i < LINES; i++)
        buf_addf(out, "COPY a%d /b%d\n", i, i);
}

static void variables(struct buf *out)
{
    buf_adds(out, "FROM busybox\n");
    for (int i = 1; i < LINES; i++)
        buf_addf(out, "ENV V%d=$V1.%d\n", i, i);
}

static void arguments(struct buf *out)
{
    for (int i = 1; i < LINES / 2; i++)
        buf_addf(out, "ARG G%d=x%d\n", i, i);
    buf_adds(out, "FROM busybox\n");
    for (int i = 1; i < LINES / 2; i++)
        buf_addf(out, "ARG G%d\n", i);
}

static void labels(struct buf *out)
{
    buf_adds(out, "FROM busybox\n");
    for (int i = 1; i < LINES; i++)
        buf_addf(out, "LABEL l%d=v%d\n", i, i);
}

static void stages(struct buf *out)
{
    for (int i = 0; i < LINES / 3; i++) {
        buf_addf(out, "FROM busybox AS s%d\n", i);
        buf_addf(out, i == 0 ? "COPY a b\n" : "COPY --from=s%d /x /y\n", i - 1);
        buf_adds(out, "RUN true\n");
    }
}

static void continuation(struct buf *out)
{
    buf_adds(out, "FROM busybox\nRUN true");
    for (int i = 2; i < LINES; i++)
        buf_addf(out, " \\\n    && echo %d", i);
    buf_addc(out, '\n');
}

static void heredoc(struct buf *out)
{
    buf_adds(out, "FROM busybox\nRUN <<EOF\n");
    for (int i = 3; i < LINES; i++)
        buf_addf(out, "echo %d\n", i);
    buf_adds(out, "EOF\n");
}

static const struct {
    const char *name;
    void (*make)(struct buf *out);
} shapes[] = {
    { "plain", plain },         { "runs", runs },     { "copies", copies }, { "variables", variables },
    { "arguments", arguments }, { "labels", labels }, { "stages", stages }, { "continuation", continuation },
    { "heredoc", heredoc },
};

/* ---- the bridge
 * ----------------------------------------------------------------------------------------------------- */

struct ref {
    struct llb_def *def;
};
struct fake {
    struct bridge bridge;
    const struct buf *file;
    struct ref refs[4];
    size_t count;
};

static struct error *fake_solve(struct bridge *b, struct llb_def *def, struct ref **ret)
{
    struct fake *f = CONTAINER_OF(b, struct fake, bridge);

    assert(f->count < ARRAY_LEN(f->refs));
    f->refs[f->count].def = def;
    *ret = &f->refs[f->count++];
    return NULL;
}

static struct error *fake_read_file(struct bridge *b, struct ref *ref, const char *path,
                                    const struct read_file_options *o, struct buf *out)
{
    if (!streq(path, "Dockerfile"))
        return err_new(ERR_NOT_FOUND, "no such file");
    buf_add(out, CONTAINER_OF(b, struct fake, bridge)->file->data,
            CONTAINER_OF(b, struct fake, bridge)->file->len);
    return NULL;
}

static struct error *fake_stat_file(struct bridge *b, struct ref *ref, const char *path,
                                    struct file_stat *ret)
{
    return err_new(ERR_NOT_FOUND, "no such file");
}

static struct error *fake_resolve_image(struct bridge *b, const char *ref,
                                        const struct resolve_image_options *o, struct resolved_image *ret)
{
    ret->ref = xstrdup(ref);
    ret->digest = xstrdup("sha256:0123456789012345678901234567890123456789012345678901234567890123");
    buf_adds(&ret->config,
             "{\"os\":\"linux\",\"architecture\":\"amd64\",\"config\":{\"Env\":[\"PATH=/bin\"]},"
             "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:00\"]}}");
    return NULL;
}

static const struct llb_def *fake_ref_def(struct bridge *b, struct ref *ref)
{
    return ref->def;
}

static struct error *fake_warn(struct bridge *b, const struct frontend_warning *w)
{
    return NULL;
}

static const struct bridge_ops fake_ops = { .solve = fake_solve,
                                            .read_file = fake_read_file,
                                            .stat_file = fake_stat_file,
                                            .resolve_image = fake_resolve_image,
                                            .ref_def = fake_ref_def,
                                            .warn = fake_warn };

/* ---- measuring
 * ------------------------------------------------------------------------------------------------------ */

/* Time of the CPU in all threads: what the wall clock shows where nothing else runs. */
static int64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * NS_PER_SEC + t.tv_nsec;
}

static double once(const struct buf *file, bool check)
{
    struct fake f = { .bridge = { .ops = &fake_ops, .session_id = "s" }, .file = file };
    CLEANUP(map_deinit) struct map opts = { 0 };
    struct frontend_result result = { 0 };
    int64_t start;
    double ms;

    strmap_init(&opts);
    if (check)
        strmap_set(&opts, "requestid", "frontend.lint");
    start = cpu_ns();
    struct error *e = frontend_dockerfile_build(&f.bridge, &opts, NULL, &result);
    ms = (double)(cpu_ns() - start) / NS_PER_MS;
    if (e != NULL) {
        fprintf(stderr, "%s\n", e->message);
        exit(1);
    }
    frontend_result_deinit(&result);
    for (size_t i = 0; i < f.count; i++)
        llb_def_unref(f.refs[i].def);
    return ms;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double median(const struct buf *file, bool check, int rounds)
{
    double ms[MAX_ROUNDS];

    for (int i = 0; i < rounds; i++)
        ms[i] = once(file, check);
    qsort(ms, (size_t)rounds, sizeof(ms[0]), compare);
    return ms[rounds / 2];
}

int main(int argc, char **argv)
{
    int64_t given = 5;
    int rounds;

    if (argc > 1 && parse_i64(argv[1], &given) < 0)
        return 2;
    rounds = (int)MAX(1, MIN(given, MAX_ROUNDS));
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        CLEANUP(buf_deinit) struct buf file = { 0 };

        if (argc > 2 && !streq(argv[2], shapes[i].name))
            continue;
        shapes[i].make(&file);
        bool only_convert = argc > 3 && streq(argv[3], "convert");
        bool only_check = argc > 3 && streq(argv[3], "check");
        double convert = only_check ? 0 : median(&file, false, rounds);

        printf("%s %.1f %.1f\n", shapes[i].name, convert, only_convert ? 0 : median(&file, true, rounds));
    }
    return 0;
}
