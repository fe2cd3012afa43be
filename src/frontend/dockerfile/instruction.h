/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instruction.h - typed instructions, and the stages they form
 *
 * Instructions are checked as far as that is possible without variables.  Expansion happens in place,
 * instruction by instruction, when the environment at that point is known (convert); a file built for several
 * platforms is parsed once per platform.  All lies in the arena of the AST (parser.h) and lives as long.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_INSTRUCTION_H
#define MINKE_FRONTEND_DOCKERFILE_INSTRUCTION_H

#include "frontend/dockerfile/lint.h"
#include "frontend/dockerfile/parser.h"

enum instruction_kind {
    INSTR_ADD,
    INSTR_ARG,
    INSTR_CMD,
    INSTR_COPY,
    INSTR_ENTRYPOINT,
    INSTR_ENV,
    INSTR_EXPOSE,
    INSTR_FROM, /* only from instruction_parse; dockerfile_stages makes a stage of it */
    INSTR_HEALTHCHECK,
    INSTR_LABEL,
    INSTR_MAINTAINER,
    INSTR_ONBUILD,
    INSTR_RUN,
    INSTR_SHELL,
    INSTR_STOPSIGNAL,
    INSTR_USER,
    INSTR_VOLUME,
    INSTR_WORKDIR,
};
const char *instruction_kind_name(enum instruction_kind kind); /* "ADD" */

/* ENV, LABEL */
struct key_value {
    const char *key, *value;
    bool no_delim; /* old form "ENV key value": rule LegacyKeyValueFormat */
};
struct key_value_list {
    struct key_value *v;
    size_t len;
    bool no_expand; /* made from an option */
};

/* ARG */
struct arg_def {
    const char *key;
    const char *value;       /* NULL: no default */
    const char *description; /* from a comment "# key text" directly above, "" when none */
};
struct arg_list {
    struct arg_def *v;
    size_t len;
};

/* ADD, COPY */
struct source_content { /* a heredoc as source */
    const char *path;   /* its name */
    const char *data;   /* chomped already */
    bool expand;        /* variables in data are to be expanded */
};
struct copy_args {
    struct strv paths;
    struct source_content *contents;
    size_t content_count;
    const char *dest;
    const char *chown, *chmod; /* "" when not given */
    bool link;
    struct strv exclude;
    /* COPY */
    const char *from; /* "" when not given; never expanded here */
    bool parents;
    /* ADD */
    const char *checksum; /* "" when not given */
    bool keep_git_dir_set, keep_git_dir;
    bool unpack_set, unpack;
};

/* RUN, CMD, ENTRYPOINT */
struct inline_file { /* a heredoc */
    const char *name;
    const char *data; /* as typed; chomp it with heredoc_chomp */
    bool chomp;
};
struct command_line {
    struct strv args; /* JSON form: the array (may be empty); shell form: one string, or none when nothing was
                         given */
    struct inline_file *files;
    size_t file_count;
    bool prepend_shell; /* shell form */
};

enum mount_type { MOUNT_BIND, MOUNT_CACHE, MOUNT_TMPFS, MOUNT_SECRET, MOUNT_SSH };
enum mount_sharing { SHARING_UNSET, SHARING_SHARED, SHARING_PRIVATE, SHARING_LOCKED };
struct mount_flag {
    enum mount_type type;
    const char *from, *source, *target; /* "" when not given */
    const char *id;                     /* "" when not given */
    bool read_only;
    int64_t size_limit; /* bytes, tmpfs; 0 none */
    enum mount_sharing sharing;
    bool required;
    const char *env; /* secret: variable name, "" = derive it; NULL = not asked for */
    bool mode_set, uid_set, gid_set;
    uint32_t mode, uid, gid;
};
struct run_device {
    const char *name;
    bool required;
};
struct run_args {
    struct command_line line;
    struct strv mount_flags;   /* values of --mount as typed */
    struct mount_flag *mounts; /* before expansion only `from` is filled, in order of the flags */
    size_t mount_count;
    struct run_device *devices;
    size_t device_count;
    const char *network;  /* "default", "none", "host"; literals */
    const char *security; /* "sandbox", "insecure" */
};

struct healthcheck {  /* durations in ns, 0 = not given */
    struct strv test; /* "NONE" | "CMD", .. | "CMD-SHELL", text */
    int64_t interval, timeout, start_period, start_interval;
    int retries;
};

struct from_args {
    const char *base;        /* image or stage name, unexpanded */
    const char *stage_name;  /* lower case, "" when not named */
    const char *platform;    /* "" when not given, unexpanded */
    const char *description; /* from a comment "# stage text" directly above, "" when none */
};

struct instruction {
    enum instruction_kind kind;
    const char *name; /* keyword as typed */
    const char *code; /* whole instruction as typed (continuations joined, trimmed): base of the step name */
    struct df_lines lines;
    struct strv comments;
    union {
        struct copy_args copy; /* ADD, COPY */
        struct arg_list arg;
        struct command_line
            line; /* CMD, ENTRYPOINT.  ENTRYPOINT without args means null, CMD an empty array */
        struct key_value_list kv; /* ENV, LABEL */
        struct strv words;        /* EXPOSE (sorted), VOLUME, SHELL */
        struct from_args from;
        struct healthcheck health;
        struct run_args run;
        const char *text; /* MAINTAINER, ONBUILD (expression), STOPSIGNAL, USER, WORKDIR */
    };
};

/* Parse one node, which lies in `mem`.  `lint` may be NULL.  Errors: ERR_INVALID with the node's location,
 * without the "dockerfile parse error" prefix.
 */
struct error *instruction_parse(struct arena *mem, const struct df_node *node, struct lint *lint,
                                struct instruction **ret) MUST_CHECK;
/* The same for a place that takes no FROM (ONBUILD triggers). */
struct error *instruction_parse_command(struct arena *mem, const struct df_node *node,
                                        struct instruction **ret) MUST_CHECK;

/* Expands one word; *ret is the word itself or lies in `mem`, untouched on an error. */
typedef struct error *(*word_expander)(void *ctx, struct arena *mem, const char *word, const char **ret);
/* Expand variables in all fields that take them: ADD, ARG, COPY (not --from), ENV, LABEL, RUN (--mount
 * values, parsed and checked in full now), STOPSIGNAL, USER, VOLUME, WORKDIR; others are left alone. */
struct error *instruction_expand(struct arena *mem, struct instruction *i, word_expander expand,
                                 void *ctx) MUST_CHECK;
/* Expand the heredoc contents of ADD and COPY; to be called with a lexer for which quotes mean nothing
 * (words_options{.escape = '\\', .skip_quotes = true}). */
struct error *instruction_expand_raw(struct arena *mem, struct instruction *i, word_expander expand,
                                     void *ctx) MUST_CHECK;
/* What one word of EXPOSE names, as "80/tcp"; appended.  `lint` may be NULL. */
struct error *instruction_ports(const char *word, struct df_lines at, struct lint *lint,
                                struct strv *ret) MUST_CHECK;
/* May STOPSIGNAL say this? "SIGTERM", "term", "15", "RTMIN+3". */
bool instruction_signal_is_known(const char *text);
/* LABEL made from an option, never expanded. */
struct instruction *instruction_new_label(struct arena *mem, const char *key, const char *value);

struct stage {
    const char *name;    /* "" when not named */
    const char *keyword; /* FROM as typed, for the casing rule */
    const char *base;
    const char *platform;    /* "" when not given */
    const char *description; /* doc comment, "" when none */
    const char *code;        /* the FROM instruction as typed */
    struct df_lines lines;
    struct strv comments;
    struct instruction **commands;
    size_t command_count;
};

struct dockerfile {
    struct stage *stages;
    size_t stage_count;
    struct instruction **meta_args; /* ARG before the first FROM */
    size_t meta_arg_count;
};
/* All instructions of a file, whose AST lies in `mem`.  Errors: "dockerfile parse error on line N: ...", "no
 * build stage in current context"; a file without FROM but with ARG gives no stage and no error. */
struct error *dockerfile_parse_stages(struct arena *mem, const struct df_ast *ast, struct lint *lint,
                                      struct dockerfile *ret) MUST_CHECK;
/* Index of a stage by name (case-insensitive), -1 when there is none. */
int dockerfile_find_stage(const struct dockerfile *d, const char *name);

#endif
