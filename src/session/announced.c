/* SPDX-License-Identifier: Apache-2.0 */
/*
 * announced.c - what the peer says of its tree: checked, compared with what is here, brought about
 */
#include "session/receiver.h"
#include "wire/pb.h"

/* ---- is it possible? ---- */

static struct error *check_path(const char *path)
{
    size_t len = strlen(path);

    if (len == 0 || len >= LIMIT_PATH)
        return err_new(ERR_INVALID, "unclean path \"%.64s\": invalid argument", path);
    if (path[0] == '/')
        return err_new(ERR_INVALID, "absolute path %s: invalid argument", path);
    for (const char *p = path;; p++) {
        size_t n = strcspn(p, "/");

        if (n == 2 && memcmp(p, "..", 2) == 0)
            return err_new(ERR_INVALID, "escape check %s: invalid argument", path);
        if (n == 0 || (n == 1 && *p == '.'))
            return err_new(ERR_INVALID, "unclean path %s: invalid argument", path);
        p += n;
        if (*p == '\0')
            return NULL;
    }
}

static struct error *check_type(const struct sync_entry *e)
{
    static const uint32_t types[] = {
        0, GO_MODE_DIR, GO_MODE_SYMLINK, GO_MODE_DEVICE, GO_MODE_DEVICE | GO_MODE_CHAR, GO_MODE_PIPE
    };

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if ((e->mode & GO_MODE_TYPE) == types[i])
            return NULL;
    return err_new(ERR_INVALID, "%s has a file type that cannot be received: mode %o", e->path,
                   (unsigned)e->mode);
}

/* ---- in order? ---- */

static struct level *top_level(struct receiver *r)
{
    return &r->levels[r->level_count - 1];
}

static void push_level(struct receiver *r, const char *path, size_t entry)
{
    RECEIVER_GROW(r->levels, r->level_count, r->level_cap);
    r->levels[r->level_count++] = (struct level){ .path = xstrdup(path), .entry = entry };
}

static void pop_level(struct receiver *r)
{
    struct level *l = &r->levels[--r->level_count];

    free(l->path);
    free(l->last);
    sync_entry_deinit(&l->pending);
}

void receiver_init_levels(struct receiver *r)
{
    push_level(r, "", SIZE_MAX);
}

void receiver_deinit_levels(struct receiver *r)
{
    while (r->level_count > 0)
        pop_level(r);
    free(r->levels);
}

static bool level_is(const struct level *l, const char *dir, size_t len)
{
    return strlen(l->path) == len && memcmp(l->path, dir, len) == 0;
}

static size_t parent_length(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? (size_t)(slash - path) : 0;
}

/* Each entry lies in a directory that is open, behind what came there before. */
static struct error *check_order(struct receiver *r, const char *path)
{
    size_t len = parent_length(path), at = r->level_count;
    const char *base = len > 0 ? path + len + 1 : path;

    while (at > 0 && !level_is(&r->levels[at - 1], path, len))
        at--;
    if (at == 0) {
        struct level *top = top_level(r);

        return err_new(ERR_INVALID, "changes out of order: \"%s\" \"%s%s%s\"", path, top->path,
                       *top->path != '\0' ? "/" : "", top->last != NULL ? top->last : "");
    }
    while (r->level_count > at)
        pop_level(r);
    struct level *top = top_level(r);

    if (top->last != NULL && strcmp(top->last, base) >= 0)
        return err_new(ERR_INVALID, "changes out of order: \"%s\" \"%s%s%s\"", path, top->path,
                       *top->path != '\0' ? "/" : "", top->last);
    free(top->last);
    top->last = xstrdup(base);
    return NULL;
}

/* ---- from the wire ---- */

static int compare_xattrs(const void *a, const void *b)
{
    return strcmp((*(Kv__Bytes *const *)a)->key, (*(Kv__Bytes *const *)b)->key);
}

static void put_u32(struct buf *b, uint32_t v)
{
    uint8_t bytes[4] = { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) };

    buf_add(b, bytes, sizeof(bytes));
}

static struct error *take_xattrs(const Fs__Stat *stat, struct sync_entry *e)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };

    if (stat->n_xattrs > 1)
        qsort(stat->xattrs, stat->n_xattrs, sizeof(*stat->xattrs), compare_xattrs);
    for (size_t i = 0; i < stat->n_xattrs; i++) {
        const Kv__Bytes *x = stat->xattrs[i];
        size_t key_len = strlen(x->key);

        if (key_len + x->value.len > LIMIT_SYNC_XATTRS || b.len > LIMIT_SYNC_XATTRS)
            return err_new(ERR_EXHAUSTED, "%s has more than %zu bytes of extended attributes", stat->path,
                           LIMIT_SYNC_XATTRS);
        put_u32(&b, (uint32_t)key_len);
        buf_add(&b, x->key, key_len);
        put_u32(&b, (uint32_t)x->value.len);
        buf_add(&b, x->value.data, x->value.len);
    }
    e->xattrs_len = (uint32_t)b.len;
    e->xattrs = b.len > 0 ? (uint8_t *)buf_take(&b) : NULL;
    return NULL;
}

/* *e is to be freed also when this fails. */
static struct error *take_stat(struct receiver *r, const Fs__Stat *stat, struct sync_entry *e)
{
    r->text_bytes += strlen(stat->path) + strlen(stat->linkname);
    if (r->next_id >= LIMIT_SYNC_ENTRIES || r->text_bytes > LIMIT_SYNC_TEXT)
        return err_new(ERR_EXHAUSTED, "the transferred tree is too large");
    TRY(check_path(stat->path));
    if (strlen(stat->linkname) >= LIMIT_PATH)
        return err_new(ERR_INVALID, "%s: the link's target is too long", stat->path);
    *e = (struct sync_entry){ .path = xstrdup(stat->path),
                              .mode = stat->mode,
                              .uid = stat->uid,
                              .gid = stat->gid,
                              .size = stat->size,
                              .mtime_ns = stat->mod_time,
                              .linkname = *stat->linkname != '\0' ? xstrdup(stat->linkname) : NULL,
                              .devmajor = stat->devmajor,
                              .devminor = stat->devminor };
    TRY(take_xattrs(stat, e));
    return check_type(e);
}

/* ---- compared with the old tree ---- */

static bool is_dir(const struct sync_entry *e)
{
    return (e->mode & GO_MODE_DIR) != 0;
}

static bool is_regular(const struct sync_entry *e)
{
    return (e->mode & GO_MODE_TYPE) == 0;
}

static bool is_hard_link(const struct sync_entry *e)
{
    return is_regular(e) && e->linkname != NULL;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : streq(a, b);
}

static bool same(const struct sync_entry *a, const struct sync_entry *b)
{
    return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid && a->devmajor == b->devmajor &&
           a->devminor == b->devminor && (is_dir(a) || (a->size == b->size && a->mtime_ns == b->mtime_ns)) &&
           same_text(a->linkname, b->linkname) && a->xattrs_len == b->xattrs_len &&
           (a->xattrs_len == 0 || memcmp(a->xattrs, b->xattrs, a->xattrs_len) == 0);
}

/* The directory that holds `path` is open, if it is in the new tree at all. */
static void touch_parent(struct receiver *r, const char *path)
{
    size_t len = parent_length(path);

    for (size_t i = r->level_count; i > 0; i--) {
        const struct level *l = &r->levels[i - 1];

        if (!level_is(l, path, len))
            continue;
        if (l->entry != SIZE_MAX)
            r->flags[l->entry] |= NEW_TOUCHED;
        return;
    }
}

static bool below(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    return strncmp(path, dir, len) == 0 && path[len] == '/';
}

/* Remove the next entry of the old tree; with a directory goes all below it. */
static struct error *remove_old(struct receiver *r)
{
    const struct sync_entry *gone = &r->old.entries[r->old_at++];

    if (gone->packed == 0)
        TRY_DISK(place_remove(&r->place, gone->path), "remove", gone->path);
    touch_parent(r, gone->path);
    while (r->old_at < r->old.len && below(r->old.entries[r->old_at].path, gone->path))
        r->old_at++;
    return NULL;
}

struct error *receiver_remove_rest(struct receiver *r)
{
    while (r->old_at < r->old.len)
        TRY(remove_old(r));
    return NULL;
}

/* ---- brought about ---- */

static void want(struct receiver *r, uint32_t id, size_t at)
{
    RECEIVER_GROW(r->wanted, r->wanted_count, r->wanted_cap);
    r->wanted[r->wanted_count++] = (struct wanted){ id, at };
}

static bool can_be_held(const struct sync_entry *e)
{
    return is_regular(e) && !is_hard_link(e) && e->size <= (int64_t)LIMIT_SYNC_HELD;
}

static struct error *make_new(struct receiver *r, uint32_t id, size_t at)
{
    struct sync_entry *e = &r->new.entries[at];

    r->flags[at] |= NEW_CHANGED;
    touch_parent(r, e->path);
    if (is_hard_link(e)) {
        RECEIVER_GROW(r->links, r->link_count, r->link_cap);
        r->links[r->link_count++] = at;
    } else if (is_regular(e)) {
        want(r, id, at);
    } else {
        TRY_DISK(place_make(&r->place, e), "create", e->path);
        if (is_dir(e))
            r->flags[at] |= NEW_TOUCHED;
    }
    return NULL;
}

/* A hard link stays only with its inode. */
static bool target_changed(const struct receiver *r, const struct sync_entry *e)
{
    if (!is_hard_link(e))
        return false;
    return (r->flags[sync_index_find(&r->new, e->linkname) - r->new.entries] & NEW_CHANGED) != 0;
}

/* The same path was there before. */
static struct error *replace(struct receiver *r, uint32_t id, size_t at)
{
    struct sync_entry *e = &r->new.entries[at], *before = &r->old.entries[r->old_at];

    if (is_dir(e) && is_dir(before)) {
        r->old_at++;
        if (before->mtime_ns != e->mtime_ns)
            r->flags[at] |= NEW_TOUCHED;
        if (same(before, e))
            return NULL;
        r->flags[at] |= NEW_TOUCHED;
        TRY_DISK(place_update_dir(&r->place, e), "set the metadata of", e->path);
        return NULL;
    }
    if (!r->o->differ_none && !target_changed(r, e) && same(before, e)) {
        memcpy(e->content, before->content, sizeof(e->content));
        e->packed = before->packed;
        r->old_at++;
        return NULL;
    }
    if (r->o->differ_none && can_be_held(e) && same(before, e)) {
        memcpy(e->content, before->content, sizeof(e->content));
        e->packed = before->packed;
        r->old_at++;
        r->flags[at] |= NEW_CHECKED;
        want(r, id, at);
        return NULL;
    }
    TRY(remove_old(r));
    return make_new(r, id, at);
}

static struct error *check_link(const struct receiver *r, const struct sync_entry *e)
{
    const struct sync_entry *target = is_hard_link(e) ? sync_index_find(&r->new, e->linkname) : e;

    if (target == NULL || (is_hard_link(e) && (!is_regular(target) || target->linkname != NULL)))
        return err_new(ERR_INVALID, "invalid link %s to unknown path: \"%s\"", e->path, e->linkname);
    return NULL;
}

/* Into the new index (takes *e) and onto the disk. */
static struct error *add_entry(struct receiver *r, uint32_t id, struct sync_entry *e, size_t *ret_at)
{
    TRY(check_link(r, e));
    if (r->new.len == r->new.cap) {
        r->new.cap = r->new.cap == 0 ? 256 : r->new.cap * 2;
        r->new.entries = xreallocarray(r->new.entries, r->new.cap, sizeof(*r->new.entries));
        r->flags = xrealloc(r->flags, r->new.cap);
    }
    size_t at = *ret_at = r->new.len++;

    r->flags[at] = 0;
    r->new.entries[at] = *e;
    *e = (struct sync_entry){ 0 };
    const char *path = r->new.entries[at].path;
    int order = 1;

    if (is_dir(&r->new.entries[at]))
        r->place.group_sticks |= (r->new.entries[at].mode &GO_MODE_SETGID) != 0;

    while (r->old_at < r->old.len && (order = sync_path_compare(r->old.entries[r->old_at].path, path)) < 0)
        TRY(remove_old(r));
    return r->old_at < r->old.len && order == 0 ? replace(r, id, at) : make_new(r, id, at);
}

/* ---- when only metadata travels ---- */

static struct error *record_metadata(struct receiver *r, const void *stat, size_t len)
{
    if (r->metadata.len + len > LIMIT_SYNC_TEXT)
        return err_new(ERR_EXHAUSTED, "the transferred tree is too large");
    put_u32(&r->metadata, (uint32_t)len);
    buf_add(&r->metadata, stat, len);
    return NULL;
}

/* Make the directories above that wait for something in them. */
static struct error *make_pending(struct receiver *r)
{
    for (size_t i = 1; i < r->level_count; i++) {
        struct level *l = &r->levels[i];

        if (l->pending.path != NULL)
            TRY(add_entry(r, 0, &l->pending, &l->entry));
    }
    return NULL;
}

/* *ret false: nothing more to do with this entry. */
static struct error *metadata_only(struct receiver *r, const void *stat, size_t len, struct sync_entry *e,
                                   bool *ret)
{
    *ret = false;
    TRY(record_metadata(r, stat, len));
    if (r->exceptions.count > 0)
        TRY(pattern_set_match(&r->exceptions, e->path, ret));
    if (*ret)
        return make_pending(r);
    if (is_dir(e)) {
        push_level(r, e->path, SIZE_MAX);
        top_level(r)->pending = *e;
        *e = (struct sync_entry){ 0 };
    }
    return NULL;
}

/* ---- all of it ---- */

static struct error *handle_entry(struct receiver *r, uint32_t id, const void *stat, size_t len,
                                  struct sync_entry *e)
{
    bool dir = is_dir(e), travels = true;
    size_t at;

    TRY(check_order(r, e->path));
    if (r->o->metadata_only) {
        if (streq(e->path, SYNC_METADATA_FILE))
            return NULL; /* ours */
        TRY(metadata_only(r, stat, len, e, &travels));
    }
    if (!travels)
        return NULL;
    TRY(add_entry(r, id, e, &at));
    if (dir)
        push_level(r, r->new.entries[at].path, at);
    return NULL;
}

struct error *receiver_stat(struct receiver *r, const void *stat, size_t len)
{
    struct sync_entry e = { 0 };
    Fs__Stat *m;

    if (r->all_stats)
        return err_new(ERR_INVALID, "an entry was announced behind the last one");
    pb_arena_reset(&r->arena);
    TRY(pb_unpack(&fs__stat__descriptor, stat, len, &r->arena, &m));
    uint32_t id = r->next_id++;
    struct error *failure = take_stat(r, m, &e);

    if (failure == NULL)
        failure = handle_entry(r, id, stat, len, &e);
    sync_entry_deinit(&e);
    return failure;
}
