/* SPDX-License-Identifier: Apache-2.0 */
/* One word: a letter of options, then the text. */
#include "fuzz.h"

#include "base/limits.h"
#include "frontend/dockerfile/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char *const vars[] = { "a=x",    "path=/a/b/c.tar.gz", "empty=", "sp=one two  three",
                                        "d=$0$$", "s=a*b?c\\d" };
    CLEANUP(strv_deinit) struct strv env = { 0 };
    struct words_result r;

    if (len == 0)
        return 0;
    CLEANUP(freep) char *word = xmemdup(data + 1, len - 1);
    struct words_options o = {
        .escape = data[0] & 1 ? '`' : '\\',
        .raw_quotes = data[0] & 2,
        .raw_escapes = data[0] & 4,
        .skip_quotes = data[0] & 8,
        .skip_unset = data[0] & 16,
    };
    for (size_t i = 0; i < ARRAY_LEN(vars); i++)
        strv_add(&env, vars[i]);
    struct words_env lookup = words_env_strv(&env);
    struct error *e = words_process(&o, word, &lookup, &r);
    assert((e == NULL) == (r.text != NULL));
    assert(e == NULL || str_has_prefix(e->message, "failed to process \""));
    assert(e != NULL || strlen(r.text) <= LIMIT_WORD_BYTES + 3 * len);
    for (size_t i = 0; i < r.words.len; i++)
        assert(*r.words.v[i] != '\0');
    err_free(e);
    words_result_deinit(&r);
    return 0;
}
