/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/policy.h"
#include "oci/reference.h"

#include "base/limits.h"
#include "buildkit/internal.h"
#include "io/path.h"
#include "oci/reference.h"
#include "op/blob.h"

#include <errno.h>
#include <fcntl.h>

#define CHECK_POLICY "/moby.buildkit.v1.sourcepolicy.policysession.PolicyVerifier/CheckPolicy"
#define DECISION_TYPE "github.com/moby/buildkit/policysession.DecisionResponse+json"

struct evaluation {
    struct build *build;
    const Pol__Policy **rules; /* all that hold, in order */
    size_t count;
    bool verify;
};

static void evaluation_deinit(struct evaluation *v)
{
    free(v->rules);
}

/* `own_first`: the build's rules stand before those of the request, else behind them; as in BuildKit. */
static struct error *evaluation_init(struct evaluation *v, struct build *u, struct policy_rules extra,
                                     bool own_first, bool verify)
{
    *v = (struct evaluation){ .build = u, .rules = xcalloc(extra.len + 2, sizeof(*v->rules)) };
    v->verify = verify && u->policy_session != NULL && *u->policy_session != '\0';
    if (u->builder->policy != NULL)
        v->rules[v->count++] = u->builder->policy;
    if (u->policy != NULL && own_first)
        v->rules[v->count++] = u->policy;
    for (size_t i = 0; i < extra.len; i++) {
        TRY(policy_check(extra.v[i]));
        v->rules[v->count++] = extra.v[i];
    }
    if (u->policy != NULL && !own_first)
        v->rules[v->count++] = u->policy;
    return NULL;
}

struct error *policy_load(struct builder *b, const char *path)
{
    CLEANUP(stream_closep) struct stream *s = NULL;
    CLEANUP(buf_deinit) struct buf text = { 0 };
    int fd = open(path, O_RDONLY | O_CLOEXEC), r;

    if (fd < 0)
        return err_sys(errno, "open source policy %s", path);
    s = stream_from_fd(fd);
    r = stream_read_all(s, &text, LIMIT_CONTROL_FILE);
    if (r < 0)
        return task_error(r, "read source policy %s", path);
    return err_wrap(policy_from_json(text.data, text.len, &b->policy_arena, &b->policy), "source policy %s",
                    path);
}

/* ---- the client's verifier
 * ----------------------------------------------------------------------------------------------------------
 */

static const char *action_name(Pol__Action a)
{
    return a == POL__ACTION__ALLOW ? "ALLOW" : a == POL__ACTION__DENY ? "DENY" : "CONVERT";
}

/* Why, in the words of the policy: clients show the detail. */
static struct error *denied(const Pb__SourceOp *op, const Sess__DecisionResponse *d)
{
    CLEANUP(buf_deinit) struct buf json = { 0 };
    struct error *e = err_new(ERR_UNKNOWN, "source \"%s\" not allowed by policy: action %s", op->identifier,
                              action_name(d->action));

    if (d->n_deny_messages == 0)
        return e;
    buf_adds(&json, "{\"action\":\"DENY\",\"denyMessages\":[");
    for (size_t i = 0; i < d->n_deny_messages; i++) {
        buf_adds(&json, i > 0 ? ",{\"message\":" : "{\"message\":");
        buf_add_json_string(&json, d->deny_messages[i]->message, strlen(d->deny_messages[i]->message), true);
        buf_addc(&json, '}');
    }
    buf_adds(&json, "]}");
    err_add_detail(e, DECISION_TYPE, json.data, json.len);
    return e;
}

/* What the verifier wants to know must be about the source that it was asked about. */
static struct error *check_same_source(const Pb__SourceOp *op, const Pb__SourceOp *asked)
{
    const char *id = asked == NULL ? "" : asked->identifier;

    if (!streq(id, op->identifier))
        return err_new(ERR_UNKNOWN, "policy requested different source identifier: \"%s\" != \"%s\"", id,
                       op->identifier);
    if (asked->n_attrs != op->n_attrs)
        return err_new(ERR_UNKNOWN,
                       "policy requested different source attrs: map length mismatch: %zu != %zu",
                       op->n_attrs, asked->n_attrs);
    for (size_t i = 0; i < op->n_attrs; i++) {
        const char *key = op->attrs[i]->key, *value = op->attrs[i]->value;
        const char *other = pb_get_str(asked->attrs, asked->n_attrs, key);

        if (other == NULL)
            return err_new(ERR_UNKNOWN,
                           "policy requested different source attrs: key %s missing from second map", key);
        if (!streq(value, other))
            return err_new(ERR_UNKNOWN,
                           "policy requested different source attrs: value mismatch for key %s: %s != %s",
                           key, value, other);
    }
    return NULL;
}

/* Ask until there is a decision. */
static struct error *ask(const struct evaluation *v, struct pb_arena *a, const Pb__Op *op, int *left,
                         Sess__DecisionResponse **ret)
{
    CLEANUP(session_unrefp) struct session *s = NULL;
    Sess__CheckPolicyRequest q = SESS__CHECK_POLICY_REQUEST__INIT;
    Gw__ResolveSourceMetaResponse plain = GW__RESOLVE_SOURCE_META_RESPONSE__INIT;
    Sess__CheckPolicyResponse *r;

    TRY(session_get(v->build->builder->config->sessions, v->build->policy_session, &s));
    plain.source = op->source;
    q.platform = op->platform;
    q.source = &plain;
    for (;;) {
        if (--*left < 0)
            return err_new(ERR_UNKNOWN, "too many policy requests");
        TRY(rpc_unary(session_conn(s), CHECK_POLICY, NULL, &q.base, &sess__check_policy_response__descriptor,
                      a, &r));
        if (r->result_case != SESS__CHECK_POLICY_RESPONSE__RESULT_REQUEST || r->request == NULL)
            break;
        TRY(check_same_source(op->source, r->request->source));
        TRY(err_wrap(source_meta(v->build, NULL, a, r->request, false, &q.source),
                     "error resolving source metadata from policy request"));
    }
    if (r->result_case != SESS__CHECK_POLICY_RESPONSE__RESULT_DECISION || r->decision == NULL)
        return err_new(ERR_UNKNOWN, "no decision in policy response");
    *ret = r->decision;
    return NULL;
}

/* ---- evaluating
 * ----------------------------------------------------------------------------------------------------------
 */

/* "#ref:subdir" with the directory as a checkout finds it: relative to the repository, without dots. */
static char *clean_fragment(const char *fragment)
{
    const char *colon = strchr(fragment, ':');

    if (colon == NULL)
        return xstrdup(fragment);
    CLEANUP(freep) char *subdir = path_join("/", colon + 1);
    bool whole = streq(subdir, "/");

    if (whole && colon - fragment <= 1) /* neither a ref nor a directory */
        return xstrdup("");
    return xasprintf("%.*s%s%s", (int)(colon - fragment), fragment, whole ? "" : ":", subdir + 1);
}

/* Without the scheme and user that a whole URL may have. */
static void normalize_git(struct pb_arena *a, Pb__SourceOp *op, const char *rest)
{
    const char *scheme = strstr(rest, "://");

    if (scheme != NULL && scheme < rest + strcspn(rest, "/#")) {
        rest = scheme + 3;
        const char *at = strchr(rest, '@');
        rest = at != NULL && at < rest + strcspn(rest, "/#") ? at + 1 : rest;
    }
    size_t host = strcspn(rest, "/#"), end = strcspn(rest, "#");
    CLEANUP(freep) char *path = xstrndup(rest + host, end - host);
    CLEANUP(freep) char *clean = *path == '\0' ? xstrdup("") : path_clean(path);
    CLEANUP(freep) char *fragment = clean_fragment(rest + end);

    op->identifier = pb_strf(a, "git://%.*s%s%s", (int)host, rest, clean, fragment);
}

static void normalize_image(struct pb_arena *a, Pb__SourceOp *op, const char *rest)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    struct error *e = reference_parse(rest, &r);

    if (e == NULL) {
        reference_add_default_tag(&r);
        CLEANUP(freep) char *text = reference_string(&r);

        op->identifier = pb_strf(a, "docker-image://%s", text);
    }
    err_free(e); /* the source itself will say so */
}

/* A source is named in one way, so that no rule is passed by writing it another way. */
static void normalize(struct pb_arena *a, Pb__SourceOp *op)
{
    const char *git = str_skip_prefix(op->identifier, "git://"),
               *image = str_skip_prefix(op->identifier, "docker-image://");

    if (git != NULL)
        normalize_git(a, op, git);
    else if (image != NULL)
        normalize_image(a, op, image);
}

static struct error *evaluate_source(const struct evaluation *v, struct pb_arena *a, Pb__Op *op, int *left,
                                     bool *ret_changed)
{
    for (;;) {
        Sess__DecisionResponse *d = NULL;

        normalize(a, op->source);
        TRY(policy_evaluate(v->rules, v->count, a, op->source, ret_changed));
        if (!v->verify)
            return NULL;
        TRY(ask(v, a, op, left, &d));
        if (d->action == POL__ACTION__ALLOW)
            return NULL;
        if (d->action != POL__ACTION__CONVERT)
            return denied(op->source, d);
        if (d->update == NULL)
            return err_new(ERR_UNKNOWN, "convert action requires updated source");
        op->source->identifier = d->update->identifier;
        op->source->attrs = d->update->attrs;
        op->source->n_attrs = d->update->n_attrs;
        *ret_changed = true;
    }
}

/* ---- bundles of git sources: sources of their own
 * ----------------------------------------------------------------------------------------------------------
 */

static Kv__Str **attr_of(Pb__SourceOp *op, const char *key)
{
    for (size_t i = 0; i < op->n_attrs; i++) {
        if (streq(op->attrs[i]->key, key))
            return &op->attrs[i];
    }
    return NULL;
}

static void put_attr(struct pb_arena *a, Pb__SourceOp *op, const char *key, const char *value)
{
    Kv__Str **old = attr_of(op, key), **longer, *kv = PB_NEW(a, kv__str);

    kv->key = pb_str(a, key);
    kv->value = pb_str(a, value);
    if (old != NULL) {
        *old = kv;
        return;
    }
    longer = pb_array(a, op->n_attrs + 1);
    if (op->n_attrs > 0)
        memcpy(longer, op->attrs, op->n_attrs * sizeof(*longer));
    longer[op->n_attrs++] = kv;
    op->attrs = longer;
}

static void drop_attr(Pb__SourceOp *op, const char *key)
{
    Kv__Str **old = attr_of(op, key);

    if (old != NULL)
        *old = op->attrs[--op->n_attrs];
}

static struct error *bundle_op(struct pb_arena *a, Pb__Op *op, const char *bundle, Pb__Op **ret)
{
    CLEANUP(blob_locator_deinit) struct blob_locator l = { 0 };
    Pb__Op *made = PB_NEW(a, pb__op);
    Kv__Str **session = attr_of(op->source, "oci.session"), **store = attr_of(op->source, "oci.store");

    TRY(err_wrap(blob_locator_parse(bundle, &l), "failed to parse git.bundle locator \"%s\"", bundle));
    made->op_case = PB__OP__OP_SOURCE;
    made->source = PB_NEW(a, pb__source_op);
    made->source->identifier = pb_str(a, bundle);
    made->platform = op->platform;
    if (l.layout && session != NULL)
        put_attr(a, made->source, "oci.session", (*session)->value);
    if (l.layout)
        put_attr(a, made->source, "oci.store",
                 store != NULL && *(*store)->value != '\0' ? (*store)->value : l.name);
    *ret = made;
    return NULL;
}

static struct error *evaluate_bundle(const struct evaluation *v, struct pb_arena *a, Pb__Op *op, int *left,
                                     bool *ret_changed)
{
    Kv__Str **bundle = attr_of(op->source, "git.bundle");
    bool changed = false;
    Pb__Op *made;

    if (!str_has_prefix(op->source->identifier, "git://") || bundle == NULL || *(*bundle)->value == '\0')
        return NULL;
    TRY(bundle_op(a, op, (*bundle)->value, &made));
    TRY(err_wrap(evaluate_source(v, a, made, left, &changed), "error evaluating git bundle source policy"));
    if (!changed)
        return NULL;
    *ret_changed = true;
    put_attr(a, op->source, "git.bundle", made->source->identifier);
    for (int i = 0; i < 2; i++) {
        const char *key = i == 0 ? "oci.session" : "oci.store";
        Kv__Str **now = attr_of(made->source, key);

        if (now != NULL)
            put_attr(a, op->source, key, (*now)->value);
        else
            drop_attr(op->source, key);
    }
    return NULL;
}

static struct error *evaluate(const struct evaluation *v, struct pb_arena *a, Pb__Op *op, bool *ret_changed)
{
    int left = LIMIT_POLICY_REQUESTS;

    TRY(evaluate_source(v, a, op, &left, ret_changed));
    return evaluate_bundle(v, a, op, &left, ret_changed);
}

/* A step that has a network has it by way of the proxy, or not at all. */
static struct error *put_behind_proxy(bool wanted, Pb__ExecOp *op, bool *ret_changed)
{
    bool known = op->network == PB__NET_MODE__UNSET || op->network == PB__NET_MODE__HOST;
    bool proxied = wanted && known;

    if (wanted && !known && op->network != PB__NET_MODE__NONE)
        return err_new(ERR_INVALID, "network mode %d is not allowed when proxy network is enabled",
                       (int)op->network);
    *ret_changed = *ret_changed || op->proxied != proxied;
    op->proxied = proxied;
    return NULL;
}

static struct error *evaluate_fn(void *ctx, struct pb_arena *a, Pb__Op *op, bool *ret_changed)
{
    const struct evaluation *v = ctx;

    if (op->op_case == PB__OP__OP_EXEC) {
        if (v->build != NULL)
            TRY(entitlements_name_devices(&v->build->entitlements, v->build->builder->config->ops, a, op,
                                          ret_changed));
        return put_behind_proxy(v->build != NULL && v->build->proxy_network, op->exec, ret_changed);
    }
    if (str_has_prefix(op->source->identifier, "held://")) /* no source: what this process holds */
        return NULL;
    return err_wrap(evaluate(v, a, op, ret_changed), "error evaluating the source policy");
}

struct error *policy_apply(struct build *u, struct policy_rules extra, struct llb_def *def,
                           struct llb_def **ret)
{
    CLEANUP(evaluation_deinit) struct evaluation v = { 0 };

    TRY(evaluation_init(&v, u, extra, true, true));
    if ((v.count == 0 && !v.verify && u->entitlements.aliases.len == 0 && !u->proxy_network) ||
        llb_def_is_scratch(def)) {
        *ret = llb_def_ref(def);
        return NULL;
    }
    return err_wrap(llb_def_convert(def, evaluate_fn, &v, v.verify, ret), "failed to load LLB");
}

/* ---- builds that take another road: the configuration's rules alone
 * ----------------------------------------------------------------------------------------------------------
 */

struct error *builder_apply_policy(struct builder *b, struct llb_def *def, struct llb_def **ret)
{
    const Pol__Policy *rules[] = { b->policy };
    struct evaluation v = { .rules = rules, .count = b->policy == NULL ? 0 : 1 };

    if (v.count == 0) {
        *ret = llb_def_ref(def);
        return NULL;
    }
    return llb_def_convert(def, evaluate_fn, &v, false, ret);
}

struct error *builder_apply_image_policy(struct builder *b, const char *name, char **ret)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(freep) char *full = NULL;
    const Pol__Policy *rules[] = { b->policy };
    Pb__SourceOp op = PB__SOURCE_OP__INIT;
    bool changed = false;

    *ret = NULL;
    if (b->policy == NULL)
        return NULL;
    struct error *e = reference_parse(name, &r);

    if (e != NULL) { /* an id: nothing that comes from elsewhere */
        err_free(e);
        return NULL;
    }
    reference_add_default_tag(&r);
    full = reference_string(&r);
    op.identifier = pb_strf(&a, "docker-image://%s", full);
    TRY(err_wrap(policy_evaluate(rules, 1, &a, &op, &changed), "error evaluating the source policy"));
    if (!changed)
        return NULL;
    const char *image = str_skip_prefix(op.identifier, "docker-image://");

    if (image == NULL)
        return err_new(ERR_UNIMPLEMENTED, "the classic builder cannot take %s for the image %s",
                       op.identifier, full);
    *ret = xstrdup(image);
    return NULL;
}

struct error *policy_apply_op(struct build *u, struct policy_rules extra, bool verify, struct pb_arena *a,
                              Pb__Op *op)
{
    CLEANUP(evaluation_deinit) struct evaluation v = { 0 };
    bool changed = false;

    TRY(evaluation_init(&v, u, extra, false, verify));
    if (v.count == 0 && !v.verify)
        return NULL;
    return err_wrap(evaluate(&v, a, op, &changed), "could not resolve image due to policy");
}

static struct error *check_fetch(struct build *u, const char *url, char **ret_url)
{
    CLEANUP(evaluation_deinit) struct evaluation v = { 0 };
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    Pb__SourceOp source = PB__SOURCE_OP__INIT;
    Pb__Op op = PB__OP__INIT;
    bool changed = false;

    TRY(evaluation_init(&v, u, (struct policy_rules){ 0 }, true, true));
    source.identifier = pb_str(&a, url);
    op.op_case = PB__OP__OP_SOURCE;
    op.source = &source;
    TRY(evaluate(&v, &a, &op, &changed));
    if (source.n_attrs > 0)
        return err_new(
            ERR_UNKNOWN,
            "source policy converted proxy request \"%s\" with attrs, but proxy conversion only supports "
            "URL updates",
            url);
    *ret_url = streq(source.identifier, url) ? NULL : xstrdup(source.identifier);
    return NULL;
}

struct error *policy_check_fetch(void *builder, const char *ref, const char *url, char **ret_url)
{
    struct build *u = NULL;

    TRY(build_find(builder, ref, 0, &u));
    if (u == NULL)
        return err_new(ERR_CANCELLED, "the build has ended");
    struct error *e = check_fetch(u, url, ret_url);

    build_put(u);
    return e;
}
