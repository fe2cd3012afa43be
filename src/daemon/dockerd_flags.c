/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dockerd_flags.c - every flag of dockerd 29, and what one value of each must look like
 */
#include "daemon/faces.h"

#include <ctype.h>
#include <stdio.h>

/* ---- checks ---- */

/* The host part and port of what follows tcp://. */
static struct error *check_tcp(const char *value, const char *address)
{
    const char *colon = strrchr(address, ':'), *bracket = strrchr(address, ']');
    uint64_t port;

    if (strchr(address, '/') != NULL)
        return err_new(ERR_INVALID, "invalid bind address (%s): should not contain a path element", value);
    if (colon == NULL || colon[1] == '\0' || (bracket != NULL && bracket > colon))
        return NULL;
    if (parse_u64(colon + 1, &port) < 0)
        return err_new(ERR_INVALID,
                       "invalid bind address (%s): parse \"tcp://%s\": invalid port \"%s\" after host", value,
                       address, colon);
    if (port == 0)
        return err_new(ERR_INVALID, "invalid bind address (%s): invalid port: %s", value, colon + 1);
    return NULL;
}

struct error *check_host(const char *value, char **ret)
{
    const char *p = value + strspn(value, " \t"), *scheme_end = strstr(p, "://");
    CLEANUP(freep) char *proto = xstrndup(p, scheme_end != NULL ? (size_t)(scheme_end - p) : 0);
    const char *rest = scheme_end != NULL ? scheme_end + 3 : p;

    *ret = xstrdup(value);
    if (*p == '\0' || streq(proto, "fd"))
        return NULL;
    if (scheme_end == NULL || streq(proto, "tcp"))
        return check_tcp(value, rest);
    if (!streq(proto, "unix") && !streq(proto, "npipe"))
        return err_new(ERR_INVALID, "invalid bind address (%s): unsupported proto '%s'", value, proto);
    if (strstr(rest, "://") != NULL)
        return err_new(ERR_INVALID, "invalid bind address (%s): invalid %s address: %s", value, proto, rest);
    return NULL;
}

static struct error *check_mirror(const char *value, char **ret)
{
    const char *rest = strstr(value, "://");

    if (rest == NULL || rest == value)
        return err_new(
            ERR_INVALID,
            "invalid mirror: no scheme specified for \"%s\": must use either 'https://' or 'http://'", value);
    if (!str_has_prefix(value, "http://") && !str_has_prefix(value, "https://"))
        return err_new(
            ERR_INVALID,
            "invalid mirror: unsupported scheme \"%.*s\" in \"%s\": must use either 'https://' or 'http://'",
            (int)(rest - value), value, value);
    if (strpbrk(value, "?#") != NULL)
        return err_new(ERR_INVALID, "invalid mirror: query or fragment at end of the URI \"%s\"", value);
    rest += 3;
    const char *at = memchr(rest, '@', strcspn(rest, "/"));

    if (at != NULL)
        return err_new(ERR_INVALID,
                       "invalid mirror: username/password not allowed in URI \"%.*s%.*s:xxxxx%s\"",
                       (int)(rest - value), value, (int)strcspn(rest, ":@"), rest, at);
    *ret = str_has_suffix(value, "/") ? xstrdup(value) : xasprintf("%s/", value);
    return NULL;
}

static struct error *check_index(const char *value, char **ret)
{
    if (streq(value, "index.docker.io"))
        value = "docker.io";
    if (value[0] == '-' || str_has_suffix(value, "-"))
        return err_new(ERR_INVALID, "invalid index name (%s). Cannot begin or end with a hyphen", value);
    *ret = xstrdup(value);
    return NULL;
}

static bool is_domain(const char *s, size_t len)
{
    bool letter = false;

    if (len == 0 || len >= 255 || s[0] == '.' || s[0] == '-' || s[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];

        letter |= isalpha(c) != 0;
        if (!isalnum(c) && c != '-' && c != '.')
            return false;
        if (i > 0 && ((c == '.' && (s[i - 1] == '.' || s[i - 1] == '-')) || (c == '-' && s[i - 1] == '.')))
            return false;
    }
    return letter;
}

static struct error *check_dns_search(const char *value, char **ret)
{
    const char *p = value + strspn(value, " ");
    size_t len = strlen(p);

    while (len > 0 && p[len - 1] == ' ')
        len--;
    if (len == 1 && *p == '.') {
        *ret = xstrdup(".");
        return NULL;
    }
    if (len > 0 && p[len - 1] == '.')
        len--;
    if (!is_domain(p, len))
        return err_new(ERR_INVALID, "%s is not a valid domain", p);
    *ret = xstrndup(p, len);
    return NULL;
}

static struct error *check_label(const char *value, char **ret)
{
    CLEANUP(freep) char *lower = str_lower(value);

    if (strchr(value, '=') == NULL)
        return err_new(ERR_INVALID, "bad attribute format: %s", value);
    if (str_has_prefix(lower, "com.docker.") || str_has_prefix(lower, "io.docker.") ||
        str_has_prefix(lower, "org.dockerproject."))
        return err_new(ERR_INVALID,
                       "label %s is not allowed: the namespaces com.docker.*, io.docker.*, and "
                       "org.dockerproject.* are reserved for internal use",
                       value);
    *ret = xstrdup(value);
    return NULL;
}

static struct error *check_generic(const char *value, char **ret)
{
    if (strchr(value, '=') == NULL)
        return err_new(ERR_INVALID, "invalid node-generic-resource format `%s` expected `name=value`", value);
    *ret = xstrdup(value);
    return NULL;
}

/* What would be a hole when it was accepted and not done is refused. */

static struct error *check_authorization(const char *value, char **ret)
{
    return err_new(ERR_UNIMPLEMENTED, "authorization plugins are not supported: \"%s\" would not be asked",
                   value);
}

static struct error *check_remap(const char *value, char **ret)
{
    if (*value != '\0')
        return err_new(ERR_UNIMPLEMENTED,
                       "user namespaces are not supported: containers would run as the host's root");
    *ret = xstrdup(value);
    return NULL;
}

static struct error *check_seccomp(const char *value, char **ret)
{
    if (*value != '\0' && !streq(value, "builtin") && !streq(value, "unconfined"))
        return err_new(ERR_UNIMPLEMENTED,
                       "profiles from a file are not supported: \"builtin\" or \"unconfined\"");
    *ret = xstrdup(value);
    return NULL;
}

/* ---- the table, by name ---- */

#define AT(member) offsetof(struct config, member)
#define NONE FLAG_NO_FIELD
#define IDLE .attrs = FLAG_WITHOUT_EFFECT

/* clang-format off */
static const struct flag_spec specs[] = {
    { "add-runtime", 0, FLAG_RUNTIME, NONE, "[]", "Register an additional OCI compatible runtime", "runtimes" },
    { "allow-direct-routing", 0, FLAG_BOOL, NONE, "", "Allow remote access to published ports on container IP addresses", IDLE },
    { "apparmor-profile", 0, FLAG_STRING, NONE, "", "Path to AppArmor profile template", IDLE },
    { "authorization-plugin", 0, FLAG_LIST, NONE, "", "Authorization plugins to load", "authorization-plugins", .check = check_authorization },
    { "bip", 0, FLAG_STRING, AT(bip), "", "IPv4 address for the default bridge" },
    { "bip6", 0, FLAG_STRING, NONE, "", "IPv6 address for the default bridge", IDLE },
    { "bridge", 'b', FLAG_STRING, AT(bridge), "", "Attach containers to a network bridge" },
    { "bridge-accept-fwmark", 0, FLAG_STRING, NONE, "", "In bridge networks, accept packets with this firewall mark/mask", IDLE },
    { "cdi-spec-dir", 0, FLAG_LIST, AT(cdi_spec_dirs), "", "CDI specification directories to use", "cdi-spec-dirs" },
    { "cgroup-parent", 0, FLAG_STRING, AT(cgroup_parent), "", "Set parent cgroup for all containers" },
    { "config-file", 0, FLAG_STRING, AT(config_file), "/etc/docker/daemon.json", "Daemon configuration file" },
    { "containerd", 0, FLAG_STRING, NONE, "", "containerd grpc address", IDLE },
    { "containerd-namespace", 0, FLAG_STRING, NONE, "moby", "Containerd namespace to use", IDLE },
    { "containerd-plugins-namespace", 0, FLAG_STRING, NONE, "plugins.moby", "Containerd namespace to use for plugins", IDLE },
    { "cpu-rt-period", 0, FLAG_INT, NONE, "", "Limit the CPU real-time period in microseconds for the parent cgroup for all containers (not supported with cgroups v2)", IDLE },
    { "cpu-rt-runtime", 0, FLAG_INT, NONE, "", "Limit the CPU real-time runtime in microseconds for the parent cgroup for all containers (not supported with cgroups v2)", IDLE },
    { "cri-containerd", 0, FLAG_BOOL, NONE, "", "start containerd with cri", IDLE },
    { "data-root", 0, FLAG_STRING, AT(data_root), "/var/lib/docker", "Root directory of persistent Docker state" },
    { "debug", 'D', FLAG_BOOL, AT(debug), "", "Enable debug mode" },
    { "default-address-pool", 0, FLAG_POOL, AT(address_pools), "", "Default address pools for node specific local networks", "default-address-pools", IDLE },
    { "default-cgroupns-mode", 0, FLAG_STRING, NONE, "private", "Default mode for containers cgroup namespace (\"host\" | \"private\")", IDLE },
    { "default-gateway", 0, FLAG_IP, NONE, "", "Default gateway IPv4 address for the default bridge network", IDLE },
    { "default-gateway-v6", 0, FLAG_IP, NONE, "", "Default gateway IPv6 address for the default bridge network", IDLE },
    { "default-ipc-mode", 0, FLAG_STRING, NONE, "private", "Default mode for containers ipc (\"shareable\" | \"private\")", IDLE },
    { "default-network-opt", 0, FLAG_MAP_OF_MAPS, NONE, "map[]", "Default network options", "default-network-opts", IDLE },
    { "default-runtime", 0, FLAG_STRING, AT(default_runtime), "runc", "Default OCI runtime for containers" },
    { "default-shm-size", 0, FLAG_BYTES, AT(shm_size), "64MiB", "Default shm size for containers" },
    { "default-stop-timeout", 0, FLAG_INT, AT(default_stop_timeout), "10", "Set the default container stop timeout in seconds (0 to terminate immediately)" },
    { "default-ulimit", 0, FLAG_ULIMIT, AT(ulimits), "[]", "Default ulimits for containers", "default-ulimits" },
    { "dns", 0, FLAG_IP_LIST, AT(dns), "", "DNS server to use" },
    { "dns-opt", 0, FLAG_LIST, AT(dns_options), "", "DNS options to use", "dns-opts" },
    { "dns-search", 0, FLAG_LIST, AT(dns_search), "", "DNS search domains to use", .check = check_dns_search },
    { "exec-opt", 0, FLAG_LIST, AT(exec_options), "", "Runtime execution options", "exec-opts", IDLE },
    { "exec-root", 0, FLAG_STRING, AT(exec_root), "/var/run/docker", "Root directory for execution state files" },
    { "experimental", 0, FLAG_BOOL, AT(experimental), "", "Enable experimental features" },
    { "extension-dir", 0, FLAG_LIST, NONE, "", "Directories to load extension binaries from", "extension-dirs", IDLE },
    { "feature", 0, FLAG_SWITCHES, AT(features), "map[]", "Enable feature in the daemon", "features" },
    { "firewall-backend", 0, FLAG_STRING, NONE, "", "Firewall backend to use, iptables or nftables", IDLE },
    { "fixed-cidr", 0, FLAG_STRING, NONE, "", "IPv4 subnet for the default bridge network", IDLE },
    { "fixed-cidr-v6", 0, FLAG_STRING, NONE, "", "IPv6 subnet for the default bridge network", IDLE },
    { "group", 'G', FLAG_STRING, AT(group), "docker", "Group for the unix socket" },
    { "help", 'h', FLAG_BOOL, NONE, "", "Print usage" },
    { "host", 'H', FLAG_LIST, AT(hosts), "", "Daemon socket(s) to connect to", "hosts", .check = check_host },
    { "host-gateway-ip", 0, FLAG_IP_LIST, AT(host_gateway_ips), "", "IP addresses that the special 'host-gateway' string in --add-host resolves to. Defaults to the IP addresses of the default bridge", "host-gateway-ips" },
    { "http-proxy", 0, FLAG_STRING, AT(http_proxy), "", "HTTP proxy URL to use for outgoing traffic" },
    { "https-proxy", 0, FLAG_STRING, AT(https_proxy), "", "HTTPS proxy URL to use for outgoing traffic" },
    { "icc", 0, FLAG_BOOL, NONE, "true", "Enable inter-container communication for the default bridge network", IDLE },
    { "init", 0, FLAG_BOOL, AT(init), "", "Run an init in the container to forward signals and reap processes" },
    { "init-path", 0, FLAG_STRING, NONE, "", "Path to the docker-init binary", IDLE },
    { "insecure-registry", 0, FLAG_LIST, AT(insecure_registries), "", "Enable insecure registry communication", "insecure-registries", .check = check_index },
    { "ip", 0, FLAG_IP, AT(publish_ip), "0.0.0.0", "Host IP for port publishing from the default bridge network" },
    { "ip-forward", 0, FLAG_BOOL, NONE, "true", "Enable IP forwarding in system configuration", IDLE },
    { "ip-forward-no-drop", 0, FLAG_BOOL, NONE, "", "Do not set the filter-FORWARD policy to DROP when enabling IP forwarding", IDLE },
    { "ip-masq", 0, FLAG_BOOL, NONE, "true", "Enable IP masquerading for the default bridge network", IDLE },
    { "ip6tables", 0, FLAG_BOOL, NONE, "true", "Enable addition of ip6tables rules", IDLE },
    { "iptables", 0, FLAG_BOOL, NONE, "true", "Enable addition of iptables rules", IDLE },
    { "ipv6", 0, FLAG_BOOL, NONE, "", "Enable IPv6 networking for the default bridge network", IDLE },
    { "label", 0, FLAG_LIST, AT(labels), "", "Set key=value labels to the daemon", "labels", .check = check_label },
    { "live-restore", 0, FLAG_BOOL, AT(live_restore), "", "Enable live restore of docker when containers are still running", IDLE },
    { "log-driver", 0, FLAG_STRING, AT(log_driver), "json-file", "Default driver for container logs" },
    { "log-format", 0, FLAG_STRING, AT(log_format), "text", "Set the logging format (\"text\"|\"json\")" },
    { "log-level", 'l', FLAG_STRING, AT(log_level), "info", "Set the logging level (\"debug\"|\"info\"|\"warn\"|\"error\"|\"fatal\")" },
    { "log-opt", 0, FLAG_MAP, AT(log_options), "map[]", "Default log driver options for containers", "log-opts" },
    { "max-concurrent-downloads", 0, FLAG_INT, AT(max_downloads), "3", "Set the max concurrent downloads" },
    { "max-concurrent-uploads", 0, FLAG_INT, AT(max_uploads), "5", "Set the max concurrent uploads" },
    { "max-download-attempts", 0, FLAG_INT, AT(max_download_attempts), "5", "Set the max download attempts for each pull", IDLE },
    { "metrics-addr", 0, FLAG_STRING, NONE, "", "Set default address and port to serve the metrics api on", IDLE },
    { "mtu", 0, FLAG_INT, AT(mtu), "1500", "Set the MTU for the default \"bridge\" network", IDLE },
    { "network-control-plane-mtu", 0, FLAG_INT, NONE, "1500", "Network Control plane MTU", IDLE },
    { "network-diagnostic-port", 0, FLAG_INT, NONE, "", "TCP port number of the network diagnostic server", .attrs = FLAG_HIDDEN | FLAG_WITHOUT_EFFECT },
    { "no-new-privileges", 0, FLAG_BOOL, AT(no_new_privileges), "", "Set no-new-privileges by default for new containers" },
    { "no-proxy", 0, FLAG_STRING, AT(no_proxy), "", "Comma-separated list of hosts or IP addresses for which the proxy is skipped" },
    { "node-generic-resource", 0, FLAG_LIST, NONE, "", "Advertise user-defined resource", "node-generic-resources", .attrs = FLAG_WITHOUT_EFFECT, .check = check_generic },
    { "nri-opts", 0, FLAG_NRI, NONE, "enable=false", "Node Resource Interface configuration", IDLE },
    { "pidfile", 'p', FLAG_STRING, AT(pidfile), "/var/run/docker.pid", "Path to use for daemon PID file" },
    { "raw-logs", 0, FLAG_BOOL, AT(raw_logs), "", "Full timestamps without ANSI coloring", IDLE },
    { "registry-mirror", 0, FLAG_LIST, AT(registry_mirrors), "", "Preferred Docker registry mirror", "registry-mirrors", .check = check_mirror },
    { "restart", 'r', FLAG_BOOL, NONE, "true", "--restart on the daemon has been deprecated in favor of --restart policies on docker run", .attrs = FLAG_DEPRECATED | FLAG_WITHOUT_EFFECT, .note = "Please use a restart policy on docker run" },
    { "rootless", 0, FLAG_BOOL, AT(rootless), "", "Enable rootless mode; typically used with RootlessKit", IDLE },
    { "seccomp-profile", 0, FLAG_STRING, AT(seccomp_profile), "builtin", "Path to seccomp profile. Set to \"unconfined\" to disable the default seccomp profile", .check = check_seccomp },
    { "selinux-enabled", 0, FLAG_BOOL, AT(selinux), "", "Enable selinux support", IDLE },
    { "shutdown-timeout", 0, FLAG_INT, AT(shutdown_timeout), "15", "Set the default shutdown timeout" },
    { "storage-driver", 's', FLAG_STRING, NONE, "", "Storage driver to use", IDLE },
    { "storage-opt", 0, FLAG_LIST, NONE, "", "Storage driver options", "storage-opts", IDLE },
    { "swarm-default-advertise-addr", 0, FLAG_STRING, NONE, "", "Set default address or interface for swarm advertised address", IDLE },
    { "tls", 0, FLAG_BOOL, AT(tls), "", "Use TLS; implied by --tlsverify" },
    { "tlscacert", 0, FLAG_STRING, AT(tls_ca), "~/.docker/ca.pem", "Trust certs signed only by this CA" },
    { "tlscert", 0, FLAG_STRING, AT(tls_cert), "~/.docker/cert.pem", "Path to TLS certificate file" },
    { "tlskey", 0, FLAG_STRING, AT(tls_key), "~/.docker/key.pem", "Path to TLS key file" },
    { "tlsverify", 0, FLAG_BOOL, AT(tls_verify), "", "Use TLS and verify the remote" },
    { "userland-proxy", 0, FLAG_BOOL, AT(userland_proxy), "true", "Use userland proxy for loopback traffic", IDLE },
    { "userland-proxy-path", 0, FLAG_STRING, NONE, "", "Path to the userland proxy binary", IDLE },
    { "userns-remap", 0, FLAG_STRING, NONE, "", "User/Group setting for user namespaces", .check = check_remap },
    { "validate", 0, FLAG_BOOL, AT(validate), "", "Validate daemon configuration and exit" },
    { "version", 'v', FLAG_BOOL, NONE, "", "Print version information and quit" },
};
/* clang-format on */

const struct flag_table dockerd_flags = { .specs = specs, .count = ARRAY_LEN(specs) };
