/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vec.h - string vectors, pointer vectors, string-keyed maps
 *
 * All are valid when zeroed.  Keys and strings are copied in; pointer values are borrowed unless the map has
 * a free function.
 */
#ifndef MINKE_BASE_VEC_H
#define MINKE_BASE_VEC_H

#include "base/base.h"

/* Owned strings; `v` is NULL-terminated whenever it is not NULL (fit for execve). */
struct strv {
    char **v;
    size_t len;
    size_t cap;
};
void strv_deinit(struct strv *s);
void strv_clear(struct strv *s);
void strv_add(struct strv *s, const char *str);
void strv_addn(struct strv *s, const char *str, size_t len);
void strv_addf(struct strv *s, const char *fmt, ...) PRINTF(2, 3);
void strv_take(struct strv *s, char *str);                /* takes str */
void strv_copy(struct strv *dst, const struct strv *src); /* append copies of all */
void strv_remove(struct strv *s, size_t index);
bool strv_has(const struct strv *s, const char *str);
void strv_sort(struct strv *s);
/* Split at every `sep`; "" gives one empty string, as Go's strings.Split. */
void strv_split(struct strv *s, const char *str, char sep);
char *strv_join(const struct strv *s, const char *sep); /* new string */

/* Move the strings out of a vector that owns them. */
#define TAKE_STRV(s)                                                                                         \
    ({                                                                                                       \
        struct strv t_ = (s);                                                                                \
        (s) = (struct strv){ 0 };                                                                            \
        t_;                                                                                                  \
    })

/* Borrowed pointers. */
struct ptrv {
    void **v;
    size_t len;
    size_t cap;
};
void ptrv_deinit(struct ptrv *p); /* frees the vector, not what it points to */
void ptrv_add(struct ptrv *p, void *item);
void ptrv_remove(struct ptrv *p, size_t index);
void ptrv_drop(struct ptrv *p, const void *item); /* the last entry that is `item`, if any */

/* Map from string to pointer, in insertion order: entries[0..len). A removed entry closes the gap. */
struct map_entry {
    char *key;
    void *value;
};
struct map {
    struct map_entry *entries;
    size_t len;
    size_t cap;
    struct map_slot *slots; /* NULL: few enough to look at each */
    size_t slot_count;
    void (*free_value)(void *); /* may be NULL */
    bool borrows_keys;          /* keys are not copied in: they live as long.  Set while it is empty */
};
void map_deinit(struct map *m);
void *map_get(const struct map *m, const char *key); /* borrowed, NULL when absent */
bool map_has(const struct map *m, const char *key);
void map_set(struct map *m, const char *key, void *value); /* replaces and frees an old value */
void **map_at(struct map *m, const char *key);   /* where its value is, NULL as yet when the key is new; good
                                                    until the next key */
bool map_remove(struct map *m, const char *key); /* was it there */
void map_sort(struct map *m);                    /* by key, bytewise */

/* Keyed with random bytes of this process: nobody can choose strings that collide. */
uint64_t str_hash(const char *s);

/* Map from string to owned string, the same order rule: strmap_set(&m, "a", "b"). */
void strmap_init(struct map *m);
const char *strmap_get(const struct map *m, const char *key);
void strmap_set(struct map *m, const char *key, const char *value);
void strmap_copy(struct map *dst, const struct map *src);

#endif
