/* SPDX-License-Identifier: Apache-2.0 */
/* A .dockerignore; what follows the last line that begins with '>' is a path to match. */
#include "fuzz.h"

#include "frontend/dockerfile/ignore.h"
#include "io/path.h"
#include "io/pattern.h"

static void match(const struct pattern_set *s, const char *path)
{
    CLEANUP(freep) bool *info = xcalloc(s->count, sizeof(bool));
    CLEANUP(freep) char *clean = path_clean(path);
    bool all = false, walk = false;
    struct error *e = pattern_set_match(s, clean, &all);
    struct error *w = pattern_set_match_walk(s, clean, NULL, info, &walk);

    assert((e == NULL) == (w == NULL));
    assert(e != NULL || all == walk); /* the same question, asked in two ways */
    err_free(e);
    err_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(strv_deinit) struct strv patterns = { 0 };
    CLEANUP(freep) char *text = xmemdup(data, len);
    const char *mark = memmem(text, len, "\n>", 2);
    size_t size = mark != NULL ? (size_t)(mark - text) : len;
    struct pattern_set s = { 0 };
    struct error *e = ignore_parse(text, size, &patterns);

    if (e == NULL)
        e = pattern_set_init(&s, (const char *const *)patterns.v, patterns.len);
    if (e == NULL)
        match(&s, mark != NULL ? mark + 2 : "a/b/c.txt");
    err_free(e);
    pattern_set_deinit(&s);
    return 0;
}
