/* SPDX-License-Identifier: Apache-2.0 */
/* Texts are those that dockerd v2.0.0-beta.24 printed for the same input. */
#include "daemon/config.h"
#include "io/path.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGS_MAX 16

static char dir[] = "/tmp/minke-config-XXXXXX";

static int make_dir(void **state)
{
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    return path_remove_all(AT_FDCWD, dir);
}

/* Load with a configuration file of this text (NULL: none) and these arguments behind argv[0]. */
static struct error *load(const char *program, const char *file, const char *const *args, struct config *c,
                          bool *done)
{
    CLEANUP(freep) char *path = xasprintf("%s/file", dir);
    char *argv[ARGS_MAX] = { (char *)program };
    int argc = 1;

    unlink(path);
    if (file != NULL) {
        FILE *f = fopen(path, "w");

        assert_non_null(f);
        fputs(file, f);
        fclose(f);
        argv[argc++] = (char *)(streq(program, "buildkitd") ? "--config" : "--config-file");
        argv[argc++] = path;
    }
    for (; *args != NULL; args++)
        argv[argc++] = (char *)*args;
    return config_load(argc, argv, c, done);
}

#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define NO_ARGS ((const char *const[]){ NULL })

static void assert_refused(const char *program, const char *file, const char *const *args, const char *text)
{
    struct config c = { 0 };
    bool done = false;
    CLEANUP(freep) char *where = xasprintf("unable to configure the Docker daemon with file %s/file: ", dir);
    struct error *e = load(program, file, args, &c, &done);

    assert_non_null(e);
    const char *message = str_skip_prefix(e->message, where);

    assert_string_equal(message != NULL ? message : e->message, text);
    err_free(e);
}

static struct config accepted(const char *program, const char *file, const char *const *args)
{
    struct config c = { 0 };
    bool done = false;
    struct error *e = load(program, file, args, &c, &done);

    if (e != NULL)
        fail_msg("%s", e->message);
    assert_false(done);
    return c;
}

static void flags_are_read_as_pflag_does(void **state)
{
    struct config c = accepted("dockerd", NULL,
                               ARGS("-Dldebug", "-H", "unix:///a.sock", "--host=tcp://127.0.0.1:1", "-Hfd://",
                                    "--mtu", "+9", "--feature", "x", "--feature=y=0"));

    assert_true(c.debug);
    assert_string_equal(c.log_level, "debug");
    assert_int_equal(c.hosts.len, 3);
    assert_string_equal(c.hosts.v[1], "tcp://127.0.0.1:1");
    assert_string_equal(c.hosts.v[2], "fd://");
    assert_int_equal(c.mtu, 9);
    assert_string_equal(strmap_get(&c.features, "x"), "true");
    assert_string_equal(strmap_get(&c.features, "y"), "false");
    assert_int_equal(c.without_effect.len, 1);
    assert_string_equal(c.without_effect.v[0], "--mtu");
    config_deinit(&c);
}

static void wrong_flags_are_refused(void **state)
{
#define TAIL "\nSee 'dockerd --help'., Code: 125"
    assert_refused("dockerd", NULL, ARGS("--foo"), "Status: unknown flag: --foo" TAIL);
    assert_refused("dockerd", NULL, ARGS("-Z"), "Status: unknown shorthand flag: 'Z' in -Z" TAIL);
    assert_refused("dockerd", NULL, ARGS("-DZx"), "Status: unknown shorthand flag: 'Z' in -Zx" TAIL);
    assert_refused("dockerd", NULL, ARGS("--mtu", "x"),
                   "Status: invalid argument \"x\" for \"--mtu\" flag: strconv.ParseInt: parsing \"x\": "
                   "invalid syntax" TAIL);
    assert_refused("dockerd", NULL, ARGS("-l"), "Status: flag needs an argument: 'l' in -l" TAIL);
    assert_refused("dockerd", NULL, ARGS("--host"), "Status: flag needs an argument: --host" TAIL);
    assert_refused("dockerd", NULL, ARGS("--=x"), "Status: bad flag syntax: --=x" TAIL);
    assert_refused("dockerd", NULL, ARGS("-H", "foo://x"),
                   "Status: invalid argument \"foo://x\" for \"-H, --host\" flag: invalid bind address "
                   "(foo://x): unsupported proto 'foo'" TAIL);
    assert_refused("dockerd", NULL, ARGS("--debug=maybe"),
                   "Status: invalid argument \"maybe\" for \"-D, --debug\" flag: strconv.ParseBool: parsing "
                   "\"maybe\": invalid syntax" TAIL);
    assert_refused(
        "dockerd", NULL, ARGS("extra"),
        "\"dockerd\" accepts no argument(s).\nSee 'dockerd --help'.\n\nUsage:  dockerd [OPTIONS]\n\n"
        "A self-sufficient runtime for containers.");
}

static void flag_and_file_must_not_disagree(void **state)
{
#define BOTH "the following directives are specified both as a flag and in the configuration file: "
    assert_refused(
        "dockerd", "{\"hosts\":[\"unix:///a.sock\"],\"debug\":true,\"mtu\":1400,\"log-opts\":{\"a\":\"b\"}}",
        ARGS("-H", "tcp://1.2.3.4:5", "-D", "--mtu", "3", "--log-opt", "max-size=3m"),
        BOTH
        "debug: (from flag: true, from file: true), hosts: (from flag: [tcp://1.2.3.4:5], from file: "
        "[unix:///a.sock]), "
        "log-opts: (from flag: map[max-size:3m], from file: map[a:b]), mtu: (from flag: 3, from file: 1400)");
    assert_refused("dockerd", "{\"host-gateway-ip\":\"1.2.3.4\"}", ARGS("--host-gateway-ip", "1.1.1.1"),
                   BOTH "host-gateway-ip: (from flag: [1.1.1.1], from file: 1.2.3.4)");
    assert_refused(
        "dockerd", "{\"default-address-pools\":[{\"base\":\"10.0.0.0/8\",\"size\":24}]}",
        ARGS("--default-address-pool", "base=1.0.0.0/8,size=16"),
        BOTH "default-address-pools: (from flag: 1.0.0.0/8 16, from file: [map[base:10.0.0.0/8 size:24]])");
    assert_refused("dockerd", "{\"proxies\":{\"http-proxy\":\"http://u:p@h\"}}",
                   ARGS("--http-proxy", "http://a:b@c"),
                   BOTH "http-proxy: (from flag: http://xxxxx:xxxxx@c, from file: http://xxxxx:xxxxx@h)");
}

static void wrong_files_are_refused(void **state)
{
#define MERGED "merged configuration validation from file and command line flags failed: "
    assert_refused("dockerd", "{\"foo\":1,\"bar\":2}", NO_ARGS,
                   "the following directives don't match any configuration option: foo, bar");
    assert_refused("dockerd", "{\"debug\":\"yes\"}", NO_ARGS,
                   "invalid JSON: json: cannot unmarshal string into Go struct field "
                   "Config.CommonConfig.debug of type bool");
    assert_refused(
        "dockerd", "{\"registry-mirrors\":[\"ftp://x\"]}", NO_ARGS,
        MERGED
        "invalid mirror: unsupported scheme \"ftp\" in \"ftp://x\": must use either 'https://' or 'http://'");
    assert_refused("dockerd", "{\"labels\":[\"a\"]}", NO_ARGS, MERGED "bad attribute format: a");
    assert_refused("dockerd", "{\"dns\":[\"x\"]}", NO_ARGS,
                   "invalid JSON: ParseAddr(\"x\"): unable to parse IP");
    assert_refused("dockerd", "{\"log-level\":\"loud\"}", NO_ARGS, MERGED "invalid logging level: loud");
    assert_refused("dockerd", "{\"mtu\":-1}", NO_ARGS, MERGED "invalid default MTU: -1");
    CLEANUP(freep) char *missing = xasprintf("%s/missing", dir);
    CLEANUP(freep)
    char *text =
        xasprintf("unable to configure the Docker daemon with file %s: open %s: no such file or directory",
                  missing, missing);

    assert_refused("dockerd", NULL, ARGS("--config-file", missing), text);
}

static void file_fills_the_struct(void **state)
{
    struct config c = accepted(
        "minked",
        "\xef\xbb\xbf{\"registry-mirrors\":[\"https://"
        "m\"],\"insecure-registries\":[\"index.docker.io\",\"10.0.0.0/8\"],\"dns\":[\"1.1.1.1\"],"
        "\"log-opts\":{\"max-size\":\"10m\"},\"max-concurrent-downloads\":7,\"features\":{\"a\":true,\"b\":"
        "false},"
        "\"runtimes\":{\"kata\":{\"path\":\"/"
        "k\",\"runtimeArgs\":[\"-x\"]}},\"default-runtime\":\"kata\",\"hosts\":[\"tcp://:1234\",\"unix://\"],"
        "\"builder\":{\"Entitlements\":{\"network-host\":false,\"security-insecure\":true},\"gc\":{"
        "\"defaultKeepStorage\":\"20GB\","
        "\"policy\":[{\"keepStorage\":\"10GB\",\"filter\":[\"unused-for=2h\",\"type=regular\"]},{\"all\":"
        "true,\"maxUsedSpace\":\"1.5g\"}]},"
        "\"history\":{\"maxEntries\":12,\"maxage\":3600}},\"icc\":false,\"proxies\":{\"no-proxy\":\"x\"}}",
        ARGS("--add-runtime", "crun=/c"));

    assert_string_equal(c.registry_mirrors.v[0], "https://m/");
    assert_string_equal(c.insecure_registries.v[0], "docker.io");
    assert_string_equal(strmap_get(&c.log_options, "max-size"), "10m");
    assert_int_equal(c.max_downloads, 7);
    assert_string_equal(strmap_get(&c.features, "b"), "false");
    assert_int_equal(c.runtime_count, 2);
    assert_string_equal(c.runtimes[1].args.v[0], "-x");
    assert_string_equal(c.hosts.v[0], "tcp://localhost:1234");
    assert_string_equal(c.hosts.v[1], "unix:///var/run/docker.sock");
    assert_false(strv_has(&c.entitlements, "network.host"));
    assert_true(strv_has(&c.entitlements, "security.insecure"));
    assert_true(strv_has(&c.entitlements, "device"));
    assert_int_equal(c.gc.reserved.bytes, INT64_C(20) << 30);
    assert_int_equal(c.gc.rule_count, 2);
    assert_int_equal(c.gc.rules[0].keep_ns, INT64_C(7200) * 1000000000);
    assert_string_equal(c.gc.rules[0].filters.v[0], "type==regular");
    assert_int_equal(c.gc.rules[1].max_used.bytes, INT64_C(3) << 29);
    assert_int_equal(c.history_max_entries, 12);
    assert_int_equal(c.history_max_age_ns, INT64_C(3600) * 1000000000);
    assert_string_equal(c.no_proxy, "x");
    assert_int_equal(c.without_effect.len, 1);
    config_deinit(&c);
}

static void defaults(void **state)
{
    struct config c = accepted("dockerd", "", NO_ARGS);

    assert_string_equal(c.hosts.v[0], "unix:///var/run/docker.sock");
    assert_string_equal(c.data_root, "/var/lib/docker");
    assert_string_equal(c.pidfile, "/var/run/docker.pid");
    assert_true(strv_has(&c.entitlements, "network.host"));
    assert_int_equal(c.history_max_entries, -1);
    assert_int_equal(c.shutdown_timeout, 15);
    config_deinit(&c);
    c = accepted("/usr/bin/buildkitd", NULL, ARGS("--config", "/nonexistent"));
    assert_int_equal(c.face, FACE_BUILDKITD);
    assert_string_equal(c.hosts.v[0], "unix:///run/buildkit/buildkitd.sock");
    assert_string_equal(c.data_root, "/var/lib/buildkit");
    assert_int_equal(c.entitlements.len, 1);
    assert_string_equal(c.entitlements.v[0], "device");
    config_deinit(&c);
    c = accepted("/usr/bin/buildkitd", NULL, ARGS("--config", "/nonexistent", "--cdi-disabled"));
    assert_int_equal(c.entitlements.len, 0);
    config_deinit(&c);
}

static void tls_turns_itself_on(void **state)
{
    struct config c = accepted("dockerd", "", ARGS("--tlsverify=false"));

    assert_true(c.tls);
    assert_false(c.tls_verify);
    assert_string_equal(c.hosts.v[0], "tcp://localhost:2376");
    config_deinit(&c);
    c = accepted("dockerd", "", ARGS("--tls"));
    assert_true(c.tls_verify);
    config_deinit(&c);
}

static void buildkitd_reads_its_own(void **state)
{
    struct config c = accepted(
        "buildkitd",
        "debug = true\nroot = \"/r\"\ninsecure-entitlements = [ \"network.host\" ]\n"
        "[grpc]\naddress = [ \"unix:///b.sock\", \"tcp://127.0.0.1:1\" ]\n"
        "[registry.\"docker.io\"]\nmirrors = [ \"http://localhost:5000\" ]\nhttp = true\n"
        "[history]\nmaxAge = 172800\nmaxEntries = 5\n"
        "[worker.oci]\nmax-parallelism = 3\nreservedSpace = \"10%\"\nunknown = 1\nlabels = { a = \"b\" }\n"
        "[[worker.oci.gcpolicy]]\nall = true\nkeepDuration = \"48h\"\nkeepBytes = 512000000\nfilters = [ "
        "\"type==x\" ]\n",
        ARGS("--root", "/flag", "-allow-insecure-entitlement", "security.insecure"));

    assert_true(c.debug);
    assert_string_equal(c.data_root, "/flag");
    assert_string_equal(c.exec_root, "/flag/exec");
    assert_int_equal(c.entitlements.len, 2);
    assert_string_equal(c.entitlements.v[0], "security.insecure");
    assert_int_equal(c.hosts.len, 2);
    assert_int_equal(c.registry_count, 1);
    assert_true(c.registries[0].plain_http);
    assert_string_equal(c.registries[0].mirrors.v[0], "http://localhost:5000");
    assert_int_equal(c.history_max_age_ns, INT64_C(172800) * 1000000000);
    assert_int_equal(c.max_parallelism, 3);
    assert_int_equal(c.gc.reserved.percent, 10);
    assert_int_equal(c.gc.rule_count, 1);
    assert_int_equal(c.gc.rules[0].reserved.bytes, 512000000);
    assert_string_equal(c.worker_labels.v[0], "a=b");
    assert_int_equal(c.without_effect.len, 1);
    config_deinit(&c);
    assert_refused("buildkitd", NULL, ARGS("--nope"), "flag provided but not defined: -nope");
    assert_refused("buildkitd", NULL, ARGS("--allow-insecure-entitlement", "x"),
                   "invalid value \"x\" for flag -allow-insecure-entitlement: invalid entitlement : x");
}

static void frontends_are_allowed_by_repository(void **state)
{
    struct config c = accepted("buildkitd", "", NO_ARGS);

    assert_true(c.dockerfile_frontend && c.gateway_frontend);
    assert_int_equal(c.frontend_repositories.len, 0);
    config_deinit(&c);
    c = accepted("buildkitd",
                 "[frontend.\"dockerfile.v0\"]\nenabled = false\n[frontend.\"gateway.v0\"]\nenabled = true\n"
                 "allowedRepositories = [\"docker.io/a/b\", 'c']\n",
                 NO_ARGS);
    assert_false(c.dockerfile_frontend);
    assert_true(c.gateway_frontend);
    assert_int_equal(c.frontend_repositories.len, 2);
    assert_string_equal(c.frontend_repositories.v[0], "docker.io/a/b");
    assert_string_equal(c.frontend_repositories.v[1], "c");
    config_deinit(&c);
    /* a list that was misread must not come to allow everything */
    static const char *const wrong[] = { "\"docker.io/a/b\"", "[1]", "[\"a\", true]", "true",
                                         "{ a = \"b\" }" };

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        CLEANUP(freep)
        char *file = xasprintf("[frontend.\"gateway.v0\"]\nallowedRepositories = %s\n", wrong[i]);
        struct config bad = { 0 };
        bool done = false;
        struct error *e = load("buildkitd", file, NO_ARGS, &bad, &done);

        assert_non_null(e);
        assert_non_null(strstr(e->message, "frontend.gateway.v0.allowedRepositories"));
        err_free(e);
        config_deinit(&bad);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_are_read_as_pflag_does),
        cmocka_unit_test(wrong_flags_are_refused),
        cmocka_unit_test(flag_and_file_must_not_disagree),
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(file_fills_the_struct),
        cmocka_unit_test(defaults),
        cmocka_unit_test(tls_turns_itself_on),
        cmocka_unit_test(buildkitd_reads_its_own),
        cmocka_unit_test(frontends_are_allowed_by_repository),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
