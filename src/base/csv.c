/* SPDX-License-Identifier: Apache-2.0 */
#include "base/csv.h"

#include "base/buf.h"

static struct error *quote_error(size_t index, const char *what)
{
    return err_new(ERR_INVALID, "parse error on line 1, column %zu: %s", index + 1, what);
}

/* Behind the opening quote at s[*pos - 1]; afterwards *pos stands at the comma or the end. */
static struct error *quoted_field(const char *s, size_t len, size_t *pos, struct buf *out)
{
    for (;;) {
        const char *quote = memchr(s + *pos, '"', len - *pos);
        if (quote == NULL)
            return quote_error(*pos, "extraneous or missing \" in quoted-field");
        size_t at = (size_t)(quote - s);
        buf_add(out, s + *pos, at - *pos);
        *pos = at + 1;
        if (*pos == len || s[*pos] == ',')
            return NULL;
        if (s[*pos] != '"')
            return quote_error(at, "extraneous or missing \" in quoted-field");
        buf_addc(out, '"');
        ++*pos;
    }
}

static struct error *plain_field(const char *s, size_t len, size_t *pos, struct buf *out)
{
    const char *comma = memchr(s + *pos, ',', len - *pos);
    size_t end = comma != NULL ? (size_t)(comma - s) : len;
    const char *quote = memchr(s + *pos, '"', end - *pos);

    if (quote != NULL)
        return quote_error((size_t)(quote - s), "bare \" in non-quoted-field");
    buf_add(out, s + *pos, end - *pos);
    *pos = end;
    return NULL;
}

struct error *csv_fields(const char *line, struct strv *ret)
{
    size_t len = strlen(line), pos = 0;

    if (len > 0 && line[len - 1] == '\n')
        len -= len > 1 && line[len - 2] == '\r' ? 2 : 1;
    if (len == 0)
        return err_new(ERR_INVALID, "EOF");
    for (;; pos++) {
        struct buf field = { 0 };
        bool quoted = pos < len && line[pos] == '"';
        pos += quoted;
        struct error *e =
            quoted ? quoted_field(line, len, &pos, &field) : plain_field(line, len, &pos, &field);
        if (e != NULL) {
            buf_deinit(&field);
            return e;
        }
        strv_take(ret, buf_take(&field));
        if (pos == len)
            return NULL;
    }
}
