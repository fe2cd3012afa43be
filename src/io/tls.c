/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.c - the server's side of TLS over any stream
 *
 * OpenSSL works on two memory buffers and never sees the stream below:
 *
 *     reader:  lock, SSL_read; wants more?  unlock, read below, lock, give it to `in`
 *     writer:  lock, SSL_write, take all of `out`; unlock, write it below
 *
 * so that the one task that reads and the one that writes share the SSL object under a lock which neither
 * holds while it waits. What a read makes OpenSSL want to say (a key update's answer) stays in `out` and goes
 * ahead of the next write.
 */
#include "io/stream.h"
#include "task/task.h"

#include <errno.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#define RECORD ((size_t)16 * 1024)

struct tls_stream {
    struct stream base;
    struct stream *below;
    struct mutex lock; /* ssl and both BIOs */
    SSL *ssl;
    BIO *in, *out;  /* owned by ssl */
    char *received; /* RECORD bytes; the reader's */
    char *sending;  /* of the writer */
    bool failed;    /* a partly sent record: nothing may follow it */
};

static struct tls_stream *tls_of(struct stream *s)
{
    return CONTAINER_OF(s, struct tls_stream, base);
}

/* Send all that OpenSSL has put out. Only the writer calls this (and the handshake, which is alone). */
static int flush_out(struct tls_stream *t)
{
    for (;;) {
        mutex_lock(&t->lock);
        int n = BIO_read(t->out, t->sending, (int)RECORD);

        mutex_unlock(&t->lock);
        if (n <= 0)
            return 0;
        int r = stream_write_full(t->below, t->sending, (size_t)n);

        if (r < 0) {
            t->failed = true;
            return r;
        }
    }
}

/* Hand OpenSSL more of what the peer sent: bytes, 0 at the end, or a negative errno. */
static ssize_t fill_in(struct tls_stream *t)
{
    ssize_t n = stream_read(t->below, t->received, RECORD);

    if (n <= 0)
        return n;
    mutex_lock(&t->lock);
    int written = BIO_write(t->in, t->received, (int)n);

    mutex_unlock(&t->lock);
    return written == n ? n : -ENOMEM;
}

static ssize_t tls_read(struct stream *s, void *buf, size_t cap)
{
    struct tls_stream *t = tls_of(s);
    int r = task_check_sys();

    while (r == 0) {
        size_t n = 0;

        mutex_lock(&t->lock);
        ERR_clear_error();
        int ok = SSL_read_ex(t->ssl, buf, cap, &n);
        int why = ok == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, ok);

        mutex_unlock(&t->lock);
        if (ok == 1)
            return (ssize_t)n;
        if (why == SSL_ERROR_ZERO_RETURN)
            return 0;
        if (why != SSL_ERROR_WANT_READ)
            return -EPROTO;
        ssize_t filled = fill_in(t);

        if (filled == 0)
            return -ECONNRESET; /* cut off: without the peer's close notice nobody knows that this was all */
        r = filled < 0 ? (int)filled : 0;
    }
    return r;
}

static ssize_t tls_write(struct stream *s, const void *buf, size_t len)
{
    struct tls_stream *t = tls_of(s);
    size_t n = 0;
    int r = task_check_sys();

    if (r < 0)
        return r;
    if (t->failed)
        return -EPIPE;
    mutex_lock(&t->lock);
    ERR_clear_error();
    int ok = SSL_write_ex(t->ssl, buf, MIN(len, RECORD), &n);

    mutex_unlock(&t->lock);
    if (ok != 1)
        return -EPROTO;
    r = flush_out(t);
    return r < 0 ? r : (ssize_t)n;
}

static int tls_shut(struct stream *s)
{
    struct tls_stream *t = tls_of(s);

    if (t->failed)
        return -EPIPE;
    mutex_lock(&t->lock);
    ERR_clear_error();
    (void)SSL_shutdown(t->ssl); /* puts the close notice into `out`; the peer's comes when it comes */
    mutex_unlock(&t->lock);
    int r = flush_out(t);

    return r < 0 ? r : stream_shut(t->below);
}

static void tls_close(struct stream *s)
{
    struct tls_stream *t = tls_of(s);

    stream_close(t->below);
    SSL_free(t->ssl);
    mutex_deinit(&t->lock);
    free(t->received);
    free(t->sending);
    free(t);
}

static const struct stream_ops tls_ops = {
    .read = tls_read,
    .write = tls_write,
    .shut = tls_shut,
    .close = tls_close,
};

/* ---- set-up ---- */

/* The latest complaint of OpenSSL. */
static struct error *ssl_error(enum error_kind kind, const char *what)
{
    char text[256];

    ERR_error_string_n(ERR_peek_last_error(), text, sizeof(text));
    ERR_clear_error();
    return err_new(kind, "%s: %s", what, text);
}

static void context_freep(SSL_CTX **context)
{
    SSL_CTX_free(*context);
}

static struct error *load_files(SSL_CTX *context, const struct tls_server_config *config)
{
    if (SSL_CTX_use_certificate_chain_file(context, config->cert_file) != 1)
        return err_wrap(ssl_error(ERR_INVALID, config->cert_file), "load the TLS certificate");
    if (SSL_CTX_use_PrivateKey_file(context, config->key_file, SSL_FILETYPE_PEM) != 1)
        return err_wrap(ssl_error(ERR_INVALID, config->key_file), "load the TLS key");
    if (SSL_CTX_check_private_key(context) != 1)
        return ssl_error(ERR_INVALID, "the TLS key does not belong to the certificate");
    if (config->ca_file == NULL)
        return NULL;
    if (SSL_CTX_load_verify_file(context, config->ca_file) != 1)
        return err_wrap(ssl_error(ERR_INVALID, config->ca_file), "load the TLS CA");
    SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(config->ca_file));
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return NULL;
}

static struct error *load(SSL_CTX *context, const struct tls_server_config *config)
{
    if (config->certificate == NULL)
        return load_files(context, config);
    if (SSL_CTX_use_certificate(context, config->certificate) != 1 ||
        SSL_CTX_use_PrivateKey(context, config->key) != 1)
        return ssl_error(ERR_INTERNAL, "use a TLS certificate");
    return NULL;
}

/* HTTP/2 first, as Go's server; a client that offers neither gets none. */
static const char protocols[] = "\x02h2\x08http/1.1";
#define ONLY_HTTP1 (protocols + 3)

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
    const char *ours = arg;
    unsigned char *chosen = NULL;

    if (SSL_select_next_proto(&chosen, out_len, (const unsigned char *)ours, (unsigned)strlen(ours), in,
                              in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static struct error *make_context(const struct tls_server_config *config, SSL_CTX **ret)
{
    CLEANUP(context_freep) SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (context == NULL)
        return ssl_error(ERR_INTERNAL, "make a TLS context");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"minke", 5);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol,
                               (void *)(config->certificate != NULL ? ONLY_HTTP1 : protocols));
    TRY(load(context, config));
    *ret = TAKE(context);
    return NULL;
}

static struct error *handshake(struct tls_stream *t)
{
    for (;;) {
        mutex_lock(&t->lock);
        ERR_clear_error();
        int ok = SSL_accept(t->ssl), why = ok == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, ok);
        struct error *e =
            ok == 1 || why == SSL_ERROR_WANT_READ ? NULL : ssl_error(ERR_UNAUTHORIZED, "TLS handshake");

        mutex_unlock(&t->lock);
        int r = flush_out(t); /* an alert, too */

        if (e != NULL)
            return e;
        if (r < 0)
            return task_error(r, "TLS handshake");
        if (ok == 1)
            return NULL;
        ssize_t n = fill_in(t);

        if (n <= 0)
            return n < 0 ? task_error((int)n, "TLS handshake")
                         : err_new(ERR_UNAUTHORIZED, "TLS handshake: the client left");
    }
}

struct error *stream_tls_server(struct stream *s, const struct tls_server_config *config, struct stream **ret)
{
    CLEANUP(context_freep) SSL_CTX *context = NULL;

    TRY(make_context(config, &context));
    SSL *ssl = SSL_new(context);

    if (ssl == NULL)
        return ssl_error(ERR_INTERNAL, "make a TLS connection");
    struct tls_stream *t = NEW(struct tls_stream);

    t->base.ops = &tls_ops;
    t->below = s;
    mutex_init(&t->lock);
    t->ssl = ssl;
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, t->in, t->out);
    SSL_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    t->received = xmalloc(RECORD);
    t->sending = xmalloc(RECORD);
    struct error *e = handshake(t);

    if (e != NULL) {
        t->below = NULL; /* stays the caller's */
        tls_close(&t->base);
        return e;
    }
    *ret = &t->base;
    return NULL;
}
