/* SPDX-License-Identifier: Apache-2.0 */
#include "op/testing.h"

#include "io/path.h"
#include "task/task.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

char top[32];
struct store *store;
struct solver *solver;
struct op_config config;
struct llb_builder *b;

int testing_setup(void **state)
{
    struct solver_config sc = { 0 };
    CLEANUP(freep) char *root = NULL;

    snprintf(top, sizeof top, "/tmp/minke-op-XXXXXX");
    assert_non_null(mkdtemp(top));
    root = xasprintf("%s/root", top);
    struct error *e = store_open(root, &store);
    if (e != NULL)
        fail_msg("%s", e->message);
    sc.store = store;
    solver = solver_new(&sc);
    config.store = store;
    op_register_all(solver, &config);
    b = llb_builder_new();
    return 0;
}

int testing_teardown(void **state)
{
    llb_builder_free(b);
    solver_free(solver);
    store_close(store);
    assert_int_equal(path_remove_all(AT_FDCWD, top), 0);
    return 0;
}

/* ---- solving
 * ------------------------------------------------------------------------------------------------------------------
 */

static char *read_log(struct progress *p, struct buf *output)
{
    struct progress_reader *r = progress_read_open(p);
    const struct progress_event *ev[16];
    struct buf text = { 0 };
    ssize_t n;

    progress_close(p);
    while ((n = progress_read(r, ev, ARRAY_LEN(ev))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (ev[i]->kind == PROGRESS_LOG)
                buf_add(output, ev[i]->log.data, ev[i]->log.len);
            if (ev[i]->kind == PROGRESS_VERTEX && ev[i]->v.completed_ns != 0)
                buf_addf(&text, "%s:%s ", ev[i]->v.name,
                         ev[i]->v.cached  ? "CACHED"
                         : ev[i]->v.error ? "ERROR"
                                          : "DONE");
        }
    }
    progress_read_close(r);
    return buf_take(&text);
}

void outcome_free(struct outcome *o)
{
    closep(&o->fd);
    snapshot_unref(o->result);
    err_free(o->error);
    free(o->log);
    free(o->output);
}

struct outcome solve_def(struct llb_def *def)
{
    static int next;
    CLEANUP(freep) char *ref = xasprintf("job%d", next++);
    struct job_options o = { .ref = ref };
    struct outcome out = { .fd = -1 };
    struct buf output = { 0 };
    struct job *j;
    struct ref *r;

    assert_null(job_open(solver, &o, &j));
    out.error = job_ref(j, llb_def_ref(def), &r);
    if (out.error == NULL)
        out.error = ref_result(r, &out.result);
    out.log = read_log(job_progress(j), &output);
    out.output = buf_take(&output);
    job_close(j);
    if (out.result != NULL)
        assert_null(snapshot_mount_ro(out.result, &out.fd));
    return out;
}

struct outcome solve(struct llb_state s)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;

    assert_null(llb_marshal(b, s, NULL, &def));
    return solve_def(def);
}

static struct outcome succeeded(struct outcome o)
{
    if (o.error != NULL)
        fail_msg("%s", o.error->message);
    assert_non_null(o.result);
    return o;
}

struct outcome solve_ok(struct llb_state s)
{
    return succeeded(solve(s));
}

struct outcome solve_def_ok(struct llb_def *def)
{
    return succeeded(solve_def(def));
}

static void failed(struct outcome o, const char *text)
{
    assert_non_null(o.error);
    if (strstr(o.error->message, text) == NULL)
        fail_msg("%s", o.error->message);
    assert_int_equal(o.error->kind, ERR_UNKNOWN);
    assert_non_null(err_find_detail(o.error, "errdefs.Vertex+json"));
    outcome_free(&o);
}

void solve_fails(struct llb_state s, const char *text)
{
    failed(solve(s), text);
}

void solve_def_fails(struct llb_def *def, const char *text)
{
    failed(solve_def(def), text);
}

void expect(const struct outcome *o, const char *path, const char *text)
{
    CLEANUP(buf_deinit) struct buf got = { 0 };
    int r = path_read_file(o->fd, path, &got, 1 << 20);

    if (r < 0)
        fail_msg("%s: %s", path, strerror(-r));
    assert_string_equal(buf_str(&got), text);
}

bool there(const struct outcome *o, const char *path)
{
    struct stat st;

    return path_stat(o->fd, path, false, &st) == 0;
}

const struct llb_options *named(const char *name)
{
    struct llb_options *o = llb_alloc(b, sizeof *o);

    o->custom_name = name;
    return o;
}

struct llb_state mkfile(struct llb_state s, const char *path, const char *text, const char *name)
{
    return llb_file(b, s, llb_mkfile(b, NULL, path, 0644, text, strlen(text)), named(name));
}

struct llb_state copy(struct llb_state s, struct llb_state from, const char *src, const char *dst,
                      const char *name)
{
    struct llb_copy_info i = {
        .follow_symlinks = true, .dir_contents_only = true, .create_dest_path = true, .allow_wildcard = true
    };

    return llb_file(b, s, llb_copy(b, NULL, from, src, dst, &i), named(name));
}

static struct error *fixed_resolve(struct op_context *c, char **ret_text, struct snapshot **ret_result)
{
    *ret_result = snapshot_ref(c->op_ctx);
    return NULL;
}

struct llb_state fixed(struct snapshot *snapshot)
{
    static const struct op_impl source = { .name = "source", .resolve = fixed_resolve };
    struct llb_http_options o = { 0 };

    solver_register(solver, PB__OP__OP_SOURCE, "fixed", &source, snapshot);
    return llb_http(b, "fixed://fixed/x", &o, NULL);
}
