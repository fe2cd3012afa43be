/* SPDX-License-Identifier: Apache-2.0 */
/* http_name.c - names of files and dates, as servers tell them */
#include "base/bytes.h"
#include "op/http.h"

#include <errno.h>
#include <strings.h>
#include <time.h>

char *http_safe_name(const char *name)
{
    size_t n = strlen(name);

    while (n > 0 && strchr(" \t\r\n", *name) != NULL)
        name++, n--;
    while (n > 0 && strchr(" \t\r\n/", name[n - 1]) != NULL)
        n--;
    for (size_t i = n; i > 0; i--) {
        if (name[i - 1] == '/') {
            name += i;
            n -= i;
            break;
        }
    }
    if (n == 0 || n > 255 || (n == 1 && name[0] == '.') || (n == 2 && strncmp(name, "..", 2) == 0))
        return xstrdup("download");
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return xstrdup("download");
    }
    return xstrndup(name, n);
}

char *http_disposition_name(const char *header)
{
    const char *p = header == NULL ? NULL : strchr(header, ';');
    struct buf value = { 0 };

    for (; p != NULL; p = strchr(p, ';')) {
        p += 1 + strspn(p + 1, " \t");
        if (strncasecmp(p, "filename=", 9) != 0)
            continue;
        p += 9;
        bool quoted = *p == '"';

        for (p += quoted; *p != '\0' && (quoted ? *p != '"' : strchr("; \t", *p) == NULL); p++) {
            if (quoted && *p == '\\' && p[1] != '\0')
                p++;
            buf_addc(&value, *p);
        }
        break;
    }
    if (value.len == 0 || value.data[value.len - 1] == '/') {
        buf_deinit(&value);
        return NULL;
    }
    return buf_take(&value);
}

int http_parse_date(const char *text, int64_t *ret_ns)
{
    /* as Go's http.ParseTime: the usual form, RFC 850's, C's asctime */
    static const char *const forms[] = { "%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                         "%A, %d-%b-%y %H:%M:%S UTC", "%a %b %e %H:%M:%S %Y" };

    for (size_t i = 0; text != NULL && i < ARRAY_LEN(forms); i++) {
        struct tm tm = { 0 };
        const char *end = strptime(text, forms[i], &tm);

        if (end == NULL || *end != '\0')
            continue;
        *ret_ns = (int64_t)timegm(&tm) * NS_PER_SEC;
        return 0;
    }
    return -EINVAL;
}

char *http_url_name(const char *url)
{
    const char *host = strstr(url, "://"), *path = host == NULL ? NULL : strchr(host + 3, '/');
    size_t n = path == NULL ? 0 : strcspn(path, "?#");
    struct buf b = { 0 };

    for (size_t i = 0; i < n; i++) {
        int hi = path[i] == '%' && i + 2 < n ? hex_digit(path[i + 1]) : -1;
        int lo = hi >= 0 ? hex_digit(path[i + 2]) : -1;

        if (lo >= 0)
            i += 2;
        buf_addc(&b, lo >= 0 ? (char)(hi * 16 + lo) : path[i]);
    }
    char *name = http_safe_name(b.len == strlen(buf_str(&b)) ? buf_str(&b) : "");

    buf_deinit(&b);
    return name;
}
