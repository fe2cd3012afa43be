/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/ignore.h"

#include "base/limits.h"
#include "base/rune.h"
#include "io/path.h"

/* New string: cleaned, relative to the context; '!' stays in front. */
static char *normalize(const char *s, size_t len)
{
    bool invert = s[0] == '!';

    if (invert)
        s = str_trim_space(s + 1, len - 1, &len);
    CLEANUP(freep) char *text = xstrndup(s, len);
    CLEANUP(freep) char *clean = len > 0 ? path_clean(text) : xstrdup("");
    const char *relative = clean[0] == '/' && clean[1] != '\0' ? clean + 1 : clean;
    return xasprintf("%s%s", invert ? "!" : "", relative);
}

struct error *ignore_parse(const char *data, size_t len, struct strv *ret)
{
    if (len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
        data += 3;
        len -= 3;
    }
    while (len > 0) {
        const char *end = memchr(data, '\n', len);
        size_t n = end != NULL ? (size_t)(end - data) : len, text_len;
        if (n >= LIMIT_DOCKERFILE_LINE)
            return err_new(ERR_INVALID, "bufio.Scanner: token too long");
        const char *text = str_trim_space(data, n, &text_len);
        if (data[0] != '#' && text_len > 0)
            strv_take(ret, normalize(text, text_len));
        data += end != NULL ? n + 1 : n;
        len -= end != NULL ? n + 1 : n;
    }
    return NULL;
}
