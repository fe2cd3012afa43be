/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - which runtime runs steps on this host
 *
 * Each candidate runs a shell from the host's own root, mounted read-only.  The shell makes a device node
 * that the default rules forbid to open and tries: "not permitted" says that device rules are applied.
 */
#include "run/internal.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#define PROBE_TIMEOUT (20 * NS_PER_SEC)
#define PROBE_NO_FILTER 41 /* the node could be opened, or the kernel looked for its driver */
#define PROBE_OUTPUT ((size_t)4096)

/* Character device 1:6 has no driver: opening it is harmless, and fails in two different ways. */
static const char probe_script[] = "mknod -m 600 /dev/minke-probe c 1 6 || exit 40\n"
                                   "text=$( (exec 3</dev/minke-probe) 2>&1 )\n"
                                   "case \"$text\" in *'not permitted'*) exit 0;; esac\n"
                                   "exit 41\n";

/* Its own output tells why a runtime fails. */
static char *read_output(int fd)
{
    struct buf text = { 0 };
    char chunk[512];
    ssize_t n;

    while (text.len < PROBE_OUTPUT && (n = read(fd, chunk, sizeof(chunk))) > 0)
        buf_add(&text, chunk, (size_t)n);
    while (text.len > 0 && text.data[text.len - 1] == '\n')
        buf_truncate(&text, text.len - 1);
    return buf_take(&text);
}

static struct error *run_probe(struct runner *r, struct runtime *rt, int root_fd, int out_fd, int *ret_code)
{
    static const char *const args[] = { "/bin/sh", "-c", probe_script, NULL };
    static const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
    struct run_spec s = {
        .rootfs_fd = root_fd,
        .rootfs_readonly = true,
        .args = args,
        .env = env,
        .cwd = "/",
        .network = RUN_NET_NONE,
        .stdin_fd = -1,
        .stdout_fd = out_fd,
        .stderr_fd = out_fd,
    };
    struct prepared p = { 0 };
    struct child child = { .pidfd = -1 };
    struct runtime_io io = { { -1, out_fd, out_fd } };
    int status = 0;

    TRY(prepare(r, rt, &s, &p));
    struct error *e = runtime_start(rt, &p.bundle, p.id, &io, &child);
    if (e == NULL) {
        int w = spawn_wait(&child, &status);

        if (w < 0) {
            runtime_kill(rt, &child, p.id);
            e = task_error(w, "wait for the OCI runtime");
        }
        child_deinit(&child);
    }
    if (e == NULL && status != 0 && rt->is_crun) {
        CLEANUP(freep) char *message = runtime_log_error(&p.bundle);

        if (*message != '\0')
            e = err_new(ERR_INTERNAL, "%s", message);
    }
    prepared_deinit(&p);
    *ret_code = status;
    return e;
}

/* Fills in rt->works, filters_devices, failure.  An error only when cancelled. */
static struct error *probe(struct runner *r, struct runtime *rt)
{
    CLEANUP(closep) int root = open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    CLEANUP(closep) int out_read = -1;
    CLEANUP(closep) int out_write = -1;
    int fds[2], status = 0;
    struct deadline d;
    struct error *e = rt->image_fd < 0 ? runtime_load(rt) : NULL;

    if (e != NULL) {
        rt->failure = xstrdup(e->message);
        err_free(e);
        return NULL;
    }
    if (root < 0)
        return err_sys(errno, "clone the root mount");
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_sys(errno, "make a pipe");
    out_read = fds[0];
    out_write = fds[1];
    deadline_begin(&d, PROBE_TIMEOUT);
    e = run_probe(r, rt, root, out_write, &status);
    deadline_end(&d);
    if (err_is(e, ERR_CANCELLED))
        return e;
    if (e != NULL) {
        rt->failure = xstrdup(e->message);
        err_free(e);
        return NULL;
    }
    rt->filters_devices = status == 0;
    rt->works = status == 0 || status == PROBE_NO_FILTER << 8;
    if (!rt->works) {
        CLEANUP(freep) char *text = read_output(out_read);

        rt->failure = xasprintf("exit status %d: %s", status >> 8, text);
    }
    return NULL;
}

static void report(const struct runner *r, int64_t took_ns)
{
    static const char *const layouts[] = { "v1", "hybrid", "v2" };
    CLEANUP(freep) char *took = xasprintf("%.1fms", (double)took_ns / (double)NS_PER_MS);

    log_info("OCI runtime chosen", "runtime", r->chosen->name, "cgroups", layouts[cgroup_layout()], "note",
             r->chosen->hide_unified_cgroup ? "the v2 tree is hidden from it" : NULL, "took", took);
    if (r->drop_mknod)
        log_warn("no OCI runtime applies device rules here: steps run without CAP_MKNOD");
}

/* The default runtime is tried first, and only it when it was asked for by name. */
static bool is_candidate(const struct runner *r, const struct runtime *rt)
{
    return r->default_runtime == NULL || streq(r->default_runtime, rt->name);
}

struct error *runner_probe(struct runner *r)
{
    struct runtime *unfiltered = NULL;
    CLEANUP(buf_deinit) struct buf why = { 0 };
    int64_t begin = monotonic_ns();

    for (size_t i = 0; i < r->runtime_count && r->chosen == NULL; i++) {
        struct runtime *rt = &r->runtimes[i];

        if (!is_candidate(r, rt))
            continue;
        TRY(probe(r, rt));
        if (rt->works && rt->filters_devices)
            r->chosen = rt;
        else if (rt->works && unfiltered == NULL)
            unfiltered = rt;
        if (rt->failure != NULL) {
            buf_addf(&why, "%s%s: %s", why.len > 0 ? "; " : "", rt->name, rt->failure);
            log_info("OCI runtime does not work here", "runtime", rt->name, "reason", rt->failure);
        } else if (!rt->filters_devices) {
            log_info("OCI runtime applies no device rules here", "runtime", rt->name);
        }
    }
    if (r->chosen == NULL && unfiltered != NULL) {
        r->chosen = unfiltered;
        r->drop_mknod = true;
    }
    if (r->chosen == NULL)
        return err_new(ERR_UNAVAILABLE, "no OCI runtime works on this host: %s",
                       why.len > 0 ? why.data : "none is known");
    report(r, monotonic_ns() - begin);
    return NULL;
}
