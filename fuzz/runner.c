/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runner.c - replays a corpus through a fuzz target, then random changes of it: runner DIR [RUNS [SEED]]
 */
#include "fuzz.h"

#include "base/limits.h"
#include "base/vec.h"

#include <dirent.h>
#include <stdio.h>

struct input {
    uint8_t *data;
    size_t len;
};

static bool load(const char *dir, const char *name, struct input *ret)
{
    CLEANUP(freep) char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "re");

    if (f == NULL)
        return false;
    ret->data = xmalloc(MIB);
    ret->len = fread(ret->data, 1, MIB, f);
    fclose(f);
    return true;
}

/* Flip, overwrite, drop, double, or splice in a piece of another input. */
static void change(struct input *i, const struct input *other, unsigned *seed)
{
    size_t at = i->len > 0 ? (size_t)rand_r(seed) % i->len : 0;
    size_t n = MIN((size_t)rand_r(seed) % 32, i->len - at);

    switch (rand_r(seed) % 5) {
    case 0:
        if (i->len > 0)
            i->data[at] ^= (uint8_t)(1u << (rand_r(seed) % 8));
        break;
    case 1:
        if (i->len > 0)
            i->data[at] = (uint8_t)rand_r(seed);
        break;
    case 2:
        memmove(i->data + at, i->data + at + n, i->len - at - n);
        i->len -= n;
        break;
    case 3:
        if (i->len + n <= MIB) {
            memmove(i->data + at + n, i->data + at, i->len - at);
            i->len += n;
        }
        break;
    default:
        n = MIN(MIN(n, other->len), i->len - at);
        memcpy(i->data + at, other->data, n);
    }
}

int main(int argc, char **argv)
{
    struct input all[512];
    size_t count = 0;
    long runs = argc > 2 ? strtol(argv[2], NULL, 10) : 2000;
    unsigned seed = argc > 3 ? (unsigned)strtol(argv[3], NULL, 10) : 1;
    DIR *dir = argc > 1 ? opendir(argv[1]) : NULL;

    if (dir == NULL) {
        fprintf(stderr, "usage: %s DIR [RUNS [SEED]]\n", argv[0]);
        return 2;
    }
    for (struct dirent *d; count < ARRAY_LEN(all) && (d = readdir(dir)) != NULL;)
        if (d->d_name[0] != '.')
            count += load(argv[1], d->d_name, &all[count]);
    closedir(dir);
    for (size_t i = 0; i < count; i++)
        LLVMFuzzerTestOneInput(all[i].data, all[i].len);
    struct input work = { .data = xmalloc(MIB) };

    for (long run = 0; count > 0 && run < runs; run++) {
        const struct input *from = &all[(size_t)rand_r(&seed) % count];

        memcpy(work.data, from->data, from->len);
        work.len = from->len;
        for (int n = 1 + rand_r(&seed) % 4; n > 0; n--)
            change(&work, &all[(size_t)rand_r(&seed) % count], &seed);
        LLVMFuzzerTestOneInput(work.data, work.len);
    }
    printf("%zu inputs, %ld changed ones\n", count, count > 0 ? runs : 0L);
    for (size_t i = 0; i < count; i++)
        free(all[i].data);
    free(work.data);
    return count > 0 ? 0 : 1;
}
