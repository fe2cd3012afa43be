/* SPDX-License-Identifier: Apache-2.0 */
/* Image references: what parses, prints to what parses to the same. */
#include "fuzz.h"

#include "oci/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(freep) char *text = xstrndup((const char *)data, len);
    struct reference r = { 0 }, again = { 0 };
    struct error *e = reference_parse(text, &r);

    if (e != NULL) {
        assert(*e->message != '\0');
        err_free(e);
        return 0;
    }
    reference_add_default_tag(&r);
    CLEANUP(freep)
    char *full = reference_string(&r), *familiar = reference_familiar(&r), *name = reference_name(&r);

    assert(str_has_prefix(full, name));
    e = reference_parse(full, &again);
    assert(e == NULL && streq(again.domain, r.domain) && streq(again.path, r.path));
    reference_deinit(&again);
    /* docker.io/a.b/c is a.b/c in short, which is another host's: docker's own short names have that flaw. */
    e = reference_parse(familiar, &again);
    assert(e == NULL);
    reference_deinit(&again);
    reference_deinit(&r);
    return 0;
}
