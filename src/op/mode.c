/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mode.c - chmod's mode texts, as BuildKit reads them: with BSD's rules, which differ from GNU's
 */
#include "op/copy.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* What a clause without who means to '=': the sticky bit stays unless it is named. */
#define STANDARD 06777U

/* "ugoa...": the bits that the clause is about; 0 when it names nobody. */
static uint32_t who_mask(const char **p)
{
    uint32_t mask = 0;

    for (;; (*p)++) {
        if (**p == 'u')
            mask |= S_ISUID | 0700;
        else if (**p == 'g')
            mask |= S_ISGID | 0070;
        else if (**p == 'o')
            mask |= 0007;
        else if (**p == 'a')
            mask |= STANDARD;
        else
            return mask;
    }
}

static void set_bits(uint32_t *mode, char op, uint32_t who, uint32_t perms)
{
    uint32_t bits = (who != 0 ? who : 07777) & perms;

    if (op == '=')
        *mode &= ~(who != 0 ? who : STANDARD);
    if (op == '-')
        *mode &= ~bits;
    else
        *mode |= bits;
}

/* "g=u": only reading, writing and executing are copied, so set-id bits stay. */
static void copy_bits(uint32_t *mode, char op, uint32_t who, char from)
{
    uint32_t bits = ((*mode >> (from == 'u' ? 6 : from == 'g' ? 3 : 0)) & 7) * 0111;
    uint32_t classes = who == 0 ? 0777 : 0;

    if (who & S_IRUSR)
        classes |= 0700;
    if (who & S_IRGRP)
        classes |= 0070;
    if (who & S_IROTH)
        classes |= 0007;
    if (op != '+')
        *mode &= ~(op == '=' ? classes : bits & classes);
    if (op != '-')
        *mode |= bits & classes;
}

/* The bits of a letter, for all classes at once; false when it is none. */
static bool letter(char c, uint32_t *who, uint32_t *perms)
{
    bool special = *who == 0 || (*who & ~0007U) != 0; /* for others alone 's' and 't' mean nothing */

    switch (c) {
    case 'r':
        *perms |= 0444;
        return true;
    case 'w':
        *perms |= 0222;
        return true;
    case 'x':
        *perms |= 0111;
        return true;
    case 's':
        *perms |= special ? S_ISUID | S_ISGID : 0;
        return true;
    case 't':
        *who |= special ? S_ISVTX : 0;
        *perms |= special ? S_ISVTX : 0;
        return true;
    default:
        return false;
    }
}

/* One operator and its letters. `x`: what 'X' stands for, by the mode before all changes. */
static void apply_action(const char **p, uint32_t who, uint32_t x, uint32_t *mode)
{
    char op = *(*p)++;
    uint32_t perms = 0, later = 0;
    bool assigned = op != '=';

    for (;; (*p)++) {
        char c = **p;

        if (c == 'X' && op == '-') {
            perms |= 0111;
        } else if (c == 'X') {
            later |= x;
        } else if (!letter(c, &who, &perms)) {
            bool copies = c == 'u' || c == 'g' || c == 'o';

            if (perms != 0 || (!copies && !assigned))
                set_bits(mode, op, who, perms);
            set_bits(mode, '+', who, later);
            if (!copies)
                return;
            copy_bits(mode, op, who, c);
            assigned = true;
            perms = later = 0;
        }
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
    uint32_t x = dir || (mode & 0111) != 0 ? 0111 : 0;

    mode &= 07777;
    if (*text >= '0' && *text <= '9')
        return octal(text, ret);
    for (const char *p = text;; p++) {
        uint32_t who = who_mask(&p);

        do {
            if (*p == '\0' || strchr("+-=", *p) == NULL)
                return -EINVAL;
            apply_action(&p, who, x, &mode);
        } while (*p != '\0' && *p != ',');
        if (*p == '\0')
            break;
    }
    *ret = mode;
    return 0;
}
