/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flags.h - the --options of an instruction (inside of instruction.h)
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_FLAGS_H
#define MINKE_FRONTEND_DOCKERFILE_FLAGS_H

#include "base/arena.h"
#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"

enum flag_type {
    FLAG_BOOL,
    FLAG_STRING,
    FLAG_STRINGS, /* may be given several times */
};

struct flag {
    const char *name; /* without -- */
    enum flag_type type;
    struct strv *list; /* FLAG_STRINGS: values are appended here */
    /* results; strings are borrowed from the arguments */
    bool used, on;
    const char *value; /* FLAG_STRING: "" when not given */
};

/* Texts of errors: "unknown flag: --x (did you mean y?)", "duplicate flag specified: --x", "missing a value
 * on flag: --x", "expecting boolean value for flag --x, not: v". */
struct error *flags_parse(struct arena *mem, const struct strv *args, struct flag *flags,
                          size_t count) MUST_CHECK;

#endif
