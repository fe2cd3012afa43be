/* SPDX-License-Identifier: Apache-2.0 */
/*
 * git_sign.c - whether git's objects are signed
 *
 *   commit: header lines, one of them "gpgsig <first line>" with " <line>" below it; the rest is what is
 * signed tag:    the signature stands at the end of the message; what is before it is signed
 */
#include "op/git_impl.h"
#include "op/signature.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define PGP_BEGIN "-----BEGIN PGP SIGNATURE-----"
#define SSH_BEGIN "-----BEGIN SSH SIGNATURE-----"

void git_split_commit(const char *raw, struct buf *data, struct buf *signature)
{
    bool inside = false;

    while (*raw != '\0') {
        size_t n = strcspn(raw, "\n") + (strchr(raw, '\n') != NULL);
        const char *first = str_skip_prefix(raw, "gpgsig ");

        if (first == NULL)
            first = str_skip_prefix(raw, "gpgsig-sha256 ");
        if (*raw == '\n') {
            buf_adds(data, raw); /* the message */
            return;
        }
        inside = first != NULL || (inside && *raw == ' ');
        if (first != NULL)
            buf_add(signature, first, n - (size_t)(first - raw));
        else if (inside)
            buf_add(signature, raw + 1, n - 1);
        else
            buf_add(data, raw, n);
        raw += n;
    }
}

void git_split_tag(const char *raw, struct buf *data, struct buf *signature)
{
    const char *message = strstr(raw, "\n\n");

    for (const char *p = message; p != NULL; p = strchr(p + 1, '\n')) {
        if (!str_has_prefix(p + 1, PGP_BEGIN "\n") && !str_has_prefix(p + 1, SSH_BEGIN "\n"))
            continue;
        buf_add(data, raw, (size_t)(p + 1 - raw));
        buf_adds(signature, p + 1);
        return;
    }
    buf_adds(data, raw);
}

static struct error *check(struct git *g, const struct buf *data, const char *signature)
{
    CLEANUP(closep)
    int fd = openat(store_work_fd(g->c->store), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (*signature == '\0')
        return err_new(ERR_UNKNOWN, "git object is not signed");
    if (fd < 0 || write(fd, data->data, data->len) != (ssize_t)data->len)
        return err_sys(errno == 0 ? EIO : errno, "keep a git object");
    if (str_has_prefix(signature, PGP_BEGIN))
        return signature_check_pgp(g->c->store, fd, signature, g->pub_key, g->reject_expired);
    if (str_has_prefix(signature, SSH_BEGIN))
        return signature_check_ssh(g->c->store, fd, signature, g->pub_key);
    return err_new(ERR_UNKNOWN, "invalid signature format");
}

static struct error *check_object(struct git *g, const struct buf *raw,
                                  void (*split)(const char *, struct buf *, struct buf *))
{
    CLEANUP(buf_deinit) struct buf data = { 0 }, signature = { 0 };

    split(buf_str((struct buf *)raw), &data, &signature);
    return check(g, &data, buf_str(&signature));
}

struct error *git_verify(struct git *g, const struct git_refs *r, const struct git_objects *o)
{
    CLEANUP(err_freep) struct error *tag_error = NULL;

    if (!g->ignore_signed_tag && o->tag.len > 0) {
        tag_error = check_object(g, &o->tag, git_split_tag);
        if (tag_error == NULL || err_is(tag_error, ERR_CANCELLED))
            return TAKE(tag_error);
    }
    if (g->require_signed_tag)
        return tag_error != NULL ? TAKE(tag_error)
                                 : err_new(ERR_UNKNOWN, "signed tag required but no signed tag found");
    return check_object(g, &o->commit, git_split_commit);
}
