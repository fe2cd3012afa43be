/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openssl.c - the functions of OpenSSL that we call, under their own names: each finds the real one at its
 * first call
 *
 * libcrypto and libssl are half of the time from exec to the first answer, and an idle daemon needs neither.
 * What a header makes a macro ends in one of these functions.  A function that is called without being here
 * does not link.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/base.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define VERSION TEXT(OPENSSL_SHLIB_VERSION)

/* They are there wherever this program is installed: its packages depend on them. */
static void fail(void)
{
    fprintf(stderr, "minke: %s\n", dlerror());
    abort();
}

static void *crypto, *ssl;

static void open_crypto(void)
{
    crypto = dlopen("libcrypto.so." VERSION, RTLD_NOW | RTLD_LOCAL);
    if (crypto == NULL)
        fail();
}

static void open_ssl(void)
{
    ssl = dlopen("libssl.so." VERSION, RTLD_NOW | RTLD_LOCAL);
    if (ssl == NULL)
        fail();
}

static void *find(void *library, const char *name)
{
    void *p = dlsym(library, name);

    if (p == NULL)
        fail();
    return p;
}

static void *find_crypto(const char *name)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, open_crypto);
    return find(crypto, name);
}

static void *find_ssl(const char *name)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, open_ssl);
    return find(ssl, name);
}

/* Hidden: libcurl's own use of OpenSSL does not come by here. */
#define FORWARD(library, type, name, params, args)                                                           \
    __attribute__((visibility("hidden"))) type name params                                                   \
    {                                                                                                        \
        static _Atomic(__typeof__(&name)) known;                                                             \
        __typeof__(&name) real = atomic_load_explicit(&known, memory_order_acquire);                         \
                                                                                                             \
        if (real == NULL) {                                                                                  \
            real = (__typeof__(&name))find_##library(#name);                                                 \
            atomic_store_explicit(&known, real, memory_order_release);                                       \
        }                                                                                                    \
        return real args;                                                                                    \
    }

/* ---- digests, signatures ---- */

FORWARD(crypto, EVP_MD *, EVP_MD_fetch, (OSSL_LIB_CTX * c, const char *name, const char *properties),
        (c, name, properties))
FORWARD(crypto, const EVP_MD *, EVP_sha256, (void), ())
FORWARD(crypto, const EVP_MD *, EVP_sha384, (void), ())
FORWARD(crypto, const EVP_MD *, EVP_sha512, (void), ())
FORWARD(crypto, int, EVP_Digest,
        (const void *data, size_t len, unsigned char *md, unsigned int *size, const EVP_MD *type, ENGINE *e),
        (data, len, md, size, type, e))
FORWARD(crypto, EVP_MD_CTX *, EVP_MD_CTX_new, (void), ())
FORWARD(crypto, void, EVP_MD_CTX_free, (EVP_MD_CTX * c), (c))
FORWARD(crypto, int, EVP_MD_CTX_copy_ex, (EVP_MD_CTX * out, const EVP_MD_CTX *in), (out, in))
FORWARD(crypto, int, EVP_DigestInit_ex, (EVP_MD_CTX * c, const EVP_MD *type, ENGINE *e), (c, type, e))
FORWARD(crypto, int, EVP_DigestInit_ex2, (EVP_MD_CTX * c, const EVP_MD *type, const OSSL_PARAM params[]),
        (c, type, params))
FORWARD(crypto, int, EVP_DigestUpdate, (EVP_MD_CTX * c, const void *data, size_t len), (c, data, len))
FORWARD(crypto, int, EVP_DigestFinal_ex, (EVP_MD_CTX * c, unsigned char *md, unsigned int *size),
        (c, md, size))
FORWARD(crypto, EVP_PKEY *, EVP_PKEY_new_raw_public_key,
        (int type, ENGINE *e, const unsigned char *key, size_t len), (type, e, key, len))
FORWARD(crypto, void, EVP_PKEY_free, (EVP_PKEY * k), (k))
FORWARD(crypto, int, EVP_DigestVerifyInit,
        (EVP_MD_CTX * c, EVP_PKEY_CTX **p, const EVP_MD *type, ENGINE *e, EVP_PKEY *k), (c, p, type, e, k))
FORWARD(crypto, int, EVP_DigestVerify,
        (EVP_MD_CTX * c, const unsigned char *signature, size_t signature_len, const unsigned char *data,
         size_t len),
        (c, signature, signature_len, data, len))

/* ---- keys, certificates ---- */

FORWARD(crypto, EVP_PKEY_CTX *, EVP_PKEY_CTX_new_from_name,
        (OSSL_LIB_CTX * c, const char *name, const char *properties), (c, name, properties))
FORWARD(crypto, void, EVP_PKEY_CTX_free, (EVP_PKEY_CTX * c), (c))
FORWARD(crypto, int, EVP_PKEY_keygen_init, (EVP_PKEY_CTX * c), (c))
FORWARD(crypto, int, EVP_PKEY_CTX_set_group_name, (EVP_PKEY_CTX * c, const char *name), (c, name))
FORWARD(crypto, int, EVP_PKEY_generate, (EVP_PKEY_CTX * c, EVP_PKEY **k), (c, k))
FORWARD(crypto, X509 *, X509_new, (void), ())
FORWARD(crypto, void, X509_free, (X509 * x), (x))
FORWARD(crypto, int, X509_set_version, (X509 * x, long version), (x, version))
FORWARD(crypto, ASN1_INTEGER *, X509_get_serialNumber, (X509 * x), (x))
FORWARD(crypto, int, ASN1_INTEGER_set_uint64, (ASN1_INTEGER * i, uint64_t n), (i, n))
FORWARD(crypto, ASN1_TIME *, X509_getm_notBefore, (const X509 *x), (x))
FORWARD(crypto, ASN1_TIME *, X509_getm_notAfter, (const X509 *x), (x))
FORWARD(crypto, ASN1_TIME *, X509_gmtime_adj, (ASN1_TIME * t, long seconds), (t, seconds))
FORWARD(crypto, int, X509_set_pubkey, (X509 * x, EVP_PKEY *k), (x, k))
FORWARD(crypto, X509_NAME *, X509_get_subject_name, (const X509 *x), (x))
FORWARD(crypto, int, X509_set_issuer_name, (X509 * x, const X509_NAME *name), (x, name))
FORWARD(crypto, int, X509_NAME_add_entry_by_txt,
        (X509_NAME * n, const char *field, int type, const unsigned char *bytes, int len, int loc, int set),
        (n, field, type, bytes, len, loc, set))
FORWARD(crypto, X509_EXTENSION *, X509V3_EXT_conf_nid,
        (LHASH_OF(CONF_VALUE) * config, X509V3_CTX *c, int nid, const char *value), (config, c, nid, value))
FORWARD(crypto, void, X509_EXTENSION_free, (X509_EXTENSION * x), (x))
FORWARD(crypto, int, X509_add_ext, (X509 * x, X509_EXTENSION *extension, int at), (x, extension, at))
FORWARD(crypto, int, X509_sign, (X509 * x, EVP_PKEY *k, const EVP_MD *type), (x, k, type))
FORWARD(crypto, int, PEM_write_bio_X509, (BIO * b, const X509 *x), (b, x))
FORWARD(crypto, int, BIO_free, (BIO * b), (b))

/* ---- buffers, errors ---- */

FORWARD(crypto, BIO *, BIO_new, (const BIO_METHOD *type), (type))
FORWARD(crypto, const BIO_METHOD *, BIO_s_mem, (void), ())
FORWARD(crypto, int, BIO_read, (BIO * b, void *data, int len), (b, data, len))
FORWARD(crypto, int, BIO_write, (BIO * b, const void *data, int len), (b, data, len))
FORWARD(crypto, void, ERR_clear_error, (void), ())
FORWARD(crypto, unsigned long, ERR_peek_last_error, (void), ())
FORWARD(crypto, void, ERR_error_string_n, (unsigned long e, char *buf, size_t len), (e, buf, len))

/* ---- TLS ---- */

FORWARD(ssl, const SSL_METHOD *, TLS_server_method, (void), ())
FORWARD(ssl, SSL_CTX *, SSL_CTX_new, (const SSL_METHOD *method), (method))
FORWARD(ssl, void, SSL_CTX_free, (SSL_CTX * c), (c))
FORWARD(ssl, long, SSL_CTX_ctrl, (SSL_CTX * c, int command, long n, void *p), (c, command, n, p))
FORWARD(ssl, uint64_t, SSL_CTX_set_options, (SSL_CTX * c, uint64_t options), (c, options))
FORWARD(ssl, int, SSL_CTX_use_certificate_chain_file, (SSL_CTX * c, const char *file), (c, file))
FORWARD(ssl, int, SSL_CTX_use_PrivateKey_file, (SSL_CTX * c, const char *file, int type), (c, file, type))
FORWARD(ssl, int, SSL_CTX_check_private_key, (const SSL_CTX *c), (c))
FORWARD(ssl, int, SSL_CTX_use_certificate, (SSL_CTX * c, X509 *certificate), (c, certificate))
FORWARD(ssl, int, SSL_CTX_use_PrivateKey, (SSL_CTX * c, EVP_PKEY *k), (c, k))
FORWARD(ssl, int, SSL_CTX_load_verify_file, (SSL_CTX * c, const char *file), (c, file))
FORWARD(ssl, STACK_OF(X509_NAME) *, SSL_load_client_CA_file, (const char *file), (file))
FORWARD(ssl, void, SSL_CTX_set_client_CA_list, (SSL_CTX * c, STACK_OF(X509_NAME) * names), (c, names))
FORWARD(ssl, void, SSL_CTX_set_verify, (SSL_CTX * c, int mode, SSL_verify_cb callback), (c, mode, callback))
FORWARD(ssl, int, SSL_CTX_set_session_id_context, (SSL_CTX * c, const unsigned char *id, unsigned int len),
        (c, id, len))
FORWARD(ssl, void, SSL_CTX_set_alpn_select_cb, (SSL_CTX * c, SSL_CTX_alpn_select_cb_func callback, void *arg),
        (c, callback, arg))
FORWARD(ssl, int, SSL_select_next_proto,
        (unsigned char **out, unsigned char *out_len, const unsigned char *server, unsigned int server_len,
         const unsigned char *client, unsigned int client_len),
        (out, out_len, server, server_len, client, client_len))
FORWARD(ssl, SSL *, SSL_new, (SSL_CTX * c), (c))
FORWARD(ssl, void, SSL_free, (SSL * s), (s))
FORWARD(ssl, void, SSL_set_bio, (SSL * s, BIO *in, BIO *out), (s, in, out))
FORWARD(ssl, long, SSL_ctrl, (SSL * s, int command, long n, void *p), (s, command, n, p))
FORWARD(ssl, int, SSL_accept, (SSL * s), (s))
FORWARD(ssl, int, SSL_read_ex, (SSL * s, void *data, size_t len, size_t *n), (s, data, len, n))
FORWARD(ssl, int, SSL_write_ex, (SSL * s, const void *data, size_t len, size_t *n), (s, data, len, n))
FORWARD(ssl, int, SSL_shutdown, (SSL * s), (s))
FORWARD(ssl, int, SSL_get_error, (const SSL *s, int r), (s, r))
