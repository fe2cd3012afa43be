/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc_fields.c - metadata, timeouts and status as header fields
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "wire/grpc_impl.h"

#include <errno.h>

#define CUT "..." /* stands where a long text was cut */

/* ---- metadata
 * ----------------------------------------------------------------------------------------------------------
 */

void rpc_md_deinit(struct rpc_md *md)
{
    for (size_t i = 0; i < md->len; i++) {
        free(md->v[i].key);
        free(md->v[i].value);
    }
    free(md->v);
    *md = (struct rpc_md){ 0 };
}

void rpc_md_add_bin(struct rpc_md *md, const char *key, const void *value, size_t len)
{
    if (md->len == md->cap) {
        md->cap = md->cap == 0 ? 8 : md->cap * 2;
        md->v = xreallocarray(md->v, md->cap, sizeof(*md->v));
    }
    md->v[md->len++] =
        (struct rpc_md_entry){ .key = str_lower(key), .value = xmemdup(value, len), .len = len };
}

void rpc_md_add(struct rpc_md *md, const char *key, const char *value)
{
    rpc_md_add_bin(md, key, value, strlen(value));
}

const char *rpc_md_get(const struct rpc_md *md, const char *key)
{
    for (size_t i = 0; i < md->len; i++)
        if (streq(md->v[i].key, key))
            return md->v[i].value;
    return NULL;
}

void rpc_md_all(const struct rpc_md *md, const char *key, struct strv *out)
{
    for (size_t i = 0; i < md->len; i++)
        if (streq(md->v[i].key, key))
            strv_add(out, md->v[i].value);
}

static bool is_binary_key(const char *key)
{
    return str_has_suffix(key, "-bin");
}

static bool is_reserved(const char *name)
{
    return name[0] == ':' || streq(name, "te") || str_has_prefix(name, "grpc-");
}

void rpc_md_from_fields(struct rpc_md *md, const struct h2_fields *f)
{
    for (size_t i = 0; i < f->len; i++) {
        const char *name = f->v[i].name, *value = f->v[i].value;
        CLEANUP(buf_deinit) struct buf raw = { 0 };

        if (is_reserved(name))
            continue;
        if (!is_binary_key(name))
            rpc_md_add(md, name, value);
        else if (base64_decode(&raw, value, strlen(value)) == 0)
            rpc_md_add_bin(md, name, buf_str(&raw), raw.len);
    }
}

static void add_base64(struct h2_fields *f, const char *name, const void *data, size_t len)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    base64_encode(&text, data, len);
    while (text.len > 0 && text.data[text.len - 1] == '=')
        buf_truncate(&text, text.len - 1);
    h2_fields_add(f, name, buf_str(&text));
}

void rpc_md_to_fields(const struct rpc_md *md, struct h2_fields *f)
{
    for (size_t i = 0; i < md->len; i++) {
        const struct rpc_md_entry *e = &md->v[i];

        if (is_binary_key(e->key)) {
            add_base64(f, e->key, e->value, e->len);
            continue;
        }
        CLEANUP(freep) char *clean = xstrdup(e->value);

        for (char *p = clean; *p != '\0'; p++)
            if (*p < 0x20 || *p > 0x7e)
                *p = '?';
        h2_fields_add(f, e->key, clean);
    }
}

/* ---- timeouts
 * ----------------------------------------------------------------------------------------------------------
 */

int rpc_parse_timeout(const char *s, int64_t *ret_ns)
{
    size_t len = strlen(s);
    int64_t n = 0, unit;

    if (len < 2 || len > 9)
        return -EINVAL;
    for (size_t i = 0; i < len - 1; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -EINVAL;
        n = n * 10 + (s[i] - '0');
    }
    switch (s[len - 1]) {
    case 'H':
        unit = 3600 * NS_PER_SEC;
        break;
    case 'M':
        unit = 60 * NS_PER_SEC;
        break;
    case 'S':
        unit = NS_PER_SEC;
        break;
    case 'm':
        unit = NS_PER_MS;
        break;
    case 'u':
        unit = 1000;
        break;
    case 'n':
        unit = 1;
        break;
    default:
        return -EINVAL;
    }
    *ret_ns = n > INT64_MAX / 2 / unit ? INT64_MAX / 2 : n * unit;
    return 0;
}

/* ---- status
 * ------------------------------------------------------------------------------------------------------------
 */

/* How much of a text is sent: all, or whole characters up to the limit. */
static size_t sent_length(const char *message)
{
    size_t len = strnlen(message, LIMIT_GRPC_STATUS_TEXT + 1);

    if (len <= LIMIT_GRPC_STATUS_TEXT)
        return len;
    for (len = LIMIT_GRPC_STATUS_TEXT - strlen(CUT); len > 0 && ((unsigned char)message[len] & 0xc0) == 0x80;)
        len--;
    return len;
}

static void add_message(struct h2_fields *f, const char *message)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    const unsigned char *end = (const unsigned char *)message + sent_length(message);

    for (const unsigned char *p = (const unsigned char *)message; p < end; p++)
        if (*p < 0x20 || *p > 0x7e || *p == '%')
            buf_addf(&text, "%%%02X", *p);
        else
            buf_addc(&text, (char)*p);
    if (*end != '\0')
        buf_adds(&text, CUT);
    h2_fields_add(f, "grpc-message", buf_str(&text));
}

void rpc_status_to_fields(const struct error *e, struct h2_fields *f)
{
    char code[16];

    if (e == NULL) {
        h2_fields_add(f, "grpc-status", "0");
        return;
    }
    snprintf(code, sizeof(code), "%d", err_grpc_code(e->kind));
    h2_fields_add(f, "grpc-status", code);
    add_message(f, e->message != NULL ? e->message : "");
    if (e->detail_count == 0)
        return;
    struct pb_arena arena = { 0 };
    CLEANUP(buf_deinit) struct buf packed = { 0 };

    pb_pack(&pb_from_error(&arena, e)->base, &packed);
    pb_arena_deinit(&arena);
    if (packed.len <= LIMIT_GRPC_TRAILERS / 2)
        add_base64(f, "grpc-status-details-bin", packed.data, packed.len);
}

static char *decode_message(const char *s)
{
    struct buf text = { 0 };

    for (; *s != '\0'; s++)
        if (*s == '%' && hex_digit(s[1]) >= 0 && hex_digit(s[2]) >= 0) {
            int c = hex_digit(s[1]) * 16 + hex_digit(s[2]);

            buf_addc(&text, c != 0 ? (char)c : '?');
            s += 2;
        } else {
            buf_addc(&text, *s);
        }
    return buf_take(&text);
}

static struct error *decode_details(const char *text)
{
    CLEANUP(buf_deinit) struct buf raw = { 0 };
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Rpc__Status *status = NULL;

    if (base64_decode(&raw, text, strlen(text)) < 0)
        return NULL;
    struct error *e = pb_unpack(&rpc__status__descriptor, raw.data, raw.len, &arena, &status);

    if (e != NULL) { /* a broken detail must not hide the status itself */
        err_free(e);
        return NULL;
    }
    return pb_to_error(status);
}

struct error *rpc_status_from_fields(const struct h2_fields *f)
{
    const char *code_text = h2_fields_get(f, "grpc-status"), *message = h2_fields_get(f, "grpc-message");
    const char *details = h2_fields_get(f, "grpc-status-details-bin");
    int64_t code;

    if (code_text == NULL || parse_i64(code_text, &code) < 0)
        return err_new(ERR_INTERNAL, "malformed grpc-status: \"%s\"", code_text != NULL ? code_text : "");
    if (code == 0)
        return NULL;
    CLEANUP(err_freep) struct error *full = details != NULL ? decode_details(details) : NULL;

    if (full != NULL && err_grpc_code(full->kind) == code)
        return TAKE(full);
    CLEANUP(freep) char *text = message != NULL ? decode_message(message) : xstrdup("");

    return err_new(err_kind_from_grpc((int)MIN(code, INT64_C(1000))), "%s", text);
}
