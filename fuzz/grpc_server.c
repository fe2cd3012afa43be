/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gRPC messages on one call: the input is the call's DATA bytes (first byte: the method), cut into frames of
 * changing sizes.  Methods decode messages or read the tunnel.
 */
#include "fuzz.h"

#include "wire/grpc.h"
#include "wire/http2.h"

static struct error *decode(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    void *m = NULL;

    do {
        pb_arena_reset(&arena);
        TRY(rpc_recv_any(call, &bk__solve_request__descriptor, &arena, &m));
    } while (m != NULL);
    return NULL;
}

static struct error *tunnel(struct rpc_call *call, void *ctx)
{
    CLEANUP(stream_closep) struct stream *s = NULL;
    char drop[100];
    ssize_t n;

    TRY(rpc_tunnel(call, &s));
    while ((n = stream_read(s, drop, sizeof(drop))) > 0)
        ;
    return NULL;
}

static void add_frame(struct buf *b, uint8_t type, uint8_t flags, uint32_t stream, const void *payload,
                      size_t len)
{
    const uint8_t head[9] = {
        (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, type, flags, 0, 0, 0, (uint8_t)stream,
    };

    buf_add(b, head, sizeof(head));
    buf_add(b, payload, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct rpc_method methods[] = { { "A", decode }, { "B", tunnel } };
    static const struct rpc_service service = { "s", methods, 2, NULL };
    static const struct rpc_service *const services[] = { &service };
    static const struct rpc_server server = { services, 1 };
    CLEANUP(buf_deinit) struct buf b = { 0 }, head = { 0 };

    if (len == 0)
        return 0;
    /* ":method: POST", ":scheme: http", ":path: /s/A", ":authority: x", "content-type: application/grpc" */
    buf_adds(&head, "\x83\x86\x04\x04/s/");
    buf_addc(&head, data[0] & 1 ? 'B' : 'A');
    buf_adds(&head, "\x01\x01x\x0f\x10\x10"
                    "application/grpc");
    buf_adds(&b, H2_PREFACE);
    add_frame(&b, 4, 0, 0, "", 0);
    add_frame(&b, 1, 4, 1, head.data, head.len);
    for (size_t at = 1, step = 1; at < len; at += step, step = step * 3 % 257) {
        size_t n = MIN(step, len - at);

        add_frame(&b, 0, at + n == len, 1, data + at, n);
        step = MAX(n, (size_t)1);
    }
    err_free(rpc_serve_stream(&server, fuzz_stream((const uint8_t *)b.data, b.len, 1000)));
    return 0;
}
