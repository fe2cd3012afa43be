/* SPDX-License-Identifier: Apache-2.0 */
#include "op/signature.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "io/spawn.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOLERATED_CLOCK_SECONDS (5 * 60)
#define OUTPUT_LIMIT (1 * MIB)

/* The folder that one check works in. */
struct check {
    struct store *store;
    char *name, *path;
    int fd;
    char *data; /* a path of what is signed */
};

static void check_deinit(struct check *c)
{
    closep(&c->fd);
    if (c->name != NULL)
        store_discard(c->store, c->name);
    free(c->name);
    free(c->path);
    free(c->data);
}

static struct error *check_init(struct check *c, struct store *s, int data_fd)
{
    char id[26];

    random_id(id, 25);
    c->store = s;
    c->name = xasprintf("signature-%s", id);
    if (mkdirat(store_work_fd(s), c->name, 0700) < 0)
        return err_sys(errno, "make a folder for a signature");
    c->path = store_work_path(s, c->name);
    c->fd = openat(store_work_fd(s), c->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    c->data = xasprintf("/proc/%d/fd/%d", (int)getpid(), data_fd);
    return c->fd < 0 ? err_sys(errno, "make a folder for a signature") : NULL;
}

static struct error *put(const struct check *c, const char *name, const void *data, size_t len)
{
    CLEANUP(closep) int fd = openat(c->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, data, len) != (ssize_t)len)
        return err_sys(errno == 0 ? EIO : errno, "write a file for a signature");
    return NULL;
}

/* *ret_out: what it said, both streams. */
static struct error *spawn_check(const struct check *c, const char *const *argv, int stdin_fd,
                                 struct buf *out, bool *ret_good)
{
    CLEANUP(freep) char *path = xasprintf("PATH=%s", getenv("PATH") != NULL ? getenv("PATH") : "");
    const char *const env[] = { path, "LC_ALL=C", "HOME=/dev/null", NULL };
    const struct spawn_fd fds[] = { { stdin_fd, 0 } };
    CLEANUP(buf_deinit) struct buf err = { 0 };
    int status = 0;

    TRY(err_wrap(spawn_run(&(struct spawn_options){ .argv = argv,
                                                    .env = env,
                                                    .cwd = c->path,
                                                    .fds = fds,
                                                    .fd_count = stdin_fd >= 0 ? 1 : 0,
                                                    .new_session = true },
                           NULL, out, &err, OUTPUT_LIMIT, &status),
                 "cannot run %s to check a signature", argv[0]));
    *ret_good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    buf_add(out, err.data, err.len);
    return NULL;
}

/* ---- OpenPGP
 * ----------------------------------------------------------------------------------------------------------
 */

static const char *next_line(const char *p)
{
    const char *end = strchr(p, '\n');

    return end == NULL ? p + strlen(p) : end + 1;
}

/* Behind the BEGIN line: headers up to an empty line, base64, a checksum or the END line. */
static int dearmor_block(const char *p, struct buf *out, const char **ret_end)
{
    CLEANUP(buf_deinit) struct buf coded = { 0 };

    while (*p != '\0' && *p != '\n' && *p != '\r')
        p = next_line(p);
    for (p = next_line(p); *p != '\0' && *p != '=' && *p != '-'; p = next_line(p)) {
        for (const char *c = p; *c != '\0' && *c != '\n'; c++) {
            if (!isspace((unsigned char)*c))
                buf_addc(&coded, *c);
        }
    }
    *ret_end = p;
    return coded.len == 0 || base64_decode(out, coded.data, coded.len) < 0 ? -EINVAL : 0;
}

int signature_dearmor(const char *text, const char *type, struct buf *out)
{
    CLEANUP(freep) char *begin = xasprintf("-----BEGIN PGP %s-----", type);
    const char *p = strstr(text, begin);

    if (p == NULL)
        return -EINVAL;
    for (; p != NULL; p = strstr(p, begin)) {
        int r = dearmor_block(next_line(p), out, &p);

        if (r < 0)
            return r;
    }
    return 0;
}

/* gpgv's status: the words behind "[GNUPG:] NAME ", or NULL.  New string. */
static char *status_line(const char *text, const char *name)
{
    CLEANUP(freep) char *start = xasprintf("[GNUPG:] %s ", name);
    const char *p = strstr(text, start);

    if (p == NULL)
        return NULL;
    p += strlen(start);
    return xstrndup(p, strcspn(p, "\r\n"));
}

struct pgp_facts {
    long long signed_at;
    int key_kind, hash;
};

/* "VALIDSIG fingerprint date created expires version reserved key-kind hash class primary" */
static bool read_facts(const char *text, struct pgp_facts *f)
{
    CLEANUP(freep) char *line = status_line(text, "VALIDSIG");

    return line != NULL &&
           sscanf(line, "%*s %*s %lld %*s %*s %*s %d %d", &f->signed_at, &f->key_kind, &f->hash) == 3;
}

/* Numbers of RFC 4880 and 6637. */
static struct error *check_facts(const struct pgp_facts *f)
{
    if (f->hash < 8 || f->hash > 10) /* SHA-256, 384, 512 */
        return err_new(ERR_UNKNOWN, "rejecting weak/unknown hash: %d", f->hash);
    if (f->key_kind != 1 && f->key_kind != 3 && f->key_kind != 19 && f->key_kind != 22)
        return err_new(ERR_UNKNOWN, "rejecting unsupported pubkey algorithm: %d", f->key_kind);
    if (f->signed_at > now_ns() / NS_PER_SEC + TOLERATED_CLOCK_SECONDS)
        return err_new(ERR_UNKNOWN, "signature creation time is in the future: %lld", f->signed_at);
    return NULL;
}

static struct error *check_expiry(const char *text, const struct pgp_facts *f, bool reject_expired)
{
    CLEANUP(freep) char *expired = status_line(text, "EXPKEYSIG"), *when = status_line(text, "KEYEXPIRED");
    long long at = 0;

    if (expired == NULL)
        return NULL;
    if (when == NULL || sscanf(when, "%lld", &at) != 1 || reject_expired || f->signed_at > at)
        return err_new(ERR_UNKNOWN, "key expired at %lld", at);
    return NULL;
}

static struct error *judge(const char *text, bool reject_expired)
{
    CLEANUP(freep)
    char *revoked = status_line(text, "REVKEYSIG"), *missing = status_line(text, "NO_PUBKEY"),
         *bad = status_line(text, "BADSIG"), *outdated = status_line(text, "EXPSIG");
    struct pgp_facts f;

    if (revoked != NULL)
        return err_new(ERR_UNKNOWN, "key revoked");
    if (missing != NULL)
        return err_new(ERR_UNKNOWN, "signature by %s: openpgp: signature made by unknown entity", missing);
    if (bad != NULL)
        return err_new(ERR_UNKNOWN, "signature by %.16s: openpgp: invalid signature: hash tag doesn't match",
                       bad);
    if (outdated != NULL)
        return err_new(ERR_UNKNOWN, "openpgp: signature expired");
    if (!read_facts(text, &f))
        return err_new(ERR_UNKNOWN, "no valid signature found");
    TRY(check_facts(&f));
    return check_expiry(text, &f, reject_expired);
}

struct error *signature_check_pgp(struct store *s, int data_fd, const char *signature, const char *keys,
                                  bool reject_expired)
{
    CLEANUP(check_deinit) struct check c = { .fd = -1 };
    CLEANUP(buf_deinit) struct buf ring = { 0 }, raw = { 0 }, out = { 0 };
    bool good = false;

    if (strlen(keys) > LIMIT_KEY_FILE || strlen(signature) > LIMIT_KEY_FILE)
        return err_new(ERR_EXHAUSTED, "keys or signature longer than %zu bytes", LIMIT_KEY_FILE);
    if (signature_dearmor(signature, "SIGNATURE", &raw) < 0)
        return err_new(ERR_INVALID, "failed to decode armored signature");
    if (signature_dearmor(keys, "PUBLIC KEY BLOCK", &ring) < 0)
        return err_new(ERR_INVALID, "failed to read armored public key: no armored data found");
    TRY(check_init(&c, s, data_fd));
    TRY(put(&c, "keys", ring.data, ring.len));
    TRY(put(&c, "sig", raw.data, raw.len));
    CLEANUP(freep) char *home = path_join(c.path, "."), *ring_path = path_join(c.path, "keys");
    const char *const argv[] = { "gpgv",      "--homedir", home,  "--status-fd", "1",
                                 "--keyring", ring_path,   "sig", c.data,        NULL };

    TRY(spawn_check(&c, argv, -1, &out, &good));
    return judge(buf_str(&out), reject_expired);
}

/* ---- SSH
 * ----------------------------------------------------------------------------------------------------------
 */

/* "type base64" of an authorized_keys line; its comment and options are left out. */
static char *bare_key(const char *key)
{
    char type[64], data[16384];

    if (sscanf(key, "%63s %16383s", type, data) != 2 ||
        strspn(type, "abcdefghijklmnopqrstuvwxyz0123456789-@.") != strlen(type) ||
        strspn(data, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") != strlen(data))
        return NULL;
    return xasprintf("%s %s", type, data);
}

struct error *signature_check_ssh(struct store *s, int data_fd, const char *signature, const char *key)
{
    CLEANUP(check_deinit) struct check c = { .fd = -1 };
    CLEANUP(buf_deinit) struct buf out = { 0 };
    CLEANUP(freep) char *bare = bare_key(key), *allowed = NULL;
    static const char *const argv[] = { "ssh-keygen", "-Y", "verify", "-f", "allowed", "-I",
                                        "signer",     "-n", "git",    "-s", "sig",     NULL };
    bool good = false;

    if (bare == NULL)
        return err_new(ERR_INVALID, "failed to parse ssh public key");
    if (strlen(signature) > LIMIT_KEY_FILE)
        return err_new(ERR_EXHAUSTED, "signature longer than %zu bytes", LIMIT_KEY_FILE);
    allowed = xasprintf("signer namespaces=\"git\" %s\n", bare);
    TRY(check_init(&c, s, data_fd));
    TRY(put(&c, "allowed", allowed, strlen(allowed)));
    TRY(put(&c, "sig", signature, strlen(signature)));
    if (lseek(data_fd, 0, SEEK_SET) < 0)
        return err_sys(errno, "read what is signed");
    TRY(spawn_check(&c, argv, data_fd, &out, &good));
    if (good)
        return NULL;
    return err_new(ERR_UNKNOWN, "failed to verify ssh signature: %.*s", (int)strcspn(buf_str(&out), "\r\n"),
                   buf_str(&out));
}
