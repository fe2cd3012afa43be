/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "base/buf.h"
#include "base/bytes.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#define PUSHED_MAX 8

static atomic_int threshold = LOG_INFO;
static atomic_int format = LOG_TEXT;

static _Thread_local struct {
    const char *key, *value;
} pushed[PUSHED_MAX];
static _Thread_local size_t pushed_count; /* may exceed PUSHED_MAX: deeper pairs are not shown */

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info",   [LOG_WARN] = "warning",
    [LOG_ERROR] = "error", [LOG_FATAL] = "fatal",
};

void log_setup(enum log_level level, enum log_format fmt)
{
    atomic_store(&threshold, (int)level);
    atomic_store(&format, (int)fmt);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

int log_level_parse(const char *s, enum log_level *ret)
{
    CLEANUP(freep) char *lower = str_lower(s);

    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (streq(lower, level_names[i]) || (i == LOG_WARN && streq(lower, "warn"))) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* logfmt shows a value bare when it holds only these and letters and digits. */
static bool is_bare(const char *s)
{
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) &&
            strchr("-._/@^+", c) == NULL)
            return false;
    }
    return true;
}

static void add_pair(struct buf *b, const char *key, const char *value)
{
    bool json = atomic_load_explicit(&format, memory_order_relaxed) == LOG_JSON;

    if (b->len > 0 && b->data[b->len - 1] != '{')
        buf_addc(b, json ? ',' : ' ');
    if (json) {
        buf_add_json_string(b, key, strlen(key), false);
        buf_addc(b, ':');
        buf_add_json_string(b, value, strlen(value), false);
        return;
    }
    buf_adds(b, key);
    buf_addc(b, '=');
    if (is_bare(value))
        buf_adds(b, value);
    else
        buf_add_json_string(b, value, strlen(value), false); /* no control character reaches a terminal */
}

static void add_head(struct buf *b, enum log_level level, const char *msg)
{
    int64_t now = now_ns();
    time_t seconds = now / NS_PER_SEC;
    struct tm tm;
    char day[24], stamp[40];

    /* A fixed width, unlike format_rfc3339: columns line up and records sort. */
    gmtime_r(&seconds, &tm);
    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(stamp, sizeof(stamp), "%s.%09dZ", day, (int)(now % NS_PER_SEC));
    if (atomic_load_explicit(&format, memory_order_relaxed) == LOG_JSON) {
        buf_addc(b, '{');
        add_pair(b, "level", level_names[level]);
        add_pair(b, "msg", msg);
        add_pair(b, "time", stamp);
        return;
    }
    add_pair(b, "time", stamp);
    add_pair(b, "level", level_names[level]);
    buf_adds(b, " msg=");
    buf_add_json_string(b, msg, strlen(msg), false);
}

void log_write(enum log_level level, const char *msg, ...)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    int saved = errno;
    va_list ap;

    if (!log_enabled(level))
        return;
    add_head(&b, level, msg);
    va_start(ap, msg);
    for (const char *key; (key = va_arg(ap, const char *)) != NULL;) {
        const char *value = va_arg(ap, const char *);

        if (value != NULL)
            add_pair(&b, key, value);
    }
    va_end(ap);
    for (size_t i = 0; i < MIN(pushed_count, (size_t)PUSHED_MAX); i++)
        add_pair(&b, pushed[i].key, pushed[i].value);
    buf_adds(&b, atomic_load_explicit(&format, memory_order_relaxed) == LOG_JSON ? "}\n" : "\n");
    /* One write a record: records of two threads do not mix.  A log that cannot be written has nobody to
     * tell. */
    ssize_t n = write(STDERR_FILENO, b.data, b.len);

    (void)n;
    errno = saved;
}

void log_err(enum log_level level, struct error *e, const char *msg)
{
    if (e == NULL)
        return;
    log_write(level, msg, "error", e->message, NULL);
    err_free(e);
}

void log_push(const char *key, const char *value)
{
    if (pushed_count < PUSHED_MAX) {
        pushed[pushed_count].key = key;
        pushed[pushed_count].value = value != NULL ? value : "";
    }
    pushed_count++;
}

void log_pop(void)
{
    assert(pushed_count > 0);
    pushed_count--;
}

struct log_context {
    size_t count;
    char *keys[PUSHED_MAX], *values[PUSHED_MAX];
};

struct log_context *log_context_copy(void)
{
    if (pushed_count == 0)
        return NULL;
    struct log_context *c = NEW(struct log_context);

    c->count = MIN(pushed_count, (size_t)PUSHED_MAX);
    for (size_t i = 0; i < c->count; i++) {
        c->keys[i] = xstrdup(pushed[i].key);
        c->values[i] = xstrdup(pushed[i].value);
    }
    return c;
}

void log_context_adopt(struct log_context *c)
{
    for (size_t i = 0; c != NULL && i < c->count; i++)
        log_push(c->keys[i], c->values[i]);
}

void log_context_drop(void)
{
    pushed_count = 0;
}

void log_context_free(struct log_context *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->count; i++) {
        free(c->keys[i]);
        free(c->values[i]);
    }
    free(c);
}
