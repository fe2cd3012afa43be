/* SPDX-License-Identifier: Apache-2.0 */
/* Whole connections: bodies, pipelining, hijacking. The first byte is the size of the reads. */
#include "fuzz.h"

#include "wire/http1.h"

static struct error *handler(struct http_exchange *x, void *ctx)
{
    if (http_header(x->request, "upgrade") != NULL) {
        CLEANUP(stream_closep) struct stream *s = NULL;

        TRY(http_hijack(x, "tcp", &s));
        TRY_SYS(stream_copy(s, s), "echo");
        return NULL;
    }
    if (x->request->has_body)
        TRY_SYS(stream_copy(http_body_writer(x), x->body), "echo");
    return NULL;
}

static struct error *http2(struct stream *s, void *ctx)
{
    stream_close(s);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct http_config config = { .handler = handler, .http2 = http2 };

    if (len > 0)
        err_free(http_serve(fuzz_stream(data + 1, len - 1, data[0]), &config));
    return 0;
}
