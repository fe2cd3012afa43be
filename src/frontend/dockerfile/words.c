/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A recursive descent over the word.  Each level writes to two places: the text of the level, and the
 * splitter, which is one for all levels - what a nested word leaves in it, its parent goes on with.
 *
 *     scan_until(EOF)                       the word
 *       scan_single_quote, scan_double_quote
 *       scan_dollar                         $NAME  ${NAME}
 *         scan_until('}')                   the word of ${NAME:-word}
 *       scan_heredoc_mark                   << keeps the blanks behind it
 */
#include "frontend/dockerfile/words.h"

#include "base/limits.h"
#include "base/rune.h"
#include "frontend/dockerfile/word_pattern.h"

#define BOM "\xef\xbb\xbf" /* read over at the front of words */

struct lexer {
    const struct words_options *o;
    const struct words_env *env;
    struct rune_reader in;
    bool raw_escapes; /* of the level at hand */
    int depth;
    size_t spent;     /* bytes that variables have put in or been searched for, in all levels */
    struct buf split; /* the split word under construction, shared by all levels */
    struct buf name;  /* scratch, of a variable behind '$' */
    struct map matched, unmatched;
};

/* Split words of one level. */
struct splitter {
    struct buf *buf;    /* NULL: only the text of the word is wanted */
    struct strv *words; /* NULL: nobody looks */
    bool in_word;
};

static struct error *scan_until(struct lexer *l, int32_t stop, bool raw_escapes, bool pattern,
                                struct buf *out, struct strv *words);

/* Nested substitutions multiply: what a word may make us do is bounded as a whole, also where the result is
 * dropped. */
static struct error *spend(struct lexer *l, size_t bytes)
{
    l->spent += bytes;
    if (l->spent > LIMIT_WORD_BYTES)
        return err_new(ERR_INVALID, "substitutions exceed maximum allowed size of %zu bytes",
                       LIMIT_WORD_BYTES);
    return NULL;
}

/* ---- splitting ---- */

static void split_add_raw(struct splitter *sp, int32_t r)
{
    if (sp->buf == NULL)
        return;
    buf_add_rune(sp->buf, r);
    sp->in_word = true;
}

static void split_end(struct splitter *sp)
{
    if (sp->words != NULL)
        strv_addn(sp->words, buf_str(sp->buf), sp->buf->len);
    buf_clear(sp->buf);
    sp->in_word = false;
}

static void split_add(struct splitter *sp, int32_t r)
{
    if (sp->buf == NULL)
        return;
    if (!rune_is_space(r))
        split_add_raw(sp, r);
    else if (sp->in_word && sp->buf->len > 0)
        split_end(sp);
}

static void split_add_string(struct splitter *sp, const char *text, size_t len)
{
    size_t width;

    for (size_t i = 0; sp->buf != NULL && i < len; i += width)
        split_add(sp, rune_decode(text + i, len - i, &width));
}

static void split_add_quoted(struct splitter *sp, const char *text, size_t len)
{
    if (sp->buf == NULL)
        return;
    buf_add(sp->buf, text, len);
    sp->in_word = true;
}

/* ---- variables ---- */

/* *ret is borrowed, NULL when unset. */
static struct error *look_up(struct lexer *l, const char *name, const char **ret)
{
    *ret = l->env->get != NULL ? l->env->get(l->env->ctx, name) : NULL;
    map_set(*ret != NULL ? &l->matched : &l->unmatched, name, l);
    return *ret != NULL ? spend(l, strlen(*ret)) : NULL;
}

static bool is_special_parameter(int32_t r)
{
    return r == '@' || r == '*' || r == '#' || r == '?' || r == '-' || r == '$' || r == '!';
}

/* A name behind '$' or "${": letters, digits and '_'; or only digits; or one special character; or nothing.
 */
static void scan_name(struct lexer *l, struct buf *name)
{
    int32_t r = rune_peek(&l->in);

    if (rune_is_digit(r)) {
        for (; rune_is_digit(rune_peek(&l->in));)
            buf_add_rune(name, rune_next(&l->in));
        return;
    }
    if (is_special_parameter(r)) {
        buf_add_rune(name, rune_next(&l->in));
        return;
    }
    for (; rune_is_letter(rune_peek(&l->in)) || rune_is_digit(rune_peek(&l->in)) || rune_peek(&l->in) == '_';)
        buf_add_rune(name, rune_next(&l->in));
}

/* Searching costs pattern times text; a step weighs a 64th of a byte. */
static struct error *spend_search(struct lexer *l, const struct buf *pattern, const char *value)
{
    return spend(l, pattern->len * strlen(value) / 64);
}

/* ---- ${NAME<op>word} ---- */

/* A nested word.  Whatever is wrong when the input has ended, the closing character is what is missing. */
static struct error *scan_operand(struct lexer *l, int32_t stop, bool raw_escapes, bool pattern,
                                  const char *missing, struct buf *out)
{
    struct error *e = scan_until(l, stop, raw_escapes, pattern, out, NULL);

    if (e != NULL && rune_peek(&l->in) == RUNE_EOF && l->depth < LIMIT_WORD_DEPTH) {
        err_free(e);
        return err_new(ERR_INVALID, "syntax error: missing %s", missing);
    }
    return e;
}

static struct error *unsupported_modifier(const struct buf *modifier)
{
    return err_new(ERR_INVALID, "unsupported modifier (%s) in substitution", buf_str(modifier));
}

static struct error *require_value(const char *name, const char *value, bool null_is_unset, const char *word,
                                   struct buf *out)
{
    if (value == NULL || (null_is_unset && *value == '\0')) {
        const char *message = value == NULL ? "is not allowed to be unset" : "is not allowed to be empty";
        return err_new(ERR_INVALID, "%s: %s", name, *word != '\0' ? word : message);
    }
    buf_adds(out, value);
    return NULL;
}

static struct error *trim(int32_t op, struct buf *word, const char *value, struct buf *out)
{
    bool greedy = word->len > 0 && word->data[0] == (char)op;

    if (greedy)
        buf_drop(word, 1);
    return word_pattern_trim(word, value != NULL ? value : "", op == '%', greedy, out);
}

static struct error *replace(struct lexer *l, const struct buf *pattern, const char *value, bool all,
                             const struct buf *with, struct buf *out)
{
    size_t before = out->len;
    bool too_big;

    TRY(word_pattern_replace(pattern, value, all, with, out, &too_big));
    return spend(l, too_big ? LIMIT_WORD_BYTES + 1 : out->len - before);
}

/* Behind ${NAME and the operator character, with ':' in front of it or not. */
static struct error *scan_modifier(struct lexer *l, const char *name, int32_t op, bool null_is_unset,
                                   struct buf *out)
{
    CLEANUP(buf_deinit) struct buf modifier = { 0 };
    CLEANUP(buf_deinit) struct buf word = { 0 };
    bool trims = op == '#' || op == '%';
    const char *value;

    if (null_is_unset)
        buf_addc(&modifier, ':');
    buf_add_rune(&modifier, op);
    if (null_is_unset && trims)
        return unsupported_modifier(&modifier);
    TRY(scan_operand(l, '}', trims, trims, "'}'", &word));
    TRY(look_up(l, name, &value));
    if (value == NULL && l->o->skip_unset) {
        buf_addf(out, "${%s%s%s}", name, buf_str(&modifier), buf_str(&word));
        return NULL;
    }
    bool unset = value == NULL || (null_is_unset && *value == '\0');
    switch (op) {
    case '-':
        buf_adds(out, unset ? buf_str(&word) : value);
        return NULL;
    case '+':
        buf_adds(out, unset ? "" : buf_str(&word));
        return NULL;
    case '?':
        return require_value(name, value, null_is_unset, buf_str(&word), out);
    case '%':
    case '#':
        TRY(spend_search(l, &word, value != NULL ? value : ""));
        return trim(op, &word, value, out);
    default:
        return unsupported_modifier(&modifier);
    }
}

/* Behind "${NAME/". */
static struct error *scan_replacement(struct lexer *l, const char *name, struct buf *out)
{
    CLEANUP(buf_deinit) struct buf pattern = { 0 };
    CLEANUP(buf_deinit) struct buf with = { 0 };
    bool all = rune_peek(&l->in) == '/';
    const char *value;

    if (all)
        rune_next(&l->in);
    TRY(scan_operand(l, '/', true, true, "'/' in ${}", &pattern));
    TRY(scan_operand(l, '}', true, false, "'}'", &with));
    TRY(look_up(l, name, &value));
    if (value == NULL && l->o->skip_unset) {
        buf_addf(out, "${%s/%s/%s}", name, buf_str(&pattern), buf_str(&with));
        return NULL;
    }
    TRY(spend_search(l, &pattern, value != NULL ? value : ""));
    return replace(l, &pattern, value != NULL ? value : "", all, &with, out);
}

static struct error *scan_braces(struct lexer *l, struct buf *out)
{
    CLEANUP(buf_deinit) struct buf name = { 0 };
    int32_t r = rune_peek(&l->in);

    if (r == RUNE_EOF)
        return err_new(ERR_INVALID, "syntax error: missing '}'");
    if (r == '{' || r == '}' || r == ':')
        return err_new(ERR_INVALID, "syntax error: bad substitution");
    scan_name(l, &name);
    r = rune_next(&l->in);
    if (r == '}') {
        const char *value;
        TRY(look_up(l, buf_str(&name), &value));
        if (value != NULL)
            buf_adds(out, value);
        else if (l->o->skip_unset)
            buf_addf(out, "${%s}", buf_str(&name));
        return NULL;
    }
    if (r == ':')
        return scan_modifier(l, buf_str(&name), rune_next(&l->in), true, out);
    if (r == '/')
        return scan_replacement(l, buf_str(&name), out);
    if (r == '+' || r == '-' || r == '?' || r == '#' || r == '%')
        return scan_modifier(l, buf_str(&name), r, false, out);
    buf_clear(&name);
    buf_add_rune(&name, r);
    return unsupported_modifier(&name);
}

static struct error *scan_dollar(struct lexer *l, struct buf *out)
{
    struct buf *name = &l->name;
    const char *value = NULL;

    rune_next(&l->in);
    if (rune_peek(&l->in) == '{') {
        rune_next(&l->in);
        return scan_braces(l, out);
    }
    buf_clear(name);
    scan_name(l, name);
    if (name->len > 0)
        TRY(look_up(l, buf_str(name), &value));
    if (value != NULL)
        buf_adds(out, value);
    else if (name->len == 0 || l->o->skip_unset)
        buf_addf(out, "$%s", buf_str(name));
    return NULL;
}

/* ---- quotes ---- */

/* Literal up to the next one.  Inside a pattern an escape character is doubled, for the pattern reads escapes
 * once more. */
static struct error *scan_single_quote(struct lexer *l, bool pattern, struct buf *out)
{
    int32_t r = rune_next(&l->in);

    if (l->o->raw_quotes)
        buf_add_rune(out, r);
    for (;;) {
        r = rune_next(&l->in);
        if (r == RUNE_EOF)
            return err_new(ERR_INVALID,
                           "unexpected end of statement while looking for matching single-quote");
        if (r == '\'') {
            if (l->o->raw_quotes)
                buf_add_rune(out, r);
            return NULL;
        }
        if (pattern && r == l->o->escape)
            buf_add_rune(out, r);
        buf_add_rune(out, r);
    }
}

/* Behind the escape character inside double quotes: it escapes `"`, `$` and itself, else it stands for
 * itself. */
static void scan_quoted_escape(struct lexer *l, int32_t escape, bool pattern, struct buf *out)
{
    int32_t r = rune_peek(&l->in);

    if (r == RUNE_EOF)
        return;
    if (r == '"' || r == '$' || r == escape) {
        if (l->raw_escapes)
            buf_add_rune(out, escape);
        buf_add_rune(out, rune_next(&l->in));
        return;
    }
    if (l->raw_escapes && (!l->o->raw_quotes || pattern))
        buf_add_rune(out, escape);
    buf_add_rune(out, escape);
}

static struct error *scan_double_quote(struct lexer *l, bool pattern, struct buf *out)
{
    int32_t r = rune_next(&l->in);

    if (l->o->raw_quotes)
        buf_add_rune(out, r);
    for (;;) {
        r = rune_peek(&l->in);
        if (r == RUNE_EOF)
            return err_new(ERR_INVALID,
                           "unexpected end of statement while looking for matching double-quote");
        if (r == '$') {
            TRY(scan_dollar(l, out));
            continue;
        }
        rune_next(&l->in);
        if (r == '"') {
            if (l->o->raw_quotes)
                buf_add_rune(out, r);
            return NULL;
        }
        if (r == l->o->escape)
            scan_quoted_escape(l, r, pattern, out);
        else
            buf_add_rune(out, r);
    }
}

static void scan_heredoc_mark(struct lexer *l, struct buf *out)
{
    buf_add_rune(out, rune_next(&l->in));
    if (rune_peek(&l->in) != '<')
        return;
    buf_add_rune(out, rune_next(&l->in));
    for (; rune_peek(&l->in) == '\t' || rune_peek(&l->in) == '\r' || rune_peek(&l->in) == ' ';)
        buf_add_rune(out, rune_next(&l->in));
}

/* ---- a level ---- */

/* A character without meaning of its own, or the escape character and what follows it.  False at the end of
 * the input. */
static bool scan_plain(struct lexer *l, struct buf *out, struct splitter *sp)
{
    int32_t r = rune_next(&l->in);

    if (r != l->o->escape) {
        split_add(sp, r);
        buf_add_rune(out, r);
        return true;
    }
    if (l->raw_escapes) {
        split_add_raw(sp, r);
        buf_add_rune(out, r);
    }
    r = rune_next(&l->in);
    if (r == RUNE_EOF)
        return false;
    split_add_raw(sp, r);
    buf_add_rune(out, r);
    return true;
}

/* `$`, `<` or a quote. */
static struct error *scan_special(struct lexer *l, int32_t r, bool pattern, struct buf *out,
                                  struct splitter *sp)
{
    size_t start = out->len;

    if (r == '$') {
        TRY(scan_dollar(l, out));
        split_add_string(sp, buf_str(out) + start, out->len - start);
        return NULL;
    }
    if (r == '<')
        scan_heredoc_mark(l, out);
    else if (r == '\'')
        TRY(scan_single_quote(l, pattern, out));
    else
        TRY(scan_double_quote(l, pattern, out));
    split_add_quoted(sp, buf_str(out) + start, out->len - start);
    return NULL;
}

/* Bytes that mean nothing but themselves, where nobody wants them split. */
static void scan_run(struct lexer *l, int32_t stop, struct buf *out)
{
    size_t start = l->in.pos;

    for (; l->in.pos < l->in.len; l->in.pos++) {
        unsigned char c = (unsigned char)l->in.s[l->in.pos];

        if (c >= 0x80 || c == '$' || c == '<' || c == '\'' || c == '"' || c == l->o->escape || c == stop)
            break;
    }
    buf_add(out, l->in.s + start, l->in.pos - start);
}

static struct error *scan_level(struct lexer *l, int32_t stop, bool pattern, struct buf *out,
                                struct splitter *sp)
{
    for (int32_t r = rune_peek(&l->in); r != RUNE_EOF; r = rune_peek(&l->in)) {
        if (r == stop) {
            rune_next(&l->in);
            return NULL;
        }
        if (r == '$' || r == '<' || (!l->o->skip_quotes && (r == '\'' || r == '"')))
            TRY(scan_special(l, r, pattern, out, sp));
        else if (!scan_plain(l, out, sp))
            break;
        if (sp->buf == NULL)
            scan_run(l, stop, out);
    }
    if (stop != RUNE_EOF)
        return err_new(ERR_INVALID, "unexpected end of statement while looking for matching %c", (char)stop);
    return NULL;
}

static struct error *scan_until(struct lexer *l, int32_t stop, bool raw_escapes, bool pattern,
                                struct buf *out, struct strv *words)
{
    struct splitter sp = { .buf = l->o->one_word ? NULL : &l->split, .words = words };
    bool outer_raw_escapes = l->raw_escapes;

    if (l->depth >= LIMIT_WORD_DEPTH)
        return err_new(ERR_INVALID, "substitutions nest deeper than %d levels", LIMIT_WORD_DEPTH);
    l->depth++;
    buf_clear(&l->split);
    l->raw_escapes = raw_escapes;
    struct error *e = scan_level(l, stop, pattern, out, &sp);
    l->raw_escapes = outer_raw_escapes;
    if (e == NULL && l->split.len > 0)
        split_end(&sp);
    l->depth--;
    return e;
}

/* ---- entry ---- */

static void take_names(struct map *names, struct strv *ret)
{
    for (size_t i = 0; i < names->len; i++)
        strv_take(ret, TAKE(names->entries[i].key));
    map_deinit(names);
}

/* ASCII without a quote, an escape or a variable. */
bool words_plain(const struct words_options *o, const char *word)
{
    for (; *word != '\0'; word++) {
        if ((unsigned char)*word >= 0x80 || *word == '$' || *word == '\'' || *word == '"' ||
            *word == o->escape)
            return false;
    }
    return true;
}

struct error *words_process(const struct words_options *o, const char *word, const struct words_env *env,
                            struct words_result *ret)
{
    static const struct words_env nothing;
    struct lexer l = { .o = o, .env = env != NULL ? env : &nothing, .in = { word, strlen(word), 0 } };
    struct words_result res = { 0 };
    struct buf text = { 0 };

    if (str_has_prefix(word, BOM))
        l.in.pos = 3;
    if (o->one_word && words_plain(o, word)) {
        *ret = (struct words_result){ .text = xstrdup(word) };
        return NULL;
    }
    struct error *e = scan_until(&l, RUNE_EOF, o->raw_escapes, false, &text, o->one_word ? NULL : &res.words);
    buf_deinit(&l.split);
    buf_deinit(&l.name);
    take_names(&l.matched, &res.matched);
    take_names(&l.unmatched, &res.unmatched);
    if (e == NULL) {
        res.text = buf_take(&text);
    } else {
        CLEANUP(freep) char *quoted = str_quote(word);
        buf_deinit(&text);
        strv_clear(&res.words);
        e = err_wrap(e, "failed to process %s", quoted);
    }
    *ret = res;
    return e;
}

void words_result_deinit(struct words_result *r)
{
    free(r->text);
    strv_deinit(&r->words);
    strv_deinit(&r->matched);
    strv_deinit(&r->unmatched);
    *r = (struct words_result){ 0 };
}

struct error *words_expand(const struct words_options *o, const char *word, const struct words_env *env,
                           char **ret)
{
    struct words_options one = *o;
    struct words_result res;
    struct error *e;

    one.one_word = true;
    e = words_process(&one, word, env, &res);
    if (e == NULL)
        *ret = TAKE(res.text);
    words_result_deinit(&res);
    return e;
}

struct error *words_expand_in(void *expansion, struct arena *mem, const char *word, const char **ret)
{
    const struct words_expansion *x = expansion;
    CLEANUP(freep) char *text = NULL;

    *ret = word;
    if (words_plain(x->options, word))
        return NULL;
    TRY(words_expand(x->options, word, x->env, &text));
    *ret = arena_str(mem, text);
    return NULL;
}

struct error *words_split(const struct words_options *o, const char *word, const struct words_env *env,
                          struct strv *ret)
{
    struct words_result res;
    struct error *e = words_process(o, word, env, &res);

    if (e == NULL)
        strv_copy(ret, &res.words);
    words_result_deinit(&res);
    return e;
}

static const char *get_from_map(const void *ctx, const char *name)
{
    return ctx != NULL ? strmap_get(ctx, name) : NULL;
}

struct words_env words_env_map(const struct map *m)
{
    return (struct words_env){ get_from_map, m };
}

static const char *get_from_strv(const void *ctx, const char *name)
{
    const struct strv *env = ctx;
    size_t len = strlen(name);

    for (size_t i = env != NULL ? env->len : 0; i > 0; i--) {
        const char *e = env->v[i - 1];
        if (strncmp(e, name, len) == 0 && (e[len] == '=' || e[len] == '\0'))
            return e[len] == '=' ? e + len + 1 : "";
    }
    return NULL;
}

struct words_env words_env_strv(const struct strv *env)
{
    return (struct words_env){ get_from_strv, env };
}
