/* SPDX-License-Identifier: Apache-2.0 */
#include "base/vec.h"

#include <sys/auxv.h>

/* ---- strings ---- */

void strv_deinit(struct strv *s)
{
    strv_clear(s);
    free(s->v);
    *s = (struct strv){ 0 };
}

void strv_clear(struct strv *s)
{
    for (size_t i = 0; i < s->len; i++)
        free(s->v[i]);
    s->len = 0;
    if (s->v != NULL)
        s->v[0] = NULL;
}

void strv_take(struct strv *s, char *str)
{
    if (s->len + 1 >= s->cap) {
        s->cap = MAX(s->cap * 2, (size_t)4);
        s->v = xreallocarray(s->v, s->cap, sizeof(*s->v));
    }
    s->v[s->len++] = str;
    s->v[s->len] = NULL;
}

void strv_add(struct strv *s, const char *str)
{
    strv_take(s, xstrdup(str));
}

void strv_addn(struct strv *s, const char *str, size_t len)
{
    strv_take(s, xstrndup(str, len));
}

void strv_addf(struct strv *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    strv_take(s, xvasprintf(fmt, ap));
    va_end(ap);
}

void strv_copy(struct strv *dst, const struct strv *src)
{
    for (size_t i = 0, len = src->len; i < len; i++)
        strv_add(dst, src->v[i]);
}

void strv_remove(struct strv *s, size_t index)
{
    assert(index < s->len);
    free(s->v[index]);
    memmove(&s->v[index], &s->v[index + 1], (s->len - index) * sizeof(*s->v)); /* the NULL too */
    s->len--;
}

bool strv_has(const struct strv *s, const char *str)
{
    for (size_t i = 0; i < s->len; i++)
        if (streq(s->v[i], str))
            return true;
    return false;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void strv_sort(struct strv *s)
{
    if (s->len > 1)
        qsort(s->v, s->len, sizeof(*s->v), compare_strings);
}

void strv_split(struct strv *s, const char *str, char sep)
{
    for (const char *end; (end = strchr(str, sep)) != NULL; str = end + 1)
        strv_addn(s, str, (size_t)(end - str));
    strv_add(s, str);
}

char *strv_join(const struct strv *s, const char *sep)
{
    size_t len = 0, sep_len = strlen(sep);

    for (size_t i = 0; i < s->len; i++)
        len += strlen(s->v[i]) + sep_len;
    char *joined = xmalloc(len + 1), *at = joined;

    for (size_t i = 0; i < s->len; i++) {
        if (i > 0)
            at = mempcpy(at, sep, sep_len);
        at = mempcpy(at, s->v[i], strlen(s->v[i]));
    }
    *at = '\0';
    return joined;
}

/* ---- pointers ---- */

void ptrv_deinit(struct ptrv *p)
{
    free(p->v);
    *p = (struct ptrv){ 0 };
}

void ptrv_add(struct ptrv *p, void *item)
{
    if (p->len == p->cap) {
        p->cap = MAX(p->cap * 2, (size_t)8);
        p->v = xreallocarray(p->v, p->cap, sizeof(*p->v));
    }
    p->v[p->len++] = item;
}

void ptrv_remove(struct ptrv *p, size_t index)
{
    assert(index < p->len);
    memmove(&p->v[index], &p->v[index + 1], (p->len - index - 1) * sizeof(*p->v));
    p->len--;
}

void ptrv_drop(struct ptrv *p, const void *item)
{
    for (size_t i = p->len; i-- > 0;) {
        if (p->v[i] == item) {
            ptrv_remove(p, i);
            return;
        }
    }
}

/*
 * ---- maps ----
 *
 * Entries in order of insertion.  A map of a few is searched one by one; of more, slots is an open-addressed
 * table of indexes into them (linear probing, at most half full), each with its key's hash, so that keys are
 * hashed once and compared when they are equal. Keys come from outside, so the hash is keyed: SipHash-1-3
 * with the kernel's random bytes of this process.
 */

#define MAP_FEW ((size_t)8) /* entries that need no slots */

struct map_slot {
    uint32_t place; /* index + 1 into entries, 0 = empty */
    uint32_t hash;  /* the low half */
};

static uint64_t seed[2] = { 1, 2 };

__attribute__((constructor)) static void read_seed(void)
{
    const void *random = (const void *)getauxval(AT_RANDOM);

    if (random != NULL)
        memcpy(seed, random, sizeof(seed));
}

static inline uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotate(v[1], 13), v[1] ^= v[0], v[0] = rotate(v[0], 32);
    v[2] += v[3], v[3] = rotate(v[3], 16), v[3] ^= v[2];
    v[0] += v[3], v[3] = rotate(v[3], 21), v[3] ^= v[0];
    v[2] += v[1], v[1] = rotate(v[1], 17), v[1] ^= v[2], v[2] = rotate(v[2], 32);
}

uint64_t str_hash(const char *s)
{
    size_t len = strlen(s), left = len;
    uint64_t v[4] = { seed[0] ^ UINT64_C(0x736f6d6570736575), seed[1] ^ UINT64_C(0x646f72616e646f6d),
                      seed[0] ^ UINT64_C(0x6c7967656e657261), seed[1] ^ UINT64_C(0x7465646279746573) };

    for (;;) {
        uint64_t word = left < 8 ? (uint64_t)len << 56 : 0;

        memcpy(&word, s, MIN(left, (size_t)8));
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
        if (left < 8)
            break;
        s += 8;
        left -= 8;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The slot that holds `key`, or the empty one where it belongs. The table has slots. */
static size_t find_slot(const struct map *m, const char *key, uint32_t hash)
{
    size_t mask = m->slot_count - 1, i = hash & mask;

    while (m->slots[i].place != 0 &&
           (m->slots[i].hash != hash || !streq(m->entries[m->slots[i].place - 1].key, key)))
        i = (i + 1) & mask;
    return i;
}

static void put_slot(struct map *m, struct map_slot slot)
{
    size_t mask = m->slot_count - 1, i = slot.hash & mask;

    while (m->slots[i].place != 0)
        i = (i + 1) & mask;
    m->slots[i] = slot;
}

static void hash_entries(struct map *m)
{
    for (size_t i = 0; i < m->len; i++)
        put_slot(m, (struct map_slot){ (uint32_t)i + 1, (uint32_t)str_hash(m->entries[i].key) });
}

static void grow(struct map *m)
{
    struct map_slot *old = m->slots;
    size_t old_count = m->slot_count;

    assert(m->len < UINT32_MAX / 4);
    m->cap = m->cap == 0 ? 2 : m->cap * 2;
    m->entries = xreallocarray(m->entries, m->cap, sizeof(*m->entries));
    if (m->cap <= MAP_FEW)
        return;
    m->slot_count = m->cap * 2;
    m->slots = xcalloc(m->slot_count, sizeof(*m->slots));
    for (size_t i = 0; i < old_count; i++) {
        if (old[i].place != 0)
            put_slot(m, old[i]);
    }
    if (old == NULL)
        hash_entries(m);
    free(old);
}

void map_deinit(struct map *m)
{
    for (size_t i = 0; i < m->len; i++) {
        if (!m->borrows_keys)
            free(m->entries[i].key);
        if (m->free_value != NULL)
            m->free_value(m->entries[i].value);
    }
    free(m->entries);
    free(m->slots);
    *m = (struct map){ .free_value = m->free_value, .borrows_keys = m->borrows_keys };
}

/* SIZE_MAX: not there.  *ret_hash is the key's where the map has slots. */
static size_t find_entry(const struct map *m, const char *key, uint32_t *ret_hash)
{
    if (m->slots != NULL) {
        *ret_hash = (uint32_t)str_hash(key);
        return (size_t)m->slots[find_slot(m, key, *ret_hash)].place - 1; /* of 0: SIZE_MAX */
    }
    for (size_t i = 0; i < m->len; i++) {
        if (streq(m->entries[i].key, key))
            return i;
    }
    return SIZE_MAX;
}

void *map_get(const struct map *m, const char *key)
{
    uint32_t hash;
    size_t i = find_entry(m, key, &hash);

    return i != SIZE_MAX ? m->entries[i].value : NULL;
}

bool map_has(const struct map *m, const char *key)
{
    uint32_t hash;

    return find_entry(m, key, &hash) != SIZE_MAX;
}

static void add_entry(struct map *m, const char *key, uint32_t hash, void *value)
{
    bool hashed = m->slots != NULL;

    if (m->len == m->cap)
        grow(m);
    if (m->slots != NULL)
        put_slot(m, (struct map_slot){ (uint32_t)m->len + 1, hashed ? hash : (uint32_t)str_hash(key) });
    m->entries[m->len++] =
        (struct map_entry){ .key = m->borrows_keys ? (char *)key : xstrdup(key), .value = value };
}

void map_set(struct map *m, const char *key, void *value)
{
    uint32_t hash = 0;
    size_t i = find_entry(m, key, &hash);

    if (i == SIZE_MAX) {
        add_entry(m, key, hash, value);
        return;
    }
    void *old = m->entries[i].value;

    m->entries[i].value = value;
    if (m->free_value != NULL && old != value)
        m->free_value(old);
}

void **map_at(struct map *m, const char *key)
{
    uint32_t hash = 0;
    size_t i = find_entry(m, key, &hash);

    if (i == SIZE_MAX) {
        add_entry(m, key, hash, NULL);
        i = m->len - 1;
    }
    return &m->entries[i].value;
}

/* Empty slot `hole`: what probed past it moves up, so that no key becomes unreachable. */
static void close_slot(struct map *m, size_t hole)
{
    size_t mask = m->slot_count - 1;

    for (size_t i = (hole + 1) & mask; m->slots[i].place != 0; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;

        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole].place = 0;
}

bool map_remove(struct map *m, const char *key)
{
    uint32_t hash = 0;
    size_t index = find_entry(m, key, &hash);

    if (index == SIZE_MAX)
        return false;
    struct map_entry old = m->entries[index];

    if (m->slots != NULL)
        close_slot(m, find_slot(m, key, hash));
    m->len--;
    if (index < m->len) {
        memmove(&m->entries[index], &m->entries[index + 1], (m->len - index) * sizeof(*m->entries));
        for (size_t i = 0; i < m->slot_count; i++)
            if (m->slots[i].place > index + 1)
                m->slots[i].place--;
    }
    if (!m->borrows_keys)
        free(old.key);
    if (m->free_value != NULL)
        m->free_value(old.value);
    return true;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct map_entry *)a)->key, ((const struct map_entry *)b)->key);
}

void map_sort(struct map *m)
{
    if (m->len < 2)
        return;
    qsort(m->entries, m->len, sizeof(*m->entries), compare_entries);
    if (m->slots != NULL) {
        memset(m->slots, 0, m->slot_count * sizeof(*m->slots));
        hash_entries(m);
    }
}

void strmap_init(struct map *m)
{
    *m = (struct map){ .free_value = free };
}

const char *strmap_get(const struct map *m, const char *key)
{
    return map_get(m, key);
}

void strmap_set(struct map *m, const char *key, const char *value)
{
    m->free_value = free;
    map_set(m, key, xstrdup(value));
}

void strmap_copy(struct map *dst, const struct map *src)
{
    for (size_t i = 0; i < src->len; i++)
        strmap_set(dst, src->entries[i].key, src->entries[i].value);
}
