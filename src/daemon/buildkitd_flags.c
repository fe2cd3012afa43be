/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buildkitd_flags.c - every flag of buildkitd 0.34
 */
#include "daemon/faces.h"

#define AT(member) offsetof(struct config, member)
#define NONE FLAG_NO_FIELD
#define IDLE .attrs = FLAG_WITHOUT_EFFECT

static struct error *check_entitlement(const char *value, char **ret)
{
    if (!streq(value, "network.host") && !streq(value, "security.insecure") && !streq(value, "device"))
        return err_new(ERR_INVALID, "invalid entitlement : %s", value);
    *ret = xstrdup(value);
    return NULL;
}

static struct error *check_enabled(const char *value, char **ret)
{
    bool parsed;

    if (!streq(value, "auto") && parse_bool(value, &parsed) < 0)
        return err_new(ERR_INVALID, "strconv.ParseBool: parsing \"%s\": invalid syntax", value);
    *ret = xstrdup(value);
    return NULL;
}

static struct error *check_worker_label(const char *value, char **ret)
{
    if (strchr(value, '=') == NULL)
        return err_new(ERR_INVALID, "invalid value %s", value);
    *ret = xstrdup(value);
    return NULL;
}

/* clang-format off */
static const struct flag_spec specs[] = {
    { "addr", 0, FLAG_LIST, AT(hosts), "unix:///run/buildkit/buildkitd.sock", "listening address (socket or tcp)" },
    { "allow-insecure-entitlement", 0, FLAG_LIST, AT(entitlements), "", "allows insecure entitlements e.g. network.host, security.insecure, device", .check = check_entitlement },
    { "cdi-disabled", 0, FLAG_BOOL, AT(cdi_disabled), "", "disables support of the Container Device Interface (CDI)" },
    { "cdi-spec-dir", 0, FLAG_LIST, AT(cdi_spec_dirs), "", "list of directories to scan for CDI spec files" },
    { "config", 0, FLAG_STRING, AT(config_file), "/etc/buildkit/buildkitd.toml", "path to config file" },
    { "containerd-cni-binary-dir", 0, FLAG_STRING, NONE, "", "path of cni binary files", IDLE },
    { "containerd-cni-config-path", 0, FLAG_STRING, NONE, "", "path of cni config file", IDLE },
    { "containerd-cni-pool-size", 0, FLAG_INT, NONE, "", "size of cni network namespace pool", IDLE },
    { "containerd-max-parallelism", 0, FLAG_INT, NONE, "", "limit the number of parallel build steps that can run at the same time", IDLE },
    { "containerd-worker", 0, FLAG_STRING, NONE, "auto", "enable containerd workers (true/false/auto)", .attrs = FLAG_WITHOUT_EFFECT, .check = check_enabled },
    { "containerd-worker-addr", 0, FLAG_STRING, NONE, "", "containerd socket", IDLE },
    { "containerd-worker-apparmor-profile", 0, FLAG_STRING, NONE, "", "set the name of the apparmor profile applied to containers", IDLE },
    { "containerd-worker-gc", 0, FLAG_BOOL, NONE, "true", "Enable automatic garbage collection on worker", IDLE },
    { "containerd-worker-gc-keepstorage", 0, FLAG_STRING, NONE, "", "Amount of storage GC keep locally, format \"Reserved[,Free[,Maximum]]\" (MB)", IDLE },
    { "containerd-worker-hyperv-isolation", 0, FLAG_BOOL, NONE, "", "use Hyper-V isolation for Windows containers", IDLE },
    { "containerd-worker-labels", 0, FLAG_LIST, NONE, "", "user-specific annotation labels (com.example.foo=bar)", IDLE },
    { "containerd-worker-namespace", 0, FLAG_STRING, NONE, "buildkit", "override containerd namespace", .attrs = FLAG_WITHOUT_EFFECT | FLAG_HIDDEN },
    { "containerd-worker-net", 0, FLAG_STRING, NONE, "auto", "worker network type (auto, bridge, cni or host)", IDLE },
    { "containerd-worker-platform", 0, FLAG_LIST, NONE, "", "override supported platforms for worker", .attrs = FLAG_WITHOUT_EFFECT | FLAG_HIDDEN },
    { "containerd-worker-rootless", 0, FLAG_BOOL, NONE, "", "enable rootless mode", IDLE },
    { "containerd-worker-runtime", 0, FLAG_STRING, NONE, "", "override containerd runtime", .attrs = FLAG_WITHOUT_EFFECT | FLAG_HIDDEN },
    { "containerd-worker-selinux", 0, FLAG_BOOL, NONE, "", "apply SELinux labels", IDLE },
    { "containerd-worker-snapshotter", 0, FLAG_STRING, NONE, "overlayfs", "snapshotter name to use", IDLE },
    { "debug", 0, FLAG_BOOL, AT(debug), "", "enable debug output in logs" },
    { "debugaddr", 0, FLAG_STRING, NONE, "", "debugging address (eg. 0.0.0.0:6060)", IDLE },
    { "group", 0, FLAG_STRING, AT(group), "", "group (name or gid) which will own all Unix socket listening addresses" },
    { "help", 'h', FLAG_BOOL, NONE, "", "show help" },
    { "log-format", 0, FLAG_STRING, AT(log_format), "text", "log formatter: json or text" },
    { "log-level", 0, FLAG_STRING, AT(log_level), "info", "set the log level" },
    { "oci-cni-binary-dir", 0, FLAG_STRING, NONE, "", "path of cni binary files", IDLE },
    { "oci-cni-config-path", 0, FLAG_STRING, NONE, "", "path of cni config file", IDLE },
    { "oci-cni-pool-size", 0, FLAG_INT, NONE, "", "size of cni network namespace pool", IDLE },
    { "oci-max-parallelism", 0, FLAG_INT, AT(max_parallelism), "", "limit the number of parallel build steps that can run at the same time" },
    { "oci-worker", 0, FLAG_STRING, NONE, "auto", "enable oci workers (true/false/auto)", .attrs = FLAG_WITHOUT_EFFECT, .check = check_enabled },
    { "oci-worker-apparmor-profile", 0, FLAG_STRING, NONE, "", "set the name of the apparmor profile applied to containers", IDLE },
    { "oci-worker-binary", 0, FLAG_STRING, AT(worker_binary), "", "name of specified oci worker binary" },
    { "oci-worker-gc", 0, FLAG_BOOL, AT(gc.enabled), "true", "Enable automatic garbage collection on worker" },
    { "oci-worker-gc-keepstorage", 0, FLAG_STRING, NONE, "", "Amount of storage GC keep locally, format \"Reserved[,Free[,Maximum]]\" (MB)" },
    { "oci-worker-labels", 0, FLAG_LIST, AT(worker_labels), "", "user-specific annotation labels (com.example.foo=bar)", .check = check_worker_label },
    { "oci-worker-net", 0, FLAG_STRING, AT(worker_network), "auto", "worker network type (auto, bridge, cni or host)" },
    { "oci-worker-no-process-sandbox", 0, FLAG_BOOL, NONE, "", "use the host PID namespace and procfs (WARNING: allows build containers to kill (and potentially ptrace) an arbitrary process in the host namespace)", IDLE },
    { "oci-worker-platform", 0, FLAG_LIST, AT(worker_platforms), "", "override supported platforms for worker", IDLE },
    { "oci-worker-proxy-snapshotter-path", 0, FLAG_STRING, NONE, "", "address of proxy snapshotter socket (do not include 'unix://' prefix)", IDLE },
    { "oci-worker-rootless", 0, FLAG_BOOL, NONE, "", "enable rootless mode", IDLE },
    { "oci-worker-selinux", 0, FLAG_BOOL, NONE, "", "apply SELinux labels", IDLE },
    { "oci-worker-snapshotter", 0, FLAG_STRING, NONE, "auto", "name of snapshotter (overlayfs, native, etc.)", IDLE },
    { "otel-socket-path", 0, FLAG_STRING, AT(otel_socket), "", "OTEL collector trace socket path", IDLE },
    { "proxy-network", 0, FLAG_BOOL, AT(proxy_network), "", "enable proxy network enforcement for all builds" },
    { "root", 0, FLAG_STRING, AT(data_root), "/var/lib/buildkit", "path to state directory" },
    { "rootless", 0, FLAG_BOOL, AT(rootless), "", "set all the default options to be compatible with rootless containers", IDLE },
    { "save-cache-debug", 0, FLAG_BOOL, NONE, "", "enable saving cache debug info", IDLE },
    { "tlscacert", 0, FLAG_STRING, AT(tls_ca), "", "ca certificate to verify clients" },
    { "tlscert", 0, FLAG_STRING, AT(tls_cert), "", "certificate file to use" },
    { "tlskey", 0, FLAG_STRING, AT(tls_key), "", "key file to use" },
    { "trace", 0, FLAG_BOOL, AT(debug), "", "enable trace output in logs (highly verbose, could affect performance)", .attrs = FLAG_HIDDEN },
    { "version", 'v', FLAG_BOOL, NONE, "", "print the version" },
};
/* clang-format on */

const struct flag_table buildkitd_flags = { .specs = specs, .count = ARRAY_LEN(specs), .single_dash = true };
