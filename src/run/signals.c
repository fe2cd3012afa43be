/* SPDX-License-Identifier: Apache-2.0 */
#include "run/signals.h"

#include <errno.h>
#include <signal.h>
#include <strings.h>

static const struct {
    const char *name;
    int number;
} signals[] = {
    { "ABRT", SIGABRT }, { "ALRM", SIGALRM }, { "BUS", SIGBUS },       { "CHLD", SIGCHLD },
    { "CLD", SIGCHLD },  { "CONT", SIGCONT }, { "FPE", SIGFPE },       { "HUP", SIGHUP },
    { "ILL", SIGILL },   { "INT", SIGINT },   { "IO", SIGIO },         { "IOT", SIGABRT },
    { "KILL", SIGKILL }, { "PIPE", SIGPIPE }, { "POLL", SIGPOLL },     { "PROF", SIGPROF },
    { "PWR", SIGPWR },   { "QUIT", SIGQUIT }, { "SEGV", SIGSEGV },     { "STKFLT", 16 },
    { "STOP", SIGSTOP }, { "SYS", SIGSYS },   { "TERM", SIGTERM },     { "TRAP", SIGTRAP },
    { "TSTP", SIGTSTP }, { "TTIN", SIGTTIN }, { "TTOU", SIGTTOU },     { "URG", SIGURG },
    { "USR1", SIGUSR1 }, { "USR2", SIGUSR2 }, { "VTALRM", SIGVTALRM }, { "WINCH", SIGWINCH },
    { "XCPU", SIGXCPU }, { "XFSZ", SIGXFSZ },
};

/* RTMIN, RTMIN+3, RTMAX-2. */
static int parse_realtime(const char *name)
{
    int base = strncasecmp(name, "RTMIN", 5) == 0 ? 34 : strncasecmp(name, "RTMAX", 5) == 0 ? 64 : -1;
    int64_t offset = 0;

    if (base < 0)
        return -EINVAL;
    if (name[5] != '\0' &&
        (parse_i64(name[5] == '+' ? name + 6 : name + 5, &offset) < 0 || (name[5] != '+' && name[5] != '-')))
        return -EINVAL;
    int64_t number = base + offset;
    return number >= 34 && number <= 64 ? (int)number : -EINVAL;
}

int signal_parse(const char *text)
{
    int64_t number;

    if (parse_i64(text, &number) == 0)
        return number >= 1 && number <= 64 ? (int)number : -EINVAL;
    if (strncasecmp(text, "SIG", 3) == 0)
        text += 3;
    for (size_t i = 0; i < ARRAY_LEN(signals); i++)
        if (strcasecmp(text, signals[i].name) == 0)
            return signals[i].number;
    return parse_realtime(text);
}
