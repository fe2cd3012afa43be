/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http1_parse.c - request heads: no reading here, so that tests and fuzzers can feed it
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "wire/http1_impl.h"

#include <ctype.h>
#include <stdio.h>

/* ---- parameters
 * -------------------------------------------------------------------------------------------------------- */

void http_params_deinit(struct http_params *p)
{
    for (size_t i = 0; i < p->len; i++) {
        free(p->v[i].key);
        free(p->v[i].value);
    }
    free(p->v);
    *p = (struct http_params){ 0 };
}

static void params_take(struct http_params *p, char *key, char *value)
{
    if (p->len == p->cap) {
        p->cap = p->cap == 0 ? 8 : p->cap * 2;
        p->v = xreallocarray(p->v, p->cap, sizeof(*p->v));
    }
    p->v[p->len++] = (struct http_param){ .key = key, .value = value };
}

void http_params_add(struct http_params *p, const char *key, const char *value)
{
    params_take(p, xstrdup(key), xstrdup(value));
}

const char *http_params_get(const struct http_params *p, const char *key)
{
    for (size_t i = 0; i < p->len; i++)
        if (streq(p->v[i].key, key))
            return p->v[i].value;
    return NULL;
}

void http_params_all(const struct http_params *p, const char *key, struct strv *out)
{
    for (size_t i = 0; i < p->len; i++)
        if (streq(p->v[i].key, key))
            strv_add(out, p->v[i].value);
}

/* Decoded copy, or NULL for a bad escape or a NUL. */
static char *percent_decode(const char *s, size_t len, bool plus_is_space)
{
    char *out = xmalloc(len + 1);
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        int c = (unsigned char)s[i];

        if (c == '%') {
            int high = i + 2 < len ? hex_digit(s[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(s[i + 2]) : -1;

            c = low >= 0 ? high * 16 + low : -1;
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c <= 0) {
            free(out);
            return NULL;
        }
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return out;
}

void http_params_parse_query(struct http_params *p, const char *query)
{
    while (*query != '\0') {
        size_t len = strcspn(query, "&"), key_len = MIN(strcspn(query, "="), len);

        if (len > 0 && memchr(query, ';', len) == NULL) {
            char *key = percent_decode(query, key_len, true);
            char *value =
                key_len < len ? percent_decode(query + key_len + 1, len - key_len - 1, true) : xstrdup("");

            if (key != NULL && value != NULL) {
                params_take(p, TAKE(key), TAKE(value));
            }
            free(key);
            free(value);
        }
        query += len + (query[len] == '&');
    }
}

const char *http_header(const struct http_request *r, const char *name)
{
    return http_params_get(&r->headers, name);
}

bool http_header_has(const struct http_request *r, const char *name, const char *token)
{
    size_t want = strlen(token);

    for (size_t i = 0; i < r->headers.len; i++) {
        if (!streq(r->headers.v[i].key, name))
            continue;
        for (const char *p = r->headers.v[i].value; *p != '\0';) {
            size_t len = strcspn(p, ","), used = len;

            while (used > 0 && (p[used - 1] == ' ' || p[used - 1] == '\t'))
                used--;
            if (used == want && strncasecmp(p, token, want) == 0)
                return true;
            p += len + (p[len] == ',');
            p += strspn(p, " \t");
        }
    }
    return false;
}

void http_request_deinit(struct http_request *r)
{
    free(r->method);
    free(r->target);
    free(r->path);
    free(r->raw_path);
    free(r->host);
    http_params_deinit(&r->query);
    http_params_deinit(&r->headers);
}

/* ---- characters
 * -------------------------------------------------------------------------------------------------------- */

static bool is_token_char(char c)
{
    return isalnum((unsigned char)c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((signed char)s[i] < 0 || !is_token_char(s[i]))
            return false;
    return len > 0;
}

static bool is_field_value(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7f)
            return false;
    return true;
}

static bool is_host(const char *s)
{
    for (; *s != '\0'; s++)
        if ((signed char)*s < 0 || (!isalnum((unsigned char)*s) && strchr("!$%&'()*+,-.:;=[]_~", *s) == NULL))
            return false;
    return true;
}

bool http_field_valid(const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);

    return colon != NULL && is_token(line, (size_t)(colon - line)) &&
           is_field_value(colon + 1, len - (size_t)(colon + 1 - line));
}

int64_t http_chunk_size(const char *line, size_t len)
{
    int64_t size = 0;
    size_t i = 0;

    for (; i < len && hex_digit(line[i]) >= 0; i++) {
        if (i >= 15)
            return -1;
        size = size * 16 + hex_digit(line[i]);
    }
    if (i == 0 || (i < len && line[i] != ';') || !is_field_value(line + i, len - i))
        return -1;
    return size;
}

/* ---- head
 * --------------------------------------------------------------------------------------------------------------
 */

ssize_t http_head_length(const char *data, size_t len, size_t *scanned)
{
    for (size_t i = *scanned; i < len; i++) {
        if (data[i] != '\n')
            continue;
        if (i == 0 || data[i - 1] != '\r')
            return -1;
        if (i >= 3 && data[i - 2] == '\n')
            return (ssize_t)i + 1;
        if (i == 1)
            return -1; /* an empty request line */
    }
    *scanned = len;
    return 0;
}

static bool refuse(struct http_refusal *why, int status, const char *text)
{
    *why = (struct http_refusal){ .status = status, .text = text };
    return false;
}

/* "host:port" of CONNECT (RFC 9110 9.3.6). */
static bool parse_authority(struct http_request *r, struct http_refusal *why)
{
    if (!is_host(r->target) || strchr(r->target, ':') == NULL)
        return refuse(why, 400, "invalid request target");
    r->host = xstrdup(r->target);
    r->raw_path = xstrdup("*");
    r->path = xstrdup("*");
    return true;
}

/* "/path?query", or "http://host/path?query" as it is sent to a proxy. */
static bool parse_target(struct http_request *r, struct http_refusal *why)
{
    const char *t = r->target;
    const char *rest = str_skip_prefix(t, "http://");

    if (streq(r->method, "CONNECT"))
        return parse_authority(r, why);
    if (rest == NULL)
        rest = str_skip_prefix(t, "https://");

    for (const char *p = t; *p != '\0'; p++)
        if (*p <= 0x20 || *p >= 0x7f || *p == '#')
            return refuse(why, 400, "invalid request target");
    if (rest != NULL) {
        size_t len = strcspn(rest, "/?");

        r->host = xstrndup(rest, len);
        t = rest[len] == '\0' ? "/" : rest + len;
        if (*t != '/')
            return refuse(why, 400, "invalid request target");
    } else if (streq(t, "*") && streq(r->method, "OPTIONS")) {
        r->raw_path = xstrdup("*");
        r->path = xstrdup("*");
        return true;
    } else if (*t != '/') {
        return refuse(why, 400, "invalid request target");
    }
    size_t len = strcspn(t, "?");

    r->raw_path = xstrndup(t, len);
    r->path = percent_decode(t, len, false);
    if (r->path == NULL)
        return refuse(why, 400, "invalid URL escape");
    if (t[len] == '?')
        http_params_parse_query(&r->query, t + len + 1);
    return true;
}

static bool parse_request_line(const char *line, size_t len, struct http_request *r, struct http_refusal *why)
{
    const char *sp1 = memchr(line, ' ', len);
    const char *sp2 = sp1 != NULL ? memchr(sp1 + 1, ' ', len - (size_t)(sp1 + 1 - line)) : NULL;

    if (sp2 == NULL || !is_token(line, (size_t)(sp1 - line)) || sp2 == sp1 + 1)
        return refuse(why, 400, "malformed request line");
    size_t version_len = len - (size_t)(sp2 + 1 - line);

    if (version_len != 8 || memcmp(sp2 + 1, "HTTP/", 5) != 0 || !isdigit((unsigned char)sp2[6]) ||
        sp2[7] != '.' || !isdigit((unsigned char)sp2[8]))
        return refuse(why, 400, "malformed HTTP version");
    if (memcmp(sp2 + 1, "HTTP/1.1", 8) != 0 && memcmp(sp2 + 1, "HTTP/1.0", 8) != 0)
        return refuse(why, 505, "unsupported protocol version");
    if (memchr(line, '\0', len) != NULL)
        return refuse(why, 400, "malformed request line");
    r->http_1_0 = sp2[8] == '0';
    r->method = xstrndup(line, (size_t)(sp1 - line));
    r->target = xstrndup(sp1 + 1, (size_t)(sp2 - sp1 - 1));
    return parse_target(r, why);
}

static bool parse_field(const char *line, size_t len, struct http_request *r, struct http_refusal *why)
{
    if (r->headers.len >= LIMIT_HTTP_HEADERS)
        return refuse(why, 431, "too many header fields");
    if (len > 0 && (line[0] == ' ' || line[0] == '\t'))
        return refuse(why, 400, "folded header line");
    if (!http_field_valid(line, len))
        return refuse(why, 400, "malformed header field");
    size_t name_len = (size_t)((const char *)memchr(line, ':', len) - line);
    const char *value = line + name_len + 1, *end = line + len;
    CLEANUP(freep) char *name = xstrndup(line, name_len);

    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    params_take(&r->headers, str_lower(name), xstrndup(value, (size_t)(end - value)));
    return true;
}

static size_t count_fields(const struct http_request *r, const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < r->headers.len; i++)
        n += streq(r->headers.v[i].key, name);
    return n;
}

static bool parse_length(struct http_request *r, bool *ret_chunked, struct http_refusal *why)
{
    const char *length = http_header(r, "content-length"), *coding = http_header(r, "transfer-encoding");
    uint64_t n = 0;

    *ret_chunked = false;
    r->content_length = -1;
    if (count_fields(r, "content-length") > 1 || count_fields(r, "transfer-encoding") > 1)
        return refuse(why, 400, "more than one body length");
    if (length != NULL && coding != NULL)
        return refuse(why, 400, "both Content-Length and Transfer-Encoding");
    if (coding != NULL) {
        if (r->http_1_0)
            return refuse(why, 400, "Transfer-Encoding in HTTP/1.0");
        if (strcasecmp(coding, "chunked") != 0)
            return refuse(why, 501, "unsupported transfer encoding");
        *ret_chunked = true;
        r->has_body = true;
    }
    if (length != NULL) {
        if (!isdigit((unsigned char)length[0]) || parse_u64(length, &n) < 0 || n > INT64_MAX)
            return refuse(why, 400, "malformed Content-Length");
        r->content_length = (int64_t)n;
        r->has_body = n > 0;
    }
    return true;
}

static bool parse_host(struct http_request *r, struct http_refusal *why)
{
    const char *host = http_header(r, "host");

    if (count_fields(r, "host") > 1)
        return refuse(why, 400, "too many Host headers");
    if (host == NULL && !r->http_1_0)
        return refuse(why, 400, "missing required Host header");
    if (host != NULL && !is_host(host))
        return refuse(why, 400, "malformed Host header");
    if (r->host == NULL)
        r->host = xstrdup(host != NULL ? host : "");
    return true;
}

bool http_parse_head(char *head, size_t len, struct http_request *r, bool *ret_chunked,
                     struct http_refusal *why)
{
    const char *p = head, *end = head + len - 2; /* without the empty line */
    bool first = true;

    while (p < end) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));

        if (eol == NULL || eol == p || eol[-1] != '\r')
            return refuse(why, 400, "malformed line end");
        size_t line_len = (size_t)(eol - 1 - p);

        if (memchr(p, '\r', line_len) != NULL)
            return refuse(why, 400, "malformed line end");
        if (!(first ? parse_request_line(p, line_len, r, why) : parse_field(p, line_len, r, why)))
            return false;
        first = false;
        p = eol + 1;
    }
    if (first)
        return refuse(why, 400, "malformed request line");
    return parse_host(r, why) && parse_length(r, ret_chunked, why);
}

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } table[] = {
        { 100, "Continue" },
        { 101, "Switching Protocols" },
        { 200, "OK" },
        { 201, "Created" },
        { 202, "Accepted" },
        { 204, "No Content" },
        { 206, "Partial Content" },
        { 301, "Moved Permanently" },
        { 302, "Found" },
        { 304, "Not Modified" },
        { 307, "Temporary Redirect" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 406, "Not Acceptable" },
        { 408, "Request Timeout" },
        { 409, "Conflict" },
        { 411, "Length Required" },
        { 413, "Request Entity Too Large" },
        { 415, "Unsupported Media Type" },
        { 416, "Requested Range Not Satisfiable" },
        { 417, "Expectation Failed" },
        { 426, "Upgrade Required" },
        { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" },
        { 499, "Client Closed Request" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 502, "Bad Gateway" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
        { 505, "HTTP Version Not Supported" },
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].status == status)
            return table[i].text;
    return "Unknown";
}
