// SPDX-License-Identifier: Apache-2.0
// A stand-in for curl in the stand-in alpine: `curl --unix-socket PATH URL` gets URL from the server at PATH and prints the body.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int fail(const char *what)
{
    perror(what);
    return 7;
}

static int complete(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\r\ncontent-length:");

    return end != NULL && length != NULL && length < end && strlen(end + 4) >= (size_t)atol(length + 17);
}

int main(int argc, char **argv)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    static char text[65536];
    size_t have = 0;
    ssize_t n;

    if (argc != 4 || strcmp(argv[1], "--unix-socket") != 0 || strncmp(argv[3], "http://", 7) != 0 ||
        strlen(argv[2]) >= sizeof to.sun_path) {
        fputs("usage: curl --unix-socket PATH http://HOST/PATH (offline stand-in)\n", stderr);
        return 2;
    }
    const char *host = argv[3] + 7, *path = strchr(host, '/');
    int len = path == NULL ? (int)strlen(host) : (int)(path - host), fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(to.sun_path, argv[2]);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        return fail("curl: connect");
    if (dprintf(fd, "GET %s HTTP/1.0\r\nHost: %.*s\r\n\r\n", path == NULL ? "/" : path, len, host) < 0)
        return fail("curl: send");
    // the end of the body is where its length says: a forwarded connection may stay open
    while (!complete(text) && have < sizeof text - 1 && (n = read(fd, text + have, sizeof text - 1 - have)) > 0)
        text[have += (size_t)n] = '\0';
    if (strncmp(text, "HTTP/1.", 7) != 0 || !complete(text))
        return fail("curl: no answer");
    fputs(strstr(text, "\r\n\r\n") + 4, stdout);
    return 0;
}
