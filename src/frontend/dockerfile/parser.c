/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/parser.h"

#include "base/limits.h"
#include "base/rune.h"
#include "frontend/dockerfile/directive.h"
#include "frontend/dockerfile/lint.h"
#include "frontend/dockerfile/node.h"

struct parser {
    struct arena *mem;
    const char *data;
    size_t len;
    bool too_long; /* stopped at an overlong line */
    int line;      /* lines read */
    char escape;
    struct directive_reader directives;
    struct strv comments; /* directly above what comes next */
    struct buf text;      /* the logical line at hand */
    struct df_ast *ast;
};

/* A physical line as it stands, its end included.  Borrowed from the file. */
struct text {
    const char *s;
    size_t len;
};

/* An overlong line ends the file for whoever meets it; who asks again gets what fits of it, then nothing. */
static bool next_line(struct parser *p, struct text *ret)
{
    if (p->len == 0)
        return false;
    if (p->too_long) {
        *ret = (struct text){ p->data, MIN(p->len, LIMIT_DOCKERFILE_LINE) };
        p->len = 0;
        return true;
    }
    const char *end = memchr(p->data, '\n', p->len);
    size_t n = end != NULL ? (size_t)(end - p->data) : p->len;
    p->too_long = n >= LIMIT_DOCKERFILE_LINE;
    if (p->too_long)
        return false;
    *ret = (struct text){ p->data, end != NULL ? n + 1 : n };
    p->data += ret->len;
    p->len -= ret->len;
    return true;
}

static struct text trim_newline(struct text t)
{
    while (t.len > 0 && (t.s[t.len - 1] == '\n' || t.s[t.len - 1] == '\r'))
        t.len--;
    return t;
}

static struct text trim_left(struct text t)
{
    size_t skip = str_skip_space(t.s, t.len);

    return (struct text){ t.s + skip, t.len - skip };
}

static bool is_comment(struct text t)
{
    t = trim_left(t);
    return t.len > 0 && t.s[0] == '#';
}

/* Cut a continuation mark: the escape character, not itself escaped, with nothing but blanks behind it. */
static bool cut_continuation(const struct parser *p, struct text *t)
{
    size_t n = t->len;

    while (n > 0 && (t->s[n - 1] == ' ' || t->s[n - 1] == '\t'))
        n--;
    if (n == 0 || t->s[n - 1] != p->escape || (n > 1 && t->s[n - 2] == p->escape))
        return false;
    t->len = n - 1;
    return true;
}

static struct error *set_escape(struct parser *p, const char *value)
{
    if (!streq(value, "`") && !streq(value, "\\"))
        return err_new(ERR_INVALID, "invalid escape token '%s' does not match ` or \\", value);
    p->escape = value[0];
    return NULL;
}

/* Line end off, directives heeded, comments emptied. */
static struct error *process_line(struct parser *p, struct text *t, bool *ret_directive)
{
    struct directive d = { 0 };
    struct error *e = directive_read(&p->directives, t->s, t->len, &d, ret_directive);

    if (e == NULL && *ret_directive && streq(d.name, "escape"))
        e = set_escape(p, d.value);
    directive_deinit(&d);
    if (is_comment(*t))
        t->len = 0;
    return df_error_at(e, (struct df_lines){ p->line, p->line });
}

static void remember_comment(struct parser *p, struct text t)
{
    size_t len;
    const char *s = str_trim_space(t.s + 1, t.len - 1, &len);

    if (len == 0)
        p->comments.len = 0;
    else
        arena_strv_add(p->mem, &p->comments, arena_strn(p->mem, s, len));
}

static void warn_empty_continuation(struct parser *p, const struct buf *line)
{
    struct df_ast *a = p->ast;
    struct df_warning *w;

    a->warnings = arena_grow(p->mem, a->warnings, a->warning_count, sizeof(*a->warnings));
    w = &a->warnings[a->warning_count++];
    w->text = arena_strf(p->mem, "Empty continuation line found in: %s", buf_str(line));
    w->detail = lint_rule_info(LINT_NO_EMPTY_CONTINUATION)->description;
    w->url = lint_rule_info(LINT_NO_EMPTY_CONTINUATION)->url;
    w->lines = (struct df_lines){ p->line, p->line };
}

/* The lines that continue the first one.  Comments among them vanish; empty ones do too, with a warning. */
static struct error *join_continuations(struct parser *p, struct buf *line)
{
    bool continued = true, empty = false, directive;
    struct text t;

    while (continued && next_line(p, &t)) {
        bool comment = is_comment(t);
        t = trim_newline(t);
        TRY(process_line(p, &t, &directive));
        p->line++;
        if (comment)
            continue;
        if (trim_left(t).len == 0) {
            empty = true;
            continue;
        }
        continued = cut_continuation(p, &t);
        buf_add(line, t.s, t.len);
    }
    if (empty)
        warn_empty_continuation(p, line);
    return NULL;
}

static struct error *read_heredoc(struct parser *p, struct df_heredoc *h)
{
    const char *start = p->data;
    size_t name_len = strlen(h->name);
    struct text t;

    while (next_line(p, &t)) {
        struct text end = trim_newline(t);
        p->line++;
        while (h->chomp && end.len > 0 && end.s[0] == '\t') {
            end.s++;
            end.len--;
        }
        if (end.len == name_len && memcmp(end.s, h->name, name_len) == 0) {
            h->content = arena_strn(p->mem, start, (size_t)(t.s - start));
            return NULL;
        }
    }
    return err_new(ERR_INVALID, "unterminated heredoc");
}

static struct error *read_heredocs(struct parser *p, struct df_node *n, const char *line)
{
    if (!df_node_takes_heredocs(n) || strstr(line, "<<") == NULL)
        return NULL;
    TRY(df_node_find_heredocs(p->mem, n, line));
    for (size_t i = 0; i < n->heredoc_count; i++)
        TRY(read_heredoc(p, &n->heredocs[i]));
    return NULL;
}

static void add_node(struct parser *p, struct df_node *n, int first)
{
    struct df_ast *a = p->ast;

    n->lines = (struct df_lines){ first, p->line };
    n->comments = p->comments;
    p->comments = (struct strv){ 0 };
    a->nodes = arena_grow(p->mem, a->nodes, a->count, sizeof(struct df_node *));
    a->nodes[a->count++] = n;
}

/* The instruction whose first line is `t`; what follows is read as far as it belongs to it. */
static struct error *parse_instruction(struct parser *p, struct text t, bool continued)
{
    struct buf *line = &p->text;
    struct df_node *n = NULL;
    int first = p->line;

    buf_clear(line);
    buf_add(line, t.s, t.len);
    if (continued)
        TRY(join_continuations(p, line));
    struct error *e = df_node_parse(p->mem, buf_str(line), line->len, p->escape, &n);
    if (e == NULL)
        e = read_heredocs(p, n, n->original);
    if (e != NULL)
        return df_error_at(e, (struct df_lines){ first, p->line });
    add_node(p, n, first);
    return NULL;
}

static struct error *parse_file(struct parser *p)
{
    struct df_lines end;
    struct text t;

    while (next_line(p, &t)) {
        bool directive;
        if (p->line == 0 && t.len >= 3 && memcmp(t.s, "\xef\xbb\xbf", 3) == 0)
            t = (struct text){ t.s + 3, t.len - 3 };
        if (is_comment(t))
            remember_comment(p, t);
        t = trim_left(trim_newline(t));
        TRY(process_line(p, &t, &directive));
        if (directive && p->comments.len > 0)
            p->comments.len--;
        p->line++;
        bool continued = cut_continuation(p, &t);
        if (!continued && t.len == 0)
            continue;
        if (p->ast->count == LIMIT_DOCKERFILE_INSTRUCTIONS)
            return df_error_at(err_new(ERR_INVALID,
                                       "dockerfile has too many instructions, at most %d are allowed",
                                       LIMIT_DOCKERFILE_INSTRUCTIONS),
                               (struct df_lines){ p->line, p->line });
        TRY(parse_instruction(p, t, continued));
    }
    end = (struct df_lines){ p->line, p->line };
    if (p->ast->count == 0)
        return df_error_at(err_new(ERR_INVALID, "file with no instructions"), end);
    if (p->too_long)
        return df_error_at(err_new(ERR_INVALID, "dockerfile line greater than max allowed size of %zu",
                                   LIMIT_DOCKERFILE_LINE - 1),
                           end);
    return NULL;
}

static struct error *check_text(const char *data, size_t len)
{
    const char *nul = memchr(data, '\0', len);
    int line = 1;

    if (len > LIMIT_CONTROL_FILE)
        return err_new(ERR_INVALID, "dockerfile exceeds maximum allowed size of %zu bytes",
                       LIMIT_CONTROL_FILE);
    if (nul == NULL)
        return NULL;
    for (const char *s = data; s < nul; s++)
        line += *s == '\n';
    return df_error_at(err_new(ERR_INVALID, "dockerfile parse error on line %d: NUL character", line),
                       (struct df_lines){ line, line });
}

struct error *df_ast_parse(struct arena *mem, const char *data, size_t len, struct df_ast *ret)
{
    struct df_ast ast = { 0 };
    struct parser p = { .mem = mem, .data = data, .len = len, .escape = '\\', .ast = &ast };

    TRY(check_text(data, len));
    struct error *e = parse_file(&p);
    buf_deinit(&p.text);
    TRY(e);
    ast.escape = p.escape;
    *ret = ast;
    return NULL;
}
