/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf messages that come from outside; the first byte picks the type. What decodes must encode. */
#include "fuzz.h"

#include "wire/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const ProtobufCMessageDescriptor *const types[] = {
        &pb__definition__descriptor,     &pb__op__descriptor,
        &bk__solve_request__descriptor,  &gw__solve_request__descriptor,
        &gw__return_request__descriptor, &fs__packet__descriptor,
        &gw__exec_message__descriptor,   &rpc__status__descriptor,
    };
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 }, again = { 0 };
    CLEANUP(buf_deinit) struct buf out = { 0 };
    void *m = NULL;

    if (len == 0)
        return 0;
    const ProtobufCMessageDescriptor *type = types[data[0] % ARRAY_LEN(types)];
    struct error *e = pb_unpack_any(type, data + 1, len - 1, &a, &m);

    if (e == NULL) {
        pb_pack(m, &out);
        e = pb_unpack_any(type, out.data, out.len, &again, &m);
    }
    err_free(e);
    return 0;
}
