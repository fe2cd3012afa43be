/* SPDX-License-Identifier: Apache-2.0 */
/* http.c - the source http: what it is when it is resolved, and the file */
#include "op/http_impl.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "io/copy.h"
#include "op/signature.h"
#include "op/upload.h"

#include <openssl/evp.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static char *describe(const struct op_context *c, const struct http_answer *a, const struct file_meta *m)
{
    CLEANUP(strv_deinit) struct strv headers = { 0 };
    CLEANUP(freep) char *joined = NULL;

    http_own_headers(c, &headers);
    joined = strv_join(&headers, "\n");
    return xasprintf("http:%s:%s:%lo:%ld:%ld:%lld:%s:%s", a->digest.s, a->name, m->perm, m->uid, m->gid,
                     (long long)a->mtime_ns, http_attr(c, "http.authheadersecret"), joined);
}

/* Signed as the source asks, with a key of its own? */
static struct error *check_signature(const struct op_context *c, const struct http_answer *a)
{
    const char *signature = http_attr(c, "http.signatureverify"),
               *keys = http_attr(c, "http.signatureverifypubkey");

    if (*signature == '\0' && *keys == '\0')
        return NULL;
    return err_wrap(signature_check_pgp(c->store, a->fd, signature, keys, false),
                    "failed to verify pgp signature");
}

static struct error *check_signature_attrs(const struct op_context *c, bool *ret_wanted)
{
    bool signature = *http_attr(c, "http.signatureverify") != '\0',
         keys = *http_attr(c, "http.signatureverifypubkey") != '\0';

    *ret_wanted = keys;
    return signature == keys
               ? NULL
               : err_new(ERR_INVALID, "http signature verification requires both pubkey and signature");
}

static struct error *check_digest(const struct op_context *c, const struct http_answer *a)
{
    CLEANUP(freep) char *shown = exchange_url_redact(c->vertex->op->source->identifier);
    const char *checksum = http_attr(c, "http.checksum");

    if (*checksum == '\0' || streq(a->digest.s, checksum))
        return NULL;
    return err_new(ERR_UNKNOWN, "digest mismatch for %s: %s (expected: %s)", shown, a->digest.s, checksum);
}

/* What the server has now.  `content`: the file is needed, whatever is known of it. */
static struct error *resolve_remote(const struct op_context *c, bool content, struct http_answer *a)
{
    const char *checksum = http_attr(c, "http.checksum");
    bool is_signed;

    a->mtime_ns = -1;
    TRY(check_signature_attrs(c, &is_signed));
    if (*checksum != '\0' && digest_parse(checksum, &a->digest) < 0)
        return err_new(ERR_INVALID, "invalid checksum digest format");
    if (*checksum != '\0' && !content && !is_signed) {
        a->name = http_file_name(c, NULL);
        return NULL;
    }
    if (!content && !is_signed && *checksum == '\0')
        TRY(http_recall(c, a));
    if (a->name != NULL)
        return NULL;
    TRY(http_get(c, a));
    TRY(check_digest(c, a));
    TRY(check_signature(c, a));
    return http_remember(c, a);
}

/* What this build was told of the source, when that is enough. */
static struct error *resolve_again_or_known(const struct op_context *c, bool content, const char *noted,
                                            struct http_answer *a)
{
    bool plain =
        *http_attr(c, "http.checksum") == '\0' && *http_attr(c, "http.signatureverifypubkey") == '\0';
    char hex[80];
    long long mtime;
    int at = 0;

    if (content || !plain || noted == NULL || sscanf(noted, "%79s %lld %n", hex, &mtime, &at) < 2 ||
        at == 0 || digest_parse(hex, &a->digest) < 0)
        return resolve_remote(c, content, a);
    a->mtime_ns = mtime;
    a->name = *http_attr(c, "http.filename") != '\0' ? http_file_name(c, NULL) : xstrdup(noted + at);
    return NULL;
}

/* The same, once in a build: what a policy or a frontend was told is what the build gets. */
static struct error *resolve_in_build(const struct op_context *c, bool content, struct http_answer *a)
{
    CLEANUP(freep) char *key = http_fact_key(c, false);
    CLEANUP(freep) char *noted = op_recall(c, key);
    CLEANUP(freep) char *note = NULL;
    char hex[80];
    long long mtime;
    int at = 0;

    TRY(resolve_again_or_known(c, content, noted, a));
    if (noted != NULL && sscanf(noted, "%79s %lld %n", hex, &mtime, &at) >= 2 && !streq(hex, a->digest.s))
        return err_new(ERR_UNKNOWN, "digest mismatch: what the server sends has changed from %s to %s", hex,
                       a->digest.s);
    note = xasprintf("%s %lld %s", a->digest.s, (long long)a->mtime_ns, a->name);
    op_note(c, key, note);
    return NULL;
}

/* ---- facts for policies and frontends
 * ----------------------------------------------------------------------------------------------------------
 */

void http_meta_deinit(struct http_meta *m)
{
    free(m->filename);
    free(m->checksum);
}

static const EVP_MD *hash_of(enum http_checksum_kind kind)
{
    return kind == HTTP_SHA256 ? EVP_sha256() : kind == HTTP_SHA384 ? EVP_sha384() : EVP_sha512();
}

static bool hash_file(EVP_MD_CTX *h, int fd)
{
    char chunk[65536];
    ssize_t n;

    for (off_t at = 0; (n = pread(fd, chunk, sizeof chunk, at)) > 0; at += n) {
        if (EVP_DigestUpdate(h, chunk, (size_t)n) != 1)
            return false;
    }
    return n == 0;
}

/* "sha384:.." of the content with the suffix behind it. */
static struct error *hash_answer(const struct http_answer *a, const struct http_checksum_request *q,
                                 char **ret)
{
    static const char *const names[] = { "sha256", "sha384", "sha512" };
    unsigned char sum[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    unsigned len = 0;
    EVP_MD_CTX *h = EVP_MD_CTX_new();
    bool ok = h != NULL && EVP_DigestInit_ex(h, hash_of(q->kind), NULL) == 1 && hash_file(h, a->fd) &&
              EVP_DigestUpdate(h, q->suffix, q->suffix_len) == 1 && EVP_DigestFinal_ex(h, sum, &len) == 1;

    EVP_MD_CTX_free(h);
    if (!ok)
        return err_new(ERR_INTERNAL, "failed to hash http source payload");
    hex_encode(hex, sum, len);
    *ret = xasprintf("%s:%s", names[q->kind], hex);
    return NULL;
}

struct error *http_resolve_meta(struct op_context *c, const struct http_checksum_request *q,
                                struct http_meta *ret)
{
    CLEANUP(http_answer_deinit) struct http_answer a = { .fd = -1 };
    struct file_meta m;

    if (upload_owns(c->vertex->op->source->identifier))
        return err_new(ERR_INVALID, "an upload has no facts of a server");
    if (q != NULL && q->suffix_len > LIMIT_CHECKSUM_SUFFIX)
        return err_new(ERR_INVALID, "http checksum request suffix exceeds max size %zu",
                       LIMIT_CHECKSUM_SUFFIX);
    TRY(source_file_meta(c->vertex, &m));
    TRY(resolve_in_build(c, q != NULL, &a));
    if (q != NULL)
        TRY(hash_answer(&a, q, &ret->checksum));
    ret->digest = a.digest;
    ret->filename = xstrdup(a.name);
    ret->mtime_ns = a.mtime_ns;
    if (a.fd < 0)
        return NULL;
    CLEANUP(freep) char *text = describe(c, &a, &m);

    http_keep(text, &a); /* the source itself is often solved next */
    return NULL;
}

static struct error *resolve(struct op_context *c, char **ret_text, struct snapshot **ret_result)
{
    CLEANUP(http_answer_deinit) struct http_answer a = { .fd = -1 };
    struct file_meta m;

    if (upload_owns(c->vertex->op->source->identifier))
        return upload_source.resolve(c, ret_text, ret_result);
    TRY(source_file_meta(c->vertex, &m));
    TRY(resolve_in_build(c, false, &a));
    *ret_text = describe(c, &a, &m);
    op_pin(c, a.digest.s);
    if (a.fd >= 0)
        http_keep(*ret_text, &a);
    return NULL;
}

static struct error *write_file(int root, const struct http_answer *a, const struct file_meta *m)
{
    CLEANUP(closep)
    int out = openat(root, a->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (out < 0)
        return err_sys(errno, "write %s", a->name);
    if (lseek(a->fd, 0, SEEK_SET) < 0)
        return err_sys(errno, "read a download");
    TRY_SYS(copy_content(a->fd, out, -1), "write %s", a->name);
    return source_finish_file(out, a->name, m, MAX(a->mtime_ns, 0));
}

/* The content that was resolved: kept from then, or fetched once more. */
static struct error *content(struct op_context *c, const struct file_meta *m, struct http_answer *a)
{
    const char *checksum = http_attr(c, "http.checksum");

    if (c->resolved != NULL && http_take_kept(c->resolved, a))
        return NULL;
    TRY(http_get(c, a));
    if (*checksum != '\0') {
        /* the same name as without asking, or equal keys would have different results */
        free(a->name);
        a->name = http_file_name(c, NULL);
        if (!streq(a->digest.s, checksum))
            return err_new(ERR_UNKNOWN, "digest mismatch %s: %s", a->digest.s, checksum);
        return http_remember(c, a);
    }
    CLEANUP(freep) char *text = describe(c, a, m);

    if (c->resolved != NULL && !streq(text, c->resolved)) {
        CLEANUP(freep) char *key = http_fact_key(c, true);

        TRY(fact_put(c->store, key, NULL));
        return err_new(ERR_UNKNOWN, "digest mismatch: what the server sends has changed to %s", a->digest.s);
    }
    return NULL;
}

static struct error *run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                         size_t output_count)
{
    CLEANUP(http_answer_deinit) struct http_answer a = { .fd = -1 };
    CLEANUP(freep) char *shown = exchange_url_redact(c->vertex->op->source->identifier);
    CLEANUP(freep) char *what = xasprintf("http url %s", shown);
    struct file_meta m;
    struct active *active;

    if (upload_owns(c->vertex->op->source->identifier))
        return upload_source.run(c, inputs, outputs, output_count);
    TRY(source_file_meta(c->vertex, &m));
    TRY(content(c, &m, &a));
    TRY(active_begin(c->store, NULL, &active));
    struct error *e = write_file(active_fd(active), &a, &m);

    if (e == NULL)
        return active_commit(active, what, "regular", &outputs[0]);
    active_abandon(active);
    return e;
}

const struct op_impl http_source = { .name = "http", .resolve = resolve, .run = run };
