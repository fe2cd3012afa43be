/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/authority.h"

#include "base/base.h"
#include "base/buf.h"
#include "base/bytes.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>

#define CURVE "P-256"
#define BACKDATED (60L * 60) /* clocks differ */
#define CA_LIFE (10L * 365 * 24 * 60 * 60)
#define HOST_LIFE (24L * 60 * 60)
#define COMMON_NAME_LEN 64 /* RFC 5280, ub-common-name */
#define HOST_NAME_LEN 253  /* RFC 1035 */

struct authority {
    EVP_PKEY *key; /* of the CA and of every host */
    X509 *certificate;
    char *pem;
    char failure[256];
};

static struct authority ca;
static pthread_once_t made = PTHREAD_ONCE_INIT;

void authority_certificate_freep(X509 **certificate)
{
    X509_free(*certificate);
    *certificate = NULL;
}

static void context_freep(EVP_PKEY_CTX **context)
{
    EVP_PKEY_CTX_free(*context);
}

static bool make_key(EVP_PKEY **ret)
{
    CLEANUP(context_freep) EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);

    return c != NULL && EVP_PKEY_keygen_init(c) > 0 && EVP_PKEY_CTX_set_group_name(c, CURVE) > 0 &&
           EVP_PKEY_generate(c, ret) > 0;
}

static bool add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    bool done = e != NULL && X509_add_ext(x, e, -1) == 1;

    X509_EXTENSION_free(e);
    return done;
}

/* The parts that both kinds have; signed when its extensions are there. */
static X509 *begin(const char *name, long life)
{
    CLEANUP(authority_certificate_freep) X509 *x = X509_new();
    uint64_t serial;

    random_bytes(&serial, sizeof(serial));
    if (x == NULL || X509_set_version(x, X509_VERSION_3) != 1 ||
        ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1 | 1) != 1 ||
        X509_gmtime_adj(X509_getm_notBefore(x), -BACKDATED) == NULL ||
        X509_gmtime_adj(X509_getm_notAfter(x), life) == NULL || X509_set_pubkey(x, ca.key) != 1)
        return NULL;
    if (strlen(name) <= COMMON_NAME_LEN &&
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name,
                                   -1, -1, 0) != 1)
        return NULL;
    return TAKE(x);
}

static char *pem_of(X509 *x)
{
    BIO *b = BIO_new(BIO_s_mem());
    struct buf text = { 0 };
    char chunk[512];
    int n;

    if (PEM_write_bio_X509(b, x) == 1)
        while ((n = BIO_read(b, chunk, sizeof(chunk))) > 0)
            buf_add(&text, chunk, (size_t)n);
    BIO_free(b);
    return buf_take(&text);
}

static void make(void)
{
    X509 *x = NULL;

    if (make_key(&ca.key) && (x = begin("minke step proxy", CA_LIFE)) != NULL &&
        X509_set_issuer_name(x, X509_get_subject_name(x)) == 1 &&
        add_extension(x, NID_basic_constraints, "critical,CA:TRUE") &&
        add_extension(x, NID_key_usage, "critical,keyCertSign,digitalSignature") &&
        X509_sign(x, ca.key, EVP_sha256()) > 0) {
        ca.certificate = x;
        ca.pem = pem_of(x);
        return;
    }
    ERR_error_string_n(ERR_peek_last_error(), ca.failure, sizeof(ca.failure));
    X509_free(x);
}

static struct error *failed(const char *why)
{
    return err_new(ERR_INTERNAL, "make a certificate of the proxy network: %s", why);
}

static struct error *ready(void)
{
    pthread_once(&made, make);
    return ca.pem != NULL ? NULL : failed(ca.failure);
}

struct error *authority_pem(const char **ret)
{
    TRY(ready());
    *ret = ca.pem;
    return NULL;
}

/* "DNS:name" or "IP:address": OpenSSL reads a list of these, so nothing else may be in a name. */
static char *alternative_name(const char *host)
{
    unsigned char address[16];

    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return xasprintf("IP:%s", host);
    size_t len = strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");

    return len > 0 && len <= HOST_NAME_LEN && host[len] == '\0' ? xasprintf("DNS:%s", host) : NULL;
}

struct error *authority_issue(const char *host, X509 **ret, EVP_PKEY **ret_key)
{
    CLEANUP(authority_certificate_freep) X509 *x = NULL;
    CLEANUP(freep) char *name = alternative_name(host);

    if (name == NULL)
        return err_new(ERR_INVALID, "\"%s\" is no host", host);
    TRY(ready());
    x = begin(host, HOST_LIFE);
    if (x == NULL || X509_set_issuer_name(x, X509_get_subject_name(ca.certificate)) != 1 ||
        !add_extension(x, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(x, NID_ext_key_usage, "serverAuth") || !add_extension(x, NID_subject_alt_name, name) ||
        X509_sign(x, ca.key, EVP_sha256()) <= 0) {
        char text[256];

        ERR_error_string_n(ERR_peek_last_error(), text, sizeof(text));
        ERR_clear_error();
        return failed(text);
    }
    *ret = TAKE(x);
    *ret_key = ca.key;
    return NULL;
}
