/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/remote_context.h"

#include "base/bytes.h"
#include "frontend/dockerfile/gitref.h"
#include "llb/gopath.h"

static bool keeps_git_dir(const struct remote_git_options *o, const struct git_ref *g)
{
    switch (o->keep_git_dir) {
    case KEEP_GIT_ALWAYS:
        return true;
    case KEEP_GIT_UNLESS_DENIED:
        return !g->keep_git_dir_set || g->keep_git_dir;
    case KEEP_GIT_WHEN_ASKED:
        break;
    }
    return g->keep_git_dir_set && g->keep_git_dir;
}

struct error *remote_git(struct llb_builder *b, const char *url, const struct remote_git_options *o,
                         struct llb_state *ret, bool *ret_is_git)
{
    CLEANUP(git_ref_deinit) struct git_ref g = { 0 };
    CLEANUP(freep) char *full = NULL;

    TRY(git_ref_parse(url, &g, ret_is_git));
    if (!*ret_is_git)
        return NULL;
    full = g.local_looking ? xasprintf("https://%s", g.remote) : xstrdup(g.remote);
    *ret = llb_git(b,
                   &(struct llb_git_options){
                       .remote = full,
                       .scheme = g.scheme,
                       .host = g.host,
                       .path = g.path,
                       .ref = g.ref,
                       .subdir = g.subdir,
                       .checksum = g.checksum,
                       .mtime = *g.mtime != '\0' ? g.mtime : o->mtime,
                       .keep_git_dir = keeps_git_dir(o, &g),
                       .skip_submodules = g.submodules_set && !g.submodules,
                       .advice = o->advice,
                       .fetch_by_commit = g.fetch_by_commit,
                   },
                   &(struct llb_options){ .custom_name = o->name });
    return NULL;
}

struct llb_state remote_file(struct llb_builder *b, const char *url, const char *name)
{
    return llb_http(b, url, &(struct llb_http_options){ .filename = "context" },
                    &(struct llb_options){ .custom_name = name });
}

struct llb_state remote_archive(struct llb_builder *b, const char *url, const char *name)
{
    struct llb_copy_info info = { .attempt_unpack = true };
    struct llb_state file = remote_file(b, url, name);

    return llb_file(b, llb_scratch(), llb_copy(b, NULL, file, "/context", "/", &info), NULL);
}

char *remote_filename(const char *url)
{
    CLEANUP(freep) char *path = NULL, *base = NULL;
    const char *slash = strchr(strstr(url, "://") + 3, '/');
    struct buf decoded = { 0 };

    path = slash != NULL ? xstrndup(slash, strcspn(slash, "?#")) : xstrdup("");
    for (const char *p = path; *p != '\0'; p++) {
        uint8_t byte;

        if (*p == '%' && p[1] != '\0' && p[2] != '\0') {
            CLEANUP(freep) char *hex = xstrndup(p + 1, 2), *lower = str_lower(hex);

            if (hex_decode(&byte, lower, 1) == 0 || hex_decode(&byte, lower, 2) == 0) {
                buf_addc(&decoded, (char)byte);
                p += 2;
                continue;
            }
        }
        buf_addc(&decoded, *p);
    }
    base = gopath_base(buf_str(&decoded));
    buf_deinit(&decoded);
    if (streq(base, ".") || streq(base, "/"))
        return xstrdup("__unnamed__");
    return TAKE(base);
}

/* The header's checksum agrees: the sum of its bytes, those of the checksum itself counted as blanks. */
static bool is_tar(const unsigned char *h, size_t len)
{
    unsigned sum = 0, want = 0;

    if (len < 512 || h[0] == '\0')
        return false;
    for (size_t i = 0; i < 512; i++)
        sum += i >= 148 && i < 156 ? ' ' : h[i];
    for (size_t i = 148; i < 156; i++) {
        if (h[i] >= '0' && h[i] <= '7')
            want = want << 3 | (unsigned)(h[i] - '0');
        else if (h[i] != ' ' && h[i] != '\0')
            return false;
    }
    return sum == want;
}

bool is_archive(const void *head, size_t len)
{
    static const struct {
        const char *bytes;
        size_t len;
    } magics[] = { { "BZh", 3 },
                   { "\x1f\x8b\x08", 3 },
                   { "\xfd"
                     "7zXZ",
                     6 },
                   { "\x28\xb5\x2f\xfd", 4 } };
    const unsigned char *h = head;

    for (size_t i = 0; i < ARRAY_LEN(magics); i++) {
        if (len >= magics[i].len && memcmp(head, magics[i].bytes, magics[i].len) == 0)
            return true;
    }
    /* a skippable frame of zstd */
    if (len >= 8 && (h[0] & 0xf0) == 0x50 && h[1] == 0x2a && h[2] == 0x4d && h[3] == 0x18)
        return true;
    return is_tar(head, len);
}
