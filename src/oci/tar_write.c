/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of every byte here is fixed by Go's archive/tar: change nothing without the comparison of
 * tar_test.c. */
#include "oci/tar.h"

#include <errno.h>

/* Offsets and sizes of the header's fields. */
enum {
    NAME_AT = 0,
    NAME_SIZE = 100,
    MODE_AT = 100,
    UID_AT = 108,
    GID_AT = 116,
    ID_SIZE = 8,
    SIZE_AT = 124,
    MTIME_AT = 136,
    LONG_SIZE = 12,
    CHECKSUM_AT = 148,
    CHECKSUM_SIZE = 8,
    TYPE_AT = 156,
    LINK_AT = 157,
    MAGIC_AT = 257,
    UNAME_AT = 265,
    GNAME_AT = 297,
    OWNER_SIZE = 32,
    MAJOR_AT = 329,
    MINOR_AT = 337,
    DEV_SIZE = 8,
    PREFIX_AT = 345,
    PREFIX_SIZE = 155,
};

static const char *text(const char *s)
{
    return s != NULL ? s : "";
}

static bool is_ascii(const char *s)
{
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s >= 0x80)
            return false;
    }
    return true;
}

/* The ASCII bytes alone, as a best effort beside a PAX record. */
static char *ascii_only(const char *s)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s < 0x80)
            buf_addc(&b, *s);
    }
    return buf_take(&b);
}

static bool fits_octal(size_t field, int64_t n)
{
    return n >= 0 && n < INT64_C(1) << ((field - 1) * 3);
}

static void put_octal(char *block, size_t at, size_t field, int64_t n)
{
    char digits[24];
    if (!fits_octal(field, n))
        n = 0;
    snprintf(digits, sizeof(digits), "%0*llo", (int)field - 1, (unsigned long long)n);
    memcpy(block + at, digits, field - 1);
    block[at + field - 1] = '\0';
}

static void put_string(char *block, size_t at, size_t field, const char *s)
{
    size_t len = strlen(s);
    memcpy(block + at, s, MIN(len, field));
    if (len < field)
        block[at + len] = '\0';
    /* a cut name must not look like a directory's */
    if (len > field && block[at + field - 1] == '/') {
        size_t n = field - 1;
        while (n > 0 && s[n - 1] == '/')
            n--;
        block[at + n] = '\0';
    }
}

static void put_checksum(char *block)
{
    unsigned sum = 0;
    memset(block + CHECKSUM_AT, ' ', CHECKSUM_SIZE);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += (unsigned char)block[i];
    put_octal(block, CHECKSUM_AT, CHECKSUM_SIZE - 1, sum);
    block[CHECKSUM_AT + CHECKSUM_SIZE - 1] = ' ';
}

static void put_magic(char *block)
{
    memcpy(block + MAGIC_AT,
           "ustar\0"
           "00",
           8);
}

static void put_fields(char *block, const struct tar_entry *e)
{
    block[TYPE_AT] = (char)e->type;
    put_octal(block, MODE_AT, ID_SIZE, e->mode);
    put_octal(block, UID_AT, ID_SIZE, e->uid);
    put_octal(block, GID_AT, ID_SIZE, e->gid);
    put_octal(block, SIZE_AT, LONG_SIZE, e->size);
    put_octal(block, MTIME_AT, LONG_SIZE, e->mtime);
    put_octal(block, MAJOR_AT, DEV_SIZE, e->dev_major);
    put_octal(block, MINOR_AT, DEV_SIZE, e->dev_minor);
    put_magic(block);
}

/* Where a long name may be cut for USTAR's prefix: the index of that slash, or -1. */
static ssize_t ustar_split(const char *name)
{
    size_t len = strlen(name);
    size_t window = len;
    if (len <= NAME_SIZE || !is_ascii(name))
        return -1;
    if (window > PREFIX_SIZE + 1)
        window = PREFIX_SIZE + 1;
    else if (name[window - 1] == '/')
        window--;
    const char *slash = memrchr(name, '/', window);
    if (slash == NULL || slash == name)
        return -1;
    size_t prefix = (size_t)(slash - name);
    size_t suffix = len - prefix - 1;
    return suffix > 0 && suffix <= NAME_SIZE && prefix <= PREFIX_SIZE ? (ssize_t)prefix : -1;
}

/* ---- PAX -------------------------------------------------------------------------------------------------
 */

#define MAX_BASIC_RECORDS 9

struct record {
    const char *prefix, *key; /* prefix: "SCHILY.xattr." or "" */
    const void *value;
    size_t len;
};

static int compare_records(const void *x, const void *y)
{
    const struct record *a = x;
    const struct record *b = y;
    CLEANUP(freep) char *ka = xasprintf("%s%s", a->prefix, a->key);
    CLEANUP(freep) char *kb = xasprintf("%s%s", b->prefix, b->key);
    return strcmp(ka, kb);
}

static size_t decimal_digits(size_t n)
{
    size_t digits = 1;
    for (; n >= 10; n /= 10)
        digits++;
    return digits;
}

/* "LEN key=value\n", where LEN counts itself. */
static void add_record(struct buf *out, const struct record *r)
{
    size_t rest = strlen(r->prefix) + strlen(r->key) + r->len + 3;
    size_t size = rest + decimal_digits(rest);
    size = rest + decimal_digits(size);
    buf_addf(out, "%zu %s%s=", size, r->prefix, r->key);
    buf_add(out, r->value, r->len);
    buf_addc(out, '\n');
}

/* dir/PaxHeaders.0/file, cleaned as Go's path.Join does. */
static char *pax_header_name(const char *name)
{
    const char *slash = strrchr(name, '/');
    size_t dir_len = slash != NULL ? (size_t)(slash - name) : 0;
    while (dir_len > 0 && name[dir_len - 1] == '/')
        dir_len--;
    const char *file = slash != NULL ? slash + 1 : name;
    CLEANUP(freep)
    char *joined = xasprintf("%.*s%sPaxHeaders.0%s%s", (int)dir_len, name, dir_len > 0 ? "/" : "",
                             *file != '\0' ? "/" : "", file);
    char *ascii = ascii_only(joined);
    if (strlen(ascii) > NAME_SIZE)
        ascii[NAME_SIZE] = '\0';
    for (size_t n = strlen(ascii); n > 0 && ascii[n - 1] == '/'; n--)
        ascii[n - 1] = '\0';
    return ascii;
}

static void add_pax_header(struct buf *out, const char *name, const struct buf *records)
{
    char block[TAR_BLOCK] = { 0 };
    CLEANUP(freep) char *header_name = pax_header_name(name);
    block[TYPE_AT] = 'x';
    put_string(block, NAME_AT, NAME_SIZE, header_name);
    put_octal(block, MODE_AT, ID_SIZE, 0);
    put_octal(block, UID_AT, ID_SIZE, 0);
    put_octal(block, GID_AT, ID_SIZE, 0);
    put_octal(block, SIZE_AT, LONG_SIZE, (int64_t)records->len);
    put_octal(block, MTIME_AT, LONG_SIZE, 0);
    put_magic(block);
    put_checksum(block);
    buf_add(out, block, sizeof(block));
    buf_add(out, records->data, records->len);
    static const char zeros[TAR_BLOCK];
    buf_add(out, zeros, tar_padding((int64_t)records->len));
}

/* Go's formatPAXTime. */
static char *pax_time(int64_t sec, uint32_t nsec)
{
    if (nsec == 0)
        return xasprintf("%lld", (long long)sec);
    const char *sign = "";
    if (sec < 0) {
        sign = "-";
        sec = -(sec + 1);
        nsec = 1000000000u - nsec;
    }
    char *s = xasprintf("%s%lld.%09u", sign, (long long)sec, nsec);
    for (size_t n = strlen(s); n > 0 && s[n - 1] == '0'; n--)
        s[n - 1] = '\0';
    return s;
}

struct records {
    struct record *list;
    size_t count;
    char *numbers[MAX_BASIC_RECORDS]; /* owned texts */
    size_t number_count;
    bool need_pax; /* USTAR cannot say it */
};

static void add_basic(struct records *r, const char *key, const char *value)
{
    r->list[r->count++] = (struct record){ .prefix = "", .key = key, .value = value, .len = strlen(value) };
}

static void check_string(struct records *r, const char *key, const char *s, size_t field, bool may_split)
{
    if (is_ascii(s) && strlen(s) <= field)
        return;
    add_basic(r, key, s);
    if (!may_split || ustar_split(s) < 0)
        r->need_pax = true;
}

static void check_number(struct records *r, const char *key, int64_t n, size_t field)
{
    if (fits_octal(field, n))
        return;
    char *s = xasprintf("%lld", (long long)n);
    r->numbers[r->number_count++] = s;
    add_basic(r, key, s);
    r->need_pax = true;
}

static void collect_records(struct records *r, const struct tar_entry *e)
{
    r->list = xcalloc(MAX_BASIC_RECORDS + e->xattr_count, sizeof(*r->list));
    check_string(r, "path", e->name, NAME_SIZE, true);
    check_string(r, "linkpath", text(e->linkname), NAME_SIZE, false);
    check_string(r, "uname", text(e->uname), OWNER_SIZE, false);
    check_string(r, "gname", text(e->gname), OWNER_SIZE, false);
    check_number(r, "uid", e->uid, ID_SIZE);
    check_number(r, "gid", e->gid, ID_SIZE);
    check_number(r, "size", e->size, LONG_SIZE);
    if (e->mtime_nsec != 0 || !fits_octal(LONG_SIZE, e->mtime)) {
        char *s = pax_time(e->mtime, e->mtime_nsec);
        r->numbers[r->number_count++] = s;
        add_basic(r, "mtime", s);
        r->need_pax = true;
    }
    for (size_t i = 0; i < e->xattr_count; i++) {
        const struct tar_xattr *x = &e->xattrs[i];
        r->list[r->count++] =
            (struct record){ .prefix = "SCHILY.xattr.", .key = x->name, .value = x->value, .len = x->len };
        r->need_pax = true;
    }
    qsort(r->list, r->count, sizeof(*r->list), compare_records);
}

static void add_ustar(struct buf *out, const struct tar_entry *e)
{
    char block[TAR_BLOCK] = { 0 };
    ssize_t split = ustar_split(e->name);
    put_fields(block, e);
    if (split >= 0) {
        memcpy(block + PREFIX_AT, e->name, (size_t)split);
        put_string(block, NAME_AT, NAME_SIZE, e->name + split + 1);
    } else {
        put_string(block, NAME_AT, NAME_SIZE, e->name);
    }
    put_string(block, LINK_AT, NAME_SIZE, text(e->linkname));
    put_string(block, UNAME_AT, OWNER_SIZE, text(e->uname));
    put_string(block, GNAME_AT, OWNER_SIZE, text(e->gname));
    put_checksum(block);
    buf_add(out, block, sizeof(block));
}

static void put_ascii(char *block, size_t at, size_t field, const char *s)
{
    CLEANUP(freep) char *ascii = ascii_only(s);
    put_string(block, at, field, ascii);
}

static void add_pax(struct buf *out, const struct tar_entry *e, const struct records *r)
{
    CLEANUP(buf_deinit) struct buf records = { 0 };
    char block[TAR_BLOCK] = { 0 };
    for (size_t i = 0; i < r->count; i++)
        add_record(&records, &r->list[i]);
    add_pax_header(out, e->name, &records);
    put_fields(block, e);
    put_ascii(block, NAME_AT, NAME_SIZE, e->name);
    put_ascii(block, LINK_AT, NAME_SIZE, text(e->linkname));
    put_ascii(block, UNAME_AT, OWNER_SIZE, text(e->uname));
    put_ascii(block, GNAME_AT, OWNER_SIZE, text(e->gname));
    put_checksum(block);
    buf_add(out, block, sizeof(block));
}

/* What nearly every entry is: decided without building a list. */
static bool plainly_ustar(const struct tar_entry *e)
{
    return e->xattr_count == 0 && e->mtime_nsec == 0 && fits_octal(LONG_SIZE, e->mtime) &&
           fits_octal(ID_SIZE, e->uid) && fits_octal(ID_SIZE, e->gid) && fits_octal(LONG_SIZE, e->size) &&
           strlen(e->name) <= NAME_SIZE && is_ascii(e->name) && strlen(text(e->linkname)) <= NAME_SIZE &&
           is_ascii(text(e->linkname)) && strlen(text(e->uname)) <= OWNER_SIZE && is_ascii(text(e->uname)) &&
           strlen(text(e->gname)) <= OWNER_SIZE && is_ascii(text(e->gname));
}

void tar_add_header(struct buf *out, const struct tar_entry *e)
{
    if (plainly_ustar(e)) {
        add_ustar(out, e);
        return;
    }
    struct records r = { 0 };
    collect_records(&r, e);
    if (r.need_pax)
        add_pax(out, e, &r);
    else
        add_ustar(out, e);
    for (size_t i = 0; i < r.number_count; i++)
        free(r.numbers[i]);
    free(r.list);
}

void tar_add_end(struct buf *out)
{
    static const char zeros[2 * TAR_BLOCK];
    buf_add(out, zeros, sizeof(zeros));
}

void tar_entry_deinit(struct tar_entry *e)
{
    free(e->name);
    free(e->linkname);
    free(e->uname);
    free(e->gname);
    for (size_t i = 0; i < e->xattr_count; i++) {
        free(e->xattrs[i].name);
        free(e->xattrs[i].value);
    }
    free(e->xattrs);
    memset(e, 0, sizeof(*e));
}

void tar_entry_add_xattr(struct tar_entry *e, const char *name, const void *value, size_t len)
{
    e->xattrs = xreallocarray(e->xattrs, e->xattr_count + 1, sizeof(*e->xattrs));
    e->xattrs[e->xattr_count++] =
        (struct tar_xattr){ .name = xstrdup(name), .value = xmemdup(value, len), .len = len };
}
