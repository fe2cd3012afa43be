/* SPDX-License-Identifier: Apache-2.0 */
/* absent.c - networks, volumes and plugins: well-formed lists now; what comes later is refused by name */
#include "api/router.h"

#include "engine/engine.h"
#include "oci/gojson.h"
#include "run/process.h"

/* ---- networks: bridge, host, none
 * ------------------------------------------------------------------------------------------ */

struct fixed_network {
    const char *name, *id, *driver;
};
/* Ids are fixed: these networks are the same in every daemon. */
static const struct fixed_network networks[] = {
    { "bridge", "6b1d5d5f5b7a4a0c9b0e2f3c7a1d8e9f00112233445566778899aabbccddee01", "bridge" },
    { "host", "6b1d5d5f5b7a4a0c9b0e2f3c7a1d8e9f00112233445566778899aabbccddee02", "host" },
    { "none", "6b1d5d5f5b7a4a0c9b0e2f3c7a1d8e9f00112233445566778899aabbccddee03", "null" },
};

static json_t *network_json(const struct engine *e, const struct fixed_network *n)
{
    json_t *ipam = json_pack("{s:s, s:n, s:[]}", "Driver", "default", "Options", "Config");
    const struct network *bridge = streq(n->driver, "bridge") ? runner_network(e->runner) : NULL;

    /* Its subnet is chosen in the background: none until then, or where there can be no bridge. */
    if (bridge != NULL)
        json_array_append_new(
            json_object_get(ipam, "Config"),
            json_pack("{s:s, s:s}", "Subnet", network_subnet(bridge), "Gateway", network_gateway(bridge)));
    return json_pack(
        "{s:s, s:s, s:o, s:s, s:s, s:b, s:b, s:o, s:b, s:b, s:b, s:{s:s}, s:b, s:{}, s:{}, s:{}}", "Name",
        n->name, "Id", n->id, "Created", go_json_time(e->started_ns), "Scope", "local", "Driver", n->driver,
        "EnableIPv4", 1, "EnableIPv6", 0, "IPAM", ipam, "Internal", 0, "Attachable", 0, "Ingress", 0,
        "ConfigFrom", "Network", "", "ConfigOnly", 0, "Containers", "Options", "Labels");
}

static bool wanted(const struct api_filters *f, const char *key, const char *value, bool prefix)
{
    const struct strv *v = api_filter(f, key);

    if (v == NULL || v->len == 0)
        return true;
    for (size_t i = 0; i < v->len; i++) {
        if (prefix ? str_has_prefix(value, v->v[i]) : strstr(value, v->v[i]) != NULL)
            return true;
    }
    return false;
}

static struct error *network_list(struct api_request *r)
{
    static const char *const allowed[] = {
        "dangling", "driver", "id", "label", "name", "scope", "type", NULL
    };
    CLEANUP(api_filters_deinit) struct api_filters f = { 0 };
    const struct strv *dangling, *label, *type;
    json_t *j;

    TRY(api_query_filters(r, allowed, &f));
    j = json_array();
    dangling = api_filter(&f, "dangling");
    label = api_filter(&f, "label");
    type = api_filter(&f, "type");
    for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
        const struct fixed_network *n = &networks[i];
        bool none = (label != NULL && label->len > 0) || (type != NULL && strv_has(type, "custom")) ||
                    (dangling != NULL && (strv_has(dangling, "true") || strv_has(dangling, "1")));
        if (!none && wanted(&f, "name", n->name, false) && wanted(&f, "id", n->id, true) &&
            wanted(&f, "driver", n->driver, false) && wanted(&f, "scope", "local", false))
            json_array_append_new(j, network_json(r->engine, n));
    }
    return api_reply_json(r, 200, j);
}

static struct error *network_inspect(struct api_request *r)
{
    const char *want = api_param(r, "id");

    for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
        if (streq(networks[i].name, want) || str_has_prefix(networks[i].id, want))
            return api_reply_json(r, 200, network_json(r->engine, &networks[i]));
    }
    return err_new(ERR_NOT_FOUND, "network %s not found", want);
}

static struct error *network_prune(struct api_request *r)
{
    return api_reply_json(r, 200, json_pack("{s:n}", "NetworksDeleted"));
}

static struct error *later_networks(struct api_request *r)
{
    return err_new(ERR_UNIMPLEMENTED, "user-defined networks are not supported yet");
}

/* ---- volumes
 * ---------------------------------------------------------------------------------------------------------------------
 */

static struct error *volume_list(struct api_request *r)
{
    return api_reply_json(r, 200, json_pack("{s:[], s:n}", "Volumes", "Warnings"));
}

static struct error *volume_inspect(struct api_request *r)
{
    return err_new(ERR_NOT_FOUND, "get %s: no such volume", api_param(r, "name"));
}

static struct error *volume_prune(struct api_request *r)
{
    return api_reply_json(r, 200, json_pack("{s:n, s:i}", "VolumesDeleted", "SpaceReclaimed", 0));
}

static struct error *later_volumes(struct api_request *r)
{
    return err_new(ERR_UNIMPLEMENTED, "named volumes are not supported yet");
}

/* ---- plugins, swarm
 * ----------------------------------------------------------------------------------------------------------------
 */

static struct error *plugin_list(struct api_request *r)
{
    return api_reply_json(r, 200, json_array());
}

static struct error *later_plugins(struct api_request *r)
{
    return err_new(ERR_UNIMPLEMENTED, "plugins are not supported");
}

static struct error *no_swarm(struct api_request *r)
{
    return err_new(ERR_UNAVAILABLE,
                   "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to "
                   "connect this node to swarm and try again.");
}

static const struct route network_route_list[] = {
    { "GET", "/networks", network_list, false },
    { "GET", "/networks/{id}", network_inspect, false },
    { "POST", "/networks/prune", network_prune, false },
    { "POST", "/networks/create", later_networks, false },
    { "POST", "/networks/{id}/connect", later_networks, false },
    { "POST", "/networks/{id}/disconnect", later_networks, false },
    { "DELETE", "/networks/{id}", later_networks, false },
};
const struct route_table network_routes = { network_route_list, ARRAY_LEN(network_route_list) };

static const struct route volume_route_list[] = {
    { "GET", "/volumes", volume_list, false },
    { "POST", "/volumes/create", later_volumes, false },
    { "POST", "/volumes/prune", volume_prune, false },
    { "GET", "/volumes/{name}", volume_inspect, false },
    { "DELETE", "/volumes/{name}", volume_inspect, false },
};
const struct route_table volume_routes = { volume_route_list, ARRAY_LEN(volume_route_list) };

static const struct route plugin_route_list[] = {
    { "GET", "/plugins", plugin_list, false }, { "POST", "/plugins/{name...}", later_plugins, false },
    { "GET", "/swarm", no_swarm, false },      { "GET", "/services", no_swarm, false },
    { "GET", "/tasks", no_swarm, false },      { "GET", "/nodes", no_swarm, false },
    { "GET", "/secrets", no_swarm, false },    { "GET", "/configs", no_swarm, false },
};
const struct route_table plugin_routes = { plugin_route_list, ARRAY_LEN(plugin_route_list) };
