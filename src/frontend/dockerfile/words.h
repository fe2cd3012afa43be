/* SPDX-License-Identifier: Apache-2.0 */
/*
 * words.h - shell-like words: quotes, escapes, $VAR and ${VAR<op>word}
 *
 * Operators: :- - :+ + :? ? # ## % %% / //.  Text is UTF-8; invalid bytes become U+FFFD.  Nesting is bounded
 * by LIMIT_WORD_DEPTH, and all that variables put into one word by LIMIT_WORD_BYTES.  Stateless; callable
 * from any thread.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_WORDS_H
#define MINKE_FRONTEND_DOCKERFILE_WORDS_H

#include "base/arena.h"
#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"

struct words_options {
    char escape;      /* '\\' or '`' */
    bool raw_quotes;  /* keep quotes in the result */
    bool raw_escapes; /* keep escape characters */
    bool skip_quotes; /* quotes have no meaning */
    bool skip_unset;  /* leave references to unset variables as they are */
    bool one_word;    /* the split words are not wanted: the result has none */
};

/* Where values come from.  `get` answers a borrowed value (good until the next call) or NULL when unset. */
struct words_env {
    const char *(*get)(const void *ctx, const char *name);
    const void *ctx;
};
/* An environment over a string map (strmap); "KEY=VALUE" vectors: the last entry of a name wins. NULL
 * map/vector: empty. */
struct words_env words_env_map(const struct map *m);
struct words_env words_env_strv(const struct strv *env);

struct words_result {
    char *text;            /* expanded as one word */
    struct strv words;     /* expanded and split at unquoted blanks */
    struct strv matched;   /* names that were looked up and set, in order, once each */
    struct strv unmatched; /* ... and unset */
};
void words_result_deinit(struct words_result *r);

/* Expand.  On an error *ret still has matched and unmatched (text NULL): lint reports them.
 * Errors are ERR_INVALID "failed to process \"...\": ...". */
struct error *words_process(const struct words_options *o, const char *word, const struct words_env *env,
                            struct words_result *ret) MUST_CHECK;
/* Is there nothing in the word that could be expanded? Then it is its own text: so are most. */
bool words_plain(const struct words_options *o, const char *word);
/* Only the text. */
struct error *words_expand(const struct words_options *o, const char *word, const struct words_env *env,
                           char **ret) MUST_CHECK;
/* The same as a callback: a word_expander (instruction.h) whose ctx is a words_expansion. */
struct words_expansion {
    const struct words_options *options;
    const struct words_env *env;
};
struct error *words_expand_in(void *expansion, struct arena *mem, const char *word,
                              const char **ret) MUST_CHECK;
/* Only the split words, appended to *ret. */
struct error *words_split(const struct words_options *o, const char *word, const struct words_env *env,
                          struct strv *ret) MUST_CHECK;

#endif
