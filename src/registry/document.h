/* SPDX-License-Identifier: Apache-2.0 */
/*
 * document.h - JSON documents of registries: parsed within bounds, manifests checked for what they claim to
 * be
 */
#ifndef MINKE_REGISTRY_DOCUMENT_H
#define MINKE_REGISTRY_DOCUMENT_H

#include "base/base.h"
#include "base/error.h"

#include <jansson.h>

/* Parse an object of at most LIMIT_JSON_DEPTH levels; *ret is owned. Errors: ERR_INVALID. */
struct error *document_parse(const char *data, size_t len, json_t **ret) MUST_CHECK;

/* The media type of a manifest or index: what it says, what its server says (`content_type`, may be NULL) and
 * what it holds must agree (security.md M8: a document that is both would be read in two ways).  New string.
 * Errors: ERR_INVALID; schema 1 is refused with containerd's text. */
struct error *document_media_type(const char *data, size_t len, const char *content_type,
                                  char **ret) MUST_CHECK;

#endif
