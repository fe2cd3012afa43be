/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, closing, the sweep after an unclean end, and the background task. */
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "io/path.h"
#include "store/internal.h"

#define FLUSH_EVERY_NS (60 * NS_PER_SEC) /* last uses, when nothing else is to be done */
#define SYNC_DELAY_NS (5 * NS_PER_SEC)   /* builds publish in bursts: one sync for all of it */

/* ---- sweep -----------------------------------------------------------------------------------------------
 */

static bool is_dot(const char *name)
{
    return streq(name, ".") || streq(name, "..");
}

static struct error *collect_name(void *ctx, sqlite3_stmt *row)
{
    map_set(ctx, db_column(row, 0), (void *)1);
    return NULL;
}

/* Remove from a directory what `sql` does not name; names that have no file are left in `names`. */
static struct error *sweep_dir(struct store *s, int dir_fd, const char *what, const char *sql,
                               struct map *names)
{
    TRY(db_query(&s->db, collect_name, names, sql, ""));
    CLEANUP(closep) int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL)
        return err_sys(errno, "read %s", what);
    fd = -1;
    const struct dirent *e;
    struct error *err = NULL;
    while (err == NULL && (errno = 0, e = readdir(dir)) != NULL) {
        if (is_dot(e->d_name) || map_remove(names, e->d_name))
            continue;
        int r = path_remove_all(dir_fd, e->d_name);
        if (r < 0)
            err = err_sys(-r, "remove %s/%s", what, e->d_name);
    }
    if (err == NULL && errno != 0) /* what was not seen is not gone */
        err = err_sys(errno, "read %s", what);
    closedir(dir);
    return err;
}

static struct error *drop_missing(struct store *s, const struct map *names, const char *sql,
                                  const char *prefix)
{
    for (size_t i = 0; i < names->len; i++) {
        CLEANUP(freep) char *key = xasprintf("%s%s", prefix, names->entries[i].key);
        log_warn("data of a row is gone", "row", key);
        TRY(db_exec(&s->db, sql, "s", key));
    }
    return NULL;
}

struct broken {
    struct map layers; /* that are there */
    struct strv snapshots;
};

static struct error *collect_broken(void *ctx, sqlite3_stmt *row)
{
    struct broken *b = ctx;
    CLEANUP(strv_deinit) struct strv layers = { 0 };
    strv_split(&layers, db_column(row, 1), ' ');
    for (size_t i = 0; i < layers.len; i++) {
        if (map_has(&b->layers, layers.v[i]))
            continue;
        strv_add(&b->snapshots, db_column(row, 0));
        break;
    }
    return NULL;
}

/* A snapshot's row says that all its layers are here. */
static struct error *drop_broken_snapshots(struct store *s)
{
    struct broken b = { 0 };
    struct error *e = db_query(&s->db, collect_name, &b.layers, "SELECT id FROM layers", "");
    if (e == NULL)
        e = db_query(&s->db, collect_broken, &b, "SELECT id, layers FROM snapshots WHERE layers <> ''", "");
    for (size_t i = 0; e == NULL && i < b.snapshots.len; i++) {
        e = db_exec(&s->db, "DELETE FROM snapshots WHERE id = ?", "s", b.snapshots.v[i]);
        if (e == NULL)
            e = db_exec(&s->db, "DELETE FROM cache WHERE result = ?", "s", b.snapshots.v[i]);
    }
    map_deinit(&b.layers);
    strv_deinit(&b.snapshots);
    return e;
}

static struct error *sweep(struct store *s)
{
    CLEANUP(map_deinit) struct map blobs = { 0 };
    CLEANUP(map_deinit) struct map layers = { 0 };
    CLEANUP(map_deinit) struct map mounts = { 0 };
    TRY(sweep_dir(s, s->blobs_fd, "blobs", "SELECT substr(digest, 8) FROM blobs WHERE layer IS NULL",
                  &blobs));
    TRY(sweep_dir(s, s->layers_fd, "layers", "SELECT id FROM layers", &layers));
    TRY(sweep_dir(s, s->mounts_fd, "mounts", "SELECT id FROM cache_mounts", &mounts));
    TRY(drop_missing(s, &blobs, "DELETE FROM blobs WHERE digest = ?", "sha256:"));
    TRY(drop_missing(s, &layers, "DELETE FROM layers WHERE id = ?", ""));
    TRY(drop_missing(s, &mounts, "DELETE FROM cache_mounts WHERE id = ?", ""));
    TRY(drop_broken_snapshots(s));
    TRY(db_exec(&s->db, "DELETE FROM blobs WHERE layer IS NOT NULL AND layer NOT IN (SELECT id FROM layers)",
                ""));
    int r = path_remove_all(s->root_fd, "trash");
    return r < 0 ? err_sys(-r, "remove \"%s/trash\"", s->root) : NULL;
}

/* ---- after a power cut -----------------------------------------------------------------------------------
 */

static struct error *collect_digest(void *ctx, sqlite3_stmt *row)
{
    strv_add(ctx, db_column(row, 0));
    return NULL;
}

/* Is the file what its name says? */
static bool blob_file_ok(struct store *s, const struct digest *d)
{
    char name[65];
    char chunk[64 * 1024];
    CLEANUP(hasher_freep) struct hasher *h = hasher_new();
    CLEANUP(closep) int fd = -1;
    ssize_t n;
    blob_file_name(name, d);
    fd = openat(s->blobs_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        hasher_add(h, chunk, (size_t)n);
    struct digest got = hasher_sum(h);
    return n == 0 && digest_eq(&got, d);
}

static struct error *drop_unsynced(struct store *s)
{
    CLEANUP(strv_deinit) struct strv digests = { 0 };
    TRY(db_query(&s->db, collect_digest, &digests,
                 "SELECT digest FROM blobs WHERE layer IS NULL AND synced = 0", ""));
    for (size_t i = 0; i < digests.len; i++) {
        struct digest d;
        if (digest_parse(digests.v[i], &d) == 0 && blob_file_ok(s, &d))
            continue;
        log_warn("blob was lost in a power cut", "digest", digests.v[i]);
        TRY(db_exec(&s->db, "DELETE FROM blobs WHERE digest = ?", "s", digests.v[i]));
    }
    return db_exec(&s->db, "DELETE FROM layers WHERE synced = 0", "");
}

struct doomed {
    struct store *s;
    struct strv names;
    struct strv texts;
};

static struct error *collect_image(void *ctx, sqlite3_stmt *row)
{
    struct doomed *d = ctx;
    strv_add(&d->names, db_column(row, 0));
    strv_add(&d->texts, db_column(row, 1));
    return NULL;
}

/* A listed image is whole, or it is not listed. */
static struct error *drop_broken_images(struct store *s)
{
    struct doomed d = { .s = s };
    struct error *e = db_query(&s->db, collect_image, &d, "SELECT name, descriptor FROM images", "");
    for (size_t i = 0; e == NULL && i < d.names.len; i++) {
        CLEANUP(descriptor_deinit) struct descriptor target = { 0 };
        json_t *j = json_loads(d.texts.v[i], 0, NULL);
        struct error *broken = descriptor_from_json(j, &target);
        json_decref(j);
        if (broken == NULL)
            broken = image_check_locked(s, &target);
        if (broken == NULL)
            continue;
        log_warn("image was lost in a power cut", "name", d.names.v[i], "error", broken->message);
        err_free(broken);
        e = db_exec(&s->db, "DELETE FROM images WHERE name = ?", "s", d.names.v[i]);
    }
    strv_deinit(&d.names);
    strv_deinit(&d.texts);
    return e;
}

/* The first use after start. */
static struct error *on_open(struct db *db, void *ctx)
{
    struct store *s = ctx;
    CLEANUP(freep) char *ended = NULL;
    CLEANUP(freep) char *boot = NULL;
    const char *now = boot_id();
    TRY(db_text(db, &ended, "SELECT value FROM state WHERE key = 'ended'", ""));
    TRY(db_text(db, &boot, "SELECT value FROM state WHERE key = 'boot'", ""));
    s->first_of_boot = boot != NULL && !streq(boot, now);
    bool clean = ended != NULL && streq(ended, "clean") && faccessat(s->root_fd, "trash", F_OK, 0) != 0;
    if (clean)
        return db_exec(db, "INSERT OR REPLACE INTO state(key, value) VALUES('ended', 'no'), ('boot', ?)", "s",
                       now);

    TRY(db_exec(db, "BEGIN IMMEDIATE", ""));
    struct error *e = NULL;
    if (s->first_of_boot)
        e = drop_unsynced(s);
    if (e == NULL)
        e = sweep(s);
    if (e == NULL && s->first_of_boot)
        e = drop_broken_images(s);
    if (e == NULL)
        e = db_exec(db, "INSERT OR REPLACE INTO state(key, value) VALUES('ended', 'no'), ('boot', ?)", "s",
                    now);
    if (e == NULL) {
        s->unsynced = true; /* of the run before; nobody else is here yet */
        return db_exec(db, "COMMIT", "");
    }
    err_free(db_exec(db, "ROLLBACK", ""));
    return e;
}

/* ---- open and close --------------------------------------------------------------------------------------
 */

static int open_sub(int root_fd, const char *name)
{
    if (mkdirat(root_fd, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    int fd = openat(root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 ? fd : -errno;
}

/* What a run before left in work/ is put aside at once: from now on it is ours.  It is removed by the sweep.
 */
static struct error *renew_work(struct store *s)
{
    if (unlinkat(s->root_fd, "work", AT_REMOVEDIR) == 0 || errno == ENOENT)
        return NULL;
    int r = path_remove_all(s->root_fd, "trash");
    if (r == 0 && renameat(s->root_fd, "work", s->root_fd, "trash") < 0)
        r = -errno;
    return r < 0 ? err_sys(-r, "empty \"%s/work\"", s->root) : NULL;
}

/* Keys are kept with what they were made from: commands and arguments of builds are root's to read, whatever
 * the umask and whoever made ROOT.  SQLite gives its other files the mode of the first. */
static int make_db_private(int root_fd)
{
    static const char *const others[] = { "minke.db-wal", "minke.db-shm" };
    CLEANUP(closep) int fd = openat(root_fd, "minke.db", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fchmod(fd, 0600) < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        int r = path_chmod(root_fd, others[i], 0600);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    return 0;
}

static struct error *open_dirs(struct store *s)
{
    TRY_SYS(make_db_private(s->root_fd), "open \"%s/minke.db\"", s->root);
    TRY(renew_work(s));
    int blobs = open_sub(s->root_fd, "blobs");
    TRY_SYS(blobs, "open \"%s/blobs\"", s->root);
    s->blobs_fd = open_sub(blobs, "sha256");
    close(blobs);
    s->ingest_fd = open_sub(s->root_fd, "ingest");
    s->layers_fd = open_sub(s->root_fd, "layers");
    s->mounts_fd = open_sub(s->root_fd, "mounts");
    s->work_fd = open_sub(s->root_fd, "work");
    const int fds[] = { s->blobs_fd, s->ingest_fd, s->layers_fd, s->mounts_fd, s->work_fd };
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        TRY_SYS(fds[i], "open the folders of \"%s\"", s->root);
    return NULL;
}

static void store_free(struct store *s)
{
    struct map *maps[] = { &s->blobs_held,  &s->layers_held, &s->chained_layers, &s->ingesting,
                           &s->cache_bumps, &s->layer_bumps, &s->mount_bumps,    &s->unmeasured };
    int fds[] = { s->blobs_fd, s->ingest_fd, s->layers_fd, s->mounts_fd, s->work_fd, s->root_fd };
    db_deinit(&s->db);
    recall_deinit(&s->recall);
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        map_deinit(maps[i]);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    cond_deinit(&s->changed);
    mutex_deinit(&s->lock);
    strv_deinit(&s->discarded);
    free(s->root);
    free(s);
}

struct error *store_open(const char *root, struct store **ret)
{
    TRY_SYS(make_dirs(root, 0700), "create \"%s\"", root);
    int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return err_sys(errno, "open \"%s\"", root);
    if (flock(root_fd, LOCK_EX | LOCK_NB) < 0) {
        int errnum = errno;
        close(root_fd);
        return errnum == EWOULDBLOCK ? err_new(ERR_CONFLICT, "\"%s\" is in use by another process", root)
                                     : err_sys(errnum, "lock \"%s\"", root);
    }
    struct store *s = NEW(struct store);
    s->root = xstrdup(root);
    s->root_fd = root_fd;
    s->blobs_fd = s->ingest_fd = s->layers_fd = s->mounts_fd = s->work_fd = -1;
    s->cache_bumps.free_value = free;
    s->layer_bumps.free_value = free;
    s->mount_bumps.free_value = free;
    recall_init(&s->recall);
    mutex_init(&s->lock);
    cond_init(&s->changed);
    CLEANUP(freep) char *db_path = xasprintf("%s/minke.db", root);
    db_init(&s->db, db_path, on_open, s);
    struct error *e = open_dirs(s);
    if (e != NULL) {
        store_free(s);
        return e;
    }
    *ret = s;
    return NULL;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    if (s->db.conn != NULL) {
        log_err(LOG_WARN, bumps_flush(s), "writing last uses");
        struct error *e = store_sync(s);
        if (e == NULL && !atomic_load(&s->orphans))
            e = db_lock(&s->db);
        if (e == NULL && !atomic_load(&s->orphans)) {
            e = db_exec(&s->db, "INSERT OR REPLACE INTO state(key, value) VALUES('ended', 'clean')", "");
            db_unlock(&s->db);
        }
        log_err(LOG_WARN, e, "closing the store");
    }
    store_free(s);
}

bool store_is_first_of_boot(const struct store *s)
{
    return s->first_of_boot;
}

int store_root_fd(const struct store *s)
{
    return s->root_fd;
}

char *store_work_path(const struct store *s, const char *name)
{
    return xasprintf("%s/%s/%s", s->root, "work", name);
}

int store_work_fd(const struct store *s)
{
    return s->work_fd;
}

/* ---- background ------------------------------------------------------------------------------------------
 */

void store_mark_unsynced(struct store *s)
{
    mutex_lock(&s->lock);
    if (!s->unsynced)
        cond_broadcast(&s->changed);
    s->unsynced = true;
    mutex_unlock(&s->lock);
}

struct error *store_sync(struct store *s)
{
    mutex_lock(&s->lock);
    bool needed = s->unsynced;
    s->unsynced = false;
    mutex_unlock(&s->lock);
    if (!needed)
        return NULL;
    /* Rows that come while syncfs runs are not covered by it: only those that are there now are marked. */
    int64_t blobs, layers;
    TRY(db_lock(&s->db));
    struct error *e = db_int(&s->db, &blobs, "SELECT max(rowid) FROM blobs", "");
    if (e == NULL)
        e = db_int(&s->db, &layers, "SELECT max(rowid) FROM layers", "");
    db_unlock(&s->db);
    if (e == NULL && syncfs(s->root_fd) < 0)
        e = err_sys(errno, "sync \"%s\"", s->root);
    if (e == NULL)
        e = db_begin(&s->db);
    if (e == NULL) {
        e = db_exec(&s->db, "UPDATE blobs SET synced = 1 WHERE synced = 0 AND rowid <= ?", "i", blobs);
        if (e == NULL)
            e = db_exec(&s->db, "UPDATE layers SET synced = 1 WHERE synced = 0 AND rowid <= ?", "i", layers);
        e = db_end(&s->db, e);
    }
    if (e != NULL)
        store_mark_unsynced(s);
    return e;
}

static void remove_work(struct store *s, const char *name)
{
    int r = path_remove_all(s->work_fd, name);
    if (r < 0)
        log_warn("cannot remove", "path", name, "error", strerror(-r));
}

void store_discard(struct store *s, const char *work_name)
{
    mutex_lock(&s->lock);
    bool later = s->running;
    if (later) {
        strv_add(&s->discarded, work_name);
        cond_broadcast(&s->changed);
    }
    mutex_unlock(&s->lock);
    if (!later)
        remove_work(s, work_name);
}

static void remove_discarded(struct store *s)
{
    mutex_lock(&s->lock);
    struct strv names = s->discarded;
    s->discarded = (struct strv){ 0 };
    mutex_unlock(&s->lock);
    for (size_t i = 0; i < names.len; i++)
        remove_work(s, names.v[i]);
    strv_deinit(&names);
}

static void set_running(struct store *s, bool running)
{
    mutex_lock(&s->lock);
    s->running = running;
    mutex_unlock(&s->lock);
}

struct error *store_run(struct store *s, void (*synced)(void *ctx), void *ctx)
{
    int r = 0;
    TRY(db_lock(&s->db));
    db_unlock(&s->db);
    set_running(s, true);
    while (r == 0) {
        bool timed_out;
        mutex_lock(&s->lock);
        r = cond_wait_for(&s->changed, &s->lock, FLUSH_EVERY_NS, &timed_out);
        mutex_unlock(&s->lock);
        if (r == 0) {
            remove_discarded(s);
            log_err(LOG_WARN, bumps_flush(s), "writing last uses");
            r = task_sleep(SYNC_DELAY_NS);
        }
        if (r == 0) {
            log_err(LOG_WARN, store_sync(s), "syncing the store");
            if (synced != NULL)
                synced(ctx);
        }
    }
    set_running(s, false);
    remove_discarded(s);
    return NULL;
}
