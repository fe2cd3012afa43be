/* SPDX-License-Identifier: Apache-2.0 */
#include "run/runtime.h"

#include "base/bytes.h"
#include "base/log.h"
#include "io/copy.h"
#include "io/path.h"
#include "task/task.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_PAUSE (10 * NS_PER_MS)    /* between two looks at the children of a dying runtime */
#define KILL_PATIENCE (5 * NS_PER_SEC) /* then the runtime itself is killed */
#define COMMAND_TIMEOUT (20 * NS_PER_SEC)
#define LOG_LIMIT ((size_t)64 << 10)

static bool is_cgroup2(const char *path)
{
    struct statfs fs;

    return statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

enum cgroup_layout cgroup_layout(void)
{
    if (is_cgroup2("/sys/fs/cgroup"))
        return CGROUP_V2;
    return is_cgroup2("/sys/fs/cgroup/unified") ? CGROUP_HYBRID : CGROUP_V1;
}

void runtime_init(struct runtime *rt, const char *name, const char *path, const struct strv *args,
                  const char *state_root)
{
    CLEANUP(freep) char *program = path_base(path);

    memset(rt, 0, sizeof(*rt));
    rt->image_fd = -1;
    rt->name = xstrdup(name);
    rt->path = xstrdup(path);
    rt->state_dir = xasprintf("%s/%s", state_root, name);
    rt->is_crun = str_has_prefix(program, "crun");
    rt->hide_unified_cgroup = rt->is_crun && cgroup_layout() == CGROUP_HYBRID;
    if (args != NULL)
        strv_copy(&rt->args, args);
}

void runtime_deinit(struct runtime *rt)
{
    free(rt->name);
    free(rt->path);
    free(rt->state_dir);
    free(rt->failure);
    free(rt->image_path);
    closep(&rt->image_fd);
    strv_deinit(&rt->args);
    memset(rt, 0, sizeof(*rt));
}

/* The program's file, looked up in PATH when its name has no slash. */
static int open_program(const char *path)
{
    CLEANUP(strv_deinit) struct strv dirs = { 0 };
    const char *search = getenv("PATH");
    int fd = -1;

    if (strchr(path, '/') != NULL)
        return open(path, O_RDONLY | O_CLOEXEC);
    strv_split(&dirs,
               search != NULL ? search : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ':');
    for (size_t i = 0; fd < 0 && i < dirs.len; i++) {
        CLEANUP(freep) char *candidate = path_join(dirs.v[i], path);

        if (access(candidate, X_OK) == 0)
            fd = open(candidate, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0)
        errno = ENOENT;
    return fd;
}

struct error *runtime_load(struct runtime *rt)
{
    CLEANUP(closep) int program = open_program(rt->path);
    CLEANUP(closep) int image = memfd_create(rt->name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    char magic[4];

    if (program < 0 && errno == ENOENT)
        return err_new(ERR_NOT_FOUND, "exec: \"%s\": executable file not found in $PATH", rt->path);
    if (program < 0)
        return err_sys(errno, "open %s", rt->path);
    /* A script runs by its path. */
    if (pread(program, magic, sizeof(magic), 0) != sizeof(magic) ||
        memcmp(magic, "\177ELF", sizeof(magic)) != 0 || image < 0)
        return NULL;
    TRY_SYS(copy_content(program, image, -1), "copy %s", rt->path);
    if (fcntl(image, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return err_sys(errno, "seal the copy of %s", rt->path);
    /* Named through us: the child has closed the descriptor by the time it executes. */
    rt->image_path = xasprintf("/proc/%d/fd/%d", (int)getpid(), image);
    rt->image_fd = TAKE_FD(image);
    return NULL;
}

/* ---- command lines
 * ------------------------------------------------------------------------------------------------------------
 */

static void command_line(const struct runtime *rt, const struct bundle *b, const char *command,
                         struct strv *out)
{
    strv_add(out, rt->image_path != NULL ? rt->image_path : rt->path);
    strv_copy(out, &rt->args);
    strv_add(out, "--root");
    strv_add(out, rt->state_dir);
    if (b != NULL) {
        strv_add(out, "--log");
        strv_addf(out, "%s/log", b->path);
        strv_add(out, "--log-format");
        strv_add(out, "json");
    }
    strv_add(out, command);
}

static void add_bundle(const struct bundle *b, struct strv *argv)
{
    strv_add(argv, "--bundle");
    strv_add(argv, b->path);
}

/* Where the process id goes, and the terminal. */
static void add_results(const struct bundle *b, const char *console_socket, struct strv *argv)
{
    strv_add(argv, "--pid-file");
    strv_addf(argv, "%s/pid", b->path);
    if (console_socket != NULL) {
        strv_add(argv, "--console-socket");
        strv_add(argv, console_socket);
    }
}

static struct error *start(const struct strv *argv, struct bundle *b, const struct runtime_io *io,
                           struct child *ret)
{
    static const char *const env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                       NULL };
    struct spawn_fd fds[3];
    struct spawn_options o = {
        .argv = (const char *const *)argv->v,
        .env = env,
        .cwd = "/",
        .fds = fds,
        .netns_fd = -1,
        .new_session = true,
        .setup = bundle_enter,
        .setup_arg = b,
    };

    for (int i = 0; i < 3; i++)
        if (io->fds[i] >= 0)
            fds[o.fd_count++] = (struct spawn_fd){ .from = io->fds[i], .to = i };
    return spawn_start(&o, ret);
}

struct error *runtime_start(const struct runtime *rt, struct bundle *b, const char *id,
                            const struct runtime_io *io, struct child *ret)
{
    CLEANUP(strv_deinit) struct strv argv = { 0 };

    b->hide_unified_cgroup = rt->hide_unified_cgroup;
    command_line(rt, b, "run", &argv);
    add_bundle(b, &argv);
    strv_add(&argv, id);
    return start(&argv, b, io, ret);
}

static struct error *wait_success(struct child *c, const char *what)
{
    int status;
    int r = spawn_wait(c, &status);

    if (r < 0)
        return task_error(r, "wait for the OCI runtime");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_new(ERR_INTERNAL, "OCI runtime %s failed", what);
    return NULL;
}

struct error *runtime_create(const struct runtime *rt, struct bundle *b, const char *id,
                             const struct runtime_io *io, const char *console_socket)
{
    CLEANUP(strv_deinit) struct strv argv = { 0 };
    CLEANUP(child_deinit) struct child c = { .pidfd = -1 };

    b->hide_unified_cgroup = rt->hide_unified_cgroup;
    command_line(rt, b, "create", &argv);
    add_bundle(b, &argv);
    add_results(b, console_socket, &argv);
    strv_add(&argv, id);
    TRY(start(&argv, b, io, &c));
    return wait_success(&c, "create");
}

struct error *runtime_exec(const struct runtime *rt, struct bundle *b, const char *id,
                           const struct runtime_io *io, const char *console_socket)
{
    CLEANUP(strv_deinit) struct strv argv = { 0 };
    CLEANUP(child_deinit) struct child c = { .pidfd = -1 };

    b->hide_unified_cgroup = rt->hide_unified_cgroup;
    command_line(rt, b, "exec", &argv);
    strv_add(&argv, "--detach");
    strv_add(&argv, "--process");
    strv_addf(&argv, "%s/process.json", b->path);
    add_results(b, console_socket, &argv);
    strv_add(&argv, id);
    TRY(start(&argv, b, io, &c));
    return wait_success(&c, "exec");
}

struct error *runtime_command(const struct runtime *rt, const char *command, const char *flag, const char *id)
{
    CLEANUP(strv_deinit) struct strv argv = { 0 };
    CLEANUP(buf_deinit) struct buf out = { 0 };
    CLEANUP(buf_deinit) struct buf err = { 0 };
    struct bundle none = { .dir_fd = -1, .hide_unified_cgroup = rt->hide_unified_cgroup };
    int status = 0;

    command_line(rt, NULL, command, &argv);
    if (flag != NULL)
        strv_add(&argv, flag);
    strv_add(&argv, id);
    struct spawn_options o = {
        .argv = (const char *const *)argv.v,
        .cwd = "/",
        .netns_fd = -1,
        .setup = bundle_enter,
        .setup_arg = &none,
    };
    TRY(spawn_run(&o, NULL, &out, &err, LOG_LIMIT, &status));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return NULL;
    return err_new(ERR_INTERNAL, "OCI runtime %s failed: %s", command, buf_str(&err));
}

/* crun's words for a program that cannot be run, in those of runc, which clients look for ("executable file
 * not found in $PATH", "permission denied"): they make exit codes 127 and 126 of them. */
static char *in_runc_words(const char *message)
{
    static const char prefix[] = "unable to start container process: error during container init: exec";
    static const char *const lower[][2] = {
        { ": No such file or directory", ": no such file or directory" },
        { ": Permission denied", ": permission denied" },
        { ": Is a directory", ": is a directory" },
        { ": Exec format error", ": exec format error" },
        { "open executable: Operation not permitted",
          "open executable: permission denied" }, /* a directory */
    };
    const char *name = str_skip_prefix(message, "executable file `");
    const char *end = name != NULL ? strstr(name, "` not found in $PATH") : NULL;

    if (end != NULL)
        return xasprintf("%s: \"%.*s\": executable file not found in $PATH", prefix, (int)(end - name), name);
    for (size_t i = 0; i < ARRAY_LEN(lower); i++) {
        size_t head = strlen(message) - MIN(strlen(lower[i][0]), strlen(message));

        if (str_has_suffix(message, lower[i][0]))
            return xasprintf("%s%s%.*s%s", str_has_prefix(message, "open executable") ? prefix : "",
                             str_has_prefix(message, "open executable") ? ": " : "", (int)head, message,
                             lower[i][1]);
    }
    return xstrdup(message);
}

char *runtime_log_error(struct bundle *b)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    char *message = NULL;

    bundle_read(b, "log", &text, LOG_LIMIT);
    for (const char *line = buf_str(&text); *line != '\0';) {
        size_t len = strcspn(line, "\n");
        json_t *o = json_loadb(line, len, 0, NULL);
        const char *level = json_string_value(json_object_get(o, "level"));
        const char *msg = json_string_value(json_object_get(o, "msg"));

        /* The last one sums up the others. */
        if (msg != NULL && level != NULL && (streq(level, "error") || streq(level, "fatal"))) {
            free(message);
            message = in_runc_words(msg);
        }
        json_decref(o);
        line += len;
        line += *line == '\n';
    }
    return message != NULL ? message : xstrdup("");
}

/* ---- killing
 * ------------------------------------------------------------------------------------------------------------------
 */

static pid_t parent_of(pid_t pid)
{
    CLEANUP(buf_deinit) struct buf stat = { 0 };
    char path[64];
    int parent = -1;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (file_read(path, &stat, 4096) < 0)
        return -1;
    /* The name, in parentheses, may hold anything. */
    const char *p = strrchr(buf_str(&stat), ')');
    return p != NULL && sscanf(p, ") %*c %d", &parent) == 1 ? parent : -1;
}

/* Kill `pid` if it still is a child of `parent`: the descriptor pins the process before we look. */
static void kill_child_of(pid_t parent, pid_t pid)
{
    CLEANUP(closep) int pidfd = pidfd_open(pid, 0);

    if (pidfd >= 0 && parent_of(pid) == parent)
        (void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
}

static void kill_listed(pid_t parent, const char *children_file)
{
    CLEANUP(buf_deinit) struct buf list = { 0 };

    if (file_read(children_file, &list, LOG_LIMIT) < 0)
        return;
    for (const char *p = buf_str(&list); *p != '\0';) {
        char *end;
        long pid = strtol(p, &end, 10);

        if (end == p)
            break;
        kill_child_of(parent, (pid_t)pid);
        p = end + strspn(end, " ");
    }
}

/* The children of all threads of `pid`: the first process of the container is among them, and with it dies
 * its namespace. */
static void kill_children(pid_t pid)
{
    char path[64];
    DIR *dir;
    struct dirent *entry;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char file[384];

        snprintf(file, sizeof(file), "%s/%s/children", path, entry->d_name);
        if (entry->d_name[0] != '.')
            kill_listed(pid, file);
    }
    if (dir != NULL)
        closedir(dir);
}

bool runtime_has_state(const struct runtime *rt, const char *id)
{
    CLEANUP(freep) char *path = xasprintf("%s/%s", rt->state_dir, id);

    return access(path, F_OK) == 0;
}

void runtime_kill(const struct runtime *rt, struct child *c, const char *id)
{
    int64_t give_up = monotonic_ns() + KILL_PATIENCE;
    struct deadline shield, pause;
    int r = -1;

    shield_begin(&shield, KILL_PATIENCE + COMMAND_TIMEOUT);
    while (c->pid > 0 && r != 0 && monotonic_ns() < give_up) {
        kill_children(c->pid);
        deadline_begin(&pause, KILL_PAUSE);
        r = spawn_wait(c, NULL);
        deadline_end(&pause);
    }
    child_deinit(c);
    if (runtime_has_state(rt, id))
        log_err(LOG_WARN, runtime_command(rt, "delete", "--force", id),
                "cannot remove a cancelled container");
    shield_end(&shield);
}

void runtime_clean_state(const struct runtime *rt)
{
    DIR *dir = opendir(rt->state_dir);
    struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        log_info("removing a container of an earlier daemon", "runtime", rt->name, "id", entry->d_name);
        struct error *e = runtime_command(rt, "delete", "--force", entry->d_name);
        if (e != NULL && path_remove_all(dirfd(dir), entry->d_name) < 0)
            log_debug("its state stays", "id", entry->d_name);
        log_err(LOG_WARN, e, "cannot remove a container of an earlier daemon");
    }
    if (dir != NULL)
        closedir(dir);
}
