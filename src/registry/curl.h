/* SPDX-License-Identifier: Apache-2.0 */
/*
 * curl.h - libcurl, loaded at its first use
 *
 * libcurl brings some twenty libraries of its own; a daemon that has not pulled anything pays for none of
 * them.  The table is filled once and never goes away.  Thread-safe.
 */
#ifndef MINKE_REGISTRY_CURL_H
#define MINKE_REGISTRY_CURL_H

#include "base/base.h"
#include "base/error.h"

#include <curl/curl.h>

/* Every function that we call.  The names are those of curl_<name>. */
#define CURL_FUNCTIONS(X)                                                                                    \
    X(global_init)                                                                                           \
    X(easy_init)                                                                                             \
    X(easy_setopt)                                                                                           \
    X(easy_getinfo)                                                                                          \
    X(easy_reset)                                                                                            \
    X(easy_pause)                                                                                            \
    X(easy_cleanup)                                                                                          \
    X(easy_strerror)                                                                                         \
    X(multi_init)                                                                                            \
    X(multi_setopt)                                                                                          \
    X(multi_add_handle)                                                                                      \
    X(multi_remove_handle)                                                                                   \
    X(multi_socket_action)                                                                                   \
    X(multi_info_read)                                                                                       \
    X(multi_cleanup)                                                                                         \
    X(multi_strerror)                                                                                        \
    X(slist_append)                                                                                          \
    X(slist_free_all)                                                                                        \
    X(url)                                                                                                   \
    X(url_cleanup)                                                                                           \
    X(url_get)                                                                                               \
    X(url_set)                                                                                               \
    X(free)

struct curl_api {
#define CURL_FIELD(name) __typeof__(curl_##name) *name;
    CURL_FUNCTIONS(CURL_FIELD)
#undef CURL_FIELD
};

/* The table. Errors: ERR_UNAVAILABLE libcurl is not installed or too old. */
struct error *curl_api_get(const struct curl_api **ret) MUST_CHECK;

#endif
