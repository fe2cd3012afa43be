/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - all that the daemon is told: flags, daemon.json, buildkitd.toml
 *
 * One struct whatever the face.  Strings and lists are owned by it.  A value that was not given holds its
 * default, so that nobody else needs to know defaults.  What has no effect (yet) is accepted and named in
 * `without_effect`.
 */
#ifndef MINKE_DAEMON_CONFIG_H
#define MINKE_DAEMON_CONFIG_H

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"

/* The Engine version that clients are told; behaviour follows its source. */
#define ENGINE_VERSION "29.9.0"
#define BUILDKITD_VERSION "v0.34.2"

enum face {
    FACE_DOCKERD,   /* the Engine API, the builder behind it */
    FACE_BUILDKITD, /* BuildKit's Control API alone */
};

struct config_runtime {
    char *name;
    char *path;
    struct strv args;
};

struct config_registry { /* [registry."host"] of buildkitd.toml */
    char *host;
    struct strv mirrors;
    bool plain_http, insecure;
    char *ca_file, *cert_file, *key_file; /* NULL: none */
};

/* A disk size: bytes, or a share of the filesystem of the data root. */
struct config_space {
    int64_t bytes;
    int percent; /* 0: bytes hold */
};

struct config_gc_rule {
    bool all;
    struct strv filters;
    int64_t keep_ns;
    struct config_space reserved, max_used, min_free;
};

struct config_gc {
    bool enabled;
    struct config_space reserved, max_used, min_free; /* of the default rules; zero: BuildKit's defaults */
    struct config_gc_rule *rules;                     /* none: the default rules */
    size_t rule_count;
};

struct config {
    enum face face;
    const char *program; /* the name it was called with: "dockerd", "buildkitd", "minked" */

    /* process */
    char *config_file;
    char *pidfile; /* "" none */
    bool validate;
    bool debug;
    char *log_level;  /* "info" */
    char *log_format; /* "text", "json" */
    bool raw_logs;
    int64_t shutdown_timeout; /* seconds */

    /* listeners */
    struct strv hosts; /* "unix:///run/x.sock", "tcp://127.0.0.1:2375", "fd://" */
    char *group;       /* of unix sockets: name or number; "" none */
    bool group_given;  /* then it must exist */
    bool tls, tls_verify;
    char *tls_ca, *tls_cert, *tls_key;

    /* where */
    char *data_root, *exec_root;

    /* registries */
    struct strv registry_mirrors;    /* of Docker Hub: "https://mirror/" */
    struct strv insecure_registries; /* hosts or CIDRs */
    struct config_registry *registries;
    size_t registry_count;
    int64_t max_downloads, max_uploads, max_download_attempts;
    char *http_proxy, *https_proxy, *no_proxy; /* "" none */

    /* running */
    struct config_runtime *runtimes;
    size_t runtime_count;
    char *default_runtime;
    char *cgroup_parent; /* "" default */
    char *bridge;        /* "" default; "none" */
    char *bip;           /* "" default */
    bool userland_proxy;
    struct strv dns, dns_options, dns_search;
    struct strv host_gateway_ips;
    struct strv address_pools; /* "base=10.0.0.0/8,size=24" */
    struct strv ulimits;       /* "nofile=1024:2048" */
    struct strv exec_options;
    struct strv cdi_spec_dirs;
    bool cdi_disabled;
    bool init, live_restore, experimental, rootless, selinux, no_new_privileges;
    int64_t shm_size; /* bytes */
    int64_t mtu;
    int64_t default_stop_timeout; /* seconds */
    char *log_driver;
    char *publish_ip;       /* of published ports; "" any */
    char *seccomp_profile;  /* "", "builtin", "unconfined" */
    struct map log_options; /* string map */
    struct strv labels;     /* of the daemon, "k=v" */
    struct map features;    /* string map: "true", "false" */
    char *min_api_version;

    /* builder */
    struct strv entitlements;    /* "network.host", "security.insecure", "device" */
    int64_t history_max_entries; /* -1: default */
    int64_t history_max_age_ns;  /* 0: default */
    struct config_gc gc;
    int64_t max_parallelism;                    /* steps at once; 0: number of CPUs + 2 */
    bool dockerfile_frontend, gateway_frontend; /* may they be used */
    struct strv frontend_repositories;          /* whose images may be frontends; none: any */
    struct strv worker_labels;
    struct strv worker_platforms;
    char *worker_network; /* "auto", "bridge", "cni": a bridge; "host" */
    char *worker_binary;  /* OCI runtime; "" default */
    char *otel_socket, *provenance_env_dir;
    bool proxy_network;  /* for the steps of every build */
    char *source_policy; /* file of rules that hold for every build; "": none */

    struct strv without_effect; /* flags and keys that were given and change nothing */
};

/* Read the command line, then the file.  *ret_done: all is said and done (--help, --version, --validate):
 * exit with 0. The error's message is what the user reads, word for word that of the real program; exit
 * with 1. */
struct error *config_load(int argc, char **argv, struct config *ret, bool *ret_done) MUST_CHECK;
/* What no flag or key can know alone; the texts are the real programs'. */
struct error *config_check(const struct config *c) MUST_CHECK;
void config_deinit(struct config *c);

#endif
