/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine can run: its own architecture with its feature levels, 32-bit programs, and emulators of
 * binfmt_misc. */
#include "oci/platform.h"

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/bytes.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define BINFMT_DIR "/proc/sys/fs/binfmt_misc"
#define MAX_SUPPORTED 32

static struct platform host;
static pthread_once_t host_once = PTHREAD_ONCE_INIT;

static void find_host(void)
{
    struct utsname u;
    uname(&u);
    const char *variant = "";
    if (str_has_prefix(u.machine, "armv6"))
        variant = "v6";
    else if (str_has_prefix(u.machine, "armv5"))
        variant = "v5";
    platform_set(&host, "linux", str_has_prefix(u.machine, "armv") ? "arm" : u.machine, variant);
    /* uname and Go disagree on two more names */
    if (streq(u.machine, "loongarch64") || streq(u.machine, "i686")) {
        free(host.architecture);
        host.architecture = xstrdup(streq(u.machine, "i686") ? "386" : "loong64");
    }
    platform_normalize(&host);
}

const struct platform *platform_host(void)
{
    pthread_once(&host_once, find_host);
    return &host;
}

/* The x86-64 psABI's levels 1..4. */
static int amd64_level(void)
{
#if defined(__x86_64__)
    enum { C1_V2 = 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23 };
    enum { C1_V3 = 1u << 12 | 1u << 22 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 29 };
    const unsigned b7_v3 = 1u << 3 | 1u << 5 | 1u << 8;
    const unsigned b7_v4 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
    unsigned a, b, c1, d, b7, c81, x;
    if (!__get_cpuid(1, &a, &b, &c1, &d) || !__get_cpuid(0x80000001, &a, &b, &c81, &d))
        return 1;
    if ((c1 & C1_V2) != C1_V2 || !(c81 & 1u))
        return 1;
    if (!__get_cpuid_count(7, 0, &a, &b7, &x, &d))
        return 2;
    if ((c1 & C1_V3) != C1_V3 || (b7 & b7_v3) != b7_v3 || !(c81 & 1u << 5))
        return 2;
    /* Does the kernel save the wide registers? */
    unsigned xcr0, high;
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
    if ((xcr0 & 0x6) != 0x6)
        return 2;
    return (b7 & b7_v4) == b7_v4 && (xcr0 & 0xe6) == 0xe6 ? 4 : 3;
#else
    return 1;
#endif
}

struct emulated {
    const char *architecture;
    uint8_t elf_class, elf_data;
    uint16_t machine;
    bool found;
};

static bool emulator_matches(const struct emulated *e, const uint8_t *magic)
{
    uint16_t machine = e->elf_data == ELFDATA2LSB ? (uint16_t)(magic[18] | magic[19] << 8)
                                                  : (uint16_t)(magic[18] << 8 | magic[19]);
    return magic[4] == e->elf_class && magic[5] == e->elf_data && machine == e->machine;
}

/* One registration: enabled, opened at registration (flag F: needed to work inside another root), for an ELF
 * machine. */
static void read_registration(int dir_fd, const char *name, struct emulated *list, size_t count)
{
    char text[2048];
    uint8_t magic[20];
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return;
    text[n] = '\0';
    const char *flags = strstr(text, "\nflags: ");
    const char *hex = strstr(text, "\nmagic ");
    if (!str_has_prefix(text, "enabled") || hex == NULL || flags == NULL)
        return;
    flags += 8;
    if (memchr(flags, 'F', strcspn(flags, "\n")) == NULL)
        return;
    hex += 7;
    if (strcspn(hex, "\n") < sizeof(magic) * 2 || hex_decode(magic, hex, 2 * sizeof(magic)) < 0)
        return;
    for (size_t i = 0; i < count; i++)
        list[i].found |= emulator_matches(&list[i], magic);
}

static void scan_emulators(struct emulated *list, size_t count)
{
    DIR *dir = opendir(BINFMT_DIR);
    if (dir == NULL)
        return;
    const struct dirent *e;
    while ((e = readdir(dir)) != NULL) {
        if (e->d_name[0] != '.' && !streq(e->d_name, "register") && !streq(e->d_name, "status"))
            read_registration(dirfd(dir), e->d_name, list, count);
    }
    closedir(dir);
}

static bool runs_386(void)
{
    /* there only when the kernel has 32-bit emulation */
    return streq(platform_host()->architecture, "amd64") && access("/proc/sys/abi/vsyscall32", F_OK) == 0;
}

struct supported {
    struct platform list[MAX_SUPPORTED];
    size_t count;
};

static void add(struct supported *s, const char *arch, const char *variant)
{
    if (s->count < MAX_SUPPORTED)
        platform_set(&s->list[s->count++], "linux", arch, variant);
}

static struct supported *find_supported(void)
{
    /* In BuildKit's order. */
    struct emulated list[] = {
        { "amd64", ELFCLASS64, ELFDATA2LSB, EM_X86_64 },  { "arm64", ELFCLASS64, ELFDATA2LSB, EM_AARCH64 },
        { "riscv64", ELFCLASS64, ELFDATA2LSB, EM_RISCV }, { "ppc64", ELFCLASS64, ELFDATA2MSB, EM_PPC64 },
        { "ppc64le", ELFCLASS64, ELFDATA2LSB, EM_PPC64 }, { "s390x", ELFCLASS64, ELFDATA2MSB, EM_S390 },
        { "386", ELFCLASS32, ELFDATA2LSB, EM_386 },       { "mips64le", ELFCLASS64, ELFDATA2LSB, EM_MIPS },
        { "mips64", ELFCLASS64, ELFDATA2MSB, EM_MIPS },   { "loong64", ELFCLASS64, ELFDATA2LSB, 258 },
        { "arm", ELFCLASS32, ELFDATA2LSB, EM_ARM },
    };
    const struct platform *h = platform_host();
    struct supported *s = NEW(struct supported);
    scan_emulators(list, ARRAY_LEN(list));
    platform_copy(&s->list[s->count++], h);
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        const char *arch = list[i].architecture;
        bool own = streq(arch, h->architecture);
        if (own && streq(arch, "amd64")) {
            static const char *const levels[] = { "v2", "v3", "v4" };
            for (int level = amd64_level(), l = 2; l <= level; l++)
                add(s, arch, levels[l - 2]);
        }
        bool runs = !own && (list[i].found || (streq(arch, "386") && runs_386()));
        if (runs)
            add(s, arch, streq(arch, "arm") ? "v7" : "");
        if (streq(arch, "arm") && (runs || (own && streq(h->variant, "v7"))))
            add(s, arch, "v6");
    }
    return s;
}

static pthread_mutex_t supported_lock = PTHREAD_MUTEX_INITIALIZER;
static struct supported *supported;

const struct platform *platform_supported(size_t *ret_count)
{
    pthread_mutex_lock(&supported_lock);
    if (supported == NULL)
        supported = find_supported();
    const struct supported *s = supported;
    pthread_mutex_unlock(&supported_lock);
    *ret_count = s->count;
    return s->list;
}

static bool same(const struct supported *a, const struct supported *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        if (!platform_eq(&a->list[i], &b->list[i]))
            return false;
    }
    return true;
}

void platform_rescan(void)
{
    /* A list that somebody may hold is never freed: emulators come and go a few times in a machine's life. */
    struct supported *fresh = find_supported();
    pthread_mutex_lock(&supported_lock);
    if (supported == NULL || !same(supported, fresh)) {
        supported = fresh;
        fresh = NULL;
    }
    pthread_mutex_unlock(&supported_lock);
    if (fresh == NULL)
        return;
    for (size_t i = 0; i < fresh->count; i++)
        platform_deinit(&fresh->list[i]);
    free(fresh);
}
