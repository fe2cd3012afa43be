/* SPDX-License-Identifier: Apache-2.0 */
/* regex_match.c - where an expression matches */
#include "base/regex_impl.h"

#include "base/rune.h"

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

static bool is_word_at(const char *s, size_t len, size_t pos)
{
    unsigned char c = pos < len ? (unsigned char)s[pos] : 0;

    return c == '_' || (c < 0x80 && (rune_is_letter(c) || rune_is_digit(c)));
}

bool regex_assertion_holds(const char *s, size_t len, enum op op, size_t pos)
{
    bool boundary = (pos > 0 && is_word_at(s, len, pos - 1)) != is_word_at(s, len, pos);

    switch (op) {
    case OP_BEGIN:
        return pos == 0;
    case OP_END:
        return pos == len;
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
            if (regex_assertion_holds(m->s, m->len, in->op, pos))
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

bool regex_inst_takes(const struct regex *re, const struct inst *in, int32_t r)
{
    switch (in->op) {
    case OP_CHAR:
        return r == in->x;
    case OP_ANY:
        return (r != '\n' || in->x != 0) && r != RUNE_EOF;
    case OP_CLASS:
        return r != RUNE_EOF && regex_class_has(&re->classes[in->x], r);
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
        if (regex_inst_takes(m->re, in, r))
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
