/* SPDX-License-Identifier: Apache-2.0 */
/* history_blob.c - the files of the history: named by their digests, one for equal texts */
#include "buildkit/history_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- writing ---- */

struct error *blob_write(struct blob_writer *w, const void *data, size_t len)
{
    hasher_add(w->hasher, data, len);
    w->size += (int64_t)len;
    while (len > 0) {
        ssize_t n = write(w->fd, data, len);
        if (n < 0)
            return err_sys(errno, "write a build's log");
        data = (const char *)data + n;
        len -= (size_t)n;
    }
    return NULL;
}

struct error *history_blob_make(struct history *h, struct error *(*fill)(struct blob_writer *w, void *arg),
                                void *arg, struct history_blob *ret)
{
    CLEANUP(hasher_freep) struct hasher *hasher = hasher_new();
    CLEANUP(closep) int fd = -1;
    struct blob_writer w = { .hasher = hasher };
    char name[33];
    struct error *e;

    random_hex(name, 16);
    w.fd = fd = openat(h->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(errno, "create a build's log");
    e = fill(&w, arg);
    if (e == NULL) {
        ret->digest = hasher_sum(hasher);
        ret->size = w.size;
        if (renameat(h->dir_fd, name, h->dir_fd, digest_hex(&ret->digest)) < 0)
            e = err_sys(errno, "keep a build's log");
    }
    if (e != NULL) {
        unlinkat(h->dir_fd, name, 0);
        *ret = (struct history_blob){ 0 };
    }
    return e;
}

/* ---- dropping ---- */

static bool record_has(const struct history_record *r, const struct digest *d)
{
    bool has = digest_eq(&r->log.digest, d) || digest_eq(&r->external_error.digest, d) ||
               digest_eq(&r->trace.digest, d);

    for (size_t i = 0; i < r->attestation_count && !has; i++)
        has = digest_eq(&r->attestations[i].blob.digest, d);
    return has;
}

/* Equal texts are one file: it goes with the last of its records, and while files are being written nobody
 * knows whether one of them is it. */
static void drop(struct history *h, const struct history_record *of, struct history_blob *b)
{
    bool shared = b->digest.s[0] == '\0' || h->filling;

    for (size_t i = 0; i < h->records.len && !shared; i++) {
        const struct history_record *r = h->records.v[i];

        shared = r != of && record_has(r, &b->digest);
    }
    if (!shared)
        unlinkat(h->dir_fd, digest_hex(&b->digest), 0);
    *b = (struct history_blob){ 0 };
}

void history_blobs_drop(struct history *h, struct history_record *r)
{
    drop(h, r, &r->log);
    drop(h, r, &r->external_error);
    drop(h, r, &r->trace);
    for (size_t i = 0; i < r->attestation_count; i++) {
        drop(h, r, &r->attestations[i].blob);
        free(r->attestations[i].key);
    }
    r->attestation_count = 0;
}

/* ---- reading ---- */

struct error *history_blob_open_at(struct history *h, const struct digest *d, int64_t *ret_size,
                                   struct stream **ret)
{
    struct stat st;
    int fd = openat(h->dir_fd, digest_hex(d), O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_new(ERR_NOT_FOUND, "content %s: not found", d->s);
    if (ret_size != NULL)
        *ret_size = st.st_size;
    if (ret != NULL)
        *ret = stream_from_fd(fd);
    else
        close(fd);
    return NULL;
}

bool history_blob_is_whole(struct history *h, const struct history_blob *b, bool read_all)
{
    CLEANUP(hasher_freep) struct hasher *hasher = hasher_new();
    CLEANUP(closep) int fd = openat(h->dir_fd, digest_hex(&b->digest), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char chunk[16 * 1024];
    struct digest have;
    struct stat st;
    ssize_t n;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != b->size)
        return false;
    if (!read_all)
        return true;
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        hasher_add(hasher, chunk, (size_t)n);
    have = hasher_sum(hasher);
    return n == 0 && digest_eq(&have, &b->digest);
}

struct error *history_blob_list(struct history *h, struct blob_list *ret)
{
    int fd = openat(h->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (dir == NULL) {
        struct error *e = err_sys(errno, "list the history's blobs");

        closep(&fd);
        return e;
    }
    while ((entry = readdir(dir)) != NULL) {
        CLEANUP(freep) char *text = xasprintf("sha256:%s", entry->d_name);
        struct blob_info i = { 0 };
        struct stat st;

        if (digest_parse(text, &i.digest) < 0 || fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue; /* not a blob, or just deleted */
        i.size = st.st_size;
        i.created_ns = st.st_mtim.tv_sec * NS_PER_SEC + st.st_mtim.tv_nsec;
        ret->list = xreallocarray(ret->list, ret->count + 1, sizeof(*ret->list));
        ret->list[ret->count++] = i;
    }
    closedir(dir);
    return NULL;
}

struct error *history_blob_open(struct history *h, const char *digest, int64_t *ret_size, struct stream **ret)
{
    struct digest d;

    if (digest_parse(digest, &d) < 0)
        return err_new(ERR_INVALID, "invalid digest \"%s\"", digest);
    return history_blob_open_at(h, &d, ret_size, ret);
}
