/* SPDX-License-Identifier: Apache-2.0 */
#include "op/blob.h"

#include "io/copy.h"
#include "io/stream.h"
#include "oci/reference.h"
#include "op/attrs.h"
#include "op/http.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGE_SCHEME "docker-image+blob://"
#define LAYOUT_SCHEME "oci-layout+blob://"
#define CONTENT_INFO "/containerd.services.content.v1.Content/Info"

void blob_locator_deinit(struct blob_locator *l)
{
    free(l->name);
    *l = (struct blob_locator){ 0 };
}

struct error *blob_locator_parse(const char *text, struct blob_locator *ret)
{
    const char *rest = str_skip_prefix(text, IMAGE_SCHEME), *at;

    ret->layout = rest == NULL;
    if (rest == NULL)
        rest = str_skip_prefix(text, LAYOUT_SCHEME);
    if (rest == NULL)
        return err_new(ERR_INVALID, "the scheme of a blob is docker-image+blob or oci-layout+blob");
    at = strrchr(rest, '@');
    if (at == NULL || at == rest || digest_parse(at + 1, &ret->digest) < 0)
        return err_new(ERR_INVALID, "invalid reference digest");
    ret->name = xstrndup(rest, (size_t)(at - rest));
    return NULL;
}

/* ---- fetching
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *open_in_layout(struct op_context *c, const struct blob_locator *l, const char *session,
                                    const char *store, struct session **ret_session, struct stream **ret)
{
    CLEANUP(freep) char *id = xasprintf("oci:%s", *store != '\0' ? store : l->name);

    if (*session != '\0')
        TRY(session_get(c->sessions.manager, session, ret_session));
    else
        TRY(session_group_get(&c->sessions, CONTENT_INFO, ret_session));
    return session_content_open(*ret_session, id, l->digest.s, ret);
}

struct error *blob_receive(struct stream *from, const char *what, int fd, struct digest *ret)
{
    CLEANUP(hasher_freep) struct hasher *h = hasher_new();
    CLEANUP(freep) char *chunk = xmalloc(65536);

    for (ssize_t n; (n = stream_read(from, chunk, 65536)) != 0;) {
        if (n < 0)
            return task_error((int)n, "read %s", what);
        hasher_add(h, chunk, (size_t)n);
        TRY_SYS(fd_write_all(fd, chunk, (size_t)n), "keep %s", what);
    }
    *ret = hasher_sum(h);
    return NULL;
}

static struct error *copy_verified(struct stream *from, const struct digest *want, int fd)
{
    struct digest got;

    TRY(blob_receive(from, want->s, fd, &got));
    if (!digest_eq(&got, want))
        return err_new(ERR_INVALID, "blob digest mismatch: expected %s, got %s", want->s, got.s);
    return NULL;
}

static struct error *fetch_from_layout(struct op_context *c, const struct blob_locator *l,
                                       const char *session, const char *store, int fd)
{
    CLEANUP(session_unrefp) struct session *s = NULL;
    CLEANUP(stream_closep) struct stream *from = NULL;

    TRY(open_in_layout(c, l, session, store, &s, &from));
    return copy_verified(from, &l->digest, fd);
}

/* Through the store: a blob that is there already needs no registry. */
static struct error *fetch_from_registry(struct op_context *c, const struct blob_locator *l, int fd)
{
    const struct op_config *config = c->op_ctx;
    CLEANUP(reference_deinit) struct reference ref = { 0 };
    CLEANUP(descriptor_deinit) struct descriptor d = { 0 };
    CLEANUP(stream_closep) struct stream *from = NULL;
    struct registry_auth auth;
    struct blob_info info;
    struct lease *lease;
    int64_t size = 0;

    TRY(op_lease(c, &lease));
    lease_add_blob(lease, &l->digest);
    struct error *e = blob_stat(c->store, &l->digest, &info);

    if (err_is(e, ERR_NOT_FOUND)) {
        err_free(e);
        session_registry_auth(&c->sessions, &auth);
        TRY(reference_parse(l->name, &ref));
        TRY(registry_blob_size(config->registry, &ref, &auth, &l->digest, &size));
        descriptor_init(&d, "application/octet-stream", &l->digest, size);
        e = registry_fetch(config->registry, &ref, &auth, c->store, lease, &d, NULL);
    }
    TRY(e);
    TRY(blob_open(c->store, &l->digest, &from));
    return copy_verified(from, &l->digest, fd);
}

struct error *blob_locator_fetch(struct op_context *c, const struct blob_locator *l, const char *session,
                                 const char *store, int fd)
{
    return l->layout ? fetch_from_layout(c, l, session, store, fd) : fetch_from_registry(c, l, fd);
}

/* ---- the source
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *parse(const struct op_context *c, struct blob_locator *l)
{
    TRY(blob_locator_parse(c->vertex->op->source->identifier, l));
    if (l->layout && *source_attr(c->vertex, "oci.store") == '\0')
        return err_new(ERR_INVALID, "oci-layout blob source requires store id");
    return NULL;
}

/* As BuildKit names it where nobody asks for a name. */
static char *file_name(const struct op_context *c, const struct blob_locator *l)
{
    const char *asked = source_attr(c->vertex, "http.filename");

    return *asked != '\0' ? http_safe_name(asked) : xstrdup(digest_hex(&l->digest));
}

static struct error *resolve(struct op_context *c, char **ret_text, struct snapshot **ret_result)
{
    CLEANUP(blob_locator_deinit) struct blob_locator l = { 0 };
    struct file_meta m;

    TRY(parse(c, &l));
    TRY(source_file_meta(c->vertex, &m));
    CLEANUP(freep) char *name = file_name(c, &l);

    *ret_text = xasprintf("blob:%s:%s:%lo:%ld:%ld", l.digest.s, name, m.perm, m.uid, m.gid);
    return NULL;
}

static struct error *write_blob(struct op_context *c, const struct blob_locator *l, int root)
{
    CLEANUP(freep) char *name = file_name(c, l);
    CLEANUP(closep)
    int out = openat(root, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct file_meta m;

    if (out < 0)
        return err_sys(errno, "write %s", name);
    TRY(source_file_meta(c->vertex, &m));
    TRY(blob_locator_fetch(c, l, source_attr(c->vertex, "oci.session"), source_attr(c->vertex, "oci.store"),
                           out));
    return source_finish_file(out, name, &m, 0);
}

static struct error *run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                         size_t output_count)
{
    CLEANUP(blob_locator_deinit) struct blob_locator l = { 0 };
    CLEANUP(freep) char *what = NULL;
    struct active *a;

    TRY(parse(c, &l));
    what = xasprintf("blob %s@%s", l.name, l.digest.s);
    TRY(active_begin(c->store, NULL, &a));
    struct error *e = write_blob(c, &l, active_fd(a));

    if (e == NULL)
        return active_commit(a, what, "regular", &outputs[0]);
    active_abandon(a);
    return e;
}

const struct op_impl blob_source = { .name = "blob", .resolve = resolve, .run = run };
