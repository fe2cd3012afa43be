/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/referrers.h"

#include "base/limits.h"
#include "registry/client.h"
#include "registry/document.h"
#include "registry/retry.h"

/* *ret_found false: the server has no such list. */
static struct error *ask(struct registry *r, const struct registry_query *q, bool *ret_found,
                         struct image_index *ret)
{
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    CLEANUP(buf_deinit) struct buf body = { 0 };
    CLEANUP(freep) char *type = NULL;

    TRY(registry_send(r, q, &x));
    int status = exchange_status(x);

    *ret_found = status == 200;
    if (status == 404 || status == 400 || status == 405 ||
        status == 501) /* as servers say that they do not know */
        return NULL;
    if (!*ret_found)
        return registry_refusal(x, q);
    TRY(err_wrap(exchange_read_body(x, LIMIT_MANIFEST, &body), "read %s", q->path));
    TRY(document_media_type(buf_str(&body), body.len, exchange_header(x, "Content-Type"), &type));
    return image_index_parse(body.data, body.len, type, ret);
}

static struct error *ask_at(struct registry *r, const struct endpoint *at, bool last,
                            const struct reference *ref, const struct registry_auth *auth,
                            const struct digest *d, struct image_index *ret)
{
    CLEANUP(strv_deinit) struct strv headers = { 0 };
    CLEANUP(freep) char *list = xasprintf("referrers/%s", d->s);
    CLEANUP(freep) char *tag = xasprintf("manifests/sha256-%s", digest_hex(d));
    struct registry_query q = { .endpoint = at,
                                .ref = ref,
                                .auth = auth,
                                .method = "GET",
                                .path = list,
                                .headers = &headers,
                                .last = last };
    bool found;

    strv_add(&headers, "Accept: " MT_OCI_INDEX);
    TRY(ask(r, &q, &found, ret));
    if (found)
        return NULL;
    q.path = tag;
    return ask(r, &q, &found, ret);
}

struct error *registry_referrers(struct registry *r, const struct reference *ref,
                                 const struct registry_auth *auth, const struct digest *d,
                                 struct image_index *ret)
{
    CLEANUP(endpoints_deinit) struct endpoints all = { 0 };
    struct error *e = NULL;
    struct auth_call call;

    TRY(endpoints_of(r->config, ref->domain, auth != NULL && auth->insecure, &all));
    auth_call_begin(&call, auth);
    for (size_t i = 0; i < all.len; i++) {
        err_free(e);
        *ret = (struct image_index){ 0 };
        e = ask_at(r, &all.v[i], i + 1 == all.len, ref, call.use, d, ret);
        if (e == NULL || e->kind == ERR_CANCELLED)
            break;
    }
    auth_call_end(&call, r->tokens);
    return e;
}
