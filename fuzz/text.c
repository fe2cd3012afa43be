/* SPDX-License-Identifier: Apache-2.0 */
/* Small readers of text from outside: paths, patterns, durations, times, numbers, base64; the first byte
 * picks one. */
#include "fuzz.h"

#include "base/bytes.h"
#include "io/path.h"

/* Cleaning is idempotent, and a rooted path stays rooted without any "..". */
static void check_path(const char *text)
{
    CLEANUP(freep) char *clean = path_clean(text), *again = path_clean(clean), *rooted = path_join("/", text);

    assert(streq(clean, again));
    assert(rooted[0] == '/' && strstr(rooted, "/../") == NULL && !str_has_suffix(rooted, "/.."));
}

/* The input up to its first line end is the pattern, the rest the name. */
static void check_match(char *text)
{
    char *name = strchrnul(text, '\n');

    if (*name == '\n')
        *name++ = '\0';
    int r = path_match(text, name);

    assert(r == 0 || r == 1 || r < 0);
}

static void check_time(const char *text)
{
    char printed[40];
    int64_t ns, again;

    if (parse_time(text, &ns) < 0)
        return;
    format_rfc3339(printed, ns);
    assert(parse_time(printed, &again) == 0 && again == ns);
}

static void check_base64(const char *text, size_t len)
{
    CLEANUP(buf_deinit) struct buf raw = { 0 }, encoded = { 0 }, again = { 0 };

    if (base64_decode(&raw, text, len) < 0)
        return;
    base64_encode(&encoded, buf_str(&raw), raw.len);
    assert(base64_decode(&again, buf_str(&encoded), encoded.len) == 0 && again.len == raw.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(buf_deinit) struct buf json = { 0 };
    int64_t number;

    if (len == 0)
        return 0;
    CLEANUP(freep) char *text = xmemdup(data + 1, len - 1);

    switch (data[0] % 6) {
    case 0:
        check_path(text);
        break;
    case 1:
        check_match(text);
        break;
    case 2:
        check_time(text);
        break;
    case 3:
        check_base64(text, len - 1);
        break;
    case 4:
        (void)!parse_duration(text, &number);
        (void)!parse_i64(text, &number);
        break;
    default:
        buf_add_json_string(&json, text, len - 1, true);
    }
    return 0;
}
