/* SPDX-License-Identifier: Apache-2.0 */
/* What a device changes in a runtime specification. */
#include "run/cdi.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s != NULL ? s : "";
}

/* A member that is an array, made when it is not there. */
static json_t *array_member(json_t *o, const char *key)
{
    json_t *a = json_object_get(o, key);

    if (!json_is_array(a)) {
        a = json_array();
        json_object_set_new(o, key, a);
    }
    return a;
}

static json_t *object_member(json_t *o, const char *key)
{
    json_t *m = json_object_get(o, key);

    if (!json_is_object(m)) {
        m = json_object();
        json_object_set_new(o, key, m);
    }
    return m;
}

static void copy_member(json_t *to, const char *as, const json_t *from, const char *key)
{
    json_t *v = json_object_get(from, key);

    if (v != NULL)
        json_object_set(to, as, v);
}

/* A variable replaces one of the same name. */
static void apply_env(json_t *process, const json_t *edits)
{
    json_t *env = array_member(process, "env"), *value, *old;
    size_t i, k;

    json_array_foreach(json_object_get(edits, "env"), i, value)
    {
        const char *s = json_string_value(value);
        size_t name = s != NULL ? strcspn(s, "=") : 0;
        bool replaced = false;

        if (s == NULL || s[name] != '=')
            continue;
        json_array_foreach(env, k, old)
        {
            const char *o = json_string_value(old);

            if (!replaced && o != NULL && strncmp(o, s, name + 1) == 0) {
                json_array_set(env, k, value);
                replaced = true;
            }
        }
        if (!replaced)
            json_array_append(env, value);
    }
}

/* Type and numbers of a node: those of the host's unless the specification gives them. */
static struct error *node_numbers(const json_t *node, json_t *device)
{
    const char *path = *text(node, "hostPath") != '\0' ? text(node, "hostPath") : text(node, "path");
    struct stat st;
    char type[2] = { 0 };

    if (*text(node, "type") != '\0' &&
        (json_is_integer(json_object_get(node, "major")) || streq(text(node, "type"), "p"))) {
        copy_member(device, "type", node, "type");
        copy_member(device, "major", node, "major");
        copy_member(device, "minor", node, "minor");
        return NULL;
    }
    if (stat(path, &st) < 0)
        return err_sys(errno, "CDI device injection failed: failed to stat CDI host device \"%s\"", path);
    type[0] = S_ISBLK(st.st_mode) ? 'b' : S_ISCHR(st.st_mode) ? 'c' : S_ISFIFO(st.st_mode) ? 'p' : '\0';
    if (type[0] == '\0')
        return err_new(ERR_UNKNOWN, "CDI device injection failed: \"%s\" is no device", path);
    json_object_set_new(device, "type", json_string(type));
    if (type[0] != 'p') {
        json_object_set_new(device, "major", json_integer(major(st.st_rdev)));
        json_object_set_new(device, "minor", json_integer(minor(st.st_rdev)));
    }
    return NULL;
}

static struct error *apply_node(json_t *linux_, const json_t *node)
{
    json_t *device = json_pack("{s:s}", "path", text(node, "path")), *rule;
    const char *access = *text(node, "permissions") != '\0' ? text(node, "permissions") : "rwm";
    struct error *e = node_numbers(node, device);

    if (e != NULL) {
        json_decref(device);
        return e;
    }
    copy_member(device, "fileMode", node, "fileMode");
    copy_member(device, "uid", node, "uid");
    copy_member(device, "gid", node, "gid");
    if (!streq(text(device, "type"), "p")) {
        rule = json_pack("{s:b, s:s}", "allow", 1, "access", access);
        copy_member(rule, "type", device, "type");
        copy_member(rule, "major", device, "major");
        copy_member(rule, "minor", device, "minor");
        json_array_append_new(array_member(object_member(linux_, "resources"), "devices"), rule);
    }
    json_array_append_new(array_member(linux_, "devices"), device);
    return NULL;
}

static bool has_option(const json_t *options, const char *name)
{
    json_t *o;
    size_t i;

    json_array_foreach(options, i, o)
    {
        if (json_is_string(o) && streq(json_string_value(o), name))
            return true;
    }
    return false;
}

/* A mount takes the place of one with the same destination. */
static void apply_mount(json_t *spec, const json_t *mount)
{
    json_t *mounts = array_member(spec, "mounts"), *m, *old, *options = json_array(), *given;
    const char *type = *text(mount, "type") != '\0' ? text(mount, "type") : "bind";
    size_t i;

    given = json_object_get(mount, "options");
    json_array_extend(options, given);
    if (streq(type, "bind") && !has_option(options, "bind") && !has_option(options, "rbind"))
        json_array_append_new(options, json_string("rbind"));
    m = json_pack("{s:s, s:s, s:s, s:o}", "destination", text(mount, "containerPath"), "type", type, "source",
                  text(mount, "hostPath"), "options", options);
    json_array_foreach(mounts, i, old)
    {
        if (streq(text(old, "destination"), text(mount, "containerPath"))) {
            json_array_remove(mounts, i);
            break;
        }
    }
    json_array_append_new(mounts, m);
}

static void apply_hook(json_t *spec, const json_t *hook)
{
    static const char *const names[] = { "prestart",       "createRuntime", "createContainer",
                                         "startContainer", "poststart",     "poststop" };
    const char *name = text(hook, "hookName");
    json_t *h;

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!streq(name, names[i]))
            continue;
        h = json_pack("{s:s}", "path", text(hook, "path"));
        copy_member(h, "args", hook, "args");
        copy_member(h, "env", hook, "env");
        copy_member(h, "timeout", hook, "timeout");
        json_array_append_new(array_member(object_member(spec, "hooks"), name), h);
    }
}

static void apply_groups(json_t *process, const json_t *edits)
{
    json_t *groups = array_member(object_member(process, "user"), "additionalGids"), *gid, *old;
    size_t i, k;

    json_array_foreach(json_object_get(edits, "additionalGids"), i, gid)
    {
        bool known = json_integer_value(gid) == 0;

        json_array_foreach(groups, k, old) known |= json_equal(old, gid);
        if (!known)
            json_array_append(groups, gid);
    }
}

static struct error *apply_one(const json_t *edits, json_t *spec)
{
    json_t *process = object_member(spec, "process"), *item;
    size_t i;

    apply_env(process, edits);
    json_array_foreach(json_object_get(edits, "deviceNodes"), i, item)
        TRY(apply_node(object_member(spec, "linux"), item));
    json_array_foreach(json_object_get(edits, "mounts"), i, item) apply_mount(spec, item);
    json_array_foreach(json_object_get(edits, "hooks"), i, item) apply_hook(spec, item);
    apply_groups(process, edits);
    return NULL;
}

struct error *cdi_apply(const json_t *edits, json_t *spec)
{
    json_t *one;
    size_t i;

    json_array_foreach(edits, i, one) TRY(apply_one(one, spec));
    return NULL;
}
