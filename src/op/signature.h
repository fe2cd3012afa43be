/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signature.h - detached signatures of what a source brought
 *
 * OpenPGP is checked by gpgv, SSH signatures by ssh-keygen, each with a folder of its own that holds the key
 * and the signature, and nothing of the daemon's user.
 */
#ifndef MINKE_OP_SIGNATURE_H
#define MINKE_OP_SIGNATURE_H

#include "base/base.h"
#include "base/error.h"
#include "store/store.h"

/* An armoured OpenPGP signature of what `data_fd` holds, by one of the armoured public keys.  Weak hashes are
 * refused, and keys that were expired when they signed or, with `reject_expired`, are now. */
struct error *signature_check_pgp(struct store *s, int data_fd, const char *signature, const char *keys,
                                  bool reject_expired) MUST_CHECK;
/* An armoured SSH signature in git's namespace, by a key as authorized_keys has it. */
struct error *signature_check_ssh(struct store *s, int data_fd, const char *signature,
                                  const char *key) MUST_CHECK;
/* Armoured blocks as the bytes they stand for, one behind the other; 0 or -EINVAL. */
int signature_dearmor(const char *text, const char *type, struct buf *out) MUST_CHECK;

#endif
