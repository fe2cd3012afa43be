/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thompson's construction and Pike's simulation: the program is a list of instructions, the matcher a set of
 * places in it that moves over the text one code point at a time.  The order of the set is the priority of
 * the alternatives, which gives leftmost-first matches; at most one thread a place, which gives linear time.
 *
 *     x*      L: split +1, +n   x...   jump L
 *     x?      split +1, +n      x...
 *     (x)     group 2k          x...   group 2k+1
 *
 * What groups matched is found by a second simulation from the start of the match on, whose threads carry the
 * places; who does not ask for groups does not pay for them.
 */
#include "base/regex.h"

#include <errno.h>

#include "base/limits.h"
#include "base/rune.h"
#include "base/vec.h"

enum op {
    OP_CHAR,
    OP_ANY,
    OP_CLASS,
    OP_BEGIN,
    OP_END,
    OP_WORD,
    OP_NOT_WORD,
    OP_SPLIT,
    OP_JUMP,
    OP_GROUP,
    OP_MATCH
};

/* Jumps are relative, so that code can be moved when a repetition is put around it. */
struct inst {
    enum op op;
    int32_t x; /* code point, class index, preferred jump, or place among the ends of groups */
    int32_t y; /* second jump of OP_SPLIT */
};

struct class_range {
    int32_t lo, hi;
};

struct class
{
    bool negated;
    struct class_range *ranges;
    size_t count, cap;
};

struct regex {
    struct inst *insts;
    size_t count, cap;
    struct class *classes;
    size_t class_count, class_cap;
    struct strv group_names; /* of the groups behind the whole match; "" without a name */
    bool anchored;           /* can only match at index 0 */
};

struct compiler {
    struct regex *re;
    const char *s;
    size_t len, pos;
    int depth;
    bool fold;    /* (?i): letters of ASCII in either case */
    bool dot_all; /* (?s): . is any character */
};

#define REGEX_DEPTH 64
#define REGEX_REPEAT 1000 /* highest count, as Go has it */

static size_t emit(struct regex *re, enum op op, int32_t x, int32_t y)
{
    if (re->count == re->cap) {
        re->cap = re->cap == 0 ? 32 : re->cap * 2;
        re->insts = xreallocarray(re->insts, re->cap, sizeof(*re->insts));
    }
    re->insts[re->count] = (struct inst){ op, x, y };
    return re->count++;
}

static void emit_before(struct regex *re, size_t at, struct inst inst)
{
    emit(re, OP_MATCH, 0, 0);
    memmove(re->insts + at + 1, re->insts + at, (re->count - 1 - at) * sizeof(*re->insts));
    re->insts[at] = inst;
}

static struct class *class_new(struct regex *re)
{
    if (re->class_count == re->class_cap) {
        re->class_cap = re->class_cap == 0 ? 4 : re->class_cap * 2;
        re->classes = xreallocarray(re->classes, re->class_cap, sizeof(*re->classes));
    }
    re->classes[re->class_count] = (struct class){ 0 };
    return &re->classes[re->class_count++];
}

static void class_add(struct class *c, int32_t lo, int32_t hi)
{
    if (c->count == c->cap) {
        c->cap = c->cap == 0 ? 4 : c->cap * 2;
        c->ranges = xreallocarray(c->ranges, c->cap, sizeof(*c->ranges));
    }
    c->ranges[c->count++] = (struct class_range){ lo, hi };
}

/* "az09" pairs; with `negated` their complement. */
static void class_add_pairs(struct class *c, const char *pairs, bool negated)
{
    int32_t next = 0;

    for (const char *p = pairs; *p != '\0'; p += 2) {
        int32_t lo = (unsigned char)p[0], hi = (unsigned char)p[1];
        if (!negated) {
            class_add(c, lo, hi);
            continue;
        }
        if (lo > next)
            class_add(c, next, lo - 1);
        next = hi + 1;
    }
    if (negated)
        class_add(c, next, 0x10ffff);
}

static bool class_has(const struct class *c, int32_t r)
{
    for (size_t i = 0; i < c->count; i++) {
        if (r >= c->ranges[i].lo && r <= c->ranges[i].hi)
            return !c->negated;
    }
    return c->negated;
}

static bool is_ascii_letter(int32_t r)
{
    return (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z');
}

static void emit_char(struct compiler *c, int32_t r)
{
    if (!c->fold || !is_ascii_letter(r)) {
        emit(c->re, OP_CHAR, r, 0);
        return;
    }
    struct class *cl = class_new(c->re);

    class_add(cl, r, r);
    class_add(cl, r ^ 0x20, r ^ 0x20);
    emit(c->re, OP_CLASS, (int32_t)c->re->class_count - 1, 0);
}

/* Both cases of the letters that are in it. */
static void class_fold(struct class *c)
{
    for (size_t i = 0, n = c->count; i < n; i++) {
        for (int32_t r = MAX(c->ranges[i].lo, 'A'); r <= MIN(c->ranges[i].hi, 'z'); r++) {
            if (is_ascii_letter(r))
                class_add(c, r ^ 0x20, r ^ 0x20);
        }
    }
}

static const struct {
    const char *name, *pairs; /* pairs in ascending order */
} named_classes[] = {
    { "alnum", "09AZaz" },
    { "alpha", "AZaz" },
    { "ascii", "\x01\x7f" },
    { "blank", "\t\t  " },
    { "cntrl", "\x01\x1f\x7f\x7f" },
    { "digit", "09" },
    { "graph", "!~" },
    { "lower", "az" },
    { "print", " ~" },
    { "punct", "!/:@[`{~" },
    { "space", "\t\r  " },
    { "upper", "AZ" },
    { "word", "09AZ__az" },
    { "xdigit", "09AFaf" },
};

static const char *perl_pairs(char c)
{
    switch (c | 0x20) {
    case 'd':
        return "09";
    case 's':
        return "\t\n\f\r  ";
    case 'w':
        return "09AZ__az";
    default:
        return NULL;
    }
}

static int peek(const struct compiler *c)
{
    return c->pos < c->len ? (unsigned char)c->s[c->pos] : -1;
}

static int32_t next_rune(struct compiler *c)
{
    size_t width;
    int32_t r = rune_decode(c->s + c->pos, c->len - c->pos, &width);

    c->pos += width;
    return r;
}

static int hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static int parse_hex_escape(struct compiler *c, int32_t *ret)
{
    int hi = hex_digit(peek(c));

    if (hi < 0)
        return -EINVAL;
    c->pos++;
    int lo = hex_digit(peek(c));
    if (lo < 0)
        return -EINVAL;
    c->pos++;
    *ret = hi * 16 + lo;
    return 0;
}

static int parse_octal_escape(struct compiler *c, int first, int32_t *ret)
{
    int32_t r = first - '0';

    if (first != '0' && (peek(c) < '0' || peek(c) > '7'))
        return -EINVAL; /* a back reference */
    for (int i = 1; i < 3 && peek(c) >= '0' && peek(c) <= '7'; i++)
        r = r * 8 + (c->s[c->pos++] - '0');
    *ret = r;
    return 0;
}

/* Behind a backslash: the one character that is meant. */
static int parse_escape(struct compiler *c, int32_t *ret)
{
    static const char names[] = "afnrtv";
    static const char values[] = "\a\f\n\r\t\v";
    int32_t r = next_rune(c);

    if (r >= '0' && r <= '7')
        return parse_octal_escape(c, r, ret);
    if (r == 'x')
        return parse_hex_escape(c, ret);
    const char *p = r > 0 && r < 0x80 ? strchr(names, r) : NULL;
    if (p != NULL) {
        *ret = values[p - names];
        return 0;
    }
    if (r < 0 || r >= 0x80 || rune_is_letter(r) || rune_is_digit(r))
        return -EINVAL;
    *ret = r;
    return 0;
}

static int parse_class_char(struct compiler *c, int32_t *ret)
{
    if (peek(c) < 0)
        return -EINVAL;
    if (peek(c) == '\\') {
        c->pos++;
        return parse_escape(c, ret);
    }
    *ret = next_rune(c);
    return 0;
}

/* "[:name:]" at the position: 1 taken, 0 not one, -EINVAL unknown name. */
static int parse_named_class(struct compiler *c, struct class *cl)
{
    const char *s = c->s + c->pos;
    const char *end = c->len - c->pos > 2 ? memmem(s + 2, c->len - c->pos - 2, ":]", 2) : NULL;

    if (end == NULL || s[0] != '[' || s[1] != ':')
        return 0;
    s += 2;
    bool negated = *s == '^';
    if (negated)
        s++;
    for (size_t i = 0; i < ARRAY_LEN(named_classes); i++) {
        size_t n = strlen(named_classes[i].name);
        if ((size_t)(end - s) == n && memcmp(s, named_classes[i].name, n) == 0) {
            class_add_pairs(cl, named_classes[i].pairs, negated);
            c->pos = (size_t)(end + 2 - c->s);
            return 1;
        }
    }
    return -EINVAL;
}

static int parse_class_item(struct compiler *c, struct class *cl)
{
    int32_t lo, hi;
    int named = parse_named_class(c, cl);

    if (named != 0)
        return named < 0 ? named : 0;
    if (peek(c) == '\\' && c->pos + 1 < c->len && perl_pairs(c->s[c->pos + 1]) != NULL) {
        char k = c->s[c->pos + 1];
        class_add_pairs(cl, perl_pairs(k), k < 'a');
        c->pos += 2;
        return 0;
    }
    int r = parse_class_char(c, &lo);
    if (r < 0)
        return r;
    hi = lo;
    if (c->pos + 1 < c->len && peek(c) == '-' && c->s[c->pos + 1] != ']') {
        c->pos++;
        r = parse_class_char(c, &hi);
        if (r < 0)
            return r;
        if (hi < lo)
            return -EINVAL;
    }
    class_add(cl, lo, hi);
    return 0;
}

/* Behind '['. */
static int parse_class(struct compiler *c)
{
    struct class *cl = class_new(c->re);

    if (peek(c) == '^') {
        cl->negated = true;
        c->pos++;
    }
    for (bool first = true; first || peek(c) != ']'; first = false) {
        int r = parse_class_item(c, cl);
        if (r < 0)
            return r;
    }
    c->pos++;
    if (c->fold)
        class_fold(cl);
    emit(c->re, OP_CLASS, (int32_t)c->re->class_count - 1, 0);
    return 0;
}

/* \Q..\E: literal text. */
static int parse_quoted(struct compiler *c)
{
    while (c->pos < c->len) {
        if (c->len - c->pos >= 2 && memcmp(c->s + c->pos, "\\E", 2) == 0) {
            c->pos += 2;
            return 0;
        }
        emit_char(c, next_rune(c));
    }
    return 0;
}

static bool parse_number(struct compiler *c, int *ret)
{
    size_t digits = 0;
    int n = 0;

    while (peek(c) >= '0' && peek(c) <= '9') {
        n = MIN(n * 10 + (c->s[c->pos++] - '0'), REGEX_REPEAT + 1);
        digits++;
    }
    *ret = n;
    return digits > 0 && (digits == 1 || c->s[c->pos - digits] != '0');
}

/* "{2}", "{2,}" (max -1) or "{2,5}" at the position: 1 taken, 0 plain text, -EINVAL too much. */
static int parse_count(struct compiler *c, int *ret_min, int *ret_max)
{
    size_t start = c->pos++;
    bool ok = parse_number(c, ret_min);

    *ret_max = *ret_min;
    if (ok && peek(c) == ',') {
        c->pos++;
        *ret_max = -1;
        ok = peek(c) == '}' || parse_number(c, ret_max);
    }
    if (!ok || peek(c) != '}') {
        c->pos = start;
        return 0;
    }
    c->pos++;
    if (*ret_min > REGEX_REPEAT || *ret_max > REGEX_REPEAT || (*ret_max >= 0 && *ret_min > *ret_max))
        return -EINVAL;
    return 1;
}

/* Behind a backslash outside of a class. */
static int parse_escaped_atom(struct compiler *c)
{
    int32_t r;
    int k = peek(c);

    if (k < 0)
        return -EINVAL;
    if (k == 'A' || k == 'z' || k == 'b' || k == 'B') {
        c->pos++;
        emit(c->re, k == 'A' ? OP_BEGIN : k == 'z' ? OP_END : k == 'b' ? OP_WORD : OP_NOT_WORD, 0, 0);
        return 0;
    }
    if (k == 'Q') {
        c->pos++;
        return parse_quoted(c);
    }
    if (perl_pairs((char)k) != NULL) {
        c->pos++;
        class_add_pairs(class_new(c->re), perl_pairs((char)k), k < 'a');
        emit(c->re, OP_CLASS, (int32_t)c->re->class_count - 1, 0);
        return 0;
    }
    int e = parse_escape(c, &r);
    if (e < 0)
        return e;
    emit_char(c, r);
    return 0;
}

static int parse_alternatives(struct compiler *c);

/* "name>" behind "(?P<". */
static int parse_group_name(struct compiler *c, char **ret)
{
    const char *name = c->s + c->pos, *end = memchr(name, '>', c->len - c->pos);
    size_t n = end == NULL ? 0 : (size_t)(end - name);

    if (n == 0)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        if (!is_ascii_letter(name[i]) && name[i] != '_' && !(name[i] >= '0' && name[i] <= '9'))
            return -EINVAL;
    }
    c->pos += n + 1;
    *ret = xstrndup(name, n);
    return 0;
}

/* Behind "(?": a name, or flags up to ':' or ')'. *ret_name: of a group that is remembered. */
static int parse_group_kind(struct compiler *c, char **ret_name, bool *ret_flags_only)
{
    bool off = false;

    if (c->len - c->pos >= 2 && memcmp(c->s + c->pos, "P<", 2) == 0) {
        c->pos += 2;
        return parse_group_name(c, ret_name);
    }
    if (peek(c) == '<') {
        c->pos++;
        return parse_group_name(c, ret_name);
    }
    for (;; c->pos++) {
        switch (peek(c)) {
        case '-':
            if (off)
                return -EINVAL;
            off = true;
            break;
        case 'i':
            c->fold = !off;
            break;
        case 's':
            c->dot_all = !off;
            break;
        case ':':
        case ')':
            *ret_flags_only = peek(c) == ')';
            c->pos++;
            return 0;
        default:
            return -EINVAL;
        }
    }
}

static int parse_group_body(struct compiler *c)
{
    if (++c->depth > REGEX_DEPTH)
        return -E2BIG;
    int r = parse_alternatives(c);
    c->depth--;
    if (r < 0)
        return r;
    if (peek(c) != ')')
        return -EINVAL;
    c->pos++;
    return 0;
}

/* Behind '('. */
static int parse_group(struct compiler *c)
{
    bool fold = c->fold, dot_all = c->dot_all, flags_only = false;
    CLEANUP(freep) char *name = NULL;
    int r = 0;

    if (peek(c) == '?') {
        c->pos++;
        r = parse_group_kind(c, &name, &flags_only);
        if (r < 0 || flags_only) /* flags hold until the group around ends */
            return r;
    } else {
        name = xstrdup("");
    }
    if (name != NULL) {
        strv_add(&c->re->group_names, name);
        int32_t slot = 2 * (int32_t)c->re->group_names.len;
        emit(c->re, OP_GROUP, slot, 0);
        r = parse_group_body(c);
        emit(c->re, OP_GROUP, slot + 1, 0);
    } else {
        r = parse_group_body(c);
    }
    c->fold = fold;
    c->dot_all = dot_all;
    return r;
}

static int parse_atom(struct compiler *c)
{
    int min, max;

    switch (c->s[c->pos]) {
    case '^':
        c->pos++;
        emit(c->re, OP_BEGIN, 0, 0);
        return 0;
    case '$':
        c->pos++;
        emit(c->re, OP_END, 0, 0);
        return 0;
    case '.':
        c->pos++;
        emit(c->re, OP_ANY, c->dot_all, 0);
        return 0;
    case '[':
        c->pos++;
        return parse_class(c);
    case '(':
        c->pos++;
        return parse_group(c);
    case '\\':
        c->pos++;
        return parse_escaped_atom(c);
    case '*':
    case '+':
    case '?':
        return -EINVAL;
    case '{':
        if (parse_count(c, &min, &max) != 0)
            return -EINVAL;
        __attribute__((fallthrough));
    default:
        emit_char(c, next_rune(c));
        return 0;
    }
}

static void wrap_repeat(struct regex *re, size_t at, char kind, bool lazy)
{
    int32_t body = (int32_t)(re->count - at);
    struct inst split = { OP_SPLIT, 1, body + (kind == '*' ? 2 : 1) };

    if (kind == '+')
        split = (struct inst){ OP_SPLIT, -body, 1 };
    if (lazy)
        split = (struct inst){ OP_SPLIT, split.y, split.x };
    if (kind == '+') {
        emit(re, split.op, split.x, split.y);
        return;
    }
    emit_before(re, at, split);
    if (kind == '*')
        emit(re, OP_JUMP, -(body + 1), 0);
}

/* x{2,4} is xxx?x?; x{2,} is xxx*. */
static int wrap_count(struct regex *re, size_t at, int min, int max)
{
    size_t len = re->count - at, copies = (size_t)(max < 0 ? min + 1 : max);

    if (copies * (len + 2) + re->count > LIMIT_REGEX_INSTS)
        return -E2BIG;
    CLEANUP(freep) struct inst *body = xmemdup(re->insts + at, len * sizeof(*body));
    re->count = at;
    for (size_t i = 0; i < copies; i++) {
        size_t start = re->count;
        for (size_t k = 0; k < len; k++)
            emit(re, body[k].op, body[k].x, body[k].y);
        if (i >= (size_t)min)
            wrap_repeat(re, start, max < 0 ? '*' : '?', false);
    }
    return 0;
}

static bool is_repeat(const struct compiler *c)
{
    struct compiler ahead = *c;
    int min, max;

    return peek(c) == '*' || peek(c) == '+' || peek(c) == '?' ||
           (peek(c) == '{' && parse_count(&ahead, &min, &max) != 0);
}

/* The repetition behind the code from `at` on; a second one is an error. */
static int parse_repeat(struct compiler *c, size_t at)
{
    int k = peek(c), min, max, r = 0;

    if (k == '{') {
        r = parse_count(c, &min, &max);
        if (r > 0)
            r = wrap_count(c->re, at, min, max);
    } else {
        c->pos++;
        bool lazy = peek(c) == '?';
        if (lazy)
            c->pos++;
        wrap_repeat(c->re, at, (char)k, lazy);
    }
    return r < 0 ? r : is_repeat(c) ? -EINVAL : 0;
}

static int parse_sequence(struct compiler *c)
{
    while (peek(c) >= 0 && peek(c) != ')' && peek(c) != '|') {
        size_t at = c->re->count;
        int r = parse_atom(c);
        if (r == 0 && is_repeat(c))
            r = parse_repeat(c, at);
        if (r < 0)
            return r;
    }
    return 0;
}

/* a|b: split +1, L    a... jump E    L: b... E: - the jumps to E are chained through their targets until E is
 * known. */
static int parse_alternatives(struct compiler *c)
{
    struct regex *re = c->re;
    size_t start = re->count;
    int32_t last = -1;

    for (;;) {
        int r = parse_sequence(c);
        if (r < 0)
            return r;
        if (peek(c) != '|')
            break;
        c->pos++;
        emit_before(re, start, (struct inst){ OP_SPLIT, 1, (int32_t)(re->count - start) + 2 });
        last = (int32_t)emit(re, OP_JUMP, last, 0);
        start = re->count;
    }
    while (last >= 0) {
        int32_t before = re->insts[last].x;
        re->insts[last].x = (int32_t)re->count - last;
        last = before;
    }
    return 0;
}

int regex_compile(const char *pattern, size_t len, struct regex **ret)
{
    if (len > LIMIT_REGEX_BYTES)
        return -E2BIG;
    struct regex *re = NEW(struct regex);
    struct compiler c = { .re = re, .s = pattern, .len = len };
    int r = parse_alternatives(&c);
    if (r == 0 && c.pos < len)
        r = -EINVAL; /* ')' */
    if (r < 0) {
        regex_free(re);
        return r;
    }
    emit(re, OP_MATCH, 0, 0);
    re->anchored = re->insts[0].op == OP_BEGIN;
    *ret = re;
    return 0;
}

void regex_free(struct regex *re)
{
    if (re == NULL)
        return;
    for (size_t i = 0; i < re->class_count; i++)
        free(re->classes[i].ranges);
    free(re->classes);
    free(re->insts);
    strv_deinit(&re->group_names);
    free(re);
}

/* ---- matching ---- */

struct thread {
    uint32_t pc;
    size_t start;
};

struct thread_set {
    struct thread *list;
    uint32_t *index; /* place in list of a pc; valid when list[index[pc]].pc == pc */
    size_t count;
};

struct matcher {
    const struct regex *re;
    const char *s;
    size_t len;
    uint32_t *stack;
    struct thread_set current, next;
};

static bool is_word_at(const struct matcher *m, size_t pos)
{
    unsigned char c = pos < m->len ? (unsigned char)m->s[pos] : 0;

    return c == '_' || (c < 0x80 && (rune_is_letter(c) || rune_is_digit(c)));
}

static bool assertion_holds(const struct matcher *m, enum op op, size_t pos)
{
    bool boundary = (pos > 0 && is_word_at(m, pos - 1)) != is_word_at(m, pos);

    switch (op) {
    case OP_BEGIN:
        return pos == 0;
    case OP_END:
        return pos == m->len;
    case OP_WORD:
        return boundary;
    default:
        return !boundary;
    }
}

static bool set_has(const struct thread_set *t, uint32_t pc)
{
    return t->index[pc] < t->count && t->list[t->index[pc]].pc == pc;
}

/* Add a place and all that is reached from it without reading, in order of priority. */
static void add_thread(struct matcher *m, struct thread_set *set, uint32_t pc, size_t start, size_t pos)
{
    size_t depth = 0;

    m->stack[depth++] = pc;
    while (depth > 0) {
        pc = m->stack[--depth];
        if (set_has(set, pc))
            continue;
        set->index[pc] = (uint32_t)set->count;
        set->list[set->count++] = (struct thread){ pc, start };
        const struct inst *in = &m->re->insts[pc];
        switch (in->op) {
        case OP_JUMP:
            m->stack[depth++] = pc + (uint32_t)in->x;
            break;
        case OP_SPLIT:
            m->stack[depth++] = pc + (uint32_t)in->y;
            m->stack[depth++] = pc + (uint32_t)in->x;
            break;
        case OP_BEGIN:
        case OP_END:
        case OP_WORD:
        case OP_NOT_WORD:
            if (assertion_holds(m, in->op, pos))
                m->stack[depth++] = pc + 1;
            break;
        case OP_GROUP:
            m->stack[depth++] = pc + 1;
            break;
        default:
            break;
        }
    }
}

static bool consumes(const struct regex *re, const struct inst *in, int32_t r)
{
    switch (in->op) {
    case OP_CHAR:
        return r == in->x;
    case OP_ANY:
        return (r != '\n' || in->x != 0) && r != RUNE_EOF;
    case OP_CLASS:
        return r != RUNE_EOF && class_has(&re->classes[in->x], r);
    default:
        return false;
    }
}

/* One code point: from current to next.  True when a match ends at `pos`; threads of lower priority are then
 * dropped. */
static bool step(struct matcher *m, size_t pos, int32_t r, size_t width, size_t *ret_start)
{
    m->next.count = 0;
    for (size_t i = 0; i < m->current.count; i++) {
        struct thread t = m->current.list[i];
        const struct inst *in = &m->re->insts[t.pc];
        if (in->op == OP_MATCH) {
            *ret_start = t.start;
            return true;
        }
        if (consumes(m->re, in, r))
            add_thread(m, &m->next, t.pc + 1, t.start, pos + width);
    }
    return false;
}

static bool run(struct matcher *m, size_t from, size_t *ret_start, size_t *ret_end)
{
    bool matched = false;
    size_t pos = from, width;

    for (;; pos += width) {
        if (!matched && (!m->re->anchored || pos == 0))
            add_thread(m, &m->current, 0, pos, pos);
        if (m->current.count == 0 && (matched || m->re->anchored))
            break;
        int32_t r = rune_decode(m->s + pos, m->len - pos, &width);
        if (step(m, pos, r, width, ret_start)) {
            *ret_end = pos;
            matched = true;
        }
        struct thread_set t = m->current;
        m->current = m->next;
        m->next = t;
        if (r == RUNE_EOF)
            break;
    }
    return matched;
}

bool regex_find(const struct regex *re, const char *s, size_t len, size_t from, size_t *ret_start,
                size_t *ret_end)
{
    enum { SMALL = 128 };
    struct thread small_list[2][SMALL];
    uint32_t small_index[2][SMALL], small_stack[3 * SMALL];
    struct matcher m = { .re = re, .s = s, .len = len };
    CLEANUP(freep) void *memory = NULL;
    size_t n = re->count;

    if (n <= SMALL) {
        memset(small_index, 0, sizeof(small_index));
        m.current = (struct thread_set){ small_list[0], small_index[0], 0 };
        m.next = (struct thread_set){ small_list[1], small_index[1], 0 };
        m.stack = small_stack;
        return run(&m, from, ret_start, ret_end);
    }
    memory = xcalloc(n, 2 * sizeof(struct thread) + 5 * sizeof(uint32_t));
    struct thread *lists = memory;
    uint32_t *words = (uint32_t *)(lists + 2 * n);
    m.current = (struct thread_set){ lists, words, 0 };
    m.next = (struct thread_set){ lists + n, words + n, 0 };
    m.stack = words + 2 * n;
    return run(&m, from, ret_start, ret_end);
}

bool regex_matches(const struct regex *re, const char *s, size_t len)
{
    size_t start, end;

    return regex_find(re, s, len, 0, &start, &end);
}

/* ---- groups ---- */

/* What is to be done next: look at a place, or put back what a group's end was before. */
struct capture_step {
    uint32_t pc;
    int32_t slot; /* -1: the place */
    size_t old;
};

struct capture_set {
    uint32_t *pcs, *index;
    size_t *ends; /* width of them a thread */
    size_t count;
};

struct capturer {
    struct matcher base; /* for assertions */
    size_t width;
    size_t *ends; /* of the thread at hand */
    struct capture_step *stack;
    struct capture_set current, next;
};

/* As add_thread, with the ends of groups on the way. */
static void capture_add(struct capturer *m, struct capture_set *set, uint32_t from, size_t pos)
{
    size_t depth = 0;

    m->stack[depth++] = (struct capture_step){ from, -1, 0 };
    while (depth > 0) {
        struct capture_step at = m->stack[--depth];

        if (at.slot >= 0) {
            m->ends[at.slot] = at.old;
            continue;
        }
        if (set->index[at.pc] < set->count && set->pcs[set->index[at.pc]] == at.pc)
            continue;
        set->index[at.pc] = (uint32_t)set->count;
        set->pcs[set->count] = at.pc;
        memcpy(set->ends + set->count++ * m->width, m->ends, m->width * sizeof(*m->ends));
        const struct inst *in = &m->base.re->insts[at.pc];

        switch (in->op) {
        case OP_JUMP:
            m->stack[depth++] = (struct capture_step){ at.pc + (uint32_t)in->x, -1, 0 };
            break;
        case OP_SPLIT:
            m->stack[depth++] = (struct capture_step){ at.pc + (uint32_t)in->y, -1, 0 };
            m->stack[depth++] = (struct capture_step){ at.pc + (uint32_t)in->x, -1, 0 };
            break;
        case OP_GROUP:
            m->stack[depth++] = (struct capture_step){ 0, in->x, m->ends[in->x] };
            m->ends[in->x] = pos;
            m->stack[depth++] = (struct capture_step){ at.pc + 1, -1, 0 };
            break;
        case OP_BEGIN:
        case OP_END:
        case OP_WORD:
        case OP_NOT_WORD:
            if (assertion_holds(&m->base, in->op, pos))
                m->stack[depth++] = (struct capture_step){ at.pc + 1, -1, 0 };
            break;
        default:
            break;
        }
    }
}

/* From the start of a match that is known: its ends into `ret`. */
static void capture_run(struct capturer *m, size_t start, size_t *ret)
{
    size_t width;

    for (size_t i = 0; i < m->width; i++)
        m->ends[i] = REGEX_NONE;
    m->ends[0] = start;
    capture_add(m, &m->current, 0, start);
    for (size_t pos = start;; pos += width) {
        int32_t r = rune_decode(m->base.s + pos, m->base.len - pos, &width);

        m->next.count = 0;
        for (size_t i = 0; i < m->current.count; i++) {
            const struct inst *in = &m->base.re->insts[m->current.pcs[i]];
            const size_t *ends = m->current.ends + i * m->width;

            if (in->op == OP_MATCH) {
                memcpy(ret, ends, m->width * sizeof(*ret));
                ret[1] = pos;
                break;
            }
            if (!consumes(m->base.re, in, r))
                continue;
            memcpy(m->ends, ends, m->width * sizeof(*ends));
            capture_add(m, &m->next, m->current.pcs[i] + 1, pos + width);
        }
        struct capture_set t = m->current;
        m->current = m->next;
        m->next = t;
        if (r == RUNE_EOF || m->current.count == 0)
            return;
    }
}

size_t regex_group_count(const struct regex *re)
{
    return re->group_names.len + 1;
}

bool regex_find_groups(const struct regex *re, const char *s, size_t len, size_t from, size_t *ret)
{
    size_t n = re->count, width = 2 * regex_group_count(re);
    struct capturer m = { .base = { .re = re, .s = s, .len = len }, .width = width };

    if (!regex_find(re, s, len, from, &ret[0], &ret[1]))
        return false;
    if (width == 2)
        return true;
    CLEANUP(freep) size_t *ends = xcalloc(2 * n + 1, width * sizeof(*ends));
    CLEANUP(freep) uint32_t *words = xcalloc(4 * n, sizeof(*words));
    CLEANUP(freep) struct capture_step *stack = xcalloc(2 * n + 2, sizeof(*stack));

    m.ends = ends + 2 * n * width;
    m.stack = stack;
    m.current = (struct capture_set){ words, words + n, ends, 0 };
    m.next = (struct capture_set){ words + 2 * n, words + 3 * n, ends + n * width, 0 };
    capture_run(&m, ret[0], ret);
    return true;
}

/* Behind '$': the name of a group; the end of the reference or 0 when it is none. */
static size_t reference_name(const char *s, const char **ret_name, size_t *ret_len)
{
    bool brace = s[0] == '{';
    size_t i = brace ? 1 : 0, width, len = strlen(s);
    size_t begin = i;

    for (; i < len; i += width) {
        int32_t r = rune_decode(s + i, len - i, &width);
        if (!rune_is_letter(r) && !rune_is_digit(r) && r != '_')
            break;
    }
    if (i == begin || (brace && s[i] != '}'))
        return 0;
    *ret_name = s + begin;
    *ret_len = i - begin;
    return brace ? i + 1 : i;
}

/* The number of the group that a template names; -1: none. */
static ssize_t group_of(const struct regex *re, const char *name, size_t len)
{
    size_t number = 0, digits = 0;

    for (; digits < len && digits < 6 && name[digits] >= '0' && name[digits] <= '9'; digits++)
        number = number * 10 + (size_t)(name[digits] - '0');
    if (digits == len)
        return number < regex_group_count(re) ? (ssize_t)number : -1;
    for (size_t i = 0; i < re->group_names.len; i++) {
        if (strlen(re->group_names.v[i]) == len && memcmp(re->group_names.v[i], name, len) == 0)
            return (ssize_t)i + 1;
    }
    return -1;
}

static void expand_template(const struct regex *re, const char *with, const char *s, const size_t *groups,
                            struct buf *out)
{
    const char *name;
    size_t name_len;

    for (const char *p = with; *p != '\0';) {
        if (*p != '$') {
            buf_addc(out, *p++);
            continue;
        }
        p++;
        size_t end = *p == '$' ? 1 : reference_name(p, &name, &name_len);
        if (end == 0 || *p == '$') {
            buf_addc(out, '$');
        } else {
            ssize_t g = group_of(re, name, name_len);

            if (g >= 0 && groups[2 * g] != REGEX_NONE && groups[2 * g + 1] != REGEX_NONE)
                buf_add(out, s + groups[2 * g], groups[2 * g + 1] - groups[2 * g]);
        }
        p += end;
    }
}

int regex_replace_all(const struct regex *re, const char *s, size_t len, const char *with, size_t limit,
                      struct buf *out)
{
    CLEANUP(freep) size_t *groups = xcalloc(regex_group_count(re), 2 * sizeof(*groups));
    size_t before = out->len, done = 0, from = 0, width;

    while (from <= len && regex_find_groups(re, s, len, from, groups)) {
        size_t start = groups[0], end = groups[1];

        if (out->len - before > limit)
            return -E2BIG;
        buf_add(out, s + done, start - done);
        /* An empty match right behind the last one is no match. */
        if (end > done || start == 0)
            expand_template(re, with, s, groups, out);
        done = end;
        if (end > from) {
            from = end;
            continue;
        }
        rune_decode(s + from, len - from, &width);
        from += width == 0 ? 1 : width;
    }
    buf_add(out, s + done, len - done);
    return out->len - before > limit ? -E2BIG : 0;
}
