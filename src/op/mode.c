/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mode.c - chmod's mode texts
 */
#include "op/copy.h"

#include <errno.h>
#include <sys/stat.h>

/* The bits that a clause names, for user, group and others at once. */
static int perms(const char **p, uint32_t mode, bool dir, uint32_t *ret)
{
    uint32_t m = 0;

    for (;; (*p)++) {
        switch (**p) {
        case 'r':
            m |= 0444;
            break;
        case 'w':
            m |= 0222;
            break;
        case 'x':
            m |= 0111;
            break;
        case 'X':
            m |= dir || (mode & 0111) != 0 ? 0111 : 0;
            break;
        case 's':
            m |= S_ISUID | S_ISGID;
            break;
        case 't':
            m |= S_ISVTX;
            break;
        case 'u':
            m |= ((mode >> 6) & 7) * 0111;
            break;
        case 'g':
            m |= ((mode >> 3) & 7) * 0111;
            break;
        case 'o':
            m |= (mode & 7) * 0111;
            break;
        case '\0':
        case ',':
        case '+':
        case '-':
        case '=':
            *ret = m;
            return 0;
        default:
            return -EINVAL;
        }
    }
}

static uint32_t who_mask(const char **p)
{
    uint32_t mask = 0;

    for (;; (*p)++) {
        if (**p == 'u')
            mask |= S_ISUID | 0700;
        else if (**p == 'g')
            mask |= S_ISGID | 0070;
        else if (**p == 'o')
            mask |= S_ISVTX | 0007;
        else if (**p == 'a')
            mask |= 07777;
        else
            return mask != 0 ? mask : 07777;
    }
}

static int octal(const char *text, uint32_t *ret)
{
    uint32_t m = 0;

    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '7' || m > 0777)
            return -EINVAL;
        m = m * 8 + (uint32_t)(*text - '0');
    }
    *ret = m;
    return 0;
}

int mode_apply(const char *text, uint32_t mode, bool dir, uint32_t *ret)
{
    mode &= 07777;
    if (*text >= '0' && *text <= '9')
        return octal(text, ret);
    for (const char *p = text;; p++) {
        uint32_t mask = who_mask(&p);

        if (*p != '+' && *p != '-' && *p != '=')
            return -EINVAL;
        while (*p == '+' || *p == '-' || *p == '=') {
            char op = *p++;
            uint32_t bits;

            if (perms(&p, mode, dir, &bits) < 0)
                return -EINVAL;
            bits &= mask;
            if (op == '+')
                mode |= bits;
            else if (op == '-')
                mode &= ~bits;
            else
                mode = (mode & ~mask) | bits;
        }
        if (*p == '\0')
            break;
        if (*p != ',')
            return -EINVAL;
    }
    *ret = mode;
    return 0;
}
