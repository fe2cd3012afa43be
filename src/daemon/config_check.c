/* SPDX-License-Identifier: Apache-2.0 */
/* config_check.c - the whole must fit together */
#include "daemon/config.h"

static struct error *check_log(const struct config *c)
{
    static const char *const levels[] = { "panic",   "fatal", "error", "warn",
                                          "warning", "info",  "debug", "trace" };
    CLEANUP(freep) char *lower = str_lower(c->log_level);
    bool known = lower[0] == '\0';

    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        known |= streq(lower, levels[i]) && !(c->face == FACE_DOCKERD && streq(lower, "warning"));
    if (!known)
        return c->face == FACE_DOCKERD
                   ? err_new(ERR_INVALID, "invalid logging level: %s", c->log_level)
                   : err_new(ERR_INVALID, "unsupported log level: not a valid logrus Level: \"%s\"",
                             c->log_level);
    if (c->log_format[0] != '\0' && !streq(c->log_format, "text") && !streq(c->log_format, "json"))
        return err_new(ERR_INVALID,
                       c->face == FACE_DOCKERD ? "invalid log format: %s" : "unsupported log type \"%s\"",
                       c->log_format);
    return NULL;
}

static struct error *check_counts(const struct config *c)
{
    if (c->mtu < 0)
        return err_new(ERR_INVALID, "invalid default MTU: %ld", (long)c->mtu);
    if (c->max_downloads < 0)
        return err_new(ERR_INVALID, "invalid max concurrent downloads: %ld", (long)c->max_downloads);
    if (c->max_uploads < 0)
        return err_new(ERR_INVALID, "invalid max concurrent uploads: %ld", (long)c->max_uploads);
    if (c->max_download_attempts < 0)
        return err_new(ERR_INVALID, "invalid max download attempts: %ld", (long)c->max_download_attempts);
    if (c->default_stop_timeout < 0)
        return err_new(ERR_INVALID, "invalid default stop timeout: %ld", (long)c->default_stop_timeout);
    return NULL;
}

static struct error *check_gateways(const struct config *c)
{
    bool have[2] = { false, false };

    for (size_t i = 0; i < c->host_gateway_ips.len; i++) {
        bool v6 = strchr(c->host_gateway_ips.v[i], ':') != NULL;

        if (have[v6])
            return err_new(ERR_INVALID, "only one %s host gateway IP address can be specified",
                           v6 ? "IPv6" : "IPv4");
        have[v6] = true;
    }
    return NULL;
}

static struct error *check_exec_options(const struct config *c)
{
    for (size_t i = 0; i < c->exec_options.len; i++) {
        const char *option = c->exec_options.v[i], *equals = strchr(option, '=');

        if (equals == NULL || equals == option || equals[1] == '\0')
            return err_new(ERR_INVALID, "invalid exec-opt (%s): must be formatted 'opt=value'", option);
        if (str_has_prefix(option, "isolation="))
            return err_new(ERR_INVALID,
                           "invalid exec-opt (%s): option 'isolation' is only supported on windows", option);
        if (!str_has_prefix(option, "native.cgroupdriver="))
            return err_new(ERR_INVALID, "invalid exec-opt (%s): unknown option: '%.*s'", option,
                           (int)(equals - option), option);
    }
    return NULL;
}

static struct error *check_labels(const struct config *c)
{
    for (size_t i = 0; i < c->labels.len; i++) {
        size_t key = strcspn(c->labels.v[i], "=");

        for (size_t k = 0; k < i; k++)
            if (strncmp(c->labels.v[k], c->labels.v[i], key + 1) == 0 &&
                !streq(c->labels.v[k], c->labels.v[i]))
                return err_new(ERR_INVALID, "conflict labels for %s and %s", c->labels.v[i], c->labels.v[k]);
    }
    return NULL;
}

/* Ours is always a bridge of our own, whatever makes it. */
static struct error *check_worker_network(const struct config *c)
{
    static const char *const modes[] = { "", "auto", "bridge", "cni", "host" };

    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        if (streq(c->worker_network, modes[i]))
            return NULL;
    return err_new(ERR_INVALID, "invalid network mode: \"%s\"", c->worker_network);
}

struct error *config_check(const struct config *c)
{
    TRY(check_log(c));
    TRY(check_gateways(c));
    TRY(check_counts(c));
    TRY(check_exec_options(c));
    TRY(check_worker_network(c));
    return check_labels(c);
}
