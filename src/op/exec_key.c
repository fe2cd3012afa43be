/* SPDX-License-Identifier: Apache-2.0 */
/* exec_key.c - what an exec op is known by: its process, and what it reads of its inputs */
#include "op/exec_key.h"

#include "io/path.h"
#include "oci/platform.h"
#include "op/text.h"

static void meta_text(struct buf *b, const Pb__Meta *m)
{
    text_strs(b, "arg", m->args, m->n_args);
    text_strs(b, "env", m->env, m->n_env);
    text_str(b, "cwd", m->cwd);
    text_str(b, "user", m->user);
    text_str(b, "hostname", m->hostname);
    text_str(b, "cgroup", m->cgroup_parent);
    for (size_t i = 0; i < m->n_extra_hosts; i++)
        text_str(b, "host", m->extra_hosts[i]->host); /* not its address */
    for (size_t i = 0; i < m->n_ulimit; i++) {
        buf_adds(b, "ulimit ");
        text_word(b, m->ulimit[i]->name);
        buf_addf(b, " %lld %lld\n", (long long)m->ulimit[i]->soft, (long long)m->ulimit[i]->hard);
    }
    for (size_t i = 0; i < m->n_valid_exit_codes; i++)
        buf_addf(b, "exit %d\n", m->valid_exit_codes[i]);
    text_int(b, "stubs", m->remove_mount_stubs_recursive, 0);
}

/* Neither what a mount selects of its input (that is the input's part of the key) nor which cache it uses. */
static void mount_text(struct buf *b, const Pb__Mount *m)
{
    buf_addf(b, "mount %lld %lld %d %d ", (long long)m->input, (long long)m->output, m->readonly,
             (int)m->mount_type);
    buf_add_json_string(b, m->dest, strlen(m->dest), false);
    if (m->tmpfs_opt != NULL)
        buf_addf(b, " size %lld", (long long)m->tmpfs_opt->size);
    if (m->secret_opt != NULL) {
        buf_addf(b, " secret %u %u %o %d ", m->secret_opt->uid, m->secret_opt->gid, m->secret_opt->mode,
                 m->secret_opt->optional);
        text_word(b, m->secret_opt->id);
    }
    if (m->ssh_opt != NULL) {
        buf_addf(b, " ssh %u %u %o %d ", m->ssh_opt->uid, m->ssh_opt->gid, m->ssh_opt->mode,
                 m->ssh_opt->optional);
        text_word(b, m->ssh_opt->id);
    }
    buf_addc(b, '\n');
}

static void platform_text(struct buf *b, const Pb__Platform *p)
{
    const struct platform *host = platform_host();
    const char *variant = p == NULL ? host->variant : p->variant;

    buf_adds(b, "platform ");
    text_word(b, p == NULL ? host->os : p->os);
    buf_addc(b, '/');
    text_word(b, p == NULL ? host->architecture : p->architecture);
    if (variant[0] != '\0') {
        buf_addc(b, '/');
        text_word(b, variant);
    }
    buf_addc(b, '\n');
}

struct error *exec_key_text(const struct llb_vertex *v, struct buf *out)
{
    const Pb__ExecOp *op = v->op->exec;

    meta_text(out, op->meta);
    for (size_t i = 0; i < op->n_mounts; i++)
        mount_text(out, op->mounts[i]);
    for (size_t i = 0; i < op->n_secretenv; i++) {
        buf_adds(out, "secretenv ");
        text_word(out, op->secretenv[i]->name);
        buf_addf(out, " %d ", op->secretenv[i]->optional);
        text_word(out, op->secretenv[i]->id);
        buf_addc(out, '\n');
    }
    for (size_t i = 0; i < op->n_cdi_devices; i++) {
        buf_adds(out, "device ");
        text_word(out, op->cdi_devices[i]->name);
        buf_addf(out, " %d\n", op->cdi_devices[i]->optional);
    }
    buf_addf(out, "network %d%s security %d\n", (int)op->network, op->proxied ? " by proxy" : "",
             (int)op->security);
    if (*op->held_network != '\0')
        buf_addf(out, "held network %s\n", op->held_network);
    platform_text(out, v->op->platform);
    return NULL;
}

struct error *exec_key_input(const struct llb_vertex *v, size_t input, struct op_input_key *ret)
{
    const Pb__ExecOp *op = v->op->exec;
    bool whole = false, all_safe = true, any = false;

    for (size_t i = 0; i < op->n_mounts; i++) {
        const Pb__Mount *m = op->mounts[i];
        CLEANUP(freep) char *sel = path_join("/", m->selector);
        bool safe;

        if (m->input != (int64_t)input ||
            (m->mount_type != PB__MOUNT_TYPE__BIND && m->mount_type != PB__MOUNT_TYPE__CACHE))
            continue;
        safe = m->output == -1 || m->readonly || streq(sel, "/");
        if (m->content_cache == PB__MOUNT_CONTENT_CACHE__ON && !safe)
            return err_new(ERR_INVALID, "invalid mount cache content for %s", m->dest);
        if (m->content_cache == PB__MOUNT_CONTENT_CACHE__OFF ||
            (m->content_cache == PB__MOUNT_CONTENT_CACHE__DEFAULT && streq(m->dest, "/")))
            safe = false;
        any = true;
        all_safe = all_safe && safe;
        whole = whole || streq(sel, "/");
        op_input_key_add(ret, sel)->follow_links = true;
    }
    if (whole)
        op_input_key_deinit(ret); /* all of it */
    ret->by_content = any && all_safe;
    return NULL;
}
