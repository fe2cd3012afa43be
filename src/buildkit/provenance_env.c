/* SPDX-License-Identifier: Apache-2.0 */
/* provenance_env.c - what the operator adds to the environment part of every provenance */
#include "buildkit/provenance.h"

#include "base/buf.h"
#include "base/limits.h"
#include "io/stream.h"
#include "oci/image.h"
#include "task/task.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static struct error *merge_file(int dir, const char *name, json_t *to)
{
    CLEANUP(stream_closep) struct stream *s = NULL;
    CLEANUP(buf_deinit) struct buf text = { 0 };
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC), r;
    json_t *j;

    if (fd < 0)
        return err_sys(errno, "open %s", name);
    s = stream_from_fd(fd);
    r = stream_read_all(s, &text, LIMIT_CONTROL_FILE);
    if (r < 0)
        return task_error(r, "read %s", name);
    TRY(err_wrap(json_parse(text.data, text.len, "environment", &j), "failed to parse %s", name));
    if (!json_is_object(j)) {
        json_decref(j);
        return err_new(ERR_INVALID, "failed to parse %s: not an object", name);
    }
    json_object_update(to, j);
    json_decref(j);
    return NULL;
}

static struct error *merge_files(DIR *d, json_t *to)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    struct dirent *de;

    while ((errno = 0, de = readdir(d)) != NULL) {
        if (str_has_suffix(de->d_name, ".json") && de->d_type != DT_DIR)
            strv_add(&names, de->d_name);
    }
    if (errno != 0)
        return err_sys(errno, "read the folder");
    strv_sort(&names);
    for (size_t i = 0; i < names.len; i++)
        TRY(merge_file(dirfd(d), names.v[i], to));
    return NULL;
}

static struct error *check_names(const json_t *env)
{
    static const char *const builtin[] = { "buildConfig", "builderPlatform", "platform" };

    for (size_t i = 0; i < ARRAY_LEN(builtin); i++) {
        if (json_object_get(env, builtin[i]) != NULL)
            return err_new(ERR_INVALID,
                           "key \"%s\" is builtin and not allowed to be modified in provenance config",
                           builtin[i]);
    }
    return NULL;
}

struct error *provenance_env_load(const char *dir, json_t **ret)
{
    DIR *d = opendir(dir);
    json_t *env;
    struct error *e;

    *ret = NULL;
    if (d == NULL)
        return errno == ENOENT ? NULL : err_sys(errno, "open %s", dir);
    env = json_object();
    e = merge_files(d, env);
    closedir(d);
    if (e == NULL)
        e = check_names(env);
    if (e != NULL)
        json_decref(env);
    else
        *ret = env;
    return e;
}
