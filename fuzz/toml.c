/* SPDX-License-Identifier: Apache-2.0 */
/* buildkitd.toml: whatever parses is JSON that can be written. */
#include "fuzz.h"

#include "daemon/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(freep) char *text = xmemdup(data, len);
    json_t *j = NULL;
    struct error *e = toml_parse(text, &j);

    if (e == NULL) {
        char *out = json_dumps(j, JSON_COMPACT);

        assert(out != NULL);
        free(out);
        json_decref(j);
    }
    err_free(e);
    return 0;
}
