/* SPDX-License-Identifier: Apache-2.0 */
/* http_known.c - what a server said before ("digest mtime etag" as a fact), and files that came but were not
 * used yet */
#include "op/http_impl.h"

#include "base/bytes.h"
#include "task/task.h"

#include <stdio.h>

#define KEEP_NS (60 * NS_PER_SEC) /* between resolving and running */

char *http_fact_key(const struct op_context *c, bool file)
{
    static const char *const file_attrs[] = { "http.filename", "http.perm", "http.uid", "http.gid" };
    CLEANUP(buf_deinit) struct buf b = { 0 };

    for (size_t i = 0; i < c->vertex->op->source->n_attrs; i++) {
        const char *key = c->vertex->op->source->attrs[i]->key;

        if (str_has_prefix(key, "http.header.") || streq(key, "http.authheadersecret"))
            buf_addf(&b, "%s=%s\n", key, http_attr(c, key));
    }
    for (size_t i = 0; file && i < ARRAY_LEN(file_attrs); i++) {
        if (*http_attr(c, file_attrs[i]) != '\0')
            buf_addf(&b, "%s=%s\n", file_attrs[i], http_attr(c, file_attrs[i]));
    }
    buf_adds(&b, c->vertex->op->source->identifier);
    struct digest d = digest_of(b.data, b.len);

    return xasprintf("http:%s", digest_hex(&d));
}

struct error *http_recall(const struct op_context *c, struct http_answer *a)
{
    CLEANUP(freep) char *key = http_fact_key(c, true);
    CLEANUP(freep) char *fact = NULL;
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    long long mtime;
    char hex[80];
    int at = 0;

    TRY(fact_get(c->store, key, &fact));
    if (fact == NULL || sscanf(fact, "%79s %lld %n", hex, &mtime, &at) < 2 || at == 0 || fact[at] == '\0' ||
        digest_parse(hex, &a->digest) < 0)
        return NULL;
    struct error *e = http_send(c, "HEAD", fact + at, &x);

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
        a->name = http_file_name(c, x);
        a->mtime_ns = mtime;
    }
    return NULL;
}

struct error *http_remember(const struct op_context *c, const struct http_answer *a)
{
    CLEANUP(freep) char *key = http_fact_key(c, true);
    CLEANUP(freep) char *fact = NULL;

    if (a->etag == NULL || *a->etag == '\0')
        return NULL;
    fact = xasprintf("%s %lld %s", a->digest.s, (long long)a->mtime_ns, a->etag);
    return fact_put(c->store, key, fact);
}

/* ---- kept files ---- */

/* Files that were fetched to resolve a source, until it runs. */
struct kept {
    char *text;
    struct http_answer answer;
    int64_t at_ns;
    struct kept *next;
};
static struct mutex lock = MUTEX_INIT;
static struct kept *all_kept;

void http_keep(const char *text, struct http_answer *a)
{
    struct kept *k = NEW(struct kept), *stale = NULL;
    int64_t before = monotonic_ns() - KEEP_NS;

    *k = (struct kept){ .text = xstrdup(text), .answer = *a, .at_ns = monotonic_ns() };
    *a = (struct http_answer){ .fd = -1 };
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

        http_answer_deinit(&stale->answer);
        free(stale->text);
        free(stale);
        stale = next;
    }
}

bool http_take_kept(const char *text, struct http_answer *ret)
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
