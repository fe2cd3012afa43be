/* SPDX-License-Identifier: Apache-2.0 */
/* banned.h - calls that are compile errors here, each with a safer sibling */
#ifndef MINKE_BASE_BANNED_H
#define MINKE_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Macros of the fortified headers where clang compiles. */
#undef sprintf
#undef vsprintf
#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol atoll system popen localtime gmtime       \
    mktemp tmpnam

#endif
