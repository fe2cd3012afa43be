/* SPDX-License-Identifier: Apache-2.0 */
/* The capabilities of definitions that BuildKit v0.34 knows, and whether they work here. */
#include "llb/llb.h"

#define CAP(i)                                                                                               \
    {                                                                                                        \
        .id = (i), .enabled = true                                                                           \
    }

/* Known, and not built: absent from what clients are told, refused where an op asks for it. */
#define NOT_YET(i)                                                                                           \
    {                                                                                                        \
        .id = (i), .disabled_message = "not supported yet"                                                   \
    }

/* Sorted by id (llb_test checks). */
static const struct llb_cap all_caps[] = {
    NOT_YET("cache.azblob"),
    NOT_YET("cache.gha"),
    NOT_YET("cache.s3"),
    CAP("constraints"),
    CAP("diffop"),
    CAP("exec.cgroup"),
    CAP("exec.meta.base"),
    CAP("exec.meta.cdi"),
    CAP("exec.meta.cgroup.parent"),
    CAP("exec.meta.linux.resources"),
    CAP("exec.meta.network"),
    CAP("exec.meta.network.proxy"),
    CAP("exec.meta.proxyenv"),
    CAP("exec.meta.security"),
    CAP("exec.meta.security.devices.v1"),
    CAP("exec.meta.setsdefaultpath"),
    CAP("exec.meta.ulimit"),
    CAP("exec.mount.bind"),
    CAP("exec.mount.bind.readwrite-nooutput"),
    CAP("exec.mount.cache"),
    CAP("exec.mount.cache.content"),
    CAP("exec.mount.cache.sharing"),
    CAP("exec.mount.secret"),
    CAP("exec.mount.selector"),
    CAP("exec.mount.ssh"),
    CAP("exec.mount.tmpfs"),
    CAP("exec.mount.tmpfs.size"),
    CAP("exec.secretenv"),
    CAP("exec.validexitcode"),
    CAP("exporter.image.annotations"),
    CAP("exporter.image.attestations"),
    CAP("exporter.multiple"),
    CAP("exporter.session"),
    { .id = "exporter.sourcedateepoch", .enabled = true, .name = "source date epoch" },
    { .id = "file.base", .enabled = true, .prerelease = true },
    CAP("file.copy.alwaysreplaceexistingdestpaths"),
    CAP("file.copy.includeexcludepatterns"),
    CAP("file.copy.requiredpaths"),
    CAP("file.rm.nofollowsymlink"),
    CAP("file.rm.wildcard"),
    CAP("file.symlink.create"),
    CAP("gc.freespacefilter"),
    CAP("history.filter"),
    CAP("mergeop"),
    CAP("meta.description"),
    CAP("meta.exportcache"),
    CAP("meta.ignorecache"),
    CAP("passthroughop"),
    CAP("platform"),
    CAP("soruce.http.uidgid"), /* the id has always been misspelt */
    CAP("source.buildop.llbfilename"),
    CAP("source.git"),
    CAP("source.git.bundle"),
    CAP("source.git.checkoutbundle"),
    CAP("source.git.checksum"),
    CAP("source.git.fetchbycommit"),
    CAP("source.git.fullurl"),
    CAP("source.git.httpauth"),
    CAP("source.git.keepgitdir"),
    CAP("source.git.knownsshhosts"),
    CAP("source.git.mountsshsock"),
    CAP("source.git.mtime"),
    CAP("source.git.signatureverify"),
    CAP("source.git.skipsubmodules"),
    CAP("source.git.subdir"),
    CAP("source.http"),
    CAP("source.http.auth"),
    CAP("source.http.checksum"),
    CAP("source.http.header"),
    CAP("source.http.perm"),
    CAP("source.http.signatureverify"),
    CAP("source.image"),
    CAP("source.image.checksum"),
    CAP("source.image.layerlimit"),
    CAP("source.image.resolvemode"),
    CAP("source.imageblob"),
    CAP("source.local"),
    CAP("source.local.differ"),
    CAP("source.local.excludepatterns"),
    CAP("source.local.followpaths"),
    CAP("source.local.includepatterns"),
    CAP("source.local.metadatatransfer"),
    CAP("source.local.sessionid"),
    CAP("source.local.sharedkeyhint"),
    CAP("source.local.unique"),
    CAP("source.ocilayout"),
    CAP("source.policy"),
    CAP("source.policy.session"),
};

const struct llb_cap *llb_caps(size_t *ret_count)
{
    *ret_count = ARRAY_LEN(all_caps);
    return all_caps;
}

static int compare_id(const void *key, const void *cap)
{
    return strcmp(key, ((const struct llb_cap *)cap)->id);
}

bool llb_cap_enabled(const char *id)
{
    const struct llb_cap *c = bsearch(id, all_caps, ARRAY_LEN(all_caps), sizeof(all_caps[0]), compare_id);

    return c != NULL && c->enabled;
}

struct error *llb_cap_check(const char *id)
{
    const struct llb_cap *c = bsearch(id, all_caps, ARRAY_LEN(all_caps), sizeof(all_caps[0]), compare_id);
    struct buf name = { 0 };
    struct error *e;

    if (c == NULL)
        return err_new(ERR_UNKNOWN, "unknown API capability %s", id);
    if (c->enabled)
        return NULL;
    if (c->name != NULL)
        buf_addf(&name, "(%s)", c->name);
    e = err_new(ERR_UNKNOWN, "requested %s feature %s %s has been disabled on the build server%s%s",
                c->prerelease ? "prerelease" : "experimental", id, buf_str(&name),
                c->disabled_message != NULL ? ": " : "",
                c->disabled_message != NULL ? c->disabled_message : "");
    buf_deinit(&name);
    return e;
}
