/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/directive.h"

#include <jansson.h>

#include "base/limits.h"
#include "base/rune.h"

static const char *const known[] = { "syntax", "escape", "check" };

void directive_deinit(struct directive *d)
{
    free(d->name);
    free(d->value);
    *d = (struct directive){ 0 };
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r';
}

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* "name = value" to index of the name and the value; -1 when the line is nothing like that or the name is
 * unknown. */
static int split_line(const char *s, size_t len, const char **ret_value, size_t *ret_len)
{
    size_t i = 0, name;

    while (i < len && (is_alpha(s[i]) || (i > 0 && s[i] >= '0' && s[i] <= '9')))
        i++;
    name = i;
    while (i < len && is_blank(s[i]))
        i++;
    if (name == 0 || i == len || s[i] != '=')
        return -1;
    size_t start = ++i;
    while (i < len && is_blank(s[i]))
        i++;
    size_t end = len;
    while (end > i && is_blank(s[end - 1]))
        end--;
    if (i == end) { /* only blanks: the last one is the value */
        if (i == start)
            return -1;
        i = len - 1;
        end = len;
    }
    *ret_value = s + i;
    *ret_len = end - i;
    for (size_t k = 0; k < ARRAY_LEN(known); k++) {
        if (strlen(known[k]) == name && strncasecmp(known[k], s, name) == 0)
            return (int)k;
    }
    return -1;
}

struct error *directive_read(struct directive_reader *r, const char *line, size_t len, struct directive *ret,
                             bool *ret_found)
{
    const char *comment = r->comment != NULL ? r->comment : "#", *value;
    size_t comment_len = strlen(comment), value_len;

    *ret_found = false;
    r->line++;
    if (r->done)
        return NULL;
    r->done = true;
    if (len < comment_len || memcmp(line, comment, comment_len) != 0)
        return NULL;
    size_t skip = comment_len + str_skip_space(line + comment_len, len - comment_len);
    int k = split_line(line + skip, len - skip, &value, &value_len);
    if (k < 0)
        return NULL;
    r->done = false;
    if (r->seen & 1u << k)
        return err_new(ERR_INVALID, "only one %s parser directive can be used", known[k]);
    r->seen |= 1u << k;
    ret->name = xstrdup(known[k]);
    ret->value = xstrndup(value, value_len);
    ret->lines = (struct df_lines){ r->line, r->line };
    *ret_found = true;
    return NULL;
}

/* The next line of a text without its end; false when there is none or it is overlong. */
static bool next_line(const char **s, size_t *len, const char **ret_line, size_t *ret_len)
{
    const char *end = memchr(*s, '\n', *len);
    size_t n = end != NULL ? (size_t)(end - *s) : *len;
    size_t used = end != NULL ? n + 1 : n;

    if (*len == 0 || n >= LIMIT_DOCKERFILE_LINE)
        return false;
    *ret_line = *s;
    *ret_len = n > 0 && (*s)[n - 1] == '\r' ? n - 1 : n;
    *s += used;
    *len -= used;
    return true;
}

static bool find_in_comments(const char *name, const char *comment, int lines_before, const char *data,
                             size_t len, struct directive *ret)
{
    struct directive_reader r = { .comment = comment, .line = lines_before };
    const char *line;
    size_t line_len;

    while (!r.done && next_line(&data, &len, &line, &line_len)) {
        struct directive d = { 0 };
        bool found;
        struct error *e = directive_read(&r, line, line_len, &d, &found);
        if (e != NULL) {
            err_free(e); /* whoever parses the file tells */
            return false;
        }
        if (found && streq(d.name, name)) {
            *ret = d;
            return true;
        }
        directive_deinit(&d);
    }
    return false;
}

/* The JSON library recurses; how deep the text would take it is seen from its brackets. */
static bool nests_deeper(const char *s, size_t len, int limit)
{
    bool quoted = false;
    int depth = 0;

    for (size_t i = 0; i < len; i++) {
        if (quoted && s[i] == '\\')
            i++;
        else if (s[i] == '"')
            quoted = !quoted;
        else if (!quoted && (s[i] == '[' || s[i] == '{') && ++depth > limit)
            return true;
        else if (!quoted && (s[i] == ']' || s[i] == '}'))
            depth--;
    }
    return false;
}

static bool find_in_json(const char *name, int line, const char *data, size_t len, struct directive *ret)
{
    size_t blank = str_skip_space(data, len);

    if (blank == len || data[blank] != '{' || len > LIMIT_CONTROL_FILE ||
        nests_deeper(data, len, LIMIT_JSON_DEPTH))
        return false;
    json_t *root = json_loadb(data, len, 0, NULL);
    const char *value = json_string_value(json_object_get(root, name));

    if (value != NULL)
        *ret = (struct directive){ xstrdup(name), xstrdup(value), { line, line } };
    json_decref(root);
    return value != NULL;
}

/* Skip what may stand before the directives; answers how many lines that was. */
static int skip_preamble(const char **data, size_t *len)
{
    if (*len >= 3 && memcmp(*data, "\xef\xbb\xbf", 3) == 0) {
        *data += 3;
        *len -= 3;
    }
    if (*len < 2 || memcmp(*data, "#!", 2) != 0)
        return 0;
    const char *end = memchr(*data, '\n', *len);
    size_t skip = end != NULL ? (size_t)(end + 1 - *data) : *len;
    *data += skip;
    *len -= skip;
    return 1;
}

static void first_word(const struct directive *d, char **ret)
{
    if (ret != NULL)
        *ret = xstrndup(d->value, strcspn(d->value, " "));
}

bool directive_find(const char *name, const char *data, size_t len, char **ret_first, struct directive *ret)
{
    int lines = skip_preamble(&data, &len);

    if (!find_in_comments(name, "#", lines, data, len, ret))
        return false;
    first_word(ret, ret_first);
    return true;
}

bool directive_detect_syntax(const char *data, size_t len, char **ret_ref, struct directive *ret)
{
    int lines = skip_preamble(&data, &len);

    if (find_in_comments("syntax", "#", lines, data, len, ret) ||
        find_in_comments("syntax", "//", lines, data, len, ret)) {
        first_word(ret, ret_ref);
        return true;
    }
    if (!find_in_json("syntax", lines, data, len, ret))
        return false;
    if (ret_ref != NULL)
        *ret_ref = xstrdup(ret->value);
    return true;
}
