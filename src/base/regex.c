/* SPDX-License-Identifier: Apache-2.0 */
/* regex.c - from the pattern to the program */
#include "base/regex_impl.h"

#include <errno.h>

#include "base/limits.h"
#include "base/rune.h"

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

static void emit_char(struct compiler *c, int32_t r)
{
    if (!c->fold || !is_ascii_letter(r)) {
        emit(c->re, OP_CHAR, r, 0);
        return;
    }
    struct class *cl = regex_class_new(c->re);

    regex_class_add(cl, r, r);
    regex_class_add(cl, r ^ 0x20, r ^ 0x20);
    emit(c->re, OP_CLASS, (int32_t)c->re->class_count - 1, 0);
}

/* \Q..\E: literal text, each character an atom of its own. */
static void parse_quoted(struct compiler *c, size_t *at)
{
    while (c->pos < c->len) {
        if (c->len - c->pos >= 2 && memcmp(c->s + c->pos, "\\E", 2) == 0) {
            c->pos += 2;
            return;
        }
        *at = c->re->count;
        emit_char(c, regex_next(c));
    }
}

static bool parse_number(struct compiler *c, int *ret)
{
    size_t digits = 0;
    int n = 0;

    while (regex_peek(c) >= '0' && regex_peek(c) <= '9') {
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
    if (ok && regex_peek(c) == ',') {
        c->pos++;
        *ret_max = -1;
        ok = regex_peek(c) == '}' || parse_number(c, ret_max);
    }
    if (!ok || regex_peek(c) != '}') {
        c->pos = start;
        return 0;
    }
    c->pos++;
    if (*ret_min > REGEX_REPEAT || *ret_max > REGEX_REPEAT || (*ret_max >= 0 && *ret_min > *ret_max))
        return -EINVAL;
    return 1;
}

/* Behind a backslash outside of a class. */
static int parse_escaped_atom(struct compiler *c, size_t *at)
{
    int32_t r;
    int k = regex_peek(c);

    if (k < 0)
        return -EINVAL;
    if (k == 'A' || k == 'z' || k == 'b' || k == 'B') {
        c->pos++;
        emit(c->re, k == 'A' ? OP_BEGIN : k == 'z' ? OP_END : k == 'b' ? OP_WORD : OP_NOT_WORD, 0, 0);
        return 0;
    }
    if (k == 'Q') {
        c->pos++;
        parse_quoted(c, at);
        return 0;
    }
    if (regex_perl_pairs((char)k) != NULL) {
        c->pos++;
        regex_class_add_pairs(regex_class_new(c->re), regex_perl_pairs((char)k), k < 'a');
        emit(c->re, OP_CLASS, (int32_t)c->re->class_count - 1, 0);
        return 0;
    }
    int e = regex_parse_escape(c, &r);
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
    if (regex_peek(c) == '<') {
        c->pos++;
        return parse_group_name(c, ret_name);
    }
    for (;; c->pos++) {
        switch (regex_peek(c)) {
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
            *ret_flags_only = regex_peek(c) == ')';
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
    if (regex_peek(c) != ')')
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

    if (regex_peek(c) == '?') {
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

static void emit_class(struct regex *re)
{
    emit(re, OP_CLASS, (int32_t)re->class_count - 1, 0);
}

/* Behind '['. */
static int parse_set(struct compiler *c)
{
    int r = regex_parse_class(c);

    if (r == 0)
        emit_class(c->re);
    return r;
}

/* *at: where its code begins, which is what a repetition behind it repeats. */
static int parse_atom(struct compiler *c, size_t *at)
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
        return parse_set(c);
    case '(':
        c->pos++;
        return parse_group(c);
    case '\\':
        c->pos++;
        return parse_escaped_atom(c, at);
    case '*':
    case '+':
    case '?':
        return -EINVAL;
    case '{':
        if (parse_count(c, &min, &max) != 0)
            return -EINVAL;
        __attribute__((fallthrough));
    default:
        emit_char(c, regex_next(c));
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
static int wrap_count(struct regex *re, size_t at, int min, int max, bool lazy)
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
            wrap_repeat(re, start, max < 0 ? '*' : '?', lazy);
    }
    return 0;
}

static bool is_repeat(const struct compiler *c)
{
    struct compiler ahead = *c;
    int min, max;

    return regex_peek(c) == '*' || regex_peek(c) == '+' || regex_peek(c) == '?' ||
           (regex_peek(c) == '{' && parse_count(&ahead, &min, &max) != 0);
}

/* The repetition behind the code from `at` on; a second one is an error. */
static int parse_repeat(struct compiler *c, size_t at)
{
    int k = regex_peek(c), min, max, r = 0;

    if (k == '{')
        r = parse_count(c, &min, &max);
    else
        c->pos++;
    if (r < 0)
        return r;
    bool lazy = regex_peek(c) == '?';

    c->pos += lazy;
    if (k == '{')
        r = wrap_count(c->re, at, min, max, lazy);
    else
        wrap_repeat(c->re, at, (char)k, lazy);
    return r < 0 ? r : is_repeat(c) ? -EINVAL : 0;
}

static int parse_sequence(struct compiler *c)
{
    while (regex_peek(c) >= 0 && regex_peek(c) != ')' && regex_peek(c) != '|') {
        size_t at = c->re->count;
        int r = parse_atom(c, &at);
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
        if (regex_peek(c) != '|')
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
