/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flags.h - command lines by a table, as Go's pflag reads them (and urfave/cli for buildkitd)
 *
 * --name=value, --name value, -n value, -nvalue, -n=value; a bool needs no value; "--" ends the flags. Values
 * go straight into the fields of a struct config.  Error texts are pflag's.
 */
#ifndef MINKE_DAEMON_FLAGS_H
#define MINKE_DAEMON_FLAGS_H

#include "base/buf.h"
#include "daemon/config.h"

enum flag_kind {                   /* the field it fills */
                 FLAG_BOOL,        /* bool */
                 FLAG_STRING,      /* char * */
                 FLAG_INT,         /* int64_t */
                 FLAG_IP,          /* char * */
                 FLAG_BYTES,       /* int64_t: "64m" */
                 FLAG_LIST,        /* struct strv */
                 FLAG_IP_LIST,     /* struct strv */
                 FLAG_MAP,         /* string map: k=v */
                 FLAG_SWITCHES,    /* string map: k, k=true, k=false */
                 FLAG_RUNTIME,     /* config.runtimes: name=path */
                 FLAG_POOL,        /* struct strv */
                 FLAG_ULIMIT,      /* struct strv */
                 FLAG_MAP_OF_MAPS, /* struct strv: a=b=c */
                 FLAG_NRI,         /* struct strv */
};

enum flag_attrs {
    FLAG_HIDDEN = 1 << 0,
    FLAG_WITHOUT_EFFECT = 1 << 1, /* known, and nothing is done with it */
    FLAG_DEPRECATED = 1 << 2,     /* `note` says what instead */
    FLAG_COMMA_LIST = 1 << 3,     /* one value may hold several */
};

#define FLAG_NO_FIELD SIZE_MAX

struct flag_spec {
    const char *name;
    char shorthand;
    enum flag_kind kind;
    size_t field;        /* offsetof(struct config, ...) or FLAG_NO_FIELD */
    const char *initial; /* the default as help shows it; "" none */
    const char *usage;
    const char *file_key; /* key in daemon.json; NULL: the name */
    unsigned attrs;
    const char *note;
    /* Check and normalise one value. NULL: anything goes. */
    struct error *(*check)(const char *value, char **ret);
};

struct flag_table {
    const struct flag_spec *specs;
    size_t count;
    bool single_dash; /* -name is --name (buildkitd) */
};

/* Which flags were given, and how they print in a conflict; parallel to the table. */
struct flag_state {
    bool changed;
    struct strv values; /* as given */
};

/* Parse argv[1..]. *ret_first_positional: index in argv of the first argument that is no flag, or argc. */
struct error *flag_table_parse(const struct flag_table *t, int argc, char **argv, struct config *c,
                               struct flag_state *states, int *ret_first_positional) MUST_CHECK;
const struct flag_spec *flags_find(const struct flag_table *t, const char *name);
/* Put one more value into the field; the message is the cause only, without the flag's name. */
struct error *flag_set(const struct flag_spec *spec, const char *value, struct config *c) MUST_CHECK;
/* The value as Go prints it: "[a b]", "map[k:v]", "true". New string. */
char *flag_print(const struct flag_spec *spec, const struct flag_state *state);
/* The options as help lists them, wrapped at 79 columns. */
void flags_usage(const struct flag_table *t, struct buf *out);

#endif
