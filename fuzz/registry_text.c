/* SPDX-License-Identifier: Apache-2.0 */
/* What a registry says of itself: WWW-Authenticate headers, manifests and indexes; the first byte picks. */
#include "fuzz.h"

#include "registry/challenge.h"
#include "registry/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    CLEANUP(freep) char *text = xstrndup((const char *)data + 1, len - 1);

    if (data[0] % 2 == 0) {
        struct challenge c = { 0 };

        challenge_parse(text, &c);
        challenge_deinit(&c);
    } else {
        CLEANUP(freep) char *type = NULL;
        struct error *e = document_media_type((const char *)data + 1, len - 1, NULL, &type);

        /* a document is taken for one thing, or refused */
        assert((e == NULL) == (type != NULL));
        err_free(e);
    }
    return 0;
}
