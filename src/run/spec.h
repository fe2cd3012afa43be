/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec.h - config.json of an OCI bundle (runtime-spec 1.0.2)
 *
 * Defaults are docker's: its capabilities, seccomp filter, masked and read-only paths, devices.  Nothing is
 * looked up here but what the host has of CPUs and namespaces; who the user is and where mounts come from is
 * settled by the caller.  Strings are borrowed until spec_generate returns.
 */
#ifndef MINKE_RUN_SPEC_H
#define MINKE_RUN_SPEC_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "run/run.h"

struct spec_mount {
    const char *dest; /* inside the container */
    const char *type; /* "bind", "tmpfs", .. */
    const char *source;
    const char *options; /* comma separated */
};

struct spec {
    const char *root_path; /* relative to the bundle, or absolute */
    bool root_readonly;
    const char *const *args;
    const char *const *env; /* may be NULL */
    const char *cwd;
    uint32_t uid, gid;
    const uint32_t *gids; /* supplementary; the primary one is added in front when missing */
    size_t gid_count;
    const char *hostname; /* NULL: none set (the host's UTS namespace) */
    const char *domainname;
    bool terminal;
    unsigned console_width, console_height; /* 0: unset */
    uint64_t caps;                          /* bounding, permitted, effective */
    bool unmasked;                          /* no masked and read-only paths */
    bool privileged;   /* nothing masked, all devices, no filter, sysfs and cgroups writable */
    bool ambient_caps; /* also inheritable and ambient (BuildKit's insecure mode) */
    bool no_new_privileges;
    bool seccomp;
    const char *seccomp_bpf;  /* compiled, for crun; may be NULL */
    const char *network_path; /* namespace to join; "": a new one, NULL: the host's */
    bool host_pid, host_ipc;
    const char *cgroups_path;
    bool cgroup_namespace; /* pure v2 hosts only */
    int64_t shm_size;      /* 0: 64 MiB */
    const struct run_ulimit *ulimits;
    size_t ulimit_count;
    struct run_resources resources;
    const int *oom_score_adj; /* NULL: unset */
    const struct run_sysctl *sysctls;
    size_t sysctl_count;
    const struct spec_mount
        *mounts; /* after the default ones; an equal destination replaces in place, as BuildKit does */
    size_t mount_count;
    const json_t *device_edits; /* applied last; NULL: none */
};

/* Append config.json to *out.  ERR_INVALID for a text that is not UTF-8 (JSON cannot carry it). */
struct error *spec_generate(const struct spec *s, struct buf *out) MUST_CHECK;
/* The same for its "process" alone, which is what describes a further process of a container. */
struct error *spec_generate_process(const struct spec *s, struct buf *out) MUST_CHECK;

#endif
