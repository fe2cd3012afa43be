/* SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "oci/digest.h"
#include "session/sync.h"

#define INDEX_MAGIC "minkeix2"
#define MAGIC_LEN 8
#define SUM_LEN 32

/* ---- modes ---- */

static const struct {
    uint32_t go;
    mode_t posix;
} special_bits[] = { { GO_MODE_SETUID, S_ISUID }, { GO_MODE_SETGID, S_ISGID }, { GO_MODE_STICKY, S_ISVTX } };

static const struct {
    uint32_t go;
    mode_t posix;
} file_types[] = {
    { GO_MODE_DIR, S_IFDIR },    { GO_MODE_SYMLINK, S_IFLNK }, { GO_MODE_DEVICE | GO_MODE_CHAR, S_IFCHR },
    { GO_MODE_DEVICE, S_IFBLK }, { GO_MODE_PIPE, S_IFIFO },    { GO_MODE_SOCKET, S_IFSOCK },
};

uint32_t go_mode_from_stat(mode_t mode)
{
    uint32_t go = mode & 0777;

    for (size_t i = 0; i < ARRAY_LEN(special_bits); i++)
        if ((mode & special_bits[i].posix) != 0)
            go |= special_bits[i].go;
    for (size_t i = 0; i < ARRAY_LEN(file_types); i++)
        if ((mode & S_IFMT) == file_types[i].posix)
            go |= file_types[i].go;
    return go;
}

mode_t go_mode_to_stat(uint32_t go)
{
    mode_t mode = go & 0777;

    for (size_t i = 0; i < ARRAY_LEN(special_bits); i++)
        if ((go & special_bits[i].go) != 0)
            mode |= special_bits[i].posix;
    for (size_t i = 0; i < ARRAY_LEN(file_types); i++)
        if ((go & file_types[i].go) == file_types[i].go)
            return mode | file_types[i].posix;
    return mode | S_IFREG;
}

/* ---- order ---- */

int sync_path_compare(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    if (*a == *b)
        return 0;
    if (*a == '\0' || *b == '\0')
        return *a == '\0' ? -1 : 1;
    if (*a == '/' || *b == '/')
        return *a == '/' ? -1 : 1;
    return (uint8_t)*a < (uint8_t)*b ? -1 : 1;
}

struct sync_entry *sync_index_find(const struct sync_index *index, const char *path)
{
    size_t low = 0, high = index->len;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = sync_path_compare(index->entries[mid].path, path);

        if (order == 0)
            return &index->entries[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* The first place from `low` on that is not below `dir`; what is, comes first. */
static size_t end_of(const struct sync_index *index, const char *dir, size_t low)
{
    size_t high = index->len, len = strlen(dir);

    while (low < high && len > 0) {
        size_t mid = low + (high - low) / 2;
        const char *path = index->entries[mid].path;

        if (strncmp(path, dir, len) == 0 && path[len] == '/')
            low = mid + 1;
        else
            high = mid;
    }
    return len > 0 ? low : index->len;
}

const struct sync_entry *sync_index_next(const struct sync_index *index, const char *dir, size_t *at)
{
    size_t len = strlen(dir);

    if (*at == 0 && len > 0) {
        const struct sync_entry *e = sync_index_find(index, dir);

        if (e == NULL)
            return NULL;
        *at = (size_t)(e - index->entries) + 1;
    }
    if (*at == index->len || (len > 0 && (strncmp(index->entries[*at].path, dir, len) != 0 ||
                                          index->entries[*at].path[len] != '/')))
        return NULL;
    const struct sync_entry *e = &index->entries[(*at)++];

    if ((e->mode & GO_MODE_DIR) != 0)
        *at = end_of(index, e->path, *at);
    return e;
}

void sync_entry_deinit(struct sync_entry *e)
{
    free(e->path);
    free(e->linkname);
    free(e->xattrs);
    *e = (struct sync_entry){ 0 };
}

void sync_index_deinit(struct sync_index *index)
{
    for (size_t i = 0; i < index->len; i++)
        sync_entry_deinit(&index->entries[i]);
    free(index->entries);
    *index = (struct sync_index){ 0 };
}

/* ---- on disk: magic, count, entries (path as shared length and rest), SHA-256 of all before ---- */

static void put_u64(struct buf *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_addc(out, (char)(v | 0x80));
    buf_addc(out, (char)v);
}

static void put_i64(struct buf *out, int64_t v)
{
    put_u64(out, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

static void put_bytes(struct buf *out, const void *p, size_t len)
{
    put_u64(out, len);
    buf_add(out, p, len);
}

static void save_entry(const struct sync_entry *e, const char *before, struct buf *out)
{
    size_t shared = 0;

    while (before[shared] != '\0' && before[shared] == e->path[shared])
        shared++;
    put_u64(out, shared);
    put_bytes(out, e->path + shared, strlen(e->path + shared));
    put_u64(out, e->mode);
    put_u64(out, e->uid);
    put_u64(out, e->gid);
    put_i64(out, e->size);
    put_i64(out, e->mtime_ns);
    put_bytes(out, e->linkname, e->linkname != NULL ? strlen(e->linkname) : 0);
    put_i64(out, e->devmajor);
    put_i64(out, e->devminor);
    put_bytes(out, e->xattrs, e->xattrs_len);
    if ((e->mode & GO_MODE_TYPE) != 0)
        return;
    put_i64(out, e->packed);
    buf_add(out, e->content, sizeof(e->content));
}

void sync_index_save(const struct sync_index *index, struct buf *out)
{
    size_t start = out->len;
    const char *before = "";

    buf_adds(out, INDEX_MAGIC);
    put_u64(out, index->len);
    for (size_t i = 0; i < index->len; i++) {
        save_entry(&index->entries[i], before, out);
        before = index->entries[i].path;
    }
    struct hasher *h = hasher_new();
    uint8_t sum[SUM_LEN];

    hasher_add(h, out->data + start, out->len - start);
    hasher_sum_raw(h, sum);
    hasher_free(h);
    buf_add(out, sum, sizeof(sum));
}

struct reader {
    const uint8_t *p, *end;
    bool bad;
};

static uint64_t get_u64(struct reader *r)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64 && r->p < r->end; shift += 7) {
        uint8_t byte = *r->p++;

        v |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return v;
    }
    r->bad = true;
    return 0;
}

static int64_t get_i64(struct reader *r)
{
    uint64_t v = get_u64(r);

    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

/* Borrowed; NULL when there is not as much. */
static const void *get_raw(struct reader *r, size_t len)
{
    const void *p = r->p;

    if (r->bad || len > (size_t)(r->end - r->p)) {
        r->bad = true;
        return NULL;
    }
    r->p += len;
    return p;
}

static void *get_bytes(struct reader *r, size_t *ret_len)
{
    size_t len = get_u64(r);
    const void *p = get_raw(r, len);

    *ret_len = p != NULL ? len : 0;
    return p != NULL && len > 0 ? xmemdup(p, len) : NULL;
}

static char *get_path(struct reader *r, const char *before)
{
    size_t shared = get_u64(r), len = get_u64(r);
    const char *rest = get_raw(r, len);

    if (rest == NULL || shared > strlen(before)) {
        r->bad = true;
        return NULL;
    }
    return xasprintf("%.*s%.*s", (int)shared, before, (int)len, rest);
}

static void load_entry(struct reader *r, const char *before, struct sync_entry *e)
{
    size_t len = 0;

    e->path = get_path(r, before);
    e->mode = (uint32_t)get_u64(r);
    e->uid = (uint32_t)get_u64(r);
    e->gid = (uint32_t)get_u64(r);
    e->size = get_i64(r);
    e->mtime_ns = get_i64(r);
    e->linkname = get_bytes(r, &len);
    e->devmajor = get_i64(r);
    e->devminor = get_i64(r);
    e->xattrs = get_bytes(r, &len);
    e->xattrs_len = (uint32_t)len;
    if ((e->mode & GO_MODE_TYPE) != 0)
        return;
    e->packed = get_i64(r);
    const void *sum = get_raw(r, sizeof(e->content));

    if (sum != NULL)
        memcpy(e->content, sum, sizeof(e->content));
}

static bool sum_fits(const uint8_t *data, size_t len)
{
    struct hasher *h = hasher_new();
    uint8_t sum[SUM_LEN];

    hasher_add(h, data, len - SUM_LEN);
    hasher_sum_raw(h, sum);
    hasher_free(h);
    return memcmp(sum, data + len - SUM_LEN, SUM_LEN) == 0;
}

struct error *sync_index_load(const void *data, size_t len, struct sync_index *ret)
{
    CLEANUP(sync_index_deinit) struct sync_index index = { 0 };
    const char *before = "";

    if (len < MAGIC_LEN + SUM_LEN || memcmp(data, INDEX_MAGIC, MAGIC_LEN) != 0 || !sum_fits(data, len))
        return err_new(ERR_DATA_LOSS, "the index of a synced tree is damaged");
    struct reader r = { (const uint8_t *)data + MAGIC_LEN, (const uint8_t *)data + len - SUM_LEN, false };
    uint64_t count = get_u64(&r);

    if (count > LIMIT_SYNC_ENTRIES || count > (size_t)(r.end - r.p))
        return err_new(ERR_DATA_LOSS, "the index of a synced tree is damaged");
    index.entries = xcalloc(count + 1, sizeof(*index.entries));
    index.cap = count + 1;
    while (index.len < count && !r.bad) {
        load_entry(&r, before, &index.entries[index.len]);
        before = index.entries[index.len].path;
        index.len++;
    }
    if (r.bad || r.p != r.end)
        return err_new(ERR_DATA_LOSS, "the index of a synced tree is damaged");
    *ret = index;
    index = (struct sync_index){ 0 };
    return NULL;
}
