/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/tabwriter.h"

#include "base/rune.h"

struct cell {
    const char *s;
    size_t len, width; /* bytes, runes */
    size_t column;     /* runes that the column takes */
};
struct line {
    struct cell *cells;
    size_t count; /* at least one; the last is no column's */
};
struct table {
    struct line *lines;
    size_t count;
};

static size_t rune_count(const char *s, size_t len)
{
    size_t n = 0, width;

    for (size_t i = 0; i < len; i += width, n++)
        rune_decode(s + i, len - i, &width);
    return n;
}

static void add_cell(struct line *l, const char *s, size_t len)
{
    l->cells = xreallocarray(l->cells, l->count + 1, sizeof(*l->cells));
    l->cells[l->count++] = (struct cell){ s, len, rune_count(s, len), 0 };
}

static void split(struct table *t, const char *text)
{
    for (;;) {
        struct line l = { 0 };
        size_t n;

        for (;;) {
            n = strcspn(text, "\t\v\n\f");
            add_cell(&l, text, n);
            text += n;
            if (*text != '\t' && *text != '\v')
                break;
            text++;
        }
        if ((t->count & (t->count - 1)) == 0) /* grown at powers of two */
            t->lines = xreallocarray(t->lines, t->count == 0 ? 1 : t->count * 2, sizeof(*t->lines));
        t->lines[t->count++] = l;
        if (*text++ == '\0')
            return;
    }
}

/* Lines that have a cell in `column`, of `lines`; answers how many. */
static size_t with_column(const struct table *t, size_t *lines, size_t count, size_t column)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        if (column + 1 < t->lines[lines[i]].count)
            lines[n++] = lines[i];
    }
    return n;
}

/* The widest cell of every block counts. */
static void measure_column(struct table *t, const size_t *lines, size_t count, size_t column, size_t padding)
{
    for (size_t i = 0, end; i < count; i = end) {
        size_t width = 0;

        for (end = i; end < count && lines[end] - lines[i] == end - i; end++)
            width = MAX(width, t->lines[lines[end]].cells[column].width);
        for (size_t k = i; k < end; k++)
            t->lines[lines[k]].cells[column].column = width + padding;
    }
}

static void measure(struct table *t, size_t padding)
{
    CLEANUP(freep) size_t *lines = xcalloc(t->count, sizeof(*lines));
    size_t count = t->count;

    for (size_t i = 0; i < count; i++)
        lines[i] = i;
    for (size_t column = 0; (count = with_column(t, lines, count, column)) > 0; column++)
        measure_column(t, lines, count, column, padding);
}

static void write_line(const struct line *l, struct buf *out)
{
    for (size_t k = 0; k < l->count; k++) {
        const struct cell *c = &l->cells[k];

        buf_add(out, c->s, c->len);
        for (size_t n = c->width; n < c->column; n++)
            buf_addc(out, ' ');
    }
}

void tabwriter_format(struct buf *out, const char *text, size_t padding)
{
    struct table t = { 0 };

    split(&t, text);
    measure(&t, padding);
    for (size_t i = 0; i < t.count; i++) {
        if (i > 0)
            buf_addc(out, '\n');
        write_line(&t.lines[i], out);
        free(t.lines[i].cells);
    }
    free(t.lines);
}
