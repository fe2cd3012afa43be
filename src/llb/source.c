/* SPDX-License-Identifier: Apache-2.0 */
/* Source operations: images, local folders, http, git, OCI layouts. */
#include "llb/state.h"

#include "llb/gopath.h"
#include "llb/node.h"
#include "oci/reference.h"

/* `id` lives as long as the builder. */
static struct llb_node *source_new(struct llb_builder *b, const char *id, const struct llb_options *o)
{
    struct llb_node *n = node_new(b, NODE_SOURCE, o);

    n->source.id = id;
    strmap_init(&n->source.attrs);
    return n;
}

static void set_attr(struct llb_node *n, const char *name, const char *value, enum node_cap cap)
{
    strmap_set(&n->source.attrs, name, value);
    if (cap != CAP_NONE)
        node_add_cap(n, cap);
}

static struct llb_state source_state(struct llb_builder *b, struct llb_node *n)
{
    struct llb_state s = llb_new_state(node_output(b, n, 0, n->platform));

    if (n->platform != NULL)
        s.platform = node_normal_platform(n);
    return s;
}

struct llb_state llb_source(struct llb_builder *b, const char *id, const struct llb_options *o)
{
    return source_state(b, source_new(b, llb_strdup(b, id), o));
}

const char *llb_resolve_mode_name(enum llb_resolve_mode mode)
{
    switch (mode) {
    case LLB_RESOLVE_PULL:
        return "pull";
    case LLB_RESOLVE_LOCAL:
        return "local";
    case LLB_RESOLVE_DEFAULT:
        break;
    }
    return "default";
}

/* The source of an image, by its whole name; *ret_error: what is wrong with the name, NULL: nothing. */
static const char *image_id(struct llb_builder *b, const char *ref, const char **ret_error)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(freep) char *normal = NULL;
    CLEANUP(err_freep) struct error *e = reference_parse(ref, &r);

    if (e != NULL) {
        *ret_error = llb_strdup(b, e->message);
        return llb_printf(b, "docker-image://%s", ref);
    }
    reference_add_default_tag(&r);
    normal = reference_string(&r);
    return llb_printf(b, "docker-image://%s", normal);
}

static struct llb_node *image_new(struct llb_builder *b, const char *ref, enum llb_resolve_mode mode,
                                  const struct llb_options *o)
{
    const char *id, *error = NULL;
    struct llb_node *n;

    /* Stage after stage starts from the same image. */
    pthread_mutex_lock(&b->lock);
    id = map_get(&b->images, ref);
    pthread_mutex_unlock(&b->lock);
    if (id == NULL) {
        id = image_id(b, ref, &error);
        pthread_mutex_lock(&b->lock);
        if (error == NULL)
            map_set(&b->images, ref, (void *)id);
        pthread_mutex_unlock(&b->lock);
    }
    n = source_new(b, id, o);
    n->source.error = error;
    node_add_cap(n, CAP_SOURCE_IMAGE);
    if (mode != LLB_RESOLVE_DEFAULT) {
        set_attr(n, "image.resolvemode", llb_resolve_mode_name(mode),
                 mode == LLB_RESOLVE_PULL ? CAP_SOURCE_IMAGE_RESOLVEMODE : CAP_NONE);
    }
    return n;
}

struct llb_state llb_image(struct llb_builder *b, const char *ref, enum llb_resolve_mode mode,
                           const struct llb_options *o)
{
    return source_state(b, image_new(b, ref, mode, o));
}

struct llb_state llb_frontend_image(struct llb_builder *b, const char *ref, enum llb_resolve_mode mode,
                                    const struct llb_options *o)
{
    struct llb_node *n = image_new(b, ref, mode, o);

    set_attr(n, "image.recordtype", "frontend", CAP_NONE);
    return source_state(b, n);
}

/* A list as Go's json.Marshal writes it; nothing when it is empty. */
static void set_list_attr(struct llb_node *n, const char *name, const struct strv *list, enum node_cap cap)
{
    CLEANUP(buf_deinit) struct buf json = { 0 };

    if (list == NULL || list->len == 0)
        return;
    for (size_t i = 0; i < list->len; i++) {
        buf_addc(&json, i == 0 ? '[' : ',');
        buf_add_json_string(&json, list->v[i], strlen(list->v[i]), true);
    }
    buf_addc(&json, ']');
    set_attr(n, name, buf_str(&json), cap);
}

struct llb_state llb_local(struct llb_builder *b, const char *name, const struct llb_local_options *l,
                           const struct llb_options *o)
{
    struct llb_node *n = source_new(b, llb_printf(b, "local://%s", name), o);

    if (l->session_id != NULL && *l->session_id != '\0')
        set_attr(n, "local.session", l->session_id, CAP_SOURCE_LOCAL_SESSIONID);
    set_list_attr(n, "local.includepattern", l->include_patterns, CAP_SOURCE_LOCAL_INCLUDEPATTERNS);
    set_list_attr(n, "local.followpaths", l->follow_paths, CAP_SOURCE_LOCAL_FOLLOWPATHS);
    set_list_attr(n, "local.excludepatterns", l->exclude_patterns, CAP_SOURCE_LOCAL_EXCLUDEPATTERNS);
    if (l->shared_key_hint != NULL && *l->shared_key_hint != '\0')
        set_attr(n, "local.sharedkeyhint", l->shared_key_hint, CAP_SOURCE_LOCAL_SHAREDKEYHINT);
    if (l->differ_none)
        set_attr(n, "local.differ", "none", CAP_NONE);
    node_add_cap(n, CAP_SOURCE_LOCAL);
    return source_state(b, n);
}

struct llb_state llb_http(struct llb_builder *b, const char *url, const struct llb_http_options *h,
                          const struct llb_options *o)
{
    struct llb_node *n = source_new(b, llb_strdup(b, url), o);

    if (h->checksum != NULL && *h->checksum != '\0')
        set_attr(n, "http.checksum", h->checksum, CAP_SOURCE_HTTP_CHECKSUM);
    if (h->filename != NULL && *h->filename != '\0')
        set_attr(n, "http.filename", h->filename, CAP_NONE);
    node_add_cap(n, CAP_SOURCE_HTTP);
    return source_state(b, n);
}

/* host/path[#ref[:subdir]], the same for all protocols. */
static char *git_id(const struct llb_git_options *g)
{
    CLEANUP(freep) char *path = gopath_join("/", g->path);
    struct buf id = { 0 };
    const char *ref = g->ref != NULL ? g->ref : "", *subdir = g->subdir != NULL ? g->subdir : "";

    buf_addf(&id, "git://%s%s", g->host, path);
    if (*ref != '\0' || *subdir != '\0')
        buf_addf(&id, "#%s", ref);
    if (*subdir != '\0')
        buf_addf(&id, ":%s", subdir);
    return buf_take(&id);
}

struct llb_state llb_git(struct llb_builder *b, const struct llb_git_options *g, const struct llb_options *o)
{
    CLEANUP(freep) char *id = git_id(g);
    struct llb_node *n = source_new(b, llb_strdup(b, id), o);

    if (g->keep_git_dir)
        set_attr(n, "git.keepgitdir", "true", CAP_SOURCE_GIT_KEEPGITDIR);
    set_attr(n, "git.fullurl", g->remote, CAP_SOURCE_GIT_FULLURL);
    set_attr(n, "git.authtokensecret", "GIT_AUTH_TOKEN", CAP_NONE);
    set_attr(n, "git.authheadersecret", "GIT_AUTH_HEADER", CAP_NONE);
    if (streq(g->scheme, "ssh")) {
        /* Host keys are looked up by the source, from the client's known_hosts or by asking the host. */
        node_add_cap(n, CAP_SOURCE_GIT_KNOWNSSHHOSTS);
        set_attr(n, "git.mountsshsock", "default", CAP_SOURCE_GIT_MOUNTSSHSOCK);
    }
    if (g->checksum != NULL && *g->checksum != '\0')
        set_attr(n, "git.checksum", g->checksum, CAP_SOURCE_GIT_CHECKSUM);
    if (g->skip_submodules)
        set_attr(n, "git.skipsubmodules", "true", CAP_SOURCE_GIT_SKIPSUBMODULES);
    if (g->mtime != NULL && *g->mtime != '\0')
        set_attr(n, "git.mtime", g->mtime, CAP_SOURCE_GIT_MTIME);
    if (g->advice)
        set_attr(n, "git.advice", "true", CAP_NONE);
    if (g->fetch_by_commit)
        set_attr(n, "git.fetchbycommit", "true", CAP_SOURCE_GIT_FETCHBYCOMMIT);
    node_add_cap(n, CAP_SOURCE_GIT);
    return source_state(b, n);
}

struct llb_state llb_oci_layout(struct llb_builder *b, const char *ref, const char *session_id,
                                const char *store_id, const struct llb_options *o)
{
    struct llb_node *n = source_new(b, llb_printf(b, "oci-layout://%s", ref), o);

    if (session_id != NULL && *session_id != '\0')
        set_attr(n, "oci.session", session_id, CAP_NONE);
    if (store_id != NULL && *store_id != '\0')
        set_attr(n, "oci.store", store_id, CAP_NONE);
    node_add_cap(n, CAP_SOURCE_OCILAYOUT);
    return source_state(b, n);
}
