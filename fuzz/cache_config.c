/* SPDX-License-Identifier: Apache-2.0 */
/* Records of a build cache: what is read can be walked and written, and reads back as the same. */
#include "fuzz.h"

#include "base/error.h"
#include "oci/cache_config.h"

#include <assert.h>

static void walk(const struct cache_config *c)
{
    for (size_t i = 0; i < c->record_count; i++) {
        const struct cache_record *r = &c->records[i];

        for (size_t k = 0; k < r->input_count; k++)
            for (size_t n = 0; n < r->inputs[k].link_count; n++)
                assert(r->inputs[k].links[n].record < c->record_count);
        for (size_t k = 0; k < r->result_count; k++) {
            size_t *layers = NULL, count = 0;
            struct error *e = cache_config_layers(c, &r->results[k], &layers, &count);

            for (size_t n = 0; e == NULL && n < count; n++)
                assert(layers[n] < c->layer_count);
            err_free(e);
            free(layers);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(cache_config_deinit) struct cache_config c = { 0 };
    CLEANUP(cache_config_deinit) struct cache_config again = { 0 };
    CLEANUP(buf_deinit) struct buf first = { 0 };
    CLEANUP(buf_deinit) struct buf second = { 0 };
    CLEANUP(err_freep) struct error *e = cache_config_parse(data, len, &c);

    if (e != NULL)
        return 0;
    walk(&c);
    for (size_t i = 0; i < c.record_count; i++)
        if (c.records[i].digest.s[0] == '\0') /* not ours: not written */
            return 0;
    cache_config_write(&c, &first);
    e = cache_config_parse(first.data, first.len, &again);
    assert(e == NULL);
    cache_config_write(&again, &second);
    assert(first.len == second.len && (first.len == 0 || memcmp(first.data, second.data, first.len) == 0));
    return 0;
}
