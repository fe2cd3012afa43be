/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial.h - the life of a store from opening to closing, for tests in which something of it fails
 *
 * Linked into tests only; asserts with cmocka.
 */
#ifndef MINKE_STORE_TRIAL_H
#define MINKE_STORE_TRIAL_H

#include "base/error.h"

/* A new folder (its path to `dir`) whose store has an image, a layer, and a record that leads to it. */
void trial_begin(char dir[64]);
/* The store is opened, gets another of each, a blob, a fact, is collected, and closed.  *ret_named: the image
 * was acknowledged. */
struct error *trial_live(const char *dir, bool *ret_named) MUST_CHECK;
/* What there was is there, what was `named` too, what was under way is whole or not there at all, and nothing
 * is orphaned.  `what`: failed before, for messages. */
void trial_check(const char *dir, bool named, const char *what);

#endif
