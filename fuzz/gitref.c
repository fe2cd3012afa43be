/* SPDX-License-Identifier: Apache-2.0 */
/* Git URLs of ADD and of contexts, with their fragments and queries. */
#include "fuzz.h"

#include "frontend/dockerfile/gitref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(freep) char *text = xstrndup((const char *)data, len);
    struct git_ref g = { 0 };
    bool is_git = false;
    struct error *e = git_ref_parse(text, &g, &is_git);

    assert(e == NULL || (is_git && *e->message != '\0'));
    if (e == NULL && is_git) {
        assert(g.remote != NULL && *g.remote != '\0');
        assert(g.ref != NULL && g.subdir != NULL && strchr(g.remote, '#') == NULL);
    }
    if (e == NULL && !is_git)
        assert(g.remote == NULL);
    err_free(e);
    git_ref_deinit(&g);
    return 0;
}
