/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/challenge.h"

#include <strings.h>

#include "base/buf.h"

void challenge_deinit(struct challenge *c)
{
    free(c->realm);
    free(c->service);
    free(c->scope);
    free(c->error);
    *c = (struct challenge){ 0 };
}

static bool is_token(char ch)
{
    return (ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
           (ch != '\0' && strchr("!#$%&'*+-.^_`|~", ch) != NULL);
}

static size_t token_length(const char *p)
{
    size_t n = 0;

    while (is_token(p[n]))
        n++;
    return n;
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

/* A token or a quoted string at *p; moves *p behind it. */
static void read_value(const char **p, struct buf *value)
{
    const char *s = *p;

    if (*s != '"') {
        size_t n = token_length(s);

        buf_add(value, s, n);
        *p = s + n;
        return;
    }
    for (s++; *s != '\0' && *s != '"'; s++) {
        if (*s == '\\' && s[1] != '\0')
            s++;
        buf_addc(value, *s);
    }
    *p = *s == '"' ? s + 1 : s;
}

static void set_param(struct challenge *c, const char *name, size_t len, const char *value)
{
    static const struct {
        const char *name;
        size_t offset;
    } fields[] = {
        { "realm", offsetof(struct challenge, realm) },
        { "service", offsetof(struct challenge, service) },
        { "scope", offsetof(struct challenge, scope) },
        { "error", offsetof(struct challenge, error) },
    };

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (strlen(fields[i].name) != len || strncasecmp(fields[i].name, name, len) != 0)
            continue;
        char **slot = (char **)((char *)c + fields[i].offset);

        free(*slot);
        *slot = xstrdup(value);
    }
}

static enum challenge_scheme scheme_of(const char *name, size_t len)
{
    if (len == 5 && strncasecmp(name, "basic", 5) == 0)
        return CHALLENGE_BASIC;
    if (len == 6 && strncasecmp(name, "bearer", 6) == 0)
        return CHALLENGE_BEARER;
    return CHALLENGE_NONE;
}

static void keep_better(struct challenge *best, struct challenge *candidate)
{
    if (candidate->scheme > best->scheme) {
        challenge_deinit(best);
        *best = *candidate;
        *candidate = (struct challenge){ 0 };
    }
    challenge_deinit(candidate);
}

void challenge_parse(const char *header, struct challenge *c)
{
    struct challenge current = { 0 };
    const char *p = header;

    while (*(p += strspn(p, " \t,")) != '\0') {
        size_t len = token_length(p);

        if (len == 0) {
            p++;
            continue;
        }
        const char *name = p;
        const char *after = skip_blanks(p + len);

        /* a token with '=' behind it is a parameter; any other starts a new challenge */
        if (*after != '=') {
            keep_better(c, &current);
            current.scheme = scheme_of(name, len);
            p += len;
            continue;
        }
        struct buf value = { 0 };

        p = skip_blanks(after + 1);
        read_value(&p, &value);
        set_param(&current, name, len, buf_str(&value));
        buf_deinit(&value);
    }
    keep_better(c, &current);
}
