/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/record.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "oci/gojson.h"
#include "oci/image.h"
#include "task/task.h"

#include <jansson.h>

struct request {
    char *method, *url, *redirect;
    int status;
};

struct proxy_record {
    struct mutex lock;
    struct request *requests;
    size_t request_count;
    struct proxy_material *materials;
    size_t material_count;
    struct proxy_gap *gaps;
    size_t gap_count;
    size_t bytes; /* of all text */
    bool full;
};

struct proxy_record *proxy_record_new(void)
{
    struct proxy_record *r = NEW(struct proxy_record);

    mutex_init(&r->lock);
    return r;
}

void proxy_record_free(struct proxy_record *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->request_count; i++) {
        free(r->requests[i].method);
        free(r->requests[i].url);
        free(r->requests[i].redirect);
    }
    for (size_t i = 0; i < r->material_count; i++)
        free(r->materials[i].url);
    for (size_t i = 0; i < r->gap_count; i++) {
        free(r->gaps[i].method);
        free(r->gaps[i].url);
        free(r->gaps[i].reason);
    }
    free(r->requests);
    free(r->materials);
    free(r->gaps);
    mutex_deinit(&r->lock);
    free(r);
}

void proxy_record_freep(struct proxy_record **r)
{
    proxy_record_free(*r);
    *r = NULL;
}

/* ---- adding ---- */

static void add_gap_locked(struct proxy_record *r, const char *method, const char *url, const char *reason)
{
    r->gaps = xreallocarray(r->gaps, r->gap_count + 1, sizeof(*r->gaps));
    r->gaps[r->gap_count++] = (struct proxy_gap){ xstrdup(method), xstrdup(url), xstrdup(reason) };
}

static void add_material_locked(struct proxy_record *r, const char *url, const struct digest *d)
{
    r->materials = xreallocarray(r->materials, r->material_count + 1, sizeof(*r->materials));
    r->materials[r->material_count++] = (struct proxy_material){ xstrdup(url), *d };
}

/* Room for one more request and what will be said of it. */
static bool take_room_locked(struct proxy_record *r, size_t bytes)
{
    if (r->request_count >= LIMIT_PROXY_REQUESTS || r->bytes + bytes > LIMIT_PROXY_RECORD) {
        if (!r->full)
            add_gap_locked(r, "", "", "too_many_requests");
        r->full = true;
        return false;
    }
    r->bytes += bytes;
    return true;
}

bool proxy_record_request(struct proxy_record *r, const char *method, const char *url, const char *redirect,
                          int status)
{
    const char *to = redirect == NULL ? "" : redirect;

    mutex_lock(&r->lock);
    bool room = take_room_locked(r, 3 * strlen(url) + strlen(method) + strlen(to));

    if (room) {
        r->requests = xreallocarray(r->requests, r->request_count + 1, sizeof(*r->requests));
        r->requests[r->request_count++] =
            (struct request){ xstrdup(method), xstrdup(url), xstrdup(to), status };
    }
    mutex_unlock(&r->lock);
    return room;
}

void proxy_record_material(struct proxy_record *r, const char *url, const struct digest *d)
{
    mutex_lock(&r->lock);
    if (!r->full)
        add_material_locked(r, url, d);
    mutex_unlock(&r->lock);
}

void proxy_record_gap(struct proxy_record *r, const char *method, const char *url, const char *reason)
{
    mutex_lock(&r->lock);
    if (!r->full)
        add_gap_locked(r, method, url, reason);
    mutex_unlock(&r->lock);
}

void proxy_record_describe(struct proxy_record *r, struct buf *out)
{
    mutex_lock(&r->lock);
    if (r->request_count > 0)
        buf_adds(out, "proxy network requests:\n");
    for (size_t i = 0; i < r->request_count; i++)
        buf_addf(out, "- %s %s -> %d\n", r->requests[i].method, r->requests[i].url, r->requests[i].status);
    mutex_unlock(&r->lock);
}

/* ---- reading ---- */

static const struct digest *digest_of_locked(const struct proxy_record *r, const char *url)
{
    for (size_t i = r->material_count; i > 0; i--)
        if (streq(r->materials[i - 1].url, url))
            return &r->materials[i - 1].digest;
    return NULL;
}

/* Until nothing is new: a redirection may lead to another. */
static void follow_redirects_locked(struct proxy_record *r)
{
    for (bool added = true; added;) {
        added = false;
        for (size_t i = 0; i < r->request_count; i++) {
            const struct request *q = &r->requests[i];
            const struct digest *d = NULL;

            if (*q->redirect != '\0' && digest_of_locked(r, q->url) == NULL)
                d = digest_of_locked(r, q->redirect);
            if (d == NULL)
                continue;
            struct digest copy = *d;

            add_material_locked(r, q->url, &copy);
            added = true;
        }
    }
}

const struct proxy_material *proxy_record_materials(struct proxy_record *r, size_t *ret_count)
{
    mutex_lock(&r->lock);
    follow_redirects_locked(r);
    *ret_count = r->material_count;
    mutex_unlock(&r->lock);
    return r->materials;
}

const struct proxy_gap *proxy_record_gaps(struct proxy_record *r, size_t *ret_count)
{
    *ret_count = r->gap_count;
    return r->gaps;
}

/* ---- as text: {"materials": [[url, digest], ..], "gaps": [[method, url, reason], ..]} ---- */

char *proxy_record_encode(struct proxy_record *r)
{
    json_t *materials = json_array(), *gaps = json_array();
    size_t n;
    const struct proxy_material *m = proxy_record_materials(r, &n);

    for (size_t i = 0; i < n; i++)
        json_array_append_new(materials, json_pack("[o, s]", go_json_text(m[i].url), m[i].digest.s));
    for (size_t i = 0; i < r->gap_count; i++)
        json_array_append_new(gaps, json_pack("[o, o, s]", go_json_text(r->gaps[i].method),
                                              go_json_text(r->gaps[i].url), r->gaps[i].reason));
    json_t *all = json_pack("{s:o, s:o}", "materials", materials, "gaps", gaps);
    char *text = json_dumps(all, JSON_COMPACT);

    json_decref(all);
    return text;
}

static struct error *decode(const json_t *all, struct proxy_record *r)
{
    const json_t *item;
    size_t i;

    json_array_foreach(json_object_get(all, "materials"), i, item)
    {
        const char *url = json_string_value(json_array_get(item, 0));
        const char *digest = json_string_value(json_array_get(item, 1));
        struct digest d;

        if (url == NULL || digest == NULL || digest_parse(digest, &d) < 0)
            return err_new(ERR_DATA_LOSS, "a material of a proxy's record is broken");
        proxy_record_material(r, url, &d);
    }
    json_array_foreach(json_object_get(all, "gaps"), i, item)
    {
        const char *text[3];

        for (size_t k = 0; k < 3; k++) {
            text[k] = json_string_value(json_array_get(item, k));
            if (text[k] == NULL)
                return err_new(ERR_DATA_LOSS, "a gap of a proxy's record is broken");
        }
        proxy_record_gap(r, text[0], text[1], text[2]);
    }
    return NULL;
}

struct error *proxy_record_decode(const char *text, struct proxy_record **ret)
{
    CLEANUP(proxy_record_freep) struct proxy_record *r = proxy_record_new();
    json_t *all;

    TRY(json_parse(text, strlen(text), "a proxy's record", &all));
    struct error *e = decode(all, r);

    json_decref(all);
    TRY(e);
    *ret = TAKE(r);
    return NULL;
}
