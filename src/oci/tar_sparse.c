/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/tar_sparse.h"

#include <errno.h>

#include "base/limits.h"

static struct error *bad_map(void)
{
    return err_new(ERR_INVALID, "archive/tar: invalid tar header: malformed sparse map");
}

void tar_sparse_deinit(struct tar_sparse *s)
{
    free(s->fragments);
    memset(s, 0, sizeof(*s));
}

int64_t tar_sparse_hole(const struct tar_sparse *s)
{
    int64_t next = s->at < s->count ? s->fragments[s->at].offset : s->size;
    return next > s->pos ? next - s->pos : 0;
}

int64_t tar_sparse_data(const struct tar_sparse *s)
{
    if (s->at == s->count || s->pos < s->fragments[s->at].offset)
        return 0;
    return s->fragments[s->at].offset + s->fragments[s->at].length - s->pos;
}

void tar_sparse_advance(struct tar_sparse *s, int64_t n)
{
    s->pos += n;
    while (s->at < s->count && s->pos >= s->fragments[s->at].offset + s->fragments[s->at].length)
        s->at++;
}

static struct error *add_fragment(struct tar_sparse *s, int64_t offset, int64_t length)
{
    if (offset < 0 || length < 0 || s->count == LIMIT_TAR_SPARSE)
        return bad_map();
    if ((s->count & (s->count - 1)) == 0)
        s->fragments = xreallocarray(s->fragments, s->count > 0 ? s->count * 2 : 8, sizeof(*s->fragments));
    s->fragments[s->count++] = (struct tar_fragment){ offset, length };
    return NULL;
}

static struct error *finish(struct tar_sparse *s, int64_t size, int64_t stored)
{
    int64_t end = 0, data = 0;
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++) {
        struct tar_fragment f = s->fragments[i];
        if (f.offset < end || f.offset > size || f.length > size - f.offset)
            return bad_map();
        end = f.offset + f.length;
        data += f.length;
        if (f.length > 0)
            s->fragments[kept++] = f;
    }
    if (size < 0 || data != stored)
        return bad_map();
    s->count = kept;
    s->size = size;
    s->active = true;
    return NULL;
}

/* ---- the old header --------------------------------------------------------------------------------------
 */

static struct error *add_old_entries(struct tar_sparse *s, const char *p, size_t max)
{
    for (size_t i = 0; i < max && p[0] != '\0'; i++, p += 24) {
        int64_t offset, length;
        if (tar_number(p, 12, &offset) < 0 || tar_number(p + 12, 12, &length) < 0)
            return bad_map();
        TRY(add_fragment(s, offset, length));
    }
    return NULL;
}

struct error *tar_sparse_old(struct tar_sparse *s, const char *block, struct tar_entry *e, int64_t stored,
                             tar_sparse_input next_block, void *ctx)
{
    char extension[TAR_BLOCK];
    int64_t size;
    bool more = block[482] != '\0';
    if (memcmp(block + 257, "ustar  \0", 8) != 0 || tar_number(block + 483, 12, &size) < 0)
        return bad_map();
    TRY(add_old_entries(s, block + 386, 4));
    while (more) {
        ssize_t r = next_block(ctx, extension, sizeof(extension));
        if (r < 0)
            return r == -EPIPE ? err_new(ERR_INVALID, "archive/tar: unexpected EOF")
                               : err_sys((int)-r, "archive/tar: read");
        more = extension[504] != '\0';
        TRY(add_old_entries(s, extension, 21));
    }
    TRY(finish(s, size, stored));
    e->size = size;
    return NULL;
}

/* ---- PAX -------------------------------------------------------------------------------------------------
 */

void tar_sparse_pax_deinit(struct tar_sparse_pax *p)
{
    free(p->name);
    buf_deinit(&p->map);
}

struct error *tar_sparse_record(struct tar_sparse_pax *p, const char *key, const char *value)
{
    p->seen = true;
    if (streq(key, "major")) {
        p->in_data = streq(value, "1");
    } else if (streq(key, "name")) {
        free(p->name);
        p->name = xstrdup(value);
    } else if (streq(key, "size") || streq(key, "realsize")) {
        if (parse_i64(value, &p->size) < 0 || p->size < 0)
            return bad_map();
    } else if (streq(key, "map")) {
        buf_clear(&p->map);
        buf_adds(&p->map, value);
    } else if (streq(key, "offset") || streq(key, "numbytes")) {
        buf_addf(&p->map, "%s%s", p->map.len > 0 ? "," : "", value);
    }
    return p->map.len > LIMIT_TAR_PAX ? bad_map() : NULL;
}

static struct error *parse_map(struct tar_sparse *s, const char *text)
{
    int64_t pair[2];
    int half = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        CLEANUP(freep) char *number = xstrndup(text, len);
        if (parse_i64(number, &pair[half]) < 0)
            return bad_map();
        half ^= 1;
        if (half == 0)
            TRY(add_fragment(s, pair[0], pair[1]));
        text += len + (text[len] == ',');
    }
    return half == 0 ? NULL : bad_map();
}

/* Numbers, one a line, in whole blocks in front of the data. */
struct map_lines {
    char block[TAR_BLOCK];
    size_t at;
    tar_sparse_input read;
    void *ctx;
};

static struct error *next_number(struct map_lines *m, int64_t *ret)
{
    char digits[24];
    size_t n = 0;
    for (;;) {
        if (m->at == TAR_BLOCK) {
            ssize_t r = m->read(m->ctx, m->block, TAR_BLOCK);
            if (r == -EBADMSG || r == -EPIPE)
                return bad_map();
            if (r < 0)
                return err_sys((int)-r, "archive/tar: read");
            m->at = 0;
        }
        char c = m->block[m->at++];
        if (c == '\n')
            break;
        if (n == sizeof(digits) - 1)
            return bad_map();
        digits[n++] = c;
    }
    digits[n] = '\0';
    return parse_i64(digits, ret) < 0 ? bad_map() : NULL;
}

static struct error *read_map(struct tar_sparse *s, tar_sparse_input read, void *ctx)
{
    struct map_lines m = { .at = TAR_BLOCK, .read = read, .ctx = ctx };
    int64_t count, offset, length;
    TRY(next_number(&m, &count));
    if (count < 0 || count > LIMIT_TAR_SPARSE)
        return bad_map();
    for (int64_t i = 0; i < count; i++) {
        TRY(next_number(&m, &offset));
        TRY(next_number(&m, &length));
        TRY(add_fragment(s, offset, length));
    }
    return NULL;
}

struct error *tar_sparse_pax(struct tar_sparse *s, struct tar_sparse_pax *p, struct tar_entry *e,
                             const int64_t *stored, tar_sparse_input read, void *ctx)
{
    if (p->in_data)
        TRY(read_map(s, read, ctx));
    else
        TRY(parse_map(s, p->map.data != NULL ? p->map.data : ""));
    TRY(finish(s, p->size, *stored));
    if (p->name != NULL && *p->name != '\0') {
        free(e->name);
        e->name = TAKE(p->name);
    }
    e->size = p->size;
    return NULL;
}
