/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/settings.h"

#include <inttypes.h>
#include <jansson.h>
#include <unistd.h>

static void set_list(struct map *attributes, const char *key, const struct strv *list)
{
    json_t *j = strv_to_json(list);
    CLEANUP(freep) char *text = json_dumps(j, JSON_COMPACT);

    json_decref(j);
    strmap_set(attributes, key, text);
}

static void set_number(struct map *attributes, const char *key, int64_t n)
{
    CLEANUP(freep) char *text = xasprintf("%" PRId64, n);

    strmap_set(attributes, key, text);
}

void settings_attributes(const struct settings *s, struct map *ret)
{
    const struct config *c = &s->config;
    char name[256] = "";

    (void)!gethostname(name, sizeof(name) - 1);
    strmap_set(ret, "name", name);
    strmap_set(ret, "debug", c->debug ? "true" : "false");
    set_list(ret, "labels", &c->labels);
    set_list(ret, "insecure-registries", &c->insecure_registries);
    set_list(ret, "registry-mirrors", &c->registry_mirrors);
    set_number(ret, "max-concurrent-downloads", c->max_downloads);
    set_number(ret, "max-concurrent-uploads", c->max_uploads);
    set_number(ret, "shutdown-timeout", c->shutdown_timeout);
    set_number(ret, "default-stop-timeout", c->default_stop_timeout);
    set_number(ret, "default-shm-size", c->shm_size);
}

struct error *settings_load(int argc, char **argv, struct settings **ret)
{
    CLEANUP(freep) struct settings *s = NEW(struct settings);
    bool done;

    TRY(config_load(argc, argv, &s->config, &done));
    *ret = TAKE(s);
    return NULL;
}

void settings_free(struct settings *s)
{
    while (s != NULL) {
        struct settings *older = s->older;

        engine_setup_deinit(&s->setup);
        config_deinit(&s->config);
        free(s);
        s = older;
    }
}
