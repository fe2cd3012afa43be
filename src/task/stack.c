/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stack.c - the stacks of tasks, each with a guard page below
 *
 * Stacks of ended threads wait here for the next ones.  The C library keeps 40 MB of them and gives every
 * other one back to the kernel on the spot, which costs more than the rest of a task's end when a thousand
 * end at once (munmap takes the address space's lock, and all processors flush).  Here that happens once,
 * when few tasks are left.
 */
#include "base/limits.h"
#include "task/self.h"

#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_SIZE (8 * LIMIT_TASK_STACK)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define STACK_SIZE (8 * LIMIT_TASK_STACK)
#endif
#endif
#ifndef STACK_SIZE
#define STACK_SIZE LIMIT_TASK_STACK
#endif

#define GUARD_SIZE ((size_t)(64 * KIB)) /* a multiple of every page size */
#define KEEP 16                         /* stacks without a task, once few tasks are left */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *spare[LIMIT_TASKS];
static size_t spare_count;

static void unmap(void *stack)
{
    (void)munmap((char *)stack - GUARD_SIZE, GUARD_SIZE + STACK_SIZE);
}

static void *map_new(void)
{
    char *p = mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    if (mprotect(p + GUARD_SIZE, STACK_SIZE, PROT_READ | PROT_WRITE) == 0)
        return p + GUARD_SIZE;
    unmap(p + GUARD_SIZE);
    return NULL;
}

size_t stack_size(void)
{
    return STACK_SIZE;
}

void *stack_take(void)
{
    void *stack = NULL;

    pthread_mutex_lock(&lock);
    if (spare_count > 0)
        stack = spare[--spare_count];
    pthread_mutex_unlock(&lock);
    return stack != NULL ? stack : map_new();
}

/* One that is too many, or NULL. */
static void *take_surplus_locked(void)
{
    return spare_count > KEEP && task_count() < KEEP ? spare[--spare_count] : NULL;
}

void stack_give(void *stack)
{
    if (stack == NULL)
        return;
    pthread_mutex_lock(&lock);
    if (spare_count < ARRAY_LEN(spare)) {
        spare[spare_count++] = stack;
        stack = take_surplus_locked();
    }
    while (stack != NULL) {
        pthread_mutex_unlock(&lock);
        unmap(stack);
        pthread_mutex_lock(&lock);
        stack = take_surplus_locked();
    }
    pthread_mutex_unlock(&lock);
}
