/* SPDX-License-Identifier: Apache-2.0 */
/* decode.c - queries, bodies and filters in; JSON out */
#include "api/router.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/rune.h"
#include "oci/gojson.h"
#include "oci/gojson_decode.h"
#include "oci/image.h"

const char *api_param(const struct api_request *r, const char *name)
{
    const char *v = http_params_get(&r->params, name);

    assert(v != NULL);
    return v;
}

const char *api_query(const struct api_request *r, const char *name)
{
    return http_params_get(&r->http->request->query, name);
}

bool api_query_bool(const struct api_request *r, const char *name, bool absent)
{
    const char *v = api_query(r, name);
    CLEANUP(freep) char *low = NULL;

    if (v == NULL)
        return absent;
    low = str_lower(v);
    return !(streq(low, "") || streq(low, "0") || streq(low, "no") || streq(low, "false") ||
             streq(low, "none"));
}

struct error *api_query_int(const struct api_request *r, const char *name, int64_t absent, int64_t *ret)
{
    const char *v = api_query(r, name);

    *ret = absent;
    if (v == NULL || v[0] == '\0')
        return NULL;
    if (parse_i64(v, ret) < 0)
        return err_new(ERR_INVALID, "invalid value \"%s\" for query parameter %s: not a number", v, name);
    return NULL;
}

json_t *api_json_load(const char *text, size_t len, size_t flags, json_error_t *why)
{
    if (!json_too_deep(text, len))
        return json_loadb(text, len, flags, why);
    *why = (json_error_t){ .text = "nested too deep" };
    return NULL;
}

/* Why it is no JSON, in Go's words for one value of a stream. */
static struct error *syntax_error(const char *text, size_t len)
{
    CLEANUP(freep) char *why = go_json_syntax_error(text, len);

    if (why == NULL)
        return NULL;
    if (strspn(text, " \t\r\n") == len)
        return err_new(ERR_INVALID, "invalid JSON: got EOF while reading request body");
    if (streq(why, GO_JSON_CUT_SHORT))
        return err_new(ERR_INVALID, "invalid JSON: unexpected EOF");
    if (str_has_suffix(why, " after top-level value"))
        return err_new(ERR_INVALID, "unexpected content after JSON");
    return err_new(ERR_INVALID, "invalid JSON: %s", why);
}

static struct error *parse(const char *text, size_t len, const char *what, json_t **ret)
{
    json_error_t why;
    json_t *j;

    TRY(syntax_error(text, len));
    j = api_json_load(text, len, JSON_DECODE_ANY, &why);
    if (j == NULL)
        return err_new(ERR_INVALID, "invalid JSON in %s: %s", what, why.text);
    if (json_is_null(j)) { /* nothing is said: older clients send it where they have no settings */
        json_decref(j);
        j = json_object();
    }
    if (!json_is_object(j) && !json_is_array(j)) {
        json_decref(j);
        return err_new(ERR_INVALID, "invalid JSON in %s: an object is expected", what);
    }
    *ret = j;
    return NULL;
}

static struct error *check_content_type(const struct api_request *r)
{
    const char *type = http_header(r->http->request, "content-type");
    CLEANUP(freep) char *bare = NULL;

    if (type == NULL || *type == '\0')
        return err_new(ERR_INVALID, "malformed Content-Type header (): mime: no media type");
    bare = xstrndup(type, strcspn(type, "; \t"));
    if (str_equal_fold(bare, "application/json"))
        return NULL;
    return err_new(ERR_INVALID, "unsupported Content-Type header (%s): must be 'application/json'", type);
}

struct error *api_body_json(struct api_request *r, json_t **ret)
{
    CLEANUP(buf_deinit) struct buf body = { 0 };

    TRY(http_read_body(r->http, LIMIT_HTTP_JSON_BODY, &body));
    if (body.len == 0) {
        *ret = json_object();
        return NULL;
    }
    TRY(check_content_type(r));
    TRY(parse(body.data, body.len, "the request body", ret));
    if (!json_is_object(*ret)) {
        json_decref(*ret);
        *ret = NULL;
        return err_new(ERR_INVALID, "the request body must be a JSON object");
    }
    return NULL;
}

/* ---- filters
 * ----------------------------------------------------------------------------------------------------------------
 */

static void free_values(void *v)
{
    strv_deinit(v);
    free(v);
}

static struct error *add_filter(struct api_filters *f, const char *key, const json_t *values)
{
    struct strv *v = NEW(struct strv);
    const char *name;
    json_t *item;
    size_t i;

    map_set(&f->keys, key, v);
    if (json_is_array(values)) {
        json_array_foreach(values, i, item)
        {
            if (!json_is_string(item))
                return err_new(ERR_INVALID, "invalid filter '%s'", key);
            strv_add(v, json_string_value(item));
        }
        return NULL;
    }
    if (!json_is_object(values))
        return err_new(ERR_INVALID, "invalid filter '%s'", key);
    json_object_foreach((json_t *)values, name, item)
    {
        if (json_is_true(item))
            strv_add(v, name);
    }
    return NULL;
}

struct error *api_query_filters(const struct api_request *r, const char *const *allowed,
                                struct api_filters *ret)
{
    const char *text = api_query(r, "filters"), *key;
    struct error *e = NULL;
    json_error_t why;
    json_t *j, *values;

    ret->keys.free_value = free_values;
    if (text == NULL || text[0] == '\0')
        return NULL;
    if (!json_is_object(j = api_json_load(text, strlen(text), 0, &why))) {
        json_decref(j);
        return err_new(ERR_INVALID, "invalid filter");
    }
    json_object_foreach(j, key, values)
    {
        bool known = allowed == NULL;
        for (size_t i = 0; !known && allowed[i] != NULL; i++)
            known = streq(allowed[i], key);
        if (e == NULL && !known)
            e = err_new(ERR_INVALID, "invalid filter '%s'", key);
        if (e == NULL)
            e = add_filter(ret, key, values);
    }
    json_decref(j);
    return e;
}

void api_filters_deinit(struct api_filters *f)
{
    map_deinit(&f->keys);
}

const struct strv *api_filter(const struct api_filters *f, const char *key)
{
    return map_get(&f->keys, key);
}

struct error *api_auth_header(const struct api_request *r, const char *header, json_t **ret)
{
    const char *text = http_header(r->http->request, header);
    CLEANUP(buf_deinit) struct buf raw = { 0 };

    *ret = NULL;
    if (text == NULL || text[0] == '\0')
        return NULL;
    if (base64_decode(&raw, text, strlen(text)) < 0)
        return err_new(ERR_INVALID, "invalid %s header: not base64", header);
    if (raw.len == 0 || streq(raw.data, "null"))
        return NULL;
    return parse(raw.data, raw.len, header, ret);
}

/* ---- replies
 * ------------------------------------------------------------------------------------------------------------------
 */

struct error *api_reply_json(struct api_request *r, int status, json_t *j)
{
    CLEANUP(freep) char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
    CLEANUP(buf_deinit) struct buf line = { 0 };

    json_decref(j);
    if (text == NULL)
        return err_new(ERR_INTERNAL, "the answer cannot be encoded as JSON");
    buf_adds(&line, text);
    buf_addc(&line, '\n');
    return http_reply(r->http, status, "application/json", line.data, line.len);
}

struct error *api_reply_empty(struct api_request *r, int status)
{
    return http_reply(r->http, status, NULL, "", 0);
}

struct error *api_write_json_line(struct api_request *r, json_t *j)
{
    CLEANUP(freep) char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
    CLEANUP(buf_deinit) struct buf line = { 0 };

    json_decref(j);
    if (text == NULL)
        return err_new(ERR_INTERNAL, "a progress line cannot be encoded as JSON");
    if (r->http->status == 0) {
        http_set_header(r->http, "Content-Type", "application/json");
        TRY(http_start(r->http, 200, -1));
    }
    buf_addf(&line, "%s\r\n", text);
    return http_write(r->http, line.data, line.len);
}

struct error *api_stream_error(struct api_request *r, struct error *e)
{
    CLEANUP(err_freep) struct error *cause = e;

    if (e == NULL || r->http->status == 0)
        return TAKE(cause);
    return api_write_json_line(r, json_pack("{s:o, s:{s:o}}", "error", go_json_text(e->message),
                                            "errorDetail", "message", go_json_text(e->message)));
}

json_t *api_json_strmap(const struct map *m)
{
    json_t *j = json_object();

    for (size_t i = 0; i < m->len; i++)
        json_object_set_new(j, m->entries[i].key, json_string(m->entries[i].value));
    return j;
}
