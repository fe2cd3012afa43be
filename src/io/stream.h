/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.h - everything that carries bytes
 *
 * One task may read while another writes; two readers or two writers at once are the caller's fault.  Reads
 * and writes are wait points.  Nobody above can tell a socket from a pipe, TLS, a hijacked connection or a
 * tunnel inside HTTP/2.
 */
#ifndef MINKE_IO_STREAM_H
#define MINKE_IO_STREAM_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"

struct stream {
    const struct stream_ops *ops;
};

struct stream_ops {
    ssize_t (*read)(struct stream *s, void *buf, size_t cap); /* 0 = end; negative errno */
    ssize_t (*write)(struct stream *s, const void *buf,
                     size_t len);    /* may be short, never 0; negative errno */
    int (*shut)(struct stream *s);   /* half-close our side */
    void (*close)(struct stream *s); /* release; never waits; frees s */
    int (*fd)(struct stream *s);     /* may be NULL: a plain fd below, for splice/sendfile, or -1 */
};

ssize_t stream_read(struct stream *s, void *buf, size_t cap) MUST_CHECK;
ssize_t stream_write(struct stream *s, const void *buf, size_t len) MUST_CHECK;
int stream_shut(struct stream *s);
void stream_close(struct stream *s); /* NULL is fine */
void stream_closep(struct stream **s);
int stream_fd(struct stream *s);

/* Whole-buffer forms: 0 or a negative errno; read_full gives -EPIPE when the stream ends early. */
int stream_read_full(struct stream *s, void *buf, size_t len) MUST_CHECK;
int stream_write_full(struct stream *s, const void *buf, size_t len) MUST_CHECK;
/* Append all that follows, at most `limit` bytes: -EFBIG beyond. */
int stream_read_all(struct stream *s, struct buf *out, size_t limit) MUST_CHECK;
/* Copy to the end: bytes moved or a negative errno. */
int64_t stream_copy(struct stream *dst, struct stream *src) MUST_CHECK;

/* From a descriptor (socket, pipe, file, tty): taken; set non-blocking except for regular files. */
struct stream *stream_from_fd(int fd);
/* Separate descriptors for the two directions (a child's stdin and stdout); each taken, either may be -1. */
struct stream *stream_from_fds(int read_fd, int write_fd);
/* Reads `len` bytes at `data` (copied), swallows nothing: write fails with -EBADF. */
struct stream *stream_from_memory(const void *data, size_t len);
/* Appends writes to *out (borrowed, must outlive the stream); read gives 0. */
struct stream *stream_to_buf(struct buf *out);
/* Two connected ends in memory, each with a buffer of `cap` bytes per direction; closing one ends the other's
 * reads. */
void stream_pair(struct stream **ret_a, struct stream **ret_b, size_t cap);
/* Reads first the `len` bytes at `head` (copied: a parser's read-ahead), then `s` (taken). Writes go to `s`.
 */
struct stream *stream_with_head(struct stream *s, const void *head, size_t len);
/* Reads at most `len` bytes of `s` (borrowed); then 0. */
struct stream *stream_limited(struct stream *s, uint64_t len);

/* unix://PATH or tcp://HOST:PORT. Waits. */
struct error *stream_dial(const char *address, struct stream **ret) MUST_CHECK;

/* TLS (OpenSSL) over a stream, which is taken on success. */
struct tls_server_config {
    const char *cert_file, *key_file, *ca_file; /* ca_file: client certificates are required and verified */
    /* In place of the files: a certificate and its key in memory, for a server of HTTP/1.1 alone. */
    struct x509_st *certificate;
    struct evp_pkey_st *key;
};
struct error *stream_tls_server(struct stream *s, const struct tls_server_config *config,
                                struct stream **ret) MUST_CHECK;

/* Write all of it to a descriptor; where it would block, the task waits.  0 or -errno, -ECANCELED,
 * -ETIMEDOUT. */
int fd_write_all(int fd, const void *data, size_t len) MUST_CHECK;

#endif
