/* SPDX-License-Identifier: Apache-2.0 */
/* flag_print.c - flags as people read them: in help, and where a file says something else */
#include "daemon/flags.h"

static bool is_list(enum flag_kind kind)
{
    return kind == FLAG_LIST || kind == FLAG_IP_LIST || kind == FLAG_POOL || kind == FLAG_ULIMIT ||
           kind == FLAG_NRI || kind == FLAG_RUNTIME;
}

static bool is_map(enum flag_kind kind)
{
    return kind == FLAG_MAP || kind == FLAG_SWITCHES || kind == FLAG_MAP_OF_MAPS;
}

/* "base=10.0.0.0/8,size=24" prints as "10.0.0.0/8 24". */
static char *print_pools(const struct strv *values)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };

    for (size_t i = 0; i < values->len; i++) {
        const char *base = strstr(values->v[i], "base="), *size = strstr(values->v[i], "size=");

        buf_addf(&out, "%s%.*s %.*s", i > 0 ? ", " : "", base != NULL ? (int)strcspn(base + 5, ",") : 0,
                 base != NULL ? base + 5 : "", size != NULL ? (int)strcspn(size + 5, ",") : 1,
                 size != NULL ? size + 5 : "0");
    }
    return buf_take(&out);
}

char *flag_print(const struct flag_spec *spec, const struct flag_state *state)
{
    const struct strv *values = &state->values;

    if (values->len == 0)
        return xstrdup(spec->initial);
    if (spec->kind == FLAG_POOL)
        return print_pools(values);
    if (is_list(spec->kind)) {
        CLEANUP(freep) char *all = strv_join(values, " ");

        return xasprintf("[%s]", all);
    }
    if (is_map(spec->kind)) {
        CLEANUP(freep) char *all = strv_join(values, " ");

        for (char *equals = all; (equals = strchr(equals, '=')) != NULL;)
            *equals = ':';
        return xasprintf("map[%s]", all);
    }
    return xstrdup(values->v[values->len - 1]);
}

static const char *type_name(enum flag_kind kind)
{
    static const char *const names[] = {
        [FLAG_BOOL] = "",
        [FLAG_STRING] = "string",
        [FLAG_INT] = "int",
        [FLAG_IP] = "ip",
        [FLAG_BYTES] = "bytes",
        [FLAG_LIST] = "list",
        [FLAG_IP_LIST] = "list",
        [FLAG_MAP] = "map",
        [FLAG_SWITCHES] = "map",
        [FLAG_RUNTIME] = "runtime",
        [FLAG_POOL] = "pool-options",
        [FLAG_ULIMIT] = "ulimit",
        [FLAG_MAP_OF_MAPS] = "mapmap",
        [FLAG_NRI] = "nri-opts",
    };

    return names[kind];
}

/* Text in lines of at most `width`, later ones indented; broken a little early, so that no short word ends up
 * alone. */
static void add_wrapped(struct buf *out, const char *text, size_t indent, size_t width)
{
    static const size_t slack = 5;
    size_t room = width - indent - slack;

    while (strlen(text) >= room + slack) {
        size_t cut = room;

        while (cut > 0 && text[cut - 1] != ' ')
            cut--;
        if (cut == 0)
            break;
        buf_add(out, text, cut - 1);
        buf_addf(out, "\n%*s", (int)indent, "");
        text += cut;
    }
    buf_adds(out, text);
    buf_addc(out, '\n');
}

void flags_usage(const struct flag_table *t, struct buf *out)
{
    size_t widest = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < t->count; i++) {
            const struct flag_spec *f = &t->specs[i];
            const char *type = type_name(f->kind);

            if (f->attrs & (FLAG_HIDDEN | FLAG_DEPRECATED))
                continue;
            bool shown =
                f->shorthand != '\0' && (t->single_dash || f->shorthand != 'h'); /* -h is deprecated */
            char shorthand[4] = { '-', f->shorthand, ',', '\0' };
            CLEANUP(freep)
            char *head =
                xasprintf("  %3s --%s%s%s", shown ? shorthand : "", f->name, *type != '\0' ? " " : "", type);

            widest = MAX(widest, strlen(head));
            if (pass == 0)
                continue;
            const char *quote = f->kind == FLAG_STRING ? "\"" : "";
            CLEANUP(freep)
            char *text = f->initial[0] != '\0'
                             ? xasprintf("%s (default %s%s%s)", f->usage, quote, f->initial, quote)
                             : xstrdup(f->usage);

            buf_addf(out, "%-*s   ", (int)widest, head);
            add_wrapped(out, text, widest + 3, 79);
        }
    }
}
