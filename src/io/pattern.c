/* SPDX-License-Identifier: Apache-2.0 */
#include "io/pattern.h"

#include "base/regex.h"
#include "base/rune.h"
#include "io/path.h"

/* Most patterns need no expression: a plain path, "dir/..**" or "**..name". */
enum pattern_kind { PATTERN_EXACT, PATTERN_PREFIX, PATTERN_SUFFIX, PATTERN_REGEX, PATTERN_BAD };

struct pattern {
    char *text;
    bool exclusion;
    enum pattern_kind kind;
    struct regex *re;
};

struct translation {
    struct rune_reader in;
    struct buf re;
    enum pattern_kind kind;
};

/* Behind the first of two stars.  "**" takes a '/' that follows with it, for it matches no directory at all,
 * too. */
static void translate_double_star(struct translation *t, bool first)
{
    rune_next(&t->in);
    if (rune_peek(&t->in) == '/')
        rune_next(&t->in);
    if (rune_peek(&t->in) != RUNE_EOF) {
        buf_adds(&t->re, "(.*/)?");
        t->kind = PATTERN_REGEX;
    } else if (t->kind == PATTERN_EXACT) {
        t->kind = PATTERN_PREFIX;
    } else {
        buf_adds(&t->re, ".*");
        t->kind = PATTERN_REGEX;
    }
    if (first)
        t->kind = PATTERN_SUFFIX;
}

static void translate_escape(struct translation *t)
{
    buf_addc(&t->re, '\\');
    if (rune_peek(&t->in) == RUNE_EOF)
        return;
    buf_add_rune(&t->re, rune_next(&t->in));
    t->kind = PATTERN_REGEX;
}

/* Braces and bars stay as they are and mean what they mean in an expression, wherever a wildcard makes it
 * one: *.{2}, *.a|b. */
static void translate_next(struct translation *t, bool first)
{
    int32_t r = rune_next(&t->in);

    if (r == '*' && rune_peek(&t->in) == '*') {
        translate_double_star(t, first);
    } else if (r == '*') {
        buf_adds(&t->re, "[^/]*");
        t->kind = PATTERN_REGEX;
    } else if (r == '?') {
        buf_adds(&t->re, "[^/]");
        t->kind = PATTERN_REGEX;
    } else if (r == '\\') {
        translate_escape(t);
    } else {
        if (r < 0x80 && strchr(".+()$", (int)r) != NULL)
            buf_addc(&t->re, '\\');
        buf_add_rune(&t->re, r);
        if (r == '[' || r == ']')
            t->kind = PATTERN_REGEX;
    }
}

static void compile(struct pattern *p)
{
    struct translation t = { .in = { p->text, strlen(p->text), 0 }, .kind = PATTERN_EXACT };

    if (str_has_prefix(p->text, "\xef\xbb\xbf"))
        t.in.pos = 3;
    buf_addc(&t.re, '^');
    for (bool first = true; rune_peek(&t.in) != RUNE_EOF; first = false)
        translate_next(&t, first);
    buf_addc(&t.re, '$');
    p->kind = t.kind;
    if (p->kind == PATTERN_REGEX && regex_compile(buf_str(&t.re), t.re.len, &p->re) < 0)
        p->kind = PATTERN_BAD;
    buf_deinit(&t.re);
}

/* Room for one more; grown at powers of two. */
static struct pattern *add_pattern(struct pattern_set *s)
{
    if ((s->count & (s->count - 1)) == 0)
        s->patterns = xreallocarray(s->patterns, s->count == 0 ? 1 : s->count * 2, sizeof(*s->patterns));
    s->patterns[s->count] = (struct pattern){ 0 };
    return &s->patterns[s->count++];
}

static struct error *bad_pattern(void)
{
    return err_new(ERR_INVALID, "syntax error in pattern");
}

static struct error *add_text(struct pattern_set *s, const char *text)
{
    size_t len;
    const char *trimmed = str_trim_space(text, strlen(text), &len);

    if (len == 0)
        return NULL;
    CLEANUP(freep) char *copy = xstrndup(trimmed, len);
    CLEANUP(freep) char *clean = path_clean(copy);
    bool exclusion = clean[0] == '!';
    if (exclusion && clean[1] == '\0')
        return err_new(ERR_INVALID, "illegal exclusion pattern: \"!\"");
    if (path_match_lazy(clean + exclusion, ".") < 0)
        return bad_pattern();
    struct pattern *p = add_pattern(s);
    p->text = xstrdup(clean + exclusion);
    p->exclusion = exclusion;
    s->exclusions |= exclusion;
    compile(p);
    return NULL;
}

struct error *pattern_set_init(struct pattern_set *s, const char *const *patterns, size_t count)
{
    struct pattern_set set = { 0 };

    for (size_t i = 0; i < count; i++) {
        struct error *e = add_text(&set, patterns[i]);
        if (e != NULL) {
            pattern_set_deinit(&set);
            return e;
        }
    }
    *s = set;
    return NULL;
}

void pattern_set_deinit(struct pattern_set *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->patterns[i].text);
        regex_free(s->patterns[i].re);
    }
    free(s->patterns);
    *s = (struct pattern_set){ 0 };
}

const char *pattern_text(const struct pattern_set *s, size_t index)
{
    return s->patterns[index].text;
}

bool pattern_is_exclusion(const struct pattern_set *s, size_t index)
{
    return s->patterns[index].exclusion;
}

/* ---- matching ---- */

static bool ends_in(const char *path, size_t len, const char *suffix)
{
    size_t n = strlen(suffix);

    if (len >= n && memcmp(path + len - n, suffix, n) == 0)
        return true;
    return suffix[0] == '/' && len == n - 1 &&
           memcmp(path, suffix + 1, len) == 0; /* "**" + "/foo" is foo too */
}

static bool match_one(const struct pattern *p, const char *path, size_t len)
{
    size_t n;

    switch (p->kind) {
    case PATTERN_EXACT:
        return strlen(p->text) == len && memcmp(path, p->text, len) == 0;
    case PATTERN_PREFIX:
        n = strlen(p->text) - 2;
        return len >= n && memcmp(path, p->text, n) == 0;
    case PATTERN_SUFFIX:
        return ends_in(path, len, p->text + 2);
    case PATTERN_REGEX:
        return regex_matches(p->re, path, len);
    default:
        return false;
    }
}

/* `parent`: the clean path of the directory above, "." for none. */
static bool match_a_parent(const struct pattern *p, const char *parent)
{
    if (streq(parent, "."))
        return false;
    for (const char *slash = strchr(parent, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        if (match_one(p, parent, (size_t)(slash - parent)))
            return true;
    }
    return match_one(p, parent, strlen(parent));
}

struct error *pattern_set_match(const struct pattern_set *s, const char *path, bool *ret)
{
    CLEANUP(freep) char *above = path_dir(path);
    bool matched = false;

    for (size_t i = 0; i < s->count; i++) {
        const struct pattern *p = &s->patterns[i];
        if (p->exclusion != matched)
            continue; /* could not change the answer */
        if (p->kind == PATTERN_BAD)
            return bad_pattern();
        if (match_one(p, path, strlen(path)) || match_a_parent(p, above))
            matched = !p->exclusion;
    }
    *ret = matched;
    return NULL;
}

struct error *pattern_set_match_walk(const struct pattern_set *s, const char *path, const bool *parent,
                                     bool *info, bool *ret)
{
    CLEANUP(freep) char *above = parent == NULL ? path_dir(path) : NULL;
    bool matched = false;

    for (size_t i = 0; i < s->count; i++) {
        const struct pattern *p = &s->patterns[i];
        bool hit = parent != NULL && parent[i];
        info[i] = hit;
        if (!hit && p->exclusion != matched)
            continue;
        if (!hit && p->kind == PATTERN_BAD)
            return bad_pattern();
        if (!hit)
            hit = match_one(p, path, strlen(path)) || (parent == NULL && match_a_parent(p, above));
        info[i] = hit;
        if (hit)
            matched = !p->exclusion;
    }
    *ret = matched;
    return NULL;
}
