/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/listen.h"
#include "base/limits.h"
#include "base/log.h"
#include "io/path.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_PASSED_FD 3

static void add_listener(struct listeners *l, int fd, const char *address, const char *path, bool tls)
{
    l->v = xreallocarray(l->v, l->len + 1, sizeof(*l->v));
    l->v[l->len++] =
        (struct listener){ .fd = fd, .address = xstrdup(address), .path = xstrdup(path), .tls = tls };
}

/* ---- unix ---- */

/* By name in /etc/group, as dockerd looks (no name service: quick, and the same in a rescue system), or a
 * number. */
static int parse_gid(const char *name, gid_t *ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(freep) char *head = xasprintf("%s:", name);
    uint64_t number;

    if (file_read("/etc/group", &text, LIMIT_PASSWD_FILE) == 0) {
        for (const char *line = buf_str(&text); line != NULL;
             line = strchr(line, '\n') != NULL ? strchr(line, '\n') + 1 : NULL) {
            const char *gid = str_has_prefix(line, head) ? strchr(line + strlen(head), ':') : NULL;

            if (gid == NULL)
                continue;
            CLEANUP(freep) char *digits = xstrndup(gid + 1, strcspn(gid + 1, ":\n"));

            if (parse_u64(digits, &number) == 0 && number <= INT32_MAX) {
                *ret = (gid_t)number;
                return 0;
            }
        }
    }
    if (parse_u64(name, &number) < 0 || number > INT32_MAX)
        return -ENOENT;
    *ret = (gid_t)number;
    return 0;
}

/* The group of the socket: without a "docker" group on the host, ours. */
static struct error *socket_group(const struct config *c, const char *path, gid_t *ret)
{
    *ret = getegid();
    if (c->group[0] == '\0' || parse_gid(c->group, ret) == 0)
        return NULL;
    if (c->group_given && !streq(c->group, "docker"))
        return err_new(ERR_INVALID, "group %s not found", c->group);
    log_debug("could not change the group of the socket", "socket", path, "group", c->group);
    return NULL;
}

static bool fill_address(const char *path, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address->sun_path))
        return false;
    memcpy(address->sun_path, path, strlen(path));
    return true;
}

/* Does somebody listen there? */
static bool is_live(const struct sockaddr_un *address)
{
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd >= 0 &&
           (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN);
}

/* Remove what a daemon that died has left; never anything that is no socket. */
static struct error *clear_way(const char *path, const struct sockaddr_un *address)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? NULL : err_sys(errno, "listen unix %s", path);
    if (!S_ISSOCK(st.st_mode))
        return err_new(ERR_INVALID, "listen unix %s: the path exists and is not a socket", path);
    if (is_live(address))
        return err_new(ERR_CONFLICT, "listen unix %s: bind: address already in use", path);
    return unlink(path) < 0 ? err_sys(errno, "remove the stale socket %s", path) : NULL;
}

static struct error *listen_unix(const struct config *c, const char *address, struct listeners *l)
{
    const char *path = address + strlen("unix://");
    CLEANUP(freep) char *dir = path_dir(path);
    struct sockaddr_un sa;
    gid_t gid;

    if (!fill_address(path, &sa))
        return err_new(ERR_INVALID, "listen unix %s: the path is too long", path);
    int r = make_dirs(dir, 0755);

    if (r < 0)
        return err_sys(-r, "listen unix %s: make its directory", path);
    TRY(clear_way(path, &sa));
    TRY(socket_group(c, path, &gid));
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return err_sys(errno, "listen unix %s", path);
    mode_t old = umask(0777); /* nobody connects before owner and mode are right */

    r = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
    umask(old);
    if (r < 0)
        return err_sys(-r, "listen unix %s: bind", path);
    if (chown(path, geteuid(), gid) < 0 || chmod(path, 0660) < 0 || listen(fd, SOMAXCONN) < 0) {
        struct error *e = err_sys(errno, "listen unix %s", path);

        (void)unlink(path);
        return e;
    }
    add_listener(l, TAKE_FD(fd), address, path, false);
    return NULL;
}

/* ---- tcp ---- */

static bool is_loopback(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr) >> 24) == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

static int listen_at(const struct addrinfo *a)
{
    CLEANUP(closep) int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;

    if (fd < 0)
        return -errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0)
        return -errno;
    return TAKE_FD(fd);
}

static struct error *listen_tcp(const struct config *c, const char *address, struct listeners *l)
{
    const char *host_port = address + strlen("tcp://"), *colon = strrchr(host_port, ':');
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list;
    bool verified = c->tls && c->tls_verify && c->tls_ca[0] != '\0';

    if (colon == NULL)
        return err_new(ERR_INVALID, "listen tcp %s: missing port in address", host_port);
    size_t len = (size_t)(colon - host_port);
    bool bracketed = len >= 2 && host_port[0] == '[' && colon[-1] == ']';
    CLEANUP(freep) char *host = xstrndup(host_port + bracketed, len - 2 * bracketed);
    int failure = getaddrinfo(*host != '\0' ? host : NULL, colon + 1, &hints, &list);

    if (failure != 0)
        return err_new(ERR_INVALID, "listen tcp %s: %s", host_port, gai_strerror(failure));
    bool local = is_loopback(list->ai_addr);
    int fd = local || verified ? listen_at(list) : -EPERM;

    freeaddrinfo(list);
    if (!local && !verified)
        return err_new(ERR_FORBIDDEN,
                       "listen tcp %s: this API gives root access to the host, so beyond loopback it is "
                       "served only with TLS client "
                       "certificates: give --tlsverify, --tlscacert, --tlscert and --tlskey",
                       host_port);
    if (fd < 0)
        return err_sys(-fd, "listen tcp %s: bind", host_port);
    add_listener(l, fd, address, NULL, c->tls);
    return NULL;
}

/* ---- passed by the service manager ---- */

/* LISTEN_PID and LISTEN_FDS; 0 when they are not meant for us. */
static int passed_count(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    int64_t pid_number, number;

    if (pid == NULL || count == NULL || parse_i64(pid, &pid_number) < 0 || parse_i64(count, &number) < 0)
        return 0;
    return pid_number == getpid() && number > 0 && number < 1024 ? (int)number : 0;
}

static struct error *add_passed(const struct config *c, int fd, const char *address, struct listeners *l)
{
    int listening = 0, domain = 0;
    socklen_t len = sizeof(listening);

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 || !listening ||
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
        return err_new(ERR_INVALID, "descriptor %d, which the service manager passed, is no listening socket",
                       fd);
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return err_sys(errno, "take over descriptor %d", fd);
    add_listener(l, fd, address, NULL, c->tls && domain != AF_UNIX);
    return NULL;
}

static struct error *listen_passed(const struct config *c, const char *address, struct listeners *l)
{
    const char *which = address + strlen("fd://");
    int count = passed_count();
    uint64_t one;

    if (count == 0)
        return err_new(
            ERR_INVALID,
            "no sockets found via socket activation: make sure the service was started by systemd");
    if (*which == '\0' || streq(which, "*")) {
        for (int i = 0; i < count; i++)
            TRY(add_passed(c, FIRST_PASSED_FD + i, address, l));
        return NULL;
    }
    if (parse_u64(which, &one) < 0)
        return err_new(ERR_INVALID, "failed to parse systemd fd address: should be a number: %s", which);
    if (one < FIRST_PASSED_FD || one >= (uint64_t)(FIRST_PASSED_FD + count))
        return err_new(ERR_INVALID, "too few socket activated files passed in by systemd");
    return add_passed(c, (int)one, address, l);
}

/* ---- all ---- */

static struct error *open_one(const struct config *c, const char *address, struct listeners *l)
{
    if (str_has_prefix(address, "unix://"))
        return listen_unix(c, address, l);
    if (str_has_prefix(address, "tcp://"))
        return listen_tcp(c, address, l);
    if (str_has_prefix(address, "fd://"))
        return listen_passed(c, address, l);
    if (strstr(address, "://") == NULL)
        return err_new(ERR_INVALID, "address %s does not contain proto, you meant unix://%s ?", address,
                       address);
    return err_new(ERR_INVALID, "addr %s not supported", address);
}

struct error *listeners_open(const struct config *c, struct listeners *ret)
{
    struct listeners l = { 0 };

    for (size_t i = 0; i < c->hosts.len; i++) {
        struct error *e = open_one(c, c->hosts.v[i], &l);

        if (e != NULL) {
            listeners_close(&l);
            return e;
        }
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    *ret = l;
    return NULL;
}

void listeners_close(struct listeners *l)
{
    for (size_t i = 0; i < l->len; i++) {
        closep(&l->v[i].fd);
        if (l->v[i].path != NULL)
            (void)unlink(l->v[i].path); /* gone already is as good */
        free(l->v[i].path);
        free(l->v[i].address);
    }
    free(l->v);
    *l = (struct listeners){ 0 };
}
