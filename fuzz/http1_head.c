/* SPDX-License-Identifier: Apache-2.0 */
/* Request heads: what is taken must be unambiguous. */
#include "fuzz.h"

#include "wire/http1_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct http_request r = { 0 };
    struct http_refusal why = { 0 };
    bool chunked = false;
    size_t scanned = 0;
    ssize_t n = http_head_length((const char *)data, len, &scanned);

    if (n <= 0)
        return 0;
    assert((size_t)n <= len);
    char *head = xmemdup(data, (size_t)n);

    if (http_parse_head(head, (size_t)n, &r, &chunked, &why)) {
        assert(r.method != NULL && r.path != NULL && r.raw_path != NULL && r.host != NULL);
        assert(!(chunked && r.content_length >= 0));
        for (size_t i = 0; i < r.headers.len; i++)
            assert(strpbrk(r.headers.v[i].value, "\r\n") == NULL &&
                   strpbrk(r.headers.v[i].key, " \t:\r\n") == NULL);
    } else {
        assert(why.status >= 400 && why.text != NULL);
    }
    http_request_deinit(&r);
    free(head);
    return 0;
}
