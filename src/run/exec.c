/* SPDX-License-Identifier: Apache-2.0 */
/* exec.c - further processes of a container that runs */
#include "base/bytes.h"
#include "run/caps.h"
#include "run/chroot.h"
#include "run/internal.h"
#include "run/spec.h"
#include "run/strays.h"
#include "run/user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXEC_TIMEOUT (30 * NS_PER_SEC)
#define LEFTOVER_TIMEOUT (2 * NS_PER_SEC)

/* ---- the container
 * ----------------------------------------------------------------------------------------------------------------
 */

static bool is_running(struct process *container)
{
    siginfo_t info = { 0 };

    mutex_lock(&container->lock);
    bool running = container->child.pid > 0 &&
                   waitid(P_PIDFD, (id_t)container->child.pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
                   info.si_pid == 0;
    mutex_unlock(&container->lock);
    return running;
}

static struct error *check_running(struct process *container)
{
    return is_running(container)
               ? NULL
               : err_new(ERR_NOT_FOUND, "container %s is not running", container->prepared.id);
}

/* Its root as it sees it. */
static struct error *open_root(struct process *container, int *ret_fd)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/root", (int)container->pid);
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    TRY_SYS(fd < 0 ? -errno : 0, "open the root of container %s", container->prepared.id);
    *ret_fd = fd;
    return check_running(container); /* then it was not reaped before, and the number was its own */
}

/* ---- its new process
 * -------------------------------------------------------------------------------------------------------------
 */

static struct error *describe(struct process *container, const struct process_exec_spec *x, struct buf *out)
{
    CLEANUP(run_user_deinit) struct run_user user = { 0 };
    CLEANUP(strv_deinit) struct strv env = { 0 };
    CLEANUP(freep) char *resolved = NULL;
    CLEANUP(closep) int root_fd = -1;
    const struct prepared *first = &container->prepared;
    const char *cwd = x->cwd != NULL && *x->cwd != '\0' ? x->cwd : "/";

    if (x->args == NULL || x->args[0] == NULL)
        return err_new(ERR_INVALID, "no command specified");
    TRY(open_root(container, &root_fd));
    TRY(run_user_find(root_fd, x->user, &user));
    TRY(prepare_env(root_fd, x->env, user.uid, first->gate, &env));
    TRY(prepare_cwd(root_fd, cwd, &resolved));
    struct spec s = {
        .args = x->args,
        .env = (const char *const *)env.v,
        .cwd = cwd,
        .uid = user.uid,
        .gid = user.gid,
        .gids = user.gids,
        .gid_count = user.gid_count,
        .terminal = x->terminal,
        .console_width = x->width,
        .console_height = x->height,
        .caps = x->privileged ? caps_available() : first->caps,
        .ambient_caps = first->ambient_caps,
        .no_new_privileges = first->no_new_privileges,
        .ulimits = first->ulimits,
        .ulimit_count = first->ulimit_count,
    };
    return spec_generate_process(&s, out);
}

/* In runc's words for an exec, which are not quite those for a container. */
static char *in_exec_words(const char *message)
{
    static const char init[] = "error during container init: ";
    const char *rest = str_skip_prefix(message, "exec failed: ");

    message = rest != NULL ? rest : message;
    const char *at = strstr(message, init);
    return at == NULL ? xstrdup(message)
                      : xasprintf("%.*s%s", (int)(at - message), message, at + strlen(init));
}

static struct error *runtime_failure(struct process *container, struct bundle *b, struct error *e)
{
    CLEANUP(freep) char *message = runtime_log_error(b);

    if (*message == '\0' || err_is(e, ERR_CANCELLED) || err_is(e, ERR_DEADLINE))
        return e;
    err_free(e);
    TRY(check_running(container));
    CLEANUP(freep) char *words = in_exec_words(message);
    return err_new(ERR_INTERNAL, "OCI runtime exec failed: exec failed: %s", words);
}

/* A runtime that fails half way leaves a process in the container. */
static void end_leftovers(void)
{
    struct deadline d;

    shield_begin(&d, LEFTOVER_TIMEOUT);
    while (strays_end_lost() > 0 && task_sleep(NS_PER_MS) == 0)
        ;
    shield_end(&d);
}

static struct error *start_in(struct process *p, struct bundle *b, const struct process_exec_spec *x)
{
    const struct prepared *first = &p->container->prepared;
    struct runtime_io io = { { x->stdin_fd, x->stdout_fd, x->stderr_fd } };
    CLEANUP(closep) int console_listener = -1;
    CLEANUP(freep) char *console_path = NULL;

    if (x->terminal) {
        TRY(bundle_add_socket(b, 0, 0, 0600, &console_listener, &console_path));
        io = (struct runtime_io){ { -1, -1, -1 } };
    }
    strays_expect();
    struct error *e = runtime_exec(first->runtime, b, first->id, &io, console_path);
    struct error *adopted = e == NULL ? process_adopt(p, b) : NULL;
    strays_adopted(p->child.pid);
    if (e != NULL) {
        end_leftovers();
        return runtime_failure(p->container, b, e);
    }
    TRY(adopted);
    if (!x->terminal)
        return NULL;
    TRY(process_take_console(p, console_listener));
    return x->width != 0 && x->height != 0 ? process_resize(p, x->width, x->height) : NULL;
}

/* A runtime that is stopped half way leaves a process that nobody knows: it is seen through. */
static struct error *start_shielded(struct process *p, struct bundle *b, const struct process_exec_spec *x)
{
    struct deadline d;

    shield_begin(&d, EXEC_TIMEOUT);
    struct error *e = start_in(p, b, x);
    shield_end(&d);
    return e != NULL ? e : task_check();
}

struct error *process_exec(struct process *container, const struct process_exec_spec *x, struct process **ret)
{
    CLEANUP(bundle_deinit) struct bundle b = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };

    assert(container->container == NULL);
    TRY(task_check());
    TRY(chroot_check());
    TRY(check_running(container));
    TRY(describe(container, x, &text));
    TRY(bundle_init(&b, container->prepared.bundle.path));
    TRY(bundle_write(&b, "process.json", text.data, text.len));
    struct process *p = process_new();
    p->container = container;
    p->memory_events = xstrdup(container->memory_events);
    struct error *e = start_shielded(p, &b, x);
    if (e != NULL) {
        process_free(p);
        return e;
    }
    *ret = p;
    return NULL;
}
