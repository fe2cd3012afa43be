/* SPDX-License-Identifier: Apache-2.0 */
/* EXPOSE: [ip:][host port:]port[-port][/protocol]. */
#include "frontend/dockerfile/build_stage.h"

#include "base/rune.h"
#include "frontend/dockerfile/gotext.h"

#include <arpa/inet.h>
#include <ctype.h>

/* One port number. ERR_INVALID without a text that anyone sees. */
static bool parse_port(const char *s, int *ret)
{
    int64_t v;

    if (parse_i64(*s == '+' && isdigit((unsigned char)s[1]) ? s + 1 : s, &v) < 0 || v < 0 || v > 65535)
        return false;
    *ret = (int)v;
    return true;
}

static bool parse_range(const char *s, int *first, int *last)
{
    CLEANUP(freep) char *start = xstrndup(s, strcspn(s, "-"));
    const char *dash = strchr(s, '-');

    if (!parse_port(start, first))
        return false;
    *last = *first;
    if (dash == NULL || streq(dash + 1, start))
        return true;
    return parse_port(dash + 1, last) && *last >= *first;
}

static bool is_ip(const char *s)
{
    unsigned char a[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, s, a) == 1 || inet_pton(AF_INET6, s, a) == 1;
}

struct port_spec {
    char *ip, *host, *container, *proto; /* "" when absent */
};

static void port_spec_deinit(struct port_spec *p)
{
    free(p->ip);
    free(p->host);
    free(p->container);
    free(p->proto);
}

/* The last two parts between colons are ports; what stands before is the address. */
static void split_spec(const char *raw, struct port_spec *p)
{
    const char *last = strrchr(raw, ':'), *second = NULL;

    p->container = xstrdup(last != NULL ? last + 1 : raw);
    if (last == NULL) {
        p->ip = xstrdup("");
        p->host = xstrdup("");
        return;
    }
    for (const char *q = raw; q < last; q++) {
        if (*q == ':')
            second = q;
    }
    p->ip = xstrndup(raw, second != NULL ? (size_t)(second - raw) : 0);
    p->host = second != NULL ? xstrndup(second + 1, (size_t)(last - second - 1))
                             : xstrndup(raw, (size_t)(last - raw));
}

static struct error *split_proto(const char *raw, struct port_spec *p)
{
    CLEANUP(freep) char *quoted = str_quote(raw), *lower = NULL;
    char *slash = strchr(p->container, '/');

    p->proto = xstrdup(slash != NULL ? slash + 1 : "");
    if (slash != NULL)
        *slash = '\0';
    if (*p->container == '\0')
        return err_new(ERR_INVALID, "invalid port: %s: no port specified", quoted);
    lower = str_lower(p->proto);
    if (*lower == '\0') {
        free(p->proto);
        p->proto = xstrdup("tcp");
    } else if (!streq(lower, "tcp") && !streq(lower, "udp") && !streq(lower, "sctp")) {
        return err_new(ERR_INVALID, "invalid port: %s: invalid proto: %s", quoted, p->proto);
    }
    return NULL;
}

static struct error *check_ip(struct port_spec *p)
{
    size_t len = strlen(p->ip);

    if (*p->ip == '[') {
        if (p->ip[len - 1] != ']')
            return err_new(ERR_INVALID, "invalid IP address %s: address %s:: missing %s in address", p->ip,
                           p->ip, strchr(p->ip, ']') != NULL ? "port" : "']'");
        memmove(p->ip, p->ip + 1, len - 2);
        p->ip[len - 2] = '\0';
    }
    if (*p->ip != '\0' && !is_ip(p->ip))
        return err_new(ERR_INVALID, "invalid IP address: %s", p->ip);
    return NULL;
}

struct error *instruction_ports(const char *raw, struct df_lines lines, struct lint *lint, struct strv *ret)
{
    CLEANUP(port_spec_deinit) struct port_spec p = { 0 };
    CLEANUP(freep) char *lower = NULL;
    int first, last, host_first, host_last;

    split_spec(raw, &p);
    TRY(split_proto(raw, &p));
    lower = str_lower(p.proto);
    if (!streq(lower, p.proto))
        lint_report(lint, LINT_EXPOSE_PROTO_CASING, lines, raw);
    if (*p.ip != '\0' || *p.host != '\0')
        lint_report(lint, LINT_EXPOSE_INVALID_FORMAT, lines, raw);
    TRY(check_ip(&p));
    if (!parse_range(p.container, &first, &last))
        return err_new(ERR_INVALID, "invalid containerPort: %s", p.container);
    if (*p.host != '\0') {
        if (!parse_range(p.host, &host_first, &host_last))
            return err_new(ERR_INVALID, "invalid hostPort: %s", p.host);
        if (last - first != host_last - host_first && last != first)
            return err_new(ERR_INVALID, "invalid ranges specified for container and host Ports: %s and %s",
                           p.container, p.host);
    }
    for (int port = first; port <= last; port++)
        strv_addf(ret, "%d/%s", port, lower);
    return NULL;
}

struct error *dispatch_expose(struct convert *c, struct build_stage *s, struct build_command *cmd,
                              struct lint *lint)
{
    struct words_env env = env_of(&s->state.env);
    CLEANUP(strv_deinit) struct strv words = { 0 }, ports = { 0 };
    CLEANUP(buf_deinit) struct buf history = { 0 };

    for (size_t i = 0; i < cmd->ins->words.len; i++)
        TRY(words_split(&c->words, cmd->ins->words.v[i], &env, &words));
    for (size_t i = 0; i < words.len; i++)
        TRY(instruction_ports(words.v[i], cmd->ins->lines, lint, &ports));
    for (size_t i = 0; i < ports.len; i++)
        strmap_set(&s->image.exposed_ports, ports.v[i], "");
    buf_adds(&history, "EXPOSE ");
    buf_add_go_list(&history, &ports, false);
    stage_history(c, s, &history, false);
    return NULL;
}
