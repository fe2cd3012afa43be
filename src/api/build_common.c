/* SPDX-License-Identifier: Apache-2.0 */
#include "api/build_common.h"

#include "base/rune.h"
#include "oci/gojson_decode.h"
#include "oci/reference.h"

#include <errno.h>

/* ---- JSON
 * ----------------------------------------------------------------------------------------------------------------------
 */

static const struct go_field ulimit_fields[] = { { "Name", &go_string },
                                                 { "Soft", &go_int64 },
                                                 { "Hard", &go_int64 } };
static const struct go_type ulimit = { .kind = GO_STRUCT,
                                       .name = "units.Ulimit",
                                       .fields = ulimit_fields,
                                       .field_count = ARRAY_LEN(ulimit_fields) };
static const struct go_type labels = { .kind = GO_MAP, .name = "map[string]string", .of = &go_string };
static const struct go_field output_fields[] = { { "Type", &go_string }, { "Attrs", &labels } };
static const struct go_type output = { .kind = GO_STRUCT,
                                       .name = "buildbackend.BuildOutput",
                                       .fields = output_fields,
                                       .field_count = ARRAY_LEN(output_fields) };
static const struct go_type args = { .kind = GO_MAP, .name = "map[string]*string", .of = &go_string };
static const struct go_type caches = { .kind = GO_SLICE, .name = "[]string", .of = &go_string };
static const struct go_type ulimits = { .kind = GO_SLICE, .name = "[]*units.Ulimit", .of = &ulimit };
static const struct go_type outputs = { .kind = GO_SLICE,
                                        .name = "[]buildbackend.BuildOutput",
                                        .of = &output };

static const struct {
    const char *name, *failure;
    const struct go_type *type;
} json_queries[] = {
    [BUILD_ARGS] = { "buildargs", "error reading build args", &args },
    [BUILD_LABELS] = { "labels", "error reading labels", &labels },
    [BUILD_CACHES] = { "cachefrom", "error reading cache-from", &caches },
    [BUILD_ULIMITS] = { "ulimits", "error reading ulimit settings", &ulimits },
    [BUILD_OUTPUTS] = { "outputs", "invalid outputs specified", &outputs },
};

struct error *build_json_query(const struct api_request *r, enum build_json what, json_t **ret)
{
    const char *v = api_query(r, json_queries[what].name);

    *ret = NULL;
    if (v == NULL || *v == '\0')
        return NULL;
    TRY(err_wrap(go_json_decode(v, strlen(v), json_queries[what].type, ret), "%s",
                 json_queries[what].failure));
    if (json_is_null(*ret))
        json_decref(TAKE(*ret));
    return NULL;
}

/* ---- the others
 * ---------------------------------------------------------------------------------------------------------------
 */

struct error *build_check_platform(const struct api_request *r)
{
    CLEANUP(strv_deinit) struct strv security = { 0 };
    const char *isolation = api_query(r, "isolation");
    CLEANUP(freep) char *quoted = NULL;

    http_params_all(&r->http->request->query, "securityopt", &security);
    if (security.len > 0)
        return err_new(ERR_INVALID, "security options are not supported on linux");
    if (isolation == NULL || *isolation == '\0' || str_equal_fold(isolation, "default"))
        return NULL;
    quoted = str_quote(isolation);
    return err_new(ERR_INVALID, "unsupported isolation: %s", quoted);
}

struct error *build_shm_size(const struct api_request *r, int64_t *ret)
{
    const char *v = api_query(r, "shmsize");
    CLEANUP(freep) char *quoted = NULL;
    int n;

    *ret = 0;
    if (v == NULL || *v == '\0')
        return NULL;
    n = parse_i64(*v == '+' && v[1] != '-' ? v + 1 : v, ret);
    if (n == 0)
        return NULL;
    quoted = str_quote(v);
    return err_new(ERR_UNKNOWN, "strconv.ParseInt: parsing %s: %s", quoted,
                   n == -ERANGE ? "value out of range" : "invalid syntax");
}

static struct error *add_tag(const char *tag, struct strv *ret)
{
    CLEANUP(reference_deinit) struct reference ref = { 0 };
    CLEANUP(freep) char *name = NULL;

    TRY(reference_parse(tag, &ref));
    if (ref.digest != NULL)
        return err_new(ERR_UNKNOWN, "build tag cannot contain a digest");
    reference_add_default_tag(&ref);
    name = reference_string(&ref);
    if (!strv_has(ret, name))
        strv_add(ret, name);
    return NULL;
}

struct error *build_tags(const struct api_request *r, struct strv *ret)
{
    CLEANUP(strv_deinit) struct strv tags = { 0 };
    struct error *e = NULL;

    http_params_all(&r->http->request->query, "t", &tags);
    for (size_t i = 0; e == NULL && i < tags.len; i++)
        e = *tags.v[i] == '\0' ? NULL : add_tag(tags.v[i], ret);
    if (e != NULL)
        e->kind = ERR_UNKNOWN;
    return e;
}
