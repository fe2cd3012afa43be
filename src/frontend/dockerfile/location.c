/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/parser.h"

#define LINES_TYPE "minke/dockerfile.lines"

static bool is_lines(const struct error_detail *d)
{
    return streq(d->type_url, LINES_TYPE) && d->len == sizeof(struct df_lines);
}

struct error *df_error_at(struct error *e, struct df_lines at)
{
    if (e != NULL && at.first != DF_NOWHERE.first)
        err_add_detail(e, LINES_TYPE, &at, sizeof(at));
    return e;
}

struct error *df_error_set_at(struct error *e, struct df_lines at)
{
    if (e != NULL)
        df_error_drop_lines(e);
    return df_error_at(e, at);
}

size_t df_error_lines(const struct error *e, struct df_lines *ret, size_t cap)
{
    size_t count = 0;

    for (size_t i = 0; e != NULL && i < e->detail_count; i++) {
        if (!is_lines(&e->details[i]))
            continue;
        if (count < cap)
            memcpy(&ret[count], e->details[i].value, sizeof(*ret));
        count++;
    }
    return count;
}

void df_error_drop_lines(struct error *e)
{
    size_t kept = 0;

    for (size_t i = 0; i < e->detail_count; i++) {
        if (is_lines(&e->details[i])) {
            free(e->details[i].type_url);
            free(e->details[i].value);
        } else {
            e->details[kept++] = e->details[i];
        }
    }
    e->detail_count = kept;
}
