/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regex_impl.h - what the parser and the matchers of expressions share: the program
 *
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
#ifndef MINKE_BASE_REGEX_IMPL_H
#define MINKE_BASE_REGEX_IMPL_H

#include "base/regex.h"
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

static inline bool is_ascii_letter(int32_t r)
{
    return (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z');
}

/* ---- sets of characters (regex_class.c) ---- */

struct class *regex_class_new(struct regex *re);
void regex_class_add(struct class *c, int32_t lo, int32_t hi);
/* "az09" pairs; with `negated` their complement. */
void regex_class_add_pairs(struct class *c, const char *pairs, bool negated);
bool regex_class_has(const struct class *c, int32_t r);
const char *regex_perl_pairs(char c); /* of \d, \s, \w in either case; NULL: none */

/* ---- reading the pattern (regex_class.c) ---- */

int regex_peek(const struct compiler *c); /* -1 at the end */
int32_t regex_next(struct compiler *c);
/* Behind a backslash: the one character that is meant. 0 or -EINVAL. */
int regex_parse_escape(struct compiler *c, int32_t *ret) MUST_CHECK;
/* Behind '[': the last class of the program. 0 or -EINVAL. */
int regex_parse_class(struct compiler *c) MUST_CHECK;

/* ---- matching (regex_match.c) ---- */

bool regex_assertion_holds(const char *s, size_t len, enum op op, size_t pos);
/* Does it take this code point? */
bool regex_inst_takes(const struct regex *re, const struct inst *in, int32_t r);

#endif
