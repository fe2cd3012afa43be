/* SPDX-License-Identifier: Apache-2.0 */
/* Heredocs: the words that announce them, their bodies, leading tabs. */
#include "fuzz.h"

#include "frontend/dockerfile/parser.h"

static void check_word(const char *text)
{
    CLEANUP(arena_deinit) struct arena mem = { 0 };
    struct df_heredoc h;

    if (heredoc_parse(&mem, arena_strn(&mem, text, strcspn(text, "\n")), &h))
        assert(h.name != NULL && *h.name != '\0' && streq(h.content, ""));
}

static void check_chomp(const char *text)
{
    CLEANUP(arena_deinit) struct arena mem = { 0 };
    const char *once = heredoc_chomp(&mem, text), *twice = heredoc_chomp(&mem, once);

    assert(strlen(once) <= strlen(text) && streq(once, twice));
}

/* The input as the rest of a RUN: what is read as a document ends before its name. */
static void check_file(const char *text)
{
    CLEANUP(buf_deinit) struct buf file = { 0 };
    CLEANUP(arena_deinit) struct arena mem = { 0 };
    struct df_ast ast = { 0 };
    struct error *e;

    buf_addf(&file, "RUN %s", text);
    e = df_ast_parse(&mem, file.data, file.len, &ast);
    for (size_t i = 0; e == NULL && i < ast.count; i++) {
        for (size_t k = 0; k < ast.nodes[i]->heredoc_count; k++)
            assert(strlen(ast.nodes[i]->heredocs[k].content) <= file.len);
    }
    err_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(freep) char *text = xstrndup((const char *)data, len);

    check_word(text);
    check_chomp(text);
    check_file(text);
    return 0;
}
