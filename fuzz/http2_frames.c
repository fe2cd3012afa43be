/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 frames behind the client's preface. */
#include "fuzz.h"

#include "wire/http2.h"

static void echo(struct h2_stream *s, void *ctx)
{
    struct h2_fields fields = { 0 };
    char data[1000];
    ssize_t n;

    h2_fields_add(&fields, ":status", "200");
    if (h2_stream_respond(s, &fields, false) == 0)
        while ((n = h2_stream_read(s, data, sizeof(data))) > 0)
            if (h2_stream_write(s, data, (size_t)n, NULL, 0) < 0)
                break;
    (void)!h2_stream_end(s, NULL);
    h2_fields_deinit(&fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };

    buf_adds(&b, H2_PREFACE);
    buf_add(&b, data, len);
    err_free(h2_serve(fuzz_stream((const uint8_t *)b.data, b.len, 4096), echo, NULL));
    return 0;
}
