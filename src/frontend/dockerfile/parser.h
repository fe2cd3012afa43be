/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parser.h - Dockerfile text to nodes, one per instruction
 *
 *   text -> (lines, continuations, comments, heredocs) -> struct df_ast -> instruction.h -> stages
 *
 * A node holds one instruction split into flags and arguments, nothing is expanded yet.  Everything lies in
 * the arena that the caller gives and lives as long as that; nothing is released on its own.  The AST is
 * immutable after the parse; nothing here waits or keeps state between calls.  Behaviour and texts are those
 * of Dockerfile syntax 1.28.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_PARSER_H
#define MINKE_FRONTEND_DOCKERFILE_PARSER_H

#include "base/arena.h"
#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"

/*
 * A location: whole lines, counted from 1, both ends inside.  On the wire every line is a range of its own
 * {start{line}, end{line}} (character 0).  Line 0 exists (an error before the first line); first < 0 is "no
 * location".
 */
struct df_lines {
    int first, last;
};
#define DF_NOWHERE ((struct df_lines){ -1, -1 })
#define DF_NO_LINE ((struct df_lines){ -2, -2 }) /* of an error: the file, but no line of it */

/*
 * Locations travel with an error as private details, innermost first (several instructions may be named: the
 * place, then its context).  The frontend's face takes them off and puts the errdefs.Source detail in their
 * place.
 */
struct error *df_error_at(struct error *e,
                          struct df_lines at) MUST_CHECK; /* add one; NULL passes; nowhere adds none */
struct error *df_error_set_at(struct error *e, struct df_lines at) MUST_CHECK; /* replace them all */
/* Copies up to `cap` locations to `ret`; answers how many there are. */
size_t df_error_lines(const struct error *e, struct df_lines *ret, size_t cap);
void df_error_drop_lines(struct error *e);

struct df_heredoc {
    const char *name;
    unsigned fd; /* number before <<, 0 when none */
    bool expand; /* no part of the name was quoted */
    bool chomp;  /* <<- : leading tabs go (chomped by heredoc_chomp, not yet in `content`) */
    const char *content;
};
/* Does this one word look like a heredoc ("<<EOF", "3<<-'EOF'")?  Then true and *ret is filled (content "").
 */
bool heredoc_parse(struct arena *mem, const char *word, struct df_heredoc *ret);
/* Without the leading tabs of every line. */
const char *heredoc_chomp(struct arena *mem, const char *content);

struct df_node {
    const char *value;    /* the keyword as typed */
    const char *original; /* the logical line: continuations joined, comment lines out */
    struct strv flags;    /* "--x=y" words in front, quotes resolved */
    struct strv args;     /* by keyword: words; one string; key, value, "=" or "" (old form) triples; ONBUILD:
                             keyword, args of the inner one */
    bool json;            /* arguments came as a JSON array */
    struct df_heredoc *heredocs;
    size_t heredoc_count;
    struct df_node *child; /* ONBUILD: the inner instruction, else NULL */
    struct df_lines lines; /* with heredoc bodies */
    struct strv comments;  /* comment lines directly above, without '#' and blanks around */
};

struct df_warning {
    const char *text; /* "Empty continuation line found in: ..." */
    const char *detail;
    const char *url;
    struct df_lines lines;
};

struct df_ast {
    struct df_node **nodes;
    size_t count;
    char escape;                 /* '\\' or '`' */
    struct df_warning *warnings; /* always the rule NoEmptyContinuation */
    size_t warning_count;
};

/* Parse a whole file of at most LIMIT_CONTROL_FILE bytes.  Errors: ERR_INVALID with a location. */
struct error *df_ast_parse(struct arena *mem, const char *data, size_t len, struct df_ast *ret) MUST_CHECK;

#endif
