/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_trial.h - a client with a tree, and the directory that receives it, in one process
 *
 * Test code only; not part of the library.
 */
#ifndef MINKE_SESSION_SYNC_TRIAL_H
#define MINKE_SESSION_SYNC_TRIAL_H

#include "session/pack.h"
#include "session/peer_test.h"
#include "session/sync.h"

/* The tests run twice: with all files in the tree, and with small ones in a pack. */
extern bool sync_packing;

struct dirs {
    char root[40];
    int src, dst, canary;
    struct sync_pack pack;
};

/* The client's side. */
struct client {
    struct dirs *d;
    struct sync_send_filter filter;
    const char *prefix;
    int64_t sent_bytes;
    struct strv metadata; /* of the last call: "key=value" */
    /* instead of the real sender: raw packets */
    const struct buf *script;
    size_t script_len;
    bool hang, endless;
    struct semaphore idle; /* taken while a call is served */
};

struct fixture {
    struct dirs d;
    struct client client;
    struct rpc_service service;
    const struct rpc_service *services[1];
    struct peer peer;
    struct sync_index index;
    int64_t received;
    int changes; /* syncs that were about to change the directory */
};

void fixture_init(struct fixture *f);
void fixture_deinit(struct fixture *f); /* nothing was written beside the directory */
struct error *run_sync(struct fixture *f, struct sync_options *o) MUST_CHECK;
/* The script may be freed: nobody sends it any more. */
void wait_idle(struct client *c);

void put_file(int dir, const char *name, const char *text, mode_t mode);
void set_time(int dir, const char *name, int64_t ns);
void make_tree(int dir); /* of every kind of entry */
void assert_same_trees(struct dirs *d, const struct sync_index *index);

#endif
