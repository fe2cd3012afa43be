/* SPDX-License-Identifier: Apache-2.0 */
#include "container/detach.h"

#include "base/vec.h"

#include <errno.h>

static int parse_key(const char *word, uint8_t *ret)
{
    const char *ctrl = str_skip_prefix(word, "ctrl-");

    if (ctrl == NULL || strlen(ctrl) != 1) {
        *ret = (uint8_t)word[0];
        return strlen(word) == 1 ? 0 : -EINVAL;
    }
    if (*ctrl >= 'a' && *ctrl <= 'z')
        *ret = (uint8_t)(*ctrl - 'a' + 1);
    else if (*ctrl == '@')
        *ret = 0;
    else if (strchr("[\\]^_", *ctrl) != NULL)
        *ret = (uint8_t)(*ctrl - '[' + 27);
    else
        return -EINVAL;
    return 0;
}

int detach_keys_parse(const char *text, struct detach_keys *d)
{
    CLEANUP(strv_deinit) struct strv words = { 0 };

    memset(d, 0, sizeof(*d));
    strv_split(&words, text != NULL && *text != '\0' ? text : "ctrl-p,ctrl-q", ',');
    for (size_t i = 0; i < words.len; i++)
        if (d->count == DETACH_KEYS_MAX || parse_key(words.v[i], &d->keys[d->count++]) < 0)
            return -EINVAL;
    return 0;
}

bool detach_keys_filter(struct detach_keys *d, const uint8_t *data, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] != d->keys[d->seen]) {
            buf_add(out, d->keys, d->seen);
            d->seen = 0;
        }
        if (data[i] == d->keys[d->seen])
            d->seen++;
        else
            buf_addc(out, (char)data[i]);
        if (d->seen == d->count)
            return true;
    }
    return false;
}
