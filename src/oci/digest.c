/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>

#include "base/bytes.h"

struct hasher {
    EVP_MD_CTX *ctx;
};

/* Fetching the algorithm costs three times as much as hashing a small record: once per process. */
static EVP_MD *sha256;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void fetch_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (sha256 == NULL)
        abort(); /* a libcrypto without SHA-256 is no libcrypto */
}

static const EVP_MD *sha256_md(void)
{
    pthread_once(&sha256_once, fetch_sha256);
    return sha256;
}

void digest_warm_up(void)
{
    (void)sha256_md();
}

bool digest_valid(const char *s)
{
    if (s == NULL || strncmp(s, "sha256:", 7) != 0)
        return false;
    for (size_t i = 7; i < DIGEST_LEN; i++) {
        char c = s[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return s[DIGEST_LEN] == '\0';
}

int digest_parse(const char *s, struct digest *ret)
{
    if (!digest_valid(s))
        return -EINVAL;
    memcpy(ret->s, s, DIGEST_LEN + 1);
    return 0;
}

struct digest digest_from_raw(const uint8_t raw[32])
{
    struct digest d;
    memcpy(d.s, "sha256:", 7);
    hex_encode(d.s + 7, raw, 32);
    return d;
}

struct digest digest_of(const void *data, size_t len)
{
    uint8_t raw[32];
    if (EVP_Digest(data, len, raw, NULL, sha256_md(), NULL) != 1)
        abort();
    return digest_from_raw(raw);
}

struct hasher *hasher_new(void)
{
    struct hasher *h = NEW(struct hasher);
    h->ctx = EVP_MD_CTX_new();
    if (h->ctx == NULL || EVP_DigestInit_ex2(h->ctx, sha256_md(), NULL) != 1)
        abort();
    return h;
}

void hasher_add(struct hasher *h, const void *data, size_t len)
{
    if (EVP_DigestUpdate(h->ctx, data, len) != 1)
        abort();
}

void hasher_sum_raw(struct hasher *h, uint8_t ret[32])
{
    /* A copy is finished, so that the caller may go on adding. */
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    if (copy == NULL || EVP_MD_CTX_copy_ex(copy, h->ctx) != 1 || EVP_DigestFinal_ex(copy, ret, NULL) != 1)
        abort();
    EVP_MD_CTX_free(copy);
}

struct digest hasher_sum(struct hasher *h)
{
    uint8_t raw[32];
    hasher_sum_raw(h, raw);
    return digest_from_raw(raw);
}

void hasher_reset(struct hasher *h)
{
    if (EVP_DigestInit_ex2(h->ctx, sha256_md(), NULL) != 1)
        abort();
}

struct digest hasher_digest(struct hasher *h, const void *data, size_t len)
{
    uint8_t raw[32];

    hasher_reset(h);
    hasher_add(h, data, len);
    if (EVP_DigestFinal_ex(h->ctx, raw, NULL) != 1)
        abort();
    return digest_from_raw(raw);
}

void hasher_free(struct hasher *h)
{
    if (h == NULL)
        return;
    EVP_MD_CTX_free(h->ctx);
    free(h);
}

void hasher_freep(struct hasher **h)
{
    hasher_free(*h);
    *h = NULL;
}
