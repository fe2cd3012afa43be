/* SPDX-License-Identifier: Apache-2.0 */
#include "op/http.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "io/copy.h"
#include "io/path.h"
#include "oci/compress.h"
#include "op/attrs.h"
#include "op/op.h"
#include "op/signature.h"
#include "op/upload.h"
#include "registry/client.h"
#include "registry/exchange.h"
#include "task/task.h"

#include <openssl/evp.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define USER_AGENT "buildkit/v0.34" /* servers know this one */
#define KEEP_NS (60 * NS_PER_SEC)   /* between resolving and running */

/* What a server's answer was. */
struct answer {
    struct digest digest;
    char *name, *etag;
    int64_t mtime_ns; /* -1: not told */
    int fd;           /* the content, unlinked; -1: known from before */
};

static void answer_deinit(struct answer *a)
{
    free(a->name);
    free(a->etag);
    closep(&a->fd);
}

/* Files that were fetched to resolve a source, until it runs. */
struct kept {
    char *text;
    struct answer answer;
    int64_t at_ns;
    struct kept *next;
};
static struct mutex lock = MUTEX_INIT;
static struct kept *all_kept;

/* ---- attributes ---- */

static const char *attr(const struct op_context *c, const char *key)
{
    return source_attr(c->vertex, key);
}

/* The only ones of `http.header.` that count. */
static void add_own_headers(const struct op_context *c, struct strv *out)
{
    const char *accept = attr(c, "http.header.accept"), *agent = attr(c, "http.header.user-agent");

    if (*accept != '\0' && strpbrk(accept, "\r\n") == NULL)
        strv_addf(out, "Accept: %s", accept);
    if (*agent != '\0' && strpbrk(agent, "\r\n") == NULL)
        strv_addf(out, "User-Agent: %s", agent);
}

static char *file_name(const struct op_context *c, const struct exchange *x)
{
    const char *asked = attr(c, "http.filename");
    CLEANUP(freep) char *offered = NULL;

    if (*asked != '\0')
        return http_safe_name(asked);
    if (x != NULL)
        offered = http_disposition_name(exchange_header(x, "Content-Disposition"));
    return offered != NULL ? http_safe_name(offered) : http_url_name(c->vertex->op->source->identifier);
}

/* ---- asking ---- */

static char *host_of(const char *url)
{
    const char *p = strstr(url, "://");

    if (p == NULL)
        return xstrdup("");
    p += 3;
    size_t n = strcspn(p, "/?#");

    for (size_t i = n; i > 0; i--) {
        if (p[i - 1] == '@') {
            p += i;
            n -= i;
            break;
        }
    }
    if (*p == '[')
        return xstrndup(p + 1, strcspn(p, "]") - 1);
    return xstrndup(p, MIN(n, strcspn(p, ":")));
}

static struct error *secret_header(const struct op_context *c, const char *name, const char *prefix,
                                   char **ret)
{
    CLEANUP(buf_deinit) struct buf secret = { 0 };

    TRY(session_secret(&c->sessions, name, &secret));
    if (strlen(buf_str(&secret)) != secret.len || strpbrk(buf_str(&secret), "\r\n") != NULL)
        return err_new(ERR_INVALID, "secret %s does not fit into a header", name);
    free(*ret);
    *ret = xasprintf("Authorization: %s%s", prefix, buf_str(&secret));
    return NULL;
}

/* The Authorization header out of the session's secrets; NULL when it has none. */
static struct error *find_authorization(const struct op_context *c, char **ret)
{
    const char *named = attr(c, "http.authheadersecret");
    CLEANUP(freep) char *host = host_of(c->vertex->op->source->identifier);
    CLEANUP(freep) char *header = xasprintf("HTTP_AUTH_HEADER_%s", host);
    CLEANUP(freep) char *token = xasprintf("HTTP_AUTH_TOKEN_%s", host);

    if (*named != '\0')
        return err_wrap(secret_header(c, named, "", ret), "failed to retrieve HTTP auth secret %s", named);
    if (c->sessions.ids.len == 0)
        return NULL;
    struct error *e = secret_header(c, header, "", ret);

    if (e == NULL || !err_is(e, ERR_CANCELLED)) {
        err_free(e); /* optional, as every client may lack it */
        e = secret_header(c, token, "Bearer ", ret);
    }
    if (err_is(e, ERR_CANCELLED))
        return e;
    err_free(e);
    return NULL;
}

/* One request through its redirects; the credentials stay at the first origin. */
static struct error *send(const struct op_context *c, const char *method, const char *etag,
                          struct exchange **ret)
{
    const struct op_config *config = c->op_ctx;
    CLEANUP(freep) char *url = xstrdup(c->vertex->op->source->identifier);
    CLEANUP(freep) char *home = NULL;
    CLEANUP(freep) char *authorization = NULL;

    if (config->registry == NULL)
        return err_new(ERR_INTERNAL, "no http client");
    TRY(exchange_url_origin(url, &home));
    TRY(find_authorization(c, &authorization));
    for (int hop = 0; hop <= LIMIT_REGISTRY_REDIRECTS; hop++) {
        CLEANUP(exchange_closep) struct exchange *x = NULL;
        CLEANUP(strv_deinit) struct strv headers = { 0 };
        CLEANUP(freep) char *origin = NULL;
        char *next;

        TRY(exchange_url_origin(url, &origin));
        add_own_headers(c, &headers);
        if (*attr(c, "http.header.user-agent") == '\0')
            strv_add(&headers, "User-Agent: " USER_AGENT);
        if (authorization != NULL && streq(origin, home))
            strv_add(&headers, authorization);
        strv_add(&headers, "Accept-Encoding: gzip"); /* to both: a server's ETags may depend on it */
        if (etag != NULL)
            strv_addf(&headers, "If-None-Match: %s", etag);
        TRY(exchange_open(config->registry->client,
                          &(struct exchange_request){
                              .method = method, .url = url, .headers = &headers, .redirected = hop > 0 },
                          &x));
        int status = exchange_status(x);
        const char *location = exchange_header(x, "Location");

        if (location == NULL ||
            (status != 301 && status != 302 && status != 303 && status != 307 && status != 308)) {
            *ret = TAKE(x);
            return NULL;
        }
        TRY(exchange_url_resolve(url, location, &next));
        free(url);
        url = next;
    }
    return err_new(ERR_UNKNOWN, "stopped after %d redirects", LIMIT_REGISTRY_REDIRECTS);
}

/* The body of an exchange, which is borrowed. */
struct body {
    struct stream stream;
    struct exchange *exchange;
};

static ssize_t body_read(struct stream *s, void *buf, size_t cap)
{
    return exchange_read(CONTAINER_OF(s, struct body, stream)->exchange, buf, cap);
}

static void body_close(struct stream *s)
{
    free(CONTAINER_OF(s, struct body, stream));
}

/* What was asked for, without the compression that the server made for the way only. */
static struct error *open_body(struct exchange *x, bool *ret_packed, struct stream **ret)
{
    static const struct stream_ops ops = { .read = body_read, .close = body_close };
    const char *encoding = exchange_header(x, "Content-Encoding");
    struct body *b = NEW(struct body);
    enum compression kind;

    b->stream.ops = &ops;
    b->exchange = x;
    *ret = &b->stream;
    *ret_packed = encoding != NULL && strcasecmp(encoding, "gzip") == 0;
    if (!*ret_packed)
        return NULL;
    TRY(compression_peek(TAKE(*ret), &kind, ret));
    if (kind == COMPRESSION_GZIP)
        return decompress_stream(TAKE(*ret), ret);
    stream_closep(ret);
    return err_new(ERR_UNAVAILABLE, "the server's gzip encoding is none");
}

static struct error *receive(const struct op_context *c, struct exchange *x, struct answer *a)
{
    CLEANUP(hasher_freep) struct hasher *h = hasher_new();
    CLEANUP(freep) char *chunk = xmalloc(65536);
    CLEANUP(stream_closep) struct stream *body = NULL;
    int64_t total = 0, size = exchange_content_length(x);
    bool packed;

    TRY(open_body(x, &packed, &body));
    if (packed)
        size = 0; /* of what is made of it: unknown */

    a->fd = openat(store_work_fd(c->store), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (a->fd < 0)
        return err_sys(errno, "keep a download");
    for (ssize_t n; (n = stream_read(body, chunk, 65536)) != 0;) {
        if (n == -ECANCELED)
            return task_error((int)n, "download");
        if (n == -EBADMSG)
            return err_new(ERR_UNAVAILABLE, "download broke off: its gzip encoding is damaged");
        if (n < 0)
            return err_new(ERR_UNAVAILABLE, "download broke off: %s", exchange_failure(x));
        if ((total += n) > LIMIT_HTTP_SOURCE)
            return err_new(ERR_EXHAUSTED, "download is larger than %lld bytes", (long long)LIMIT_HTTP_SOURCE);
        hasher_add(h, chunk, (size_t)n);
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(a->fd, chunk + done, (size_t)(n - done));

            if (w < 0)
                return err_sys(errno, "keep a download");
            done += w;
        }
        reporter_status(c->reporter, "downloading", "downloading", total, MAX(size, 0), false);
    }
    a->digest = hasher_sum(h);
    return NULL;
}

static struct error *get(const struct op_context *c, struct answer *a)
{
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    const char *etag;

    TRY(send(c, "GET", NULL, &x));
    if (exchange_status(x) < 200 || exchange_status(x) >= 300)
        return err_new(ERR_UNKNOWN, "invalid response status %d", exchange_status(x));
    TRY(receive(c, x, a));
    a->name = file_name(c, x);
    if (http_parse_date(exchange_header(x, "Last-Modified"), &a->mtime_ns) < 0)
        a->mtime_ns = -1;
    etag = exchange_header(x, "ETag");
    if (etag != NULL && strpbrk(etag, "\r\n") == NULL)
        a->etag = xstrdup(str_has_prefix(etag, "W/") ? etag + 2 : etag);
    return NULL;
}

/* ---- what is known from before: "digest mtime etag" by address and request ---- */

/* `file`: of the file that is made of the answer, too. A file of another name or mode has to be fetched
 * anyway, and should not first be told that it has not changed. */
static char *fact_key(const struct op_context *c, bool file)
{
    static const char *const file_attrs[] = { "http.filename", "http.perm", "http.uid", "http.gid" };
    CLEANUP(buf_deinit) struct buf b = { 0 };

    for (size_t i = 0; i < c->vertex->op->source->n_attrs; i++) {
        const char *key = c->vertex->op->source->attrs[i]->key;

        if (str_has_prefix(key, "http.header.") || streq(key, "http.authheadersecret"))
            buf_addf(&b, "%s=%s\n", key, attr(c, key));
    }
    for (size_t i = 0; file && i < ARRAY_LEN(file_attrs); i++) {
        if (*attr(c, file_attrs[i]) != '\0')
            buf_addf(&b, "%s=%s\n", file_attrs[i], attr(c, file_attrs[i]));
    }
    buf_adds(&b, c->vertex->op->source->identifier);
    struct digest d = digest_of(b.data, b.len);

    return xasprintf("http:%s", digest_hex(&d));
}

static struct error *recall(const struct op_context *c, struct answer *a)
{
    CLEANUP(freep) char *key = fact_key(c, true);
    CLEANUP(freep) char *fact = NULL;
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    long long mtime;
    char hex[80];
    int at = 0;

    TRY(fact_get(c->store, key, &fact));
    if (fact == NULL || sscanf(fact, "%79s %lld %n", hex, &mtime, &at) < 2 || at == 0 || fact[at] == '\0' ||
        digest_parse(hex, &a->digest) < 0)
        return NULL;
    struct error *e = send(c, "HEAD", fact + at, &x);

    if (err_is(e, ERR_CANCELLED))
        return e;
    err_free(e); /* GET will tell */
    if (x == NULL)
        return NULL;
    const char *etag = exchange_header(x, "ETag");
    int status = exchange_status(x);

    if (etag != NULL && str_has_prefix(etag, "W/"))
        etag += 2;
    if ((status == 200 && etag != NULL && streq(etag, fact + at)) ||
        (status == 304 && (etag == NULL || streq(etag, fact + at)))) {
        a->name = file_name(c, x);
        a->mtime_ns = mtime;
    }
    return NULL;
}

static struct error *remember(const struct op_context *c, const struct answer *a)
{
    CLEANUP(freep) char *key = fact_key(c, true);
    CLEANUP(freep) char *fact = NULL;

    if (a->etag == NULL || *a->etag == '\0')
        return NULL;
    fact = xasprintf("%s %lld %s", a->digest.s, (long long)a->mtime_ns, a->etag);
    return fact_put(c->store, key, fact);
}

/* ---- kept files ---- */

static void keep(const char *text, struct answer *a)
{
    struct kept *k = NEW(struct kept), *stale = NULL;
    int64_t before = monotonic_ns() - KEEP_NS;

    *k = (struct kept){ .text = xstrdup(text), .answer = *a, .at_ns = monotonic_ns() };
    *a = (struct answer){ .fd = -1 };
    mutex_lock(&lock);
    for (struct kept **p = &all_kept; *p != NULL;) {
        struct kept *old = *p;

        if (old->at_ns > before) {
            p = &old->next;
            continue;
        }
        *p = old->next;
        old->next = stale;
        stale = old;
    }
    k->next = all_kept;
    all_kept = k;
    mutex_unlock(&lock);
    while (stale != NULL) {
        struct kept *next = stale->next;

        answer_deinit(&stale->answer);
        free(stale->text);
        free(stale);
        stale = next;
    }
}

static bool take_kept(const char *text, struct answer *ret)
{
    struct kept *found = NULL;

    mutex_lock(&lock);
    for (struct kept **p = &all_kept; *p != NULL && found == NULL; p = &(*p)->next) {
        if (streq((*p)->text, text)) {
            found = *p;
            *p = found->next;
            break;
        }
    }
    mutex_unlock(&lock);
    if (found == NULL)
        return false;
    *ret = found->answer;
    free(found->text);
    free(found);
    return true;
}

/* ---- the source ---- */

static char *describe(const struct op_context *c, const struct answer *a, const struct file_meta *m)
{
    CLEANUP(strv_deinit) struct strv headers = { 0 };
    CLEANUP(freep) char *joined = NULL;

    add_own_headers(c, &headers);
    joined = strv_join(&headers, "\n");
    return xasprintf("http:%s:%s:%lo:%ld:%ld:%lld:%s:%s", a->digest.s, a->name, m->perm, m->uid, m->gid,
                     (long long)a->mtime_ns, attr(c, "http.authheadersecret"), joined);
}

/* Signed as the source asks, with a key of its own? */
static struct error *check_signature(const struct op_context *c, const struct answer *a)
{
    const char *signature = attr(c, "http.signatureverify"), *keys = attr(c, "http.signatureverifypubkey");

    if (*signature == '\0' && *keys == '\0')
        return NULL;
    return err_wrap(signature_check_pgp(c->store, a->fd, signature, keys, false),
                    "failed to verify pgp signature");
}

static struct error *check_signature_attrs(const struct op_context *c, bool *ret_wanted)
{
    bool signature = *attr(c, "http.signatureverify") != '\0',
         keys = *attr(c, "http.signatureverifypubkey") != '\0';

    *ret_wanted = keys;
    return signature == keys
               ? NULL
               : err_new(ERR_INVALID, "http signature verification requires both pubkey and signature");
}

static struct error *check_digest(const struct op_context *c, const struct answer *a)
{
    CLEANUP(freep) char *shown = exchange_url_redact(c->vertex->op->source->identifier);
    const char *checksum = attr(c, "http.checksum");

    if (*checksum == '\0' || streq(a->digest.s, checksum))
        return NULL;
    return err_new(ERR_UNKNOWN, "digest mismatch for %s: %s (expected: %s)", shown, a->digest.s, checksum);
}

/* What the server has now.  `content`: the file is needed, whatever is known of it. */
static struct error *resolve_remote(const struct op_context *c, bool content, struct answer *a)
{
    const char *checksum = attr(c, "http.checksum");
    bool is_signed;

    a->mtime_ns = -1;
    TRY(check_signature_attrs(c, &is_signed));
    if (*checksum != '\0' && digest_parse(checksum, &a->digest) < 0)
        return err_new(ERR_INVALID, "invalid checksum digest format");
    if (*checksum != '\0' && !content && !is_signed) {
        a->name = file_name(c, NULL);
        return NULL;
    }
    if (!content && !is_signed && *checksum == '\0')
        TRY(recall(c, a));
    if (a->name != NULL)
        return NULL;
    TRY(get(c, a));
    TRY(check_digest(c, a));
    TRY(check_signature(c, a));
    return remember(c, a);
}

/* What this build was told of the source, when that is enough. */
static struct error *resolve_again_or_known(const struct op_context *c, bool content, const char *noted,
                                            struct answer *a)
{
    bool plain = *attr(c, "http.checksum") == '\0' && *attr(c, "http.signatureverifypubkey") == '\0';
    char hex[80];
    long long mtime;
    int at = 0;

    if (content || !plain || noted == NULL || sscanf(noted, "%79s %lld %n", hex, &mtime, &at) < 2 ||
        at == 0 || digest_parse(hex, &a->digest) < 0)
        return resolve_remote(c, content, a);
    a->mtime_ns = mtime;
    a->name = *attr(c, "http.filename") != '\0' ? file_name(c, NULL) : xstrdup(noted + at);
    return NULL;
}

/* The same, once in a build: what a policy or a frontend was told is what the build gets. */
static struct error *resolve_in_build(const struct op_context *c, bool content, struct answer *a)
{
    CLEANUP(freep) char *key = fact_key(c, false);
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
static struct error *hash_answer(const struct answer *a, const struct http_checksum_request *q, char **ret)
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
    CLEANUP(answer_deinit) struct answer a = { .fd = -1 };
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

    keep(text, &a); /* the source itself is often solved next */
    return NULL;
}

static struct error *resolve(struct op_context *c, char **ret_text, struct snapshot **ret_result)
{
    CLEANUP(answer_deinit) struct answer a = { .fd = -1 };
    struct file_meta m;

    if (upload_owns(c->vertex->op->source->identifier))
        return upload_source.resolve(c, ret_text, ret_result);
    TRY(source_file_meta(c->vertex, &m));
    TRY(resolve_in_build(c, false, &a));
    *ret_text = describe(c, &a, &m);
    op_pin(c, a.digest.s);
    if (a.fd >= 0)
        keep(*ret_text, &a);
    return NULL;
}

static struct error *write_file(int root, const struct answer *a, const struct file_meta *m)
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
static struct error *content(struct op_context *c, const struct file_meta *m, struct answer *a)
{
    const char *checksum = attr(c, "http.checksum");

    if (c->resolved != NULL && take_kept(c->resolved, a))
        return NULL;
    TRY(get(c, a));
    if (*checksum != '\0') {
        /* the same name as without asking, or equal keys would have different results */
        free(a->name);
        a->name = file_name(c, NULL);
        if (!streq(a->digest.s, checksum))
            return err_new(ERR_UNKNOWN, "digest mismatch %s: %s", a->digest.s, checksum);
        return remember(c, a);
    }
    CLEANUP(freep) char *text = describe(c, a, m);

    if (c->resolved != NULL && !streq(text, c->resolved)) {
        CLEANUP(freep) char *key = fact_key(c, true);

        TRY(fact_put(c->store, key, NULL));
        return err_new(ERR_UNKNOWN, "digest mismatch: what the server sends has changed to %s", a->digest.s);
    }
    return NULL;
}

static struct error *run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                         size_t output_count)
{
    CLEANUP(answer_deinit) struct answer a = { .fd = -1 };
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
