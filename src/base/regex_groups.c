/* SPDX-License-Identifier: Apache-2.0 */
/* regex_groups.c - what the groups of an expression matched, and replacing by it */
#include "base/regex_impl.h"

#include <errno.h>

#include "base/limits.h"
#include "base/rune.h"

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
    const struct regex *re;
    const char *s;
    size_t len;
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
        const struct inst *in = &m->re->insts[at.pc];

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
            if (regex_assertion_holds(m->s, m->len, in->op, pos))
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
        int32_t r = rune_decode(m->s + pos, m->len - pos, &width);

        m->next.count = 0;
        for (size_t i = 0; i < m->current.count; i++) {
            const struct inst *in = &m->re->insts[m->current.pcs[i]];
            const size_t *ends = m->current.ends + i * m->width;

            if (in->op == OP_MATCH) {
                memcpy(ret, ends, m->width * sizeof(*ret));
                ret[1] = pos;
                break;
            }
            if (!regex_inst_takes(m->re, in, r))
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
    struct capturer m = { .re = re, .s = s, .len = len, .width = width };

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

    if (re->count > LIMIT_REGEX_CAPTURES / regex_group_count(re))
        return -E2BIG; /* each place may stand with ends of its own */
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
