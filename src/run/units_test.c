/* SPDX-License-Identifier: Apache-2.0 */
/* units_test.c - what needs no privileges: users, hosts, resolv.conf, config.json, the system call filter */
#include "base/buf.h"
#include "base/limits.h"
#include "io/path.h"
#include "run/caps.h"
#include "run/hosts.h"
#include "run/spec.h"
#include "run/stubs.h"
#include "run/syscalls.h"
#include "run/user.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

/* ---- a root
 * -------------------------------------------------------------------------------------------------------------------
 */

static char root_path[64];
static int root_fd;

static void put(const char *name, const char *text)
{
    int fd = openat(root_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static int root_up(void **state)
{
    snprintf(root_path, sizeof(root_path), "/tmp/minke-units-XXXXXX");
    assert_non_null(mkdtemp(root_path));
    root_fd = open(root_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(root_fd, "etc", 0755), 0);
    put("etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n# comment\n\n  app:x:1000:1001::/:/bin/sh  \nbroken:x:abc:1:\n"
        "1000:x:0:0::/:\nhuge:x:4294967296:0::/:\nlast:x:5:6::/:");
    put("etc/group", "root:x:0:\nwheel:x:10:root,app\nvideo:x:28:app,other\napp:x:1001:\nempty:x::app\nbig:x:"
                     "4294967296:app\n");
    return 0;
}

static int root_down(void **state)
{
    close(root_fd);
    return path_remove_all(AT_FDCWD, root_path);
}

/* ---- users
 * --------------------------------------------------------------------------------------------------------------------
 */

static void check_user(const char *spec, uint32_t uid, uint32_t gid, const char *gids)
{
    struct run_user u = { 0 };
    struct buf b = { 0 };
    struct error *e = run_user_find(root_fd, spec, &u);

    if (e != NULL)
        print_message("%s: %s\n", spec, e->message);
    assert_null(e);
    assert_int_equal(u.uid, uid);
    assert_int_equal(u.gid, gid);
    for (size_t i = 0; i < u.gid_count; i++)
        buf_addf(&b, "%s%u", i > 0 ? "," : "", u.gids[i]);
    assert_string_equal(buf_str(&b), gids);
    buf_deinit(&b);
    run_user_deinit(&u);
}

static void check_no_user(const char *spec, const char *text)
{
    struct run_user u = { 0 };
    struct error *e = run_user_find(root_fd, spec, &u);

    if (e == NULL)
        print_message("%s is %u:%u\n", spec, u.uid, u.gid);
    assert_non_null(e);
    if (strstr(e->message, text) == NULL)
        print_message("%s: %s\n", spec, e->message);
    assert_non_null(strstr(e->message, text));
    err_free(e);
}

static void test_users(void **state)
{
    check_user("", 0, 0, "10");
    check_user("root", 0, 0, "10");
    check_user("app", 1000, 1001, "10,28");
    check_user("last", 5, 6, "");
    check_user("app:video", 1000, 28, "");
    check_user("app:77", 1000, 77, "");
    check_user("12:34", 12, 34, "");
    check_user("77", 77, 0, "");
    check_user("007", 7, 0, "");
    check_user("root:root", 0, 0, "");
    /* A number is never a name: "1000" in passwd maps to root. */
    check_user("1000", 1000, 1001, "10,28");
    check_user("2147483647", 2147483647, 0, "");
}

static void test_hostile_users(void **state)
{
    static const char range[] = "uids and gids must be in range 0-2147483647";

    check_no_user("nobody", "unable to find user nobody: no matching entries in passwd file");
    check_no_user("app:nogroup", "unable to find group nogroup: no matching entries in group file");
    check_no_user("2147483648", range);
    check_no_user("2147483648:0", range);
    check_no_user("4294967295", range);
    check_no_user("4294967296", range);
    check_no_user("4294967295:4294967295", range);
    check_no_user("0:4294967296", range);
    check_no_user("-1", range);
    check_no_user("0x0", "unable to find user 0x0");
    check_no_user("1e3", "unable to find user 1e3");
    check_no_user("99999999999999999999", "unable to find user");
    check_no_user("huge", range);
    check_no_user("app:big", range);
}

/* More groups than a process can have are looked at, but not for each other without end. */
static void test_many_groups(void **state)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    for (int i = 0; i <= LIMIT_USER_GROUPS; i++)
        buf_addf(&text, "g:x:%d:app\n", i + 2000);
    put("etc/group", text.data);
    check_no_user("app", "the user is in more than 65536 groups");
}

static void test_hostile_passwd(void **state)
{
    assert_int_equal(unlinkat(root_fd, "etc/passwd", 0), 0);
    check_no_user("app", "unable to find user app");
    check_user("", 0, 0, "");
    assert_int_equal(mkfifoat(root_fd, "etc/passwd", 0644), 0);
    check_no_user("app", "unable to find user app");
    assert_int_equal(unlinkat(root_fd, "etc/passwd", 0), 0);
    assert_int_equal(symlinkat("/dev/zero", root_fd, "etc/passwd"), 0);
    check_no_user("app", "unable to find user app");
    assert_int_equal(unlinkat(root_fd, "etc/passwd", 0), 0);
    put("etc/passwd", "x");
    CLEANUP(freep) char *passwd = xasprintf("%s/etc/passwd", root_path);
    assert_int_equal(truncate(passwd, (off_t)(LIMIT_PASSWD_FILE + 1)), 0);
    check_no_user("app", "exceeds");
    check_user("", 0, 0, "");
    /* A link that leaves the root is resolved inside it. */
    assert_int_equal(unlinkat(root_fd, "etc/passwd", 0), 0);
    assert_int_equal(symlinkat("../../../../etc/group", root_fd, "etc/passwd"), 0);
    check_no_user("daemon", "unable to find user daemon");
}

/* ---- hosts and resolv.conf
 * ---------------------------------------------------------------------------------------------------- */

static void test_hosts(void **state)
{
    struct buf b = { 0 };
    const struct run_host hosts[] = { { "a.example", "10.0.0.1" }, { "b", "FE80::0001" } };
    const struct run_host bad_ip[] = { { "a", "10.0.0" } }, bad_name[] = { { "a b", "10.0.0.1" } };

    assert_null(hosts_generate(&b, "box", hosts, 2));
    assert_string_equal(buf_str(&b), "127.0.0.1\tlocalhost box\n::1\tlocalhost ip6-localhost ip6-loopback\n"
                                     "10.0.0.1\ta.example\nfe80::1\tb\n");
    buf_clear(&b);
    struct error *e = hosts_generate(&b, "box", bad_ip, 1);
    assert_true(err_is(e, ERR_INVALID));
    err_free(e);
    e = hosts_generate(&b, "box", bad_name, 1);
    assert_true(err_is(e, ERR_INVALID));
    err_free(e);
    buf_deinit(&b);
}

static void check_resolv(const char *host, const struct resolv_config *c, const char *want)
{
    struct buf b = { 0 };

    assert_null(resolv_transform(&b, host, c));
    assert_string_equal(buf_str(&b), want);
    buf_deinit(&b);
}

static void test_resolv(void **state)
{
    struct resolv_config plain = { 0 }, host = { .host_network = true };
    struct strv servers = { 0 }, search = { 0 }, options = { 0 };

    check_resolv("# c\nnameserver 10.0.0.1\nnameserver nonsense\ndomain old\nsearch a b\noptions "
                 "ndots:2\nsortlist x\n",
                 &plain, "nameserver 10.0.0.1\nsearch a b\noptions ndots:2\nsortlist x\n");
    check_resolv("nameserver 127.0.0.53\nnameserver ::1\nnameserver 9.9.9.9\n", &plain,
                 "nameserver 9.9.9.9\n");
    check_resolv("nameserver 127.0.0.53\n", &plain,
                 "nameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 2001:4860:4860::8888\nnameserver "
                 "2001:4860:4860::8844\n");
    check_resolv("nameserver 127.0.0.53\n", &host, "nameserver 127.0.0.53\n");
    strv_add(&servers, "127.0.0.1");
    strv_add(&search, ".");
    strv_add(&options, "rotate");
    struct resolv_config own = { .servers = &servers, .search = &search, .options = &options };
    check_resolv("nameserver 10.0.0.1\nsearch a\n", &own, "nameserver 127.0.0.1\noptions rotate\n");
    strv_deinit(&servers);
    strv_deinit(&search);
    strv_deinit(&options);
}

/* ---- config.json
 * --------------------------------------------------------------------------------------------------------------
 */

static const char *const words[] = { "/bin/true", NULL };

static json_t *generate(const struct spec *s)
{
    struct buf b = { 0 };
    json_error_t why;
    struct error *e = spec_generate(s, &b);

    assert_null(e);
    json_t *j = json_loads(buf_str(&b), 0, &why);
    assert_non_null(j);
    buf_deinit(&b);
    return j;
}

static const json_t *mount_at(const json_t *config, const char *dest)
{
    const json_t *found = NULL;
    json_t *m;
    size_t i;

    json_array_foreach(json_object_get(config, "mounts"), i, m)
    {
        if (!streq(json_string_value(json_object_get(m, "destination")), dest))
            continue;
        assert_null(found);
        found = m;
    }
    return found;
}

static void test_spec(void **state)
{
    const struct run_ulimit ulimits[] = { { "nofile", 10, 20 } };
    const struct spec_mount mounts[] = { { "/dev/shm", "tmpfs", "mine", "nosuid" },
                                         { "/data", "bind", "/src", "rbind,ro" } };
    const uint32_t gids[] = { 7 };
    struct spec s = { .root_path = "rootfs",
                      .args = words,
                      .cwd = "/",
                      .uid = 5,
                      .gid = 6,
                      .gids = gids,
                      .gid_count = 1,
                      .hostname = "h",
                      .caps = CAPS_DEFAULT,
                      .seccomp = true,
                      .network_path = "",
                      .cgroups_path = "/docker/x",
                      .ulimits = ulimits,
                      .ulimit_count = 1,
                      .mounts = mounts,
                      .mount_count = 2 };
    json_t *j = generate(&s);
    const json_t *process = json_object_get(j, "process"), *linux_ = json_object_get(j, "linux");

    assert_string_equal(json_string_value(json_object_get(j, "ociVersion")), "1.0.2");
    const json_t *caps = json_object_get(process, "capabilities");
    assert_int_equal(json_array_size(json_object_get(caps, "bounding")), 14);
    assert_null(json_object_get(caps, "inheritable"));
    assert_null(json_object_get(caps, "ambient"));
    CLEANUP(freep) char *user = json_dumps(json_object_get(process, "user"), JSON_COMPACT);
    assert_string_equal(user, "{\"uid\":5,\"gid\":6,\"additionalGids\":[6,7]}");
    assert_string_equal(json_string_value(json_object_get(mount_at(j, "/dev/shm"), "source")), "mine");
    assert_non_null(mount_at(j, "/data"));
    assert_int_equal(json_array_size(json_object_get(linux_, "maskedPaths")) >= 12, 1);
    assert_int_equal(json_array_size(json_object_get(linux_, "readonlyPaths")), 5);
    const json_t *rules = json_object_get(json_object_get(linux_, "resources"), "devices");
    assert_true(json_is_false(json_object_get(json_array_get(rules, 0), "allow")));
    json_decref(j);
}

static const char *domain_of(const struct spec *s)
{
    static char domain[64];
    json_t *j = generate(s);
    const char *got = json_string_value(
        json_object_get(json_object_get(json_object_get(j, "linux"), "sysctl"), "kernel.domainname"));

    snprintf(domain, sizeof(domain), "%s", got != NULL ? got : "-");
    json_decref(j);
    return domain;
}

/* Of a container's own host name; the host's is not ours to change. */
static void test_domainname(void **state)
{
    const struct run_sysctl own = { "kernel.domainname", "own.example" };
    struct spec s = {
        .root_path = "rootfs", .args = words, .cwd = "/", .hostname = "h", .domainname = "d.example"
    };

    assert_string_equal(domain_of(&s), "d.example");
    s.sysctls = &own;
    s.sysctl_count = 1;
    assert_string_equal(domain_of(&s), "own.example");
    s.sysctl_count = 0;
    s.domainname = "";
    assert_string_equal(domain_of(&s), "-");
    s.domainname = "d.example";
    s.hostname = NULL;
    assert_string_equal(domain_of(&s), "-");
}

static void test_unlimited(void **state)
{
    const struct run_ulimit ulimits[] = { { "core", -1, -1 } };
    const char *const args[] = { "sh", "\"hard\":-1 'soft':-1", NULL };
    struct spec s = {
        .root_path = "rootfs", .args = args, .cwd = "/", .ulimits = ulimits, .ulimit_count = 1
    };
    struct buf b = { 0 };

    assert_null(spec_generate(&s, &b));
    assert_non_null(strstr(
        buf_str(&b), "\"type\":\"RLIMIT_CORE\",\"hard\":18446744073709551615,\"soft\":18446744073709551615"));
    assert_non_null(strstr(buf_str(&b), "\\\"hard\\\":-1 'soft':-1"));
    buf_deinit(&b);
}

static void test_not_utf8(void **state)
{
    const char *const args[] = { "a\xff", NULL }, *const plain[] = { "a", NULL };
    const struct run_ulimit ulimits[] = { { "core\xff", 1, 1 } };
    struct spec s = { .root_path = "rootfs", .args = args, .cwd = "/" };
    struct buf b = { 0 };
    struct error *e = spec_generate(&s, &b);

    assert_true(err_is(e, ERR_INVALID));
    err_free(e);
    s.args = plain;
    s.ulimits = ulimits; /* must not be left out without a word */
    s.ulimit_count = 1;
    e = spec_generate(&s, &b);
    assert_true(err_is(e, ERR_INVALID));
    err_free(e);
    buf_deinit(&b);
}

static void test_privileged_spec(void **state)
{
    struct spec s = { .root_path = "rootfs",
                      .args = words,
                      .cwd = "/",
                      .caps = CAPS_DEFAULT,
                      .privileged = true,
                      .ambient_caps = true };
    json_t *j = generate(&s);
    const json_t *linux_ = json_object_get(j, "linux");

    assert_null(json_object_get(linux_, "maskedPaths"));
    assert_null(json_object_get(linux_, "seccomp"));
    assert_true(json_array_size(json_object_get(linux_, "devices")) > 6);
    json_decref(j);
}

/* ---- the system call filter
 * --------------------------------------------------------------------------------------------------- */

static bool names_call(const json_t *profile, const char *name)
{
    json_t *call, *n;
    size_t i, k;

    json_array_foreach(json_object_get(profile, "syscalls"), i, call)
    {
        json_array_foreach(json_object_get(call, "names"), k, n)
        {
            if (streq(json_string_value(n), name) &&
                streq(json_string_value(json_object_get(call, "action")), "SCMP_ACT_ALLOW") &&
                json_object_get(call, "args") == NULL)
                return true;
        }
    }
    return false;
}

static void test_filter(void **state)
{
    json_t *plain = seccomp_default(CAPS_DEFAULT),
           *admin = seccomp_default(CAPS_DEFAULT | CAP_BIT(CAP_SYS_ADMIN));
    static const char *const never[] = { "mount",       "unshare",        "bpf",         "keyctl",
                                         "add_key",     "io_uring_setup", "userfaultfd", "kexec_load",
                                         "init_module", "reboot",         "clone",       "clone3",
                                         "socket" };

    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        if (names_call(plain, never[i]))
            fail_msg("%s is allowed", never[i]);
    assert_true(names_call(plain, "openat"));
    assert_true(names_call(plain, "chroot"));
    assert_true(names_call(admin, "mount"));
    json_t *none = seccomp_default(0);
    assert_false(names_call(none, "chroot"));
    json_decref(none);
    CLEANUP(freep)
    char *a = seccomp_compiled(CAPS_DEFAULT), *b = seccomp_compiled(CAPS_DEFAULT | CAP_BIT(CAP_SYS_ADMIN));
    assert_non_null(a);
    assert_non_null(b);
    assert_string_not_equal(a, b);
    json_decref(plain);
    json_decref(admin);
}

static void test_caps(void **state)
{
    assert_int_equal(cap_parse("CAP_NET_ADMIN"), CAP_NET_ADMIN);
    assert_int_equal(cap_parse("net_admin"), CAP_NET_ADMIN);
    assert_int_equal(cap_parse("nope"), -EINVAL);
    assert_int_equal(__builtin_popcountll(CAPS_DEFAULT), 14);
}

/* ---- stubs
 * --------------------------------------------------------------------------------------------------------------------
 */

static void test_stubs(void **state)
{
    struct stubs s;
    struct stat st;

    stubs_init(&s, root_fd);
    stubs_note(&s, "/a/b/c", true);
    stubs_note(&s, "/a/b/d", true);
    stubs_note(&s, "/etc/group", true);
    stubs_note(&s, "/", true);
    assert_int_equal(mkdirat(root_fd, "a", 0755), 0);
    assert_int_equal(mkdirat(root_fd, "a/b", 0755), 0);
    put("a/b/c", "");
    assert_int_equal(mkdirat(root_fd, "a/b/d", 0755), 0);
    stubs_clean(&s);
    assert_int_equal(fstatat(root_fd, "a", &st, 0), -1);
    assert_int_equal(fstatat(root_fd, "etc/group", &st, 0), 0);
    /* What holds something stays, and so do its parents, as if runc had made them. */
    assert_int_equal(mkdirat(root_fd, "a", 0700), 0);
    assert_int_equal(fchmodat(root_fd, "a", 01755, 0), 0);
    assert_int_equal(mkdirat(root_fd, "a/b", 0755), 0);
    put("a/b/c", "full");
    stubs_clean(&s);
    assert_int_equal(fstatat(root_fd, "a/b/c", &st, 0), 0);
    assert_int_equal(fstatat(root_fd, "a", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    stubs_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_users, root_up, root_down),
        cmocka_unit_test_setup_teardown(test_hostile_users, root_up, root_down),
        cmocka_unit_test_setup_teardown(test_many_groups, root_up, root_down),
        cmocka_unit_test_setup_teardown(test_hostile_passwd, root_up, root_down),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_resolv),
        cmocka_unit_test(test_spec),
        cmocka_unit_test(test_domainname),
        cmocka_unit_test(test_unlimited),
        cmocka_unit_test(test_not_utf8),
        cmocka_unit_test(test_privileged_spec),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_caps),
        cmocka_unit_test_setup_teardown(test_stubs, root_up, root_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
