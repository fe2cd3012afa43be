/* SPDX-License-Identifier: Apache-2.0 */
#include "session/pack.h"

#include <errno.h>
#include <unistd.h>

#include "io/stream.h"

#define PENDING_MAX (256 * KIB)
#define SPARSE_MIN ((int64_t)MIB)

void sync_pack_deinit(struct sync_pack *p)
{
    buf_deinit(&p->pending);
}

bool sync_pack_takes(const struct sync_pack *p, const struct sync_entry *e)
{
    return p != NULL && e->size <= (int64_t)SYNC_PACK_FILE && e->xattrs_len == 0;
}

int sync_pack_add(struct sync_pack *p, const void *data, size_t len, int64_t *ret)
{
    *ret = 1 + p->end + (int64_t)p->pending.len;
    buf_add(&p->pending, data, len);
    return p->pending.len < PENDING_MAX ? 0 : sync_pack_flush(p);
}

int sync_pack_flush(struct sync_pack *p)
{
    for (size_t done = 0; done < p->pending.len;) {
        ssize_t n = pwrite(p->fd, p->pending.data + done, p->pending.len - done, p->end);

        if (n < 0 && errno != EINTR)
            return -errno;
        done += (size_t)MAX(n, 0);
        p->end += MAX(n, 0);
    }
    buf_clear(&p->pending);
    return 0;
}

int sync_pack_read(int fd, const struct sync_entry *e, char *dst)
{
    if (e->packed < 1 || e->size < 0 || e->size > (int64_t)SYNC_PACK_FILE)
        return -EIO;
    for (int64_t done = 0; done < e->size;) {
        ssize_t n = pread(fd, dst + done, (size_t)(e->size - done), e->packed - 1 + done);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -EIO;
        done += MAX(n, 0);
    }
    return 0;
}

static int lay_out(int pack_fd, struct place *place, struct sync_entry *e, char *chunk)
{
    int r = sync_pack_read(pack_fd, e, chunk);
    CLEANUP(closep) int fd = r < 0 ? r : place_create(place, e);

    if (fd < 0)
        return fd;
    r = fd_write_all(fd, chunk, (size_t)e->size);
    if (r == 0)
        r = place_finish(place, fd, e);
    if (r == 0)
        e->packed = 0;
    return r;
}

int sync_pack_lay_out(const struct sync_pack *p, struct place *place, struct sync_entry *e)
{
    CLEANUP(freep) char *chunk = xmalloc(SYNC_PACK_FILE);

    return lay_out(p->fd, place, e, chunk);
}

int sync_pack_lay_out_all(const struct sync_pack *p, int dir_fd, struct sync_index *index)
{
    CLEANUP(freep) char *chunk = xmalloc(SYNC_PACK_FILE);
    CLEANUP(place_deinit) struct place place;
    int r = 0;

    place_init(&place, dir_fd);
    for (size_t i = 0; r == 0 && i < index->len; i++) {
        place.group_sticks |= (index->entries[i].mode & GO_MODE_SETGID) != 0;
        if (index->entries[i].packed != 0)
            r = lay_out(p->fd, &place, &index->entries[i], chunk);
    }
    for (size_t i = 0; r == 0 && i < index->len; i++)
        if ((index->entries[i].mode & GO_MODE_DIR) != 0)
            r = place_touch(&place, &index->entries[i]);
    return r;
}

bool sync_pack_is_sparse(const struct sync_pack *p, const struct sync_index *index)
{
    int64_t used = 0;

    for (size_t i = 0; i < index->len; i++)
        used += index->entries[i].packed != 0 ? index->entries[i].size : 0;
    return p->end > 2 * used + SPARSE_MIN;
}

int sync_pack_move(struct sync_pack *p, struct sync_index *index, int to_fd)
{
    CLEANUP(sync_pack_deinit) struct sync_pack to = { .fd = to_fd };
    CLEANUP(freep) char *chunk = xmalloc(SYNC_PACK_FILE);
    int r = sync_pack_flush(p);

    for (size_t i = 0; r == 0 && i < index->len; i++) {
        struct sync_entry *e = &index->entries[i];

        if (e->packed == 0)
            continue;
        r = sync_pack_read(p->fd, e, chunk);
        if (r == 0)
            r = sync_pack_add(&to, chunk, (size_t)e->size, &e->packed);
    }
    if (r == 0)
        r = sync_pack_flush(&to);
    p->fd = to.fd;
    p->end = to.end;
    return r;
}
