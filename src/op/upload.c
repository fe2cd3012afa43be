/* SPDX-License-Identifier: Apache-2.0 */
#include "op/upload.h"

#include "base/bytes.h"
#include "io/copy.h"
#include "op/blob.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define URL_PREFIX "http://build-context-"
#define SESSION_PREFIX "http://buildkit-session/"
#define STASH_KEEP_NS (60 * NS_PER_SEC) /* between resolving a session's upload and running its source */

struct upload {
    char *url;
    int fd; /* unlinked file */
    struct digest digest;
    int64_t stashed_ns; /* monotonic; 0: closed by upload_close */
    struct upload *next;
};

/* All that are open, by address; one list a process, ids are random. */
static struct mutex lock = MUTEX_INIT;
static struct upload *uploads;

/* Keep `body` in a file and list it under `url` (taken). */
static struct error *keep(struct store *s, struct stream *body, char *url, int64_t stashed_ns,
                          struct upload **ret)
{
    CLEANUP(freep) char *name = url;
    CLEANUP(closep) int fd = openat(store_work_fd(s), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct digest d;
    struct upload *u;

    if (fd < 0)
        return err_sys(errno, "keep the build context");
    TRY(blob_receive(body, "the build context", fd, &d));
    u = NEW(struct upload);
    *u = (struct upload){ .url = TAKE(name), .fd = TAKE_FD(fd), .digest = d, .stashed_ns = stashed_ns };
    mutex_lock(&lock);
    u->next = uploads;
    uploads = u;
    mutex_unlock(&lock);
    *ret = u;
    return NULL;
}

struct error *upload_receive(struct store *s, struct stream *body, struct upload **ret)
{
    char id[26];

    random_id(id, 25);
    return keep(s, body, xasprintf(URL_PREFIX "%s", id), 0, ret);
}

bool upload_owns(const char *url)
{
    return str_has_prefix(url, URL_PREFIX) || str_has_prefix(url, SESSION_PREFIX);
}

const char *upload_url(const struct upload *u)
{
    return u->url;
}

void upload_close(struct upload *u)
{
    if (u == NULL)
        return;
    mutex_lock(&lock);
    for (struct upload **p = &uploads; *p != NULL; p = &(*p)->next) {
        if (*p == u) {
            *p = u->next;
            break;
        }
    }
    mutex_unlock(&lock);
    close(u->fd);
    free(u->url);
    free(u);
}

/* A descriptor of its own for the address; -1 when it is not one of ours. */
static int find(const char *url, struct digest *ret)
{
    int fd = -1;

    mutex_lock(&lock);
    for (struct upload *u = uploads; u != NULL && fd < 0; u = u->next) {
        if (streq(u->url, url)) {
            fd = fcntl(u->fd, F_DUPFD_CLOEXEC, 3);
            *ret = u->digest;
        }
    }
    mutex_unlock(&lock);
    return fd;
}

/* Stashes whose build never ran them: nobody will ask again. */
static void drop_stale(void)
{
    int64_t before = monotonic_ns() - STASH_KEEP_NS;
    struct upload *stale = NULL;

    mutex_lock(&lock);
    for (struct upload **p = &uploads; *p != NULL;) {
        struct upload *u = *p;
        if (u->stashed_ns == 0 || u->stashed_ns > before) {
            p = &u->next;
            continue;
        }
        *p = u->next;
        u->next = stale;
        stale = u;
    }
    mutex_unlock(&lock);
    while (stale != NULL) {
        struct upload *next = stale->next;
        close(stale->fd);
        free(stale->url);
        free(stale);
        stale = next;
    }
}

/* `docker build -`: the client holds the context and hands it over once (protocol.md 4.4). */
static struct error *pull_upload(const struct op_context *c, const char *url)
{
    CLEANUP(stream_closep) struct stream *s = NULL;
    struct upload *u;

    drop_stale();
    TRY(session_upload_open(&c->sessions, url + strlen(SESSION_PREFIX) - 1, &s));
    return keep(c->store, s, xstrdup(url), monotonic_ns(), &u);
}

static struct error *open_upload(const struct op_context *c, int *ret_fd, struct digest *ret_digest)
{
    const char *url = c->vertex->op->source->identifier;

    *ret_fd = find(url, ret_digest);
    if (*ret_fd < 0 && str_has_prefix(url, SESSION_PREFIX)) {
        TRY(pull_upload(c, url));
        *ret_fd = find(url, ret_digest);
    }
    if (*ret_fd >= 0)
        return NULL;
    return err_new(ERR_NOT_FOUND, "%s: the build context is gone", url);
}

static const char *file_name(const struct llb_vertex *v)
{
    const char *name = pb_get_str(v->op->source->attrs, v->op->source->n_attrs, "http.filename");

    return name == NULL || name[0] == '\0' ? "context" : name;
}

static struct error *resolve(struct op_context *c, char **ret_text, struct snapshot **ret_result)
{
    CLEANUP(closep) int fd = -1;
    struct digest d;

    TRY(open_upload(c, &fd, &d));
    if (strchr(file_name(c->vertex), '/') != NULL || streq(file_name(c->vertex), ".."))
        return err_new(ERR_INVALID, "invalid filename \"%s\"", file_name(c->vertex));
    *ret_text = xasprintf("http:%s:%s", d.s, file_name(c->vertex));
    op_pin(c, d.s);
    return NULL;
}

static struct error *write_file(int root, const char *name, int fd)
{
    CLEANUP(closep) int out = openat(root, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct timespec epoch[2] = { { 0, 0 }, { 0, 0 } };

    if (out < 0)
        return err_sys(errno, "write %s", name);
    TRY_SYS(copy_content(fd, out, -1), "write %s", name);
    if (futimens(out, epoch) < 0)
        return err_sys(errno, "write %s", name);
    return NULL;
}

static struct error *run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                         size_t output_count)
{
    CLEANUP(closep) int fd = -1;
    struct active *a;
    struct digest d;
    struct error *e;

    TRY(open_upload(c, &fd, &d));
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_sys(errno, "read the build context");
    TRY(active_begin(c->store, NULL, &a));
    e = write_file(active_fd(a), file_name(c->vertex), fd);
    if (e == NULL)
        e = active_commit(a, "http url http://build-context", "regular", &outputs[0]);
    else
        active_abandon(a);
    return e;
}

const struct op_impl upload_source = { .name = "http", .resolve = resolve, .run = run };
