/* SPDX-License-Identifier: Apache-2.0 */
#include "session/impl.h"

#include "base/bytes.h"

static bool needs_escape(const struct strv *values)
{
    for (size_t i = 0; i < values->len; i++)
        for (const char *p = values->v[i]; *p != '\0'; p++)
            if (*p < ' ' || *p > '~')
                return true;
    return false;
}

void session_md_add(struct rpc_md *md, const char *key, const struct strv *values)
{
    bool escape = needs_escape(values);

    for (size_t i = 0; i < values->len; i++) {
        struct buf b = { 0 };

        if (escape)
            buf_add_query_escaped(&b, values->v[i]);
        else
            buf_adds(&b, values->v[i]);
        rpc_md_add(md, key, buf_str(&b));
        buf_deinit(&b);
    }
    if (escape) {
        CLEANUP(freep) char *flag = xasprintf("%s-encoded", key);

        rpc_md_add(md, flag, "1");
    }
}

char *session_query_unescape(const char *s)
{
    struct buf b = { 0 };

    for (const char *p = s; *p != '\0'; p++) {
        if (*p != '%') {
            buf_addc(&b, *p == '+' ? ' ' : *p);
            continue;
        }
        int high = hex_digit(p[1]), low = high < 0 ? -1 : hex_digit(p[2]);

        if (low < 0) {
            buf_deinit(&b);
            return xstrdup(s);
        }
        buf_addc(&b, (char)(high * 16 + low));
        p += 2;
    }
    return buf_take(&b);
}
