/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/curl.h"

#include <dlfcn.h>
#include <pthread.h>

/* Debian's OpenSSL build first: the other flavours carry a second TLS library into the process. */
static const char *const library_names[] = { "libcurl.so.4", "libcurl-gnutls.so.4" };

static struct curl_api table;
static char load_failure[256];
static pthread_once_t load_once = PTHREAD_ONCE_INIT;

static void load(void)
{
    void *lib = NULL;

    for (size_t i = 0; i < ARRAY_LEN(library_names) && lib == NULL; i++)
        lib = dlopen(library_names[i], RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL) {
        snprintf(load_failure, sizeof(load_failure), "%s", dlerror());
        return;
    }
#define CURL_LOAD(name)                                                                                      \
    table.name = (__typeof__(table.name))dlsym(lib, "curl_" #name);                                          \
    if (table.name == NULL) {                                                                                \
        snprintf(load_failure, sizeof(load_failure), "%s lacks curl_%s", library_names[0], #name);           \
        return;                                                                                              \
    }
    CURL_FUNCTIONS(CURL_LOAD)
#undef CURL_LOAD
    CURLcode r = table.global_init(CURL_GLOBAL_DEFAULT);

    if (r != CURLE_OK)
        snprintf(load_failure, sizeof(load_failure), "%s", table.easy_strerror(r));
}

struct error *curl_api_get(const struct curl_api **ret)
{
    pthread_once(&load_once, load);
    if (load_failure[0] != '\0')
        return err_new(ERR_UNAVAILABLE, "load libcurl: %s", load_failure);
    *ret = &table;
    return NULL;
}
