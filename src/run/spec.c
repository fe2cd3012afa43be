/* SPDX-License-Identifier: Apache-2.0 */
#include "run/spec.h"

#include "run/caps.h"
#include "run/syscalls.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SHM_SIZE_DEFAULT (INT64_C(64) << 20)

/* ---- lists that docker fixes
 * -------------------------------------------------------------------------------------------------- */

static const char *const masked_paths[] = {
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
};
static const char *const readonly_paths[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};
/* What a process may open: (1,3) null, zero, full, random, urandom, tty, console, ptmx and the ptys.  All may
 * be made. */
static const struct {
    char type;
    int major, minor; /* -1: any */
    const char *access;
} allowed_devices[] = {
    { 'c', -1, -1, "m" }, { 'b', -1, -1, "m" }, { 'c', 1, 3, "rwm" },    { 'c', 1, 5, "rwm" },
    { 'c', 1, 7, "rwm" }, { 'c', 1, 8, "rwm" }, { 'c', 1, 9, "rwm" },    { 'c', 5, 0, "rwm" },
    { 'c', 5, 1, "rwm" }, { 'c', 5, 2, "rwm" }, { 'c', 136, -1, "rwm" },
};
/* Extra device nodes of BuildKit's insecure mode, besides loop devices. */
static const struct {
    const char *path;
    int major, minor;
} insecure_devices[] = {
    { "/dev/kmsg", 1, 11 },  { "/dev/cuse", 10, 203 },    { "/dev/fuse", 10, 229 },
    { "/dev/kvm", 10, 232 }, { "/dev/net/tun", 10, 200 }, { "/dev/loop-control", 10, 237 },
};

/* ---- small JSON helpers
 * ------------------------------------------------------------------------------------------------------- */

/* A string value, or an error that names `what`: jansson gives NULL for anything but UTF-8. */
static struct error *set_string(json_t *object, const char *key, const char *value)
{
    json_t *s = json_string(value);

    if (s == NULL)
        return err_new(ERR_INVALID, "%s is not valid UTF-8", key);
    json_object_set_new(object, key, s);
    return NULL;
}

static json_t *string_array(const char *const *list, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_string(list[i]));
    return array;
}

static struct error *set_strings(json_t *object, const char *key, const char *const *list)
{
    json_t *array = json_array();

    json_object_set_new(object, key, array);
    for (; list != NULL && *list != NULL; list++) {
        json_t *s = json_string(*list);

        if (s == NULL)
            return err_new(ERR_INVALID, "%s: %s is not valid UTF-8", key, *list);
        json_array_append_new(array, s);
    }
    return NULL;
}

/* "ro,nosuid" as an array. */
static json_t *split_options(const char *options)
{
    json_t *array = json_array();

    while (options != NULL && *options != '\0') {
        size_t len = strcspn(options, ",");

        json_array_append_new(array, json_stringn(options, len));
        options += len;
        options += *options == ',';
    }
    return array;
}

/* ---- process
 * ------------------------------------------------------------------------------------------------------------------
 */

static json_t *cap_names(uint64_t caps)
{
    json_t *array = json_array();

    for (int i = 0; cap_name(i) != NULL; i++)
        if ((caps & CAP_BIT(i)) != 0)
            json_array_append_new(array, json_string(cap_name(i)));
    return array;
}

static json_t *capabilities(const struct spec *s)
{
    json_t *o = json_object();

    json_object_set_new(o, "bounding", cap_names(s->caps));
    json_object_set_new(o, "permitted", cap_names(s->caps));
    json_object_set_new(o, "effective", cap_names(s->caps));
    if (s->ambient_caps) {
        json_object_set_new(o, "inheritable", cap_names(s->caps));
        json_object_set_new(o, "ambient", cap_names(s->caps));
    }
    return o;
}

static json_t *user(const struct spec *s)
{
    json_t *gids = json_array();
    bool primary = false;

    for (size_t i = 0; i < s->gid_count; i++)
        primary |= s->gids[i] == s->gid;
    if (!primary)
        json_array_append_new(gids, json_integer(s->gid));
    for (size_t i = 0; i < s->gid_count; i++)
        json_array_append_new(gids, json_integer(s->gids[i]));
    return json_pack("{s:I, s:I, s:o}", "uid", (json_int_t)s->uid, "gid", (json_int_t)s->gid,
                     "additionalGids", gids);
}

static struct error *rlimits(const struct spec *s, json_t *p)
{
    json_t *array = json_array();

    json_object_set_new(p, "rlimits", array);
    for (size_t i = 0; i < s->ulimit_count; i++) {
        const struct run_ulimit *u = &s->ulimits[i];
        json_t *o = json_object();
        CLEANUP(freep) char *type = xasprintf("RLIMIT_%s", u->name);

        json_array_append_new(array, o);
        for (char *c = type; *c != '\0'; c++)
            *c = (char)toupper((unsigned char)*c);
        TRY(set_string(o, "type", type));
        json_object_set_new(o, "hard", json_integer(MAX(u->hard, -1)));
        json_object_set_new(o, "soft", json_integer(MAX(u->soft, -1)));
    }
    return NULL;
}

static struct error *process(const struct spec *s, json_t *root)
{
    json_t *p = json_object();

    json_object_set_new(root, "process", p);
    json_object_set_new(p, "terminal", json_boolean(s->terminal));
    if (s->terminal && s->console_width != 0 && s->console_height != 0)
        json_object_set_new(
            p, "consoleSize",
            json_pack("{s:i, s:i}", "height", (int)s->console_height, "width", (int)s->console_width));
    json_object_set_new(p, "user", user(s));
    TRY(set_strings(p, "args", s->args));
    TRY(set_strings(p, "env", s->env));
    TRY(set_string(p, "cwd", s->cwd));
    json_object_set_new(p, "capabilities", capabilities(s));
    if (s->ulimit_count > 0)
        TRY(rlimits(s, p));
    json_object_set_new(p, "noNewPrivileges", json_boolean(s->no_new_privileges));
    if (s->oom_score_adj != NULL)
        json_object_set_new(p, "oomScoreAdj", json_integer(*s->oom_score_adj));
    return NULL;
}

/* ---- mounts
 * -------------------------------------------------------------------------------------------------------------------
 */

/* Replace the mount with the same destination in place, else append. */
static struct error *put_mount(json_t *mounts, const struct spec_mount *m)
{
    json_t *o = json_object();
    size_t i = 0;

    for (; i < json_array_size(mounts); i++)
        if (streq(json_string_value(json_object_get(json_array_get(mounts, i), "destination")), m->dest))
            break;
    if (i < json_array_size(mounts))
        json_array_set_new(mounts, i, o);
    else
        json_array_append_new(mounts, o);
    TRY(set_string(o, "destination", m->dest));
    TRY(set_string(o, "type", m->type));
    TRY(set_string(o, "source", m->source));
    json_object_set_new(o, "options", split_options(m->options));
    return NULL;
}

static struct error *mounts(const struct spec *s, json_t *root)
{
    json_t *array = json_array();
    char shm[96];
    const char *sys_options = s->privileged ? "nosuid,noexec,nodev,rw" : "nosuid,noexec,nodev,ro";
    const char *cgroup_options = s->privileged ? "rw,nosuid,noexec,nodev" : "ro,nosuid,noexec,nodev";

    snprintf(shm, sizeof(shm), "nosuid,noexec,nodev,mode=1777,size=%lld",
             (long long)(s->shm_size > 0 ? s->shm_size : SHM_SIZE_DEFAULT));
    const struct spec_mount defaults[] = {
        { "/proc", "proc", "proc", "nosuid,noexec,nodev" },
        { "/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k" },
        { "/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5" },
        { "/dev/shm", "tmpfs", "shm", shm },
        { "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev" },
        { "/sys", "sysfs", "sysfs", sys_options },
        { "/sys/fs/cgroup", "cgroup", "cgroup", cgroup_options },
    };

    json_object_set_new(root, "mounts", array);
    for (size_t i = 0; i < ARRAY_LEN(defaults); i++)
        TRY(put_mount(array, &defaults[i]));
    for (size_t i = 0; i < s->mount_count; i++)
        TRY(put_mount(array, &s->mounts[i]));
    return NULL;
}

/* ---- linux
 * --------------------------------------------------------------------------------------------------------------------
 */

/* Thermal counters tell what else the machine does: one directory a CPU, masked where it is there. */
static void mask_thermal(json_t *masked)
{
    long cpus = sysconf(_SC_NPROCESSORS_CONF);

    for (long i = 0; i < cpus; i++) {
        char path[80];

        snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%ld/thermal_throttle", i);
        if (access(path, F_OK) == 0)
            json_array_append_new(masked, json_string(path));
    }
}

static json_t *namespaces(const struct spec *s)
{
    json_t *array = json_array();

    json_array_append_new(array, json_pack("{s:s}", "type", "mount"));
    if (s->hostname != NULL)
        json_array_append_new(array, json_pack("{s:s}", "type", "uts"));
    if (!s->host_pid)
        json_array_append_new(array, json_pack("{s:s}", "type", "pid"));
    if (!s->host_ipc)
        json_array_append_new(array, json_pack("{s:s}", "type", "ipc"));
    if (s->cgroup_namespace)
        json_array_append_new(array, json_pack("{s:s}", "type", "cgroup"));
    if (s->network_path != NULL && *s->network_path != '\0')
        json_array_append_new(array, json_pack("{s:s, s:s}", "type", "network", "path", s->network_path));
    else if (s->network_path != NULL)
        json_array_append_new(array, json_pack("{s:s}", "type", "network"));
    return array;
}

static json_t *device_rule(bool allow, char type, int major, int minor, const char *access)
{
    json_t *o = json_object();
    const char name[2] = { type, '\0' };

    json_object_set_new(o, "allow", json_boolean(allow));
    if (type != '\0')
        json_object_set_new(o, "type", json_string(name));
    if (major >= 0)
        json_object_set_new(o, "major", json_integer(major));
    if (minor >= 0)
        json_object_set_new(o, "minor", json_integer(minor));
    json_object_set_new(o, "access", json_string(access));
    return o;
}

static json_t *device_rules(const struct spec *s)
{
    json_t *array = json_array();

    if (s->privileged) {
        json_array_append_new(array, device_rule(true, 'c', -1, -1, "rwm"));
        json_array_append_new(array, device_rule(true, 'b', -1, -1, "rwm"));
        return array;
    }
    json_array_append_new(array, device_rule(false, '\0', -1, -1, "rwm"));
    for (size_t i = 0; i < ARRAY_LEN(allowed_devices); i++)
        json_array_append_new(array, device_rule(true, allowed_devices[i].type, allowed_devices[i].major,
                                                 allowed_devices[i].minor, allowed_devices[i].access));
    return array;
}

static json_t *device_node(const char *path, char type, int major, int minor)
{
    const char name[2] = { type, '\0' };

    return json_pack("{s:s, s:s, s:i, s:i}", "path", path, "type", name, "major", major, "minor", minor);
}

#define LOOP_CTL_GET_FREE_NR 0x4C82

/* The next free loop device and the seven behind it, so that a privileged step can attach some. */
static void add_loop_devices(json_t *array)
{
    int fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int next = fd >= 0 ? ioctl(fd, LOOP_CTL_GET_FREE_NR) : 0;

    if (fd >= 0)
        close(fd);
    for (int i = 0; i <= MAX(next, 0) + 7; i++) {
        char path[32];

        snprintf(path, sizeof(path), "/dev/loop%d", i);
        json_array_append_new(array, device_node(path, 'b', 7, i));
    }
}

static json_t *devices(const struct spec *s)
{
    json_t *array = json_array();

    if (!s->privileged)
        return array;
    for (size_t i = 0; i < ARRAY_LEN(insecure_devices); i++)
        json_array_append_new(array, device_node(insecure_devices[i].path, 'c', insecure_devices[i].major,
                                                 insecure_devices[i].minor));
    add_loop_devices(array);
    return array;
}

static void set_positive(json_t *o, const char *key, int64_t value)
{
    if (value != 0)
        json_object_set_new(o, key, json_integer(value));
}

static struct error *resources(const struct spec *s, json_t *linux_)
{
    const struct run_resources *r = &s->resources;
    json_t *o = json_object();
    json_t *memory = json_object(), *cpu = json_object();

    json_object_set_new(linux_, "resources", o);
    json_object_set_new(o, "devices", device_rules(s));
    json_object_set_new(o, "memory", memory);
    json_object_set_new(o, "cpu", cpu);
    set_positive(memory, "limit", r->memory);
    set_positive(memory, "reservation", r->memory_reservation);
    set_positive(memory, "swap", r->memory_swap);
    set_positive(cpu, "shares", (int64_t)r->cpu_shares);
    set_positive(cpu, "quota", r->cpu_quota);
    set_positive(cpu, "period", (int64_t)r->cpu_period);
    if (r->cpuset_cpus != NULL && *r->cpuset_cpus != '\0')
        TRY(set_string(cpu, "cpus", r->cpuset_cpus));
    if (r->cpuset_mems != NULL && *r->cpuset_mems != '\0')
        TRY(set_string(cpu, "mems", r->cpuset_mems));
    if (json_object_size(memory) == 0)
        json_object_del(o, "memory");
    if (json_object_size(cpu) == 0)
        json_object_del(o, "cpu");
    if (r->pids_limit != 0)
        json_object_set_new(o, "pids", json_pack("{s:I}", "limit", (json_int_t)r->pids_limit));
    return NULL;
}

static struct error *linux_section(const struct spec *s, json_t *root)
{
    json_t *l = json_object();
    json_t *sysctl = json_object();

    json_object_set_new(root, "linux", l);
    json_object_set_new(l, "namespaces", namespaces(s));
    json_object_set_new(l, "devices", devices(s));
    json_object_set_new(l, "sysctl", sysctl);
    /* Older runtimes know no "domainname"; this is the same, and an own value in sysctls has the last word.
     */
    if (s->hostname != NULL && s->domainname != NULL && *s->domainname != '\0')
        TRY(set_string(sysctl, "kernel.domainname", s->domainname));
    for (size_t i = 0; i < s->sysctl_count; i++)
        TRY(set_string(sysctl, s->sysctls[i].key, s->sysctls[i].value));
    if (s->cgroups_path != NULL)
        TRY(set_string(l, "cgroupsPath", s->cgroups_path));
    TRY(resources(s, l));
    if (!s->privileged && !s->unmasked) {
        json_t *masked = string_array(masked_paths, ARRAY_LEN(masked_paths));

        mask_thermal(masked);
        json_object_set_new(l, "maskedPaths", masked);
        json_object_set_new(l, "readonlyPaths", string_array(readonly_paths, ARRAY_LEN(readonly_paths)));
    }
    if (s->seccomp)
        json_object_set_new(l, "seccomp", seccomp_default(s->caps));
    return NULL;
}

static struct error *fill(const struct spec *s, json_t *root)
{
    json_t *fs = json_object();

    json_object_set_new(root, "ociVersion", json_string("1.0.2"));
    json_object_set_new(root, "root", fs);
    TRY(process(s, root));
    TRY(set_string(fs, "path", s->root_path));
    json_object_set_new(fs, "readonly", json_boolean(s->root_readonly));
    if (s->hostname != NULL)
        TRY(set_string(root, "hostname", s->hostname));
    if (s->seccomp && s->seccomp_bpf != NULL)
        json_object_set_new(root, "annotations",
                            json_pack("{s:s}", "run.oci.seccomp_bpf_data", s->seccomp_bpf));
    TRY(mounts(s, root));
    TRY(linux_section(s, root));
    return s->device_edits != NULL ? cdi_apply(s->device_edits, root) : NULL;
}

static int append(const char *text, size_t len, void *out)
{
    buf_add(out, text, len);
    return 0;
}

/* Unlimited is 2^64 - 1 in the runtime spec, which jansson's integers cannot hold.  Inside a JSON string the
 * quotes would be escaped, so that the keys match nothing but rlimits. */
static void append_unlimited(struct buf *out, const char *text)
{
    static const char *const keys[] = { "\"hard\":-1", "\"soft\":-1" };

    for (;;) {
        const char *next = NULL;

        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
            const char *p = strstr(text, keys[i]);

            if (p != NULL && (next == NULL || p < next))
                next = p;
        }
        if (next == NULL)
            break;
        buf_add(out, text, (size_t)(next - text) + strlen("\"hard\":"));
        buf_adds(out, "18446744073709551615");
        text = next + strlen(keys[0]);
    }
    buf_adds(out, text);
}

static struct error *encode(const json_t *root, struct buf *out)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    if (json_dump_callback(root, append, &text, JSON_COMPACT) != 0)
        return err_new(ERR_INTERNAL, "config.json could not be encoded");
    append_unlimited(out, buf_str(&text));
    return NULL;
}

struct error *spec_generate(const struct spec *s, struct buf *out)
{
    json_t *root = json_object();
    struct error *e = fill(s, root);

    if (e == NULL)
        e = encode(root, out);
    json_decref(root);
    return e;
}

struct error *spec_generate_process(const struct spec *s, struct buf *out)
{
    json_t *root = json_object();
    struct error *e = process(s, root);

    if (e == NULL)
        e = encode(json_object_get(root, "process"), out);
    json_decref(root);
    return e;
}
