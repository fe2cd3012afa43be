/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/retry.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "registry/document.h"
#include "registry/exchange.h"
#include "task/task.h"

#define RETRIES 3
#define RETRY_AFTER_MAX_NS (10 * NS_PER_SEC)

bool retry_worthwhile(const struct retry *r, const struct error *e, int status)
{
    if (r->count >= RETRIES)
        return false;
    if (e != NULL && e->errnum == ECONNRESET)
        return true;
    return status == 429 || (status >= 500 && status <= 599);
}

struct error *retry_pause(struct retry *r, struct error *e, int64_t asked_ns)
{
    int64_t pause = r->pause_ns > 0 ? r->pause_ns : NS_PER_SEC;

    err_free(e);
    r->count++;
    r->pause_ns = pause * 2;
    int w = task_sleep(MAX(pause, MIN(asked_ns, RETRY_AFTER_MAX_NS)));

    return w < 0 ? task_error(w, "wait before another try") : NULL;
}

int64_t retry_after_ns(const struct exchange *x)
{
    const char *text = exchange_header(x, "Retry-After");
    int64_t seconds;

    if (text == NULL || parse_i64(text, &seconds) < 0 || seconds <= 0)
        return 0;
    return MIN(seconds, RETRY_AFTER_MAX_NS / NS_PER_SEC) * NS_PER_SEC;
}

static struct error *read_failure(ssize_t n, const struct exchange *x)
{
    struct error *e;

    if (n == -ECANCELED || n == -ETIMEDOUT)
        return task_error((int)n, "read an answer");
    e = err_new(ERR_UNAVAILABLE, "the answer broke off: %s", exchange_failure(x));
    e->errnum = (int)-n;
    return e;
}

struct error *exchange_read_body(struct exchange *x, size_t limit, struct buf *out)
{
    char chunk[16 * 1024];
    ssize_t n;

    while ((n = exchange_read(x, chunk, sizeof(chunk))) > 0) {
        if (out->len + (size_t)n > limit)
            return err_new(ERR_EXHAUSTED, "the answer is longer than %zu bytes", limit);
        buf_add(out, chunk, (size_t)n);
    }
    return n < 0 ? read_failure(n, x) : NULL;
}

static enum error_kind kind_of_status(int status)
{
    switch (status) {
    case 401:
        return ERR_UNAUTHORIZED;
    case 403:
        return ERR_FORBIDDEN;
    case 404:
        return ERR_NOT_FOUND;
    case 429:
        return ERR_EXHAUSTED;
    default:
        return status >= 500 ? ERR_UNAVAILABLE : ERR_UNKNOWN;
    }
}

/* A registry's words go to a terminal. */
static void add_printable(struct buf *b, const char *s)
{
    size_t n = MIN(strlen(s), (size_t)1024);

    for (size_t i = 0; i < n; i++)
        buf_addc(b, (unsigned char)s[i] < ' ' || s[i] == 0x7f ? ' ' : s[i]);
}

/* {"errors":[{"code":"DENIED","message":"..."}]} as "\ndenied: ..." */
static void add_details(struct buf *b, const char *body)
{
    json_t *doc = NULL, *one;
    size_t i;

    if (body == NULL || *body == '\0')
        return;
    struct error *e = document_parse(body, strlen(body), &doc);

    err_free(e); /* a body that is no JSON has no details */
    if (e != NULL)
        return;
    const char *plain = json_string_value(json_object_get(doc, "details"));

    if (plain != NULL) {
        buf_addc(b, '\n');
        add_printable(b, plain);
    }
    json_array_foreach(json_object_get(doc, "errors"), i, one)
    {
        const char *code = json_string_value(json_object_get(one, "code"));
        const char *message = json_string_value(json_object_get(one, "message"));

        if (code == NULL || i >= 8)
            continue;
        buf_addc(b, '\n');
        CLEANUP(freep) char *lower = str_lower(code);

        for (char *p = lower; *p != '\0'; p++)
            if (*p == '_')
                *p = ' ';
        add_printable(b, lower);
        if (message != NULL) {
            buf_adds(b, ": ");
            add_printable(b, message);
        }
    }
    json_decref(doc);
}

struct error *exchange_refusal(const struct exchange *x, const char *method, const char *url,
                               const char *body)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(freep) char *shown = exchange_url_redact(url);

    buf_addf(&text, "unexpected status from %s request to %s: ", method, shown);
    add_printable(&text, exchange_status_line(x));
    add_details(&text, body);
    return err_new(kind_of_status(exchange_status(x)), "%s", buf_str(&text));
}
