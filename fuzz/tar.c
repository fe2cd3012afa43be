/* SPDX-License-Identifier: Apache-2.0 */
/* Archives from clients and registries; the first byte says in what pieces they come. */
#include "fuzz.h"

#include "oci/tar.h"

/* The whole archive; what of it was read must be what its headers promised. */
static void read_all(struct tar_reader *r)
{
    struct tar_entry *entry = NULL;

    for (int n = 0; n < 4096; n++) {
        char chunk[1024];
        int64_t total = 0;
        struct error *e = tar_reader_next(r, &entry);
        ssize_t got = 0;

        if (e != NULL || entry == NULL) {
            err_free(e);
            return;
        }
        assert(entry->name != NULL && entry->size >= 0);
        while (total < (1 << 20) && (got = tar_reader_read(r, chunk, sizeof(chunk))) > 0)
            total += got;
        assert(got < 0 || total <= entry->size);
        if (got < 0)
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    struct stream *s = fuzz_stream(data + 1, len - 1, (size_t)data[0] * 4 + 1);
    CLEANUP(tar_reader_freep) struct tar_reader *r = tar_reader_new(s);

    read_all(r);
    tar_reader_freep(&r);
    stream_close(s);
    return 0;
}
