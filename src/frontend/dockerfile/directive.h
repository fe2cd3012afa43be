/* SPDX-License-Identifier: Apache-2.0 */
/*
 * directive.h - the comment lines at the top of a file that steer its parsing: syntax, escape, check
 *
 * `# syntax=docker/dockerfile:1`.  They end at the first line that is no directive.  Names are ASCII and
 * case-insensitive.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_DIRECTIVE_H
#define MINKE_FRONTEND_DOCKERFILE_DIRECTIVE_H

#include "frontend/dockerfile/parser.h"

struct directive {
    char *name;  /* lower case */
    char *value; /* whole text behind '=', trimmed */
    struct df_lines lines;
};
void directive_deinit(struct directive *d);

/* Line-wise reader; zeroed is a fresh one for '#' comments. */
struct directive_reader {
    const char *comment; /* NULL: "#" */
    int line;            /* lines seen */
    bool done;
    unsigned seen; /* bit set of known names */
};
/* Next line (without its line end).  *ret_found tells whether *ret was filled.
 * Errors: "only one %s parser directive can be used". */
struct error *directive_read(struct directive_reader *r, const char *line, size_t len, struct directive *ret,
                             bool *ret_found) MUST_CHECK;

/* The value of one directive ("check") of a whole file: BOM and a #! line are skipped.  The first word of the
 * value is malloc'd in *ret_first when that is not NULL.  False when absent. */
bool directive_find(const char *name, const char *data, size_t len, char **ret_first, struct directive *ret);
/* The `syntax` directive in any form: "# syntax=", "// syntax=", or a JSON file {"syntax": ".."}.
 * *ret_ref is the first word, ret->value the full line (cmdline of the frontend). */
bool directive_detect_syntax(const char *data, size_t len, char **ret_ref, struct directive *ret);

#endif
