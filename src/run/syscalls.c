/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table holds the facts of moby's default profile (github.com/moby/profiles, seccomp 0.2.4): which calls
 * are allowed, under which capability, on which architecture, with which argument.  Everything else answers
 * EPERM.
 */
#include "run/syscalls.h"

#include "run/caps.h"

#include "base/buf.h"
#include "base/bytes.h"
#include "task/task.h"

#include <errno.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum arch {
    A_AMD64 = 1 << 0,
    A_X86 = 1 << 1,
    A_ARM = 1 << 2,
    A_ARM64 = 1 << 3,
    A_PPC64LE = 1 << 4,
    A_S390 = 1 << 5, /* s390 and s390x */
    A_RISCV64 = 1 << 6,
};

#if defined(__x86_64__)
#define HOST_ARCH A_AMD64
static const char *const filter_arches[] = { "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32" };
#elif defined(__aarch64__)
#define HOST_ARCH A_ARM64
static const char *const filter_arches[] = { "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM" };
#elif defined(__s390x__)
#define HOST_ARCH A_S390
static const char *const filter_arches[] = { "SCMP_ARCH_S390X", "SCMP_ARCH_S390" };
#elif defined(__riscv) && __riscv_xlen == 64
#define HOST_ARCH A_RISCV64
static const char *const filter_arches[] = { "SCMP_ARCH_RISCV64" };
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define HOST_ARCH A_PPC64LE
static const char *const filter_arches[] = { "SCMP_ARCH_PPC64LE" };
#elif defined(__i386__)
#define HOST_ARCH A_X86
static const char *const filter_arches[] = { "SCMP_ARCH_X86" };
#elif defined(__arm__)
#define HOST_ARCH A_ARM
static const char *const filter_arches[] = { "SCMP_ARCH_ARM" };
#else
#error "no system call filter for this architecture"
#endif

/* The flags of clone that make a namespace other than the ones that need no privilege. */
#define CLONE_NEW_ANY 0x7e020000

struct rule {
    const char *names; /* separated by spaces */
    int cap;           /* only with this capability; 0: always (CAP_CHOWN guards no call) */
    int without_cap;   /* only without it; 0: always */
    unsigned arches;   /* only on these; 0: all */
    unsigned not_arches;
    int errno_ret;  /* 0: allow, else answer this */
    const char *op; /* NULL: any argument */
    unsigned arg;
    uint64_t value;
};

/* clang-format off */
static const struct rule rules[] = {
    {
        "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 "
        "clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 "
        "clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 "
        "dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait "
        "epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 "
        "fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat "
        "fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 "
        "fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 "
        "futex_wait futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 "
        "geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp "
        "getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit "
        "get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday "
        "getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 "
        "inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents io_pgetevents_time64 "
        "ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule landlock_create_ruleset "
        "landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr "
        "listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise "
        "map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock "
        "mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive "
        "mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget "
        "msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect "
        "open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free "
        "pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease "
        "pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv "
        "recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename "
        "renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending "
        "rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 "
        "rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max "
        "sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 "
        "sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select "
        "semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg "
        "sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer "
        "setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid "
        "setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid "
        "setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 "
        "sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx "
        "symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete "
        "timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create "
        "timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate "
        "truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 "
        "utimes vfork vmsplice wait4 waitid waitpid write writev"},
    {"process_vm_readv process_vm_writev ptrace"},
    {"socket", .op = "SCMP_CMP_LT", .arg = 0, .value = 38},
    {"socket", .op = "SCMP_CMP_EQ", .arg = 0, .value = 39},
    {"socket", .op = "SCMP_CMP_EQ", .arg = 0, .value = 41},
    {"socket", .op = "SCMP_CMP_EQ", .arg = 0, .value = 42},
    {"socket", .op = "SCMP_CMP_EQ", .arg = 0, .value = 43},
    {"socket", .op = "SCMP_CMP_EQ", .arg = 0, .value = 44},
    {"socket", .op = "SCMP_CMP_EQ", .arg = 0, .value = 45},
    {"personality", .op = "SCMP_CMP_EQ", .arg = 0, .value = 0},
    {"personality", .op = "SCMP_CMP_EQ", .arg = 0, .value = 8},
    {"personality", .op = "SCMP_CMP_EQ", .arg = 0, .value = 0x20000},
    {"personality", .op = "SCMP_CMP_EQ", .arg = 0, .value = 0x20008},
    {"personality", .op = "SCMP_CMP_EQ", .arg = 0, .value = 0xffffffff},
    {"sync_file_range2 swapcontext", .arches = A_PPC64LE},
    {"arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls", .arches = A_ARM | A_ARM64},
    {"arch_prctl", .arches = A_AMD64},
    {"modify_ldt", .arches = A_AMD64 | A_X86},
    {"s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr", .arches = A_S390},
    {"riscv_flush_icache", .arches = A_RISCV64},
    {"open_by_handle_at", .cap = CAP_DAC_READ_SEARCH},
    {
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr "
        "lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open "
        "quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare", .cap = CAP_SYS_ADMIN},
    {"clone", .without_cap = CAP_SYS_ADMIN, .not_arches = A_S390, .op = "SCMP_CMP_MASKED_EQ", .arg = 0, .value = CLONE_NEW_ANY},
    {"clone", .arches = A_S390, .without_cap = CAP_SYS_ADMIN, .op = "SCMP_CMP_MASKED_EQ", .arg = 1, .value = CLONE_NEW_ANY},
    {"clone3", .without_cap = CAP_SYS_ADMIN, .errno_ret = ENOSYS},
    {"reboot", .cap = CAP_SYS_BOOT},
    {"chroot", .cap = CAP_SYS_CHROOT},
    {"delete_module init_module finit_module", .cap = CAP_SYS_MODULE},
    {"acct", .cap = CAP_SYS_PACCT},
    {"kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace", .cap = CAP_SYS_PTRACE},
    {"iopl ioperm", .cap = CAP_SYS_RAWIO},
    {"settimeofday stime clock_settime clock_settime64", .cap = CAP_SYS_TIME},
    {"vhangup", .cap = CAP_SYS_TTY_CONFIG},
    {"get_mempolicy mbind set_mempolicy set_mempolicy_home_node", .cap = CAP_SYS_NICE},
    {"syslog", .cap = CAP_SYSLOG},
    {"bpf", .cap = CAP_BPF},
    {"perf_event_open", .cap = CAP_PERFMON},
};
/* clang-format on */

static bool rule_applies(const struct rule *r, uint64_t caps)
{
    if (r->cap != 0 && (caps & CAP_BIT(r->cap)) == 0)
        return false;
    if (r->without_cap != 0 && (caps & CAP_BIT(r->without_cap)) != 0)
        return false;
    if (r->arches != 0 && (r->arches & HOST_ARCH) == 0)
        return false;
    return (r->not_arches & HOST_ARCH) == 0;
}

static json_t *rule_json(const struct rule *r)
{
    json_t *names = json_array();
    json_t *call = json_object();

    for (const char *p = r->names; *p != '\0';) {
        size_t len = strcspn(p, " ");

        json_array_append_new(names, json_stringn(p, len));
        p += len;
        p += strspn(p, " ");
    }
    json_object_set_new(call, "names", names);
    json_object_set_new(call, "action", json_string(r->errno_ret ? "SCMP_ACT_ERRNO" : "SCMP_ACT_ALLOW"));
    if (r->errno_ret != 0)
        json_object_set_new(call, "errnoRet", json_integer(r->errno_ret));
    if (r->op != NULL) {
        /* For the masked comparison `value` is the mask and valueTwo, zero, what must be left. */
        json_t *arg = json_pack("{s:i, s:I, s:I, s:s}", "index", (int)r->arg, "value", (json_int_t)r->value,
                                "valueTwo", (json_int_t)0, "op", r->op);
        json_object_set_new(call, "args", json_pack("[o]", arg));
    }
    return call;
}

json_t *seccomp_default(uint64_t caps)
{
    json_t *profile = json_object();
    json_t *arches = json_array();
    json_t *calls = json_array();

    for (size_t i = 0; i < ARRAY_LEN(filter_arches); i++)
        json_array_append_new(arches, json_string(filter_arches[i]));
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if (rule_applies(&rules[i], caps))
            json_array_append_new(calls, rule_json(&rules[i]));
    json_object_set_new(profile, "defaultAction", json_string("SCMP_ACT_ERRNO"));
    json_object_set_new(profile, "defaultErrnoRet", json_integer(EPERM));
    json_object_set_new(profile, "architectures", arches);
    json_object_set_new(profile, "syscalls", calls);
    return profile;
}

/* ---- compiled
 * -----------------------------------------------------------------------------------------------------------------
 */

static enum scmp_compare comparison(const char *op)
{
    if (streq(op, "SCMP_CMP_LT"))
        return SCMP_CMP_LT;
    return streq(op, "SCMP_CMP_EQ") ? SCMP_CMP_EQ : SCMP_CMP_MASKED_EQ;
}

/* A name that this libseccomp does not know is left out, as the runtimes do: the call then answers EPERM. */
static bool add_call(scmp_filter_ctx ctx, const struct rule *r, const char *name)
{
    int number = seccomp_syscall_resolve_name(name);
    uint32_t action = r->errno_ret != 0 ? SCMP_ACT_ERRNO((unsigned)r->errno_ret) : SCMP_ACT_ALLOW;

    if (number == __NR_SCMP_ERROR)
        return true;
    if (r->op == NULL)
        return seccomp_rule_add(ctx, action, number, 0) == 0;
    struct scmp_arg_cmp arg = { .arg = r->arg, .op = comparison(r->op), .datum_a = r->value };
    return seccomp_rule_add_array(ctx, action, number, 1, &arg) == 0;
}

static bool add_rule(scmp_filter_ctx ctx, const struct rule *r)
{
    for (const char *p = r->names; *p != '\0';) {
        char name[64];
        size_t len = strcspn(p, " ");

        assert(len < sizeof(name));
        memcpy(name, p, len);
        name[len] = '\0';
        if (!add_call(ctx, r, name))
            return false;
        p += len;
        p += strspn(p, " ");
    }
    return true;
}

static bool add_arches(scmp_filter_ctx ctx)
{
    for (size_t i = 0; i < ARRAY_LEN(filter_arches); i++) {
        CLEANUP(freep) char *name = str_lower(filter_arches[i] + strlen("SCMP_ARCH_"));
        uint32_t arch = seccomp_arch_resolve_name(name);

        if (arch == 0)
            return false;
        int r = seccomp_arch_add(ctx, arch);
        if (r != 0 && r != -EEXIST)
            return false;
    }
    return true;
}

static char *export_filter(scmp_filter_ctx ctx)
{
    CLEANUP(closep) int fd = memfd_create("seccomp", MFD_CLOEXEC);
    CLEANUP(buf_deinit) struct buf code = { 0 };
    struct buf text = { 0 };
    char chunk[4096];
    ssize_t n;

    if (fd < 0 || seccomp_export_bpf(ctx, fd) != 0 || lseek(fd, 0, SEEK_SET) < 0)
        return NULL;
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        buf_add(&code, chunk, (size_t)n);
    if (n < 0 || code.len == 0)
        return NULL;
    base64_encode(&text, code.data, code.len);
    return buf_take(&text);
}

static char *compile(uint64_t caps)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    bool ok = ctx != NULL && add_arches(ctx);
    char *text = NULL;

    for (size_t i = 0; ok && i < ARRAY_LEN(rules); i++)
        ok = !rule_applies(&rules[i], caps) || add_rule(ctx, &rules[i]);
    if (ok) {
        /* A binary tree over the numbers instead of a list. Older libraries do without. */
        (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        text = export_filter(ctx);
    }
    if (ctx != NULL)
        seccomp_release(ctx);
    return text;
}

char *seccomp_compiled(uint64_t caps)
{
    static struct mutex lock = MUTEX_INIT;
    static uint64_t kept_caps;
    static char *kept;
    char *text;

    mutex_lock(&lock);
    if (kept == NULL || kept_caps != caps) {
        free(kept);
        kept = compile(caps);
        kept_caps = caps;
    }
    text = xstrdup(kept);
    mutex_unlock(&lock);
    return text;
}

bool seccomp_supported(void)
{
    /* EFAULT for the missing filter says that filters are known; EINVAL that they are not. */
    return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0 &&
           (prctl(PR_SET_SECCOMP, 2, NULL, 0, 0) == 0 || errno != EINVAL);
}
