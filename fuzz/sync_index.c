/* SPDX-License-Identifier: Apache-2.0 */
/* The saved index of a synced tree, under a right checksum; what loads must save to the same index again. */
#include "fuzz.h"

#include "oci/digest.h"
#include "session/sync.h"

static struct error *load(const struct buf *b, struct sync_index *ret)
{
    CLEANUP(hasher_freep) struct hasher *h = hasher_new();
    CLEANUP(buf_deinit) struct buf whole = { 0 };
    uint8_t sum[32];

    hasher_add(h, b->data, b->len);
    hasher_sum_raw(h, sum);
    buf_add(&whole, b->data, b->len);
    buf_add(&whole, sum, sizeof(sum));
    return sync_index_load(whole.data, whole.len, ret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(buf_deinit) struct buf in = { 0 }, out = { 0 };
    struct sync_index x = { 0 }, again = { 0 };

    buf_add(&in, data, len);
    struct error *e = load(&in, &x);

    if (e == NULL) {
        sync_index_save(&x, &out);
        e = sync_index_load(out.data, out.len, &again);
        assert(e == NULL && again.len == x.len);
    }
    err_free(e);
    sync_index_deinit(&x);
    sync_index_deinit(&again);
    return 0;
}
