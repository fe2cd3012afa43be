/* SPDX-License-Identifier: Apache-2.0 */
#include "op/exec_proxy.h"

#include "base/base.h"
#include "base/log.h"

static struct error *check(void *ctx, const char *url, char **ret_url)
{
    return op_check_url(ctx, url, ret_url);
}

struct error *exec_proxy_begin(struct exec_proxy *x, const struct op_context *c, int root_fd)
{
    struct proxy_policy policy = { .check = check, .ctx = (void *)c };

    *x = (struct exec_proxy){ 0 };
    TRY(proxy_new(&policy, &x->proxy));
    x->gate = (struct run_gate){ .serve = proxy_serve, .ctx = x->proxy };
    return trust_add(&x->trust, root_fd, proxy_ca(x->proxy));
}

struct error *exec_proxy_clean(struct exec_proxy *x)
{
    return x->proxy == NULL ? NULL : trust_remove(&x->trust);
}

void exec_proxy_end(struct exec_proxy *x)
{
    log_err(LOG_WARN, exec_proxy_clean(x), "a root keeps the certificate of the proxy network");
    proxy_free(x->proxy);
    *x = (struct exec_proxy){ 0 };
}
