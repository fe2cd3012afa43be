/* SPDX-License-Identifier: Apache-2.0 */
#include "base/trim.h"

#include "base/base.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAP_SLACK (64 * 1024) /* the heap keeps that much at its end */

/* Only segments that nobody can have written to: the pages of others are not in the file. */
static int drop_object(struct dl_phdr_info *object, size_t size, void *ctx)
{
    const uintptr_t page = *(const uintptr_t *)ctx;

    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        uintptr_t start = object->dlpi_addr + segment->p_vaddr, end = start + segment->p_filesz;

        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) != 0)
            continue;
        start = (start + page - 1) & ~(page - 1);
        end &= ~(page - 1);
        if (start < end)
            (void)madvise((void *)start, end - start, MADV_DONTNEED); /* a hint: refused, they stay */
    }
    return 0;
}

void memory_trim(void)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    malloc_trim(HEAP_SLACK);
    dl_iterate_phdr(drop_object, &page);
}
