/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.h - what was asked of frontends below a build, and what each of them solved; kept for the
 * provenance
 *
 * Every frontend works through the bridge of a request of its own; the root is the build itself, whose bridge
 * a client drives over the gateway.  Calls on one bridge may come from several tasks at once.
 */
#ifndef MINKE_BUILDKIT_REQUEST_H
#define MINKE_BUILDKIT_REQUEST_H

#include "frontend/frontend.h"
#include "task/task.h"

#include <jansson.h>

struct ahead;
struct build;
struct capture;

/* An image whose config was asked for. */
struct request_image {
    char *ref; /* as asked, without scheme */
    char *digest;
    struct platform platform; /* zeroed: none was given */
    bool local;               /* from an OCI layout of the client */
};

struct request {
    struct bridge bridge; /* first: a bridge call finds its request by a cast */
    struct build *build;
    struct request *parent; /* NULL: the build's own */
    char *frontend;         /* "": none */
    struct map args;        /* string map */
    struct map inputs;      /* name -> struct llb_def *, references */
    struct ahead *ahead;    /* while its frontend runs; NULL: nothing is asked ahead */
    json_t *producers;      /* of inputs that other requests made: name -> what was asked; NULL: none */
    struct mutex lock;      /* of what follows */
    struct ptrv refs;       /* struct ref *, the job's: solved from definitions through this bridge */
    struct ptrv children;   /* struct request *, those that succeeded */
    struct request_image *images;
    size_t image_count;
};

/* Args and inputs are copied; NULL: none. */
void request_init(struct request *r, struct build *u, struct request *parent, const char *frontend,
                  const struct map *args, const struct map *inputs);
void request_deinit(struct request *r); /* with its children */
struct request *request_new(struct request *parent, const char *frontend, const struct map *args,
                            const struct map *inputs);
void request_free(struct request *r);
void request_add_ref(struct request *r, struct ref *ref);
/* It succeeded; taken. */
void request_adopt(struct request *r, struct request *child);
/* Who solved `ref`, from `r` down; NULL: nobody. */
struct request *request_owner(struct request *r, const struct ref *ref);
void request_add_image(struct request *r, const struct resolved_image *image, const struct platform *platform,
                       bool local);

/* ---- who made an input
 *
 * As long as a build is open, definitions that its frontends gave out are known by their head: a request, of
 * any build, that gets one as its input tells where it came from. */

struct producer {
    struct digest head;
    struct request *request;
    struct ref *ref;
};
/* The build's are forgotten; before its job closes. */
void producers_drop(struct build *u);

/* ---- as provenance shows it ---- */

/* Is there anything to tell of it? */
bool request_is_set(const struct request *r);
/* {configSource, request}: what was asked, without what names this host or holds credentials; `sources`
 * resolve the context.  New reference. */
json_t *request_json(const struct request *r, const struct capture *sources);
/* Its parts. `args`: of a request or a copy; *ret_args without context and file name, NULL when none. */
json_t *request_args_json(const struct request *r);
json_t *request_config_source(json_t *args, const struct capture *sources);

#endif
