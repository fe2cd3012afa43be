/* SPDX-License-Identifier: Apache-2.0 */
/* join.c - the network of a running container, for a process that is none of its own */
#include "container/internal.h"

#include "container/shape.h"
#include "io/path.h"
#include "run/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define FILE_MAX (1 << 20)

/* A file as the container has it now: whatever it put there is read as text, and below its root. */
static int read_text(int root, const char *path, char **ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    int r = path_read_file(root, path, &text, FILE_MAX);

    if (r < 0 && r != -ENOENT)
        return r;
    *ret = xstrdup(buf_str(&text));
    return 0;
}

static struct error *read_network(struct container *ct, struct process *p, struct run_joined_network *ret)
{
    CLEANUP(closep) int root = -1;
    char path[48];

    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)process_pid(p));
    ret->fd = open(path, O_RDONLY | O_CLOEXEC);
    TRY_SYS(ret->fd < 0 ? -errno : 0, "open the network of container %s", ct->id);
    snprintf(path, sizeof(path), "/proc/%d/root", (int)process_pid(p));
    root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    TRY_SYS(root < 0 ? -errno : 0, "open the root of container %s", ct->id);
    TRY_SYS(read_text(root, "etc/hosts", &ret->hosts), "read the hosts of container %s", ct->id);
    TRY_SYS(read_text(root, "etc/resolv.conf", &ret->resolv_conf), "read the resolvers of container %s",
            ct->id);
    ret->host_name = xstrdup(json_get_string(ct->config, "Hostname"));
    return process_signal(p, 0); /* it lives: the number was its own all the time */
}

static struct error *not_running(struct container *ct)
{
    CLEANUP(freep) char *name = container_name(ct);
    const char *word;

    mutex_lock(&ct->lock);
    word = container_state_word(&ct->state);
    mutex_unlock(&ct->lock);
    return err_new(ERR_CONFLICT,
                   "cannot join network namespace of a non running container: container %s is %s", name,
                   word);
}

struct error *container_join_network(struct containers *c, const char *what, struct run_joined_network *ret)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    struct process *p;
    struct error *e;

    *ret = RUN_JOINED_NETWORK_NONE;
    TRY(err_wrap(container_find(c, what, &ct), "joining network namespace of container"));
    p = container_process_get(ct);
    if (p == NULL)
        return not_running(ct);
    e = read_network(ct, p, ret);
    container_process_put(ct);
    if (e != NULL)
        run_joined_network_deinit(ret);
    if (!err_is(e, ERR_NOT_FOUND))
        return e;
    err_free(e); /* it ended just now */
    return not_running(ct);
}
