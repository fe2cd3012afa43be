/* SPDX-License-Identifier: Apache-2.0 */
/* test_client.c - send a word to a unix socket and print the answer; static, so that it runs in a bare root
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    char answer[256];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (argc != 3 || fd < 0 || strlen(argv[1]) >= sizeof(addr.sun_path))
        return 2;
    memcpy(addr.sun_path, argv[1], strlen(argv[1]) + 1);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || write(fd, argv[2], strlen(argv[2])) < 0)
        return 1;
    ssize_t n = read(fd, answer, sizeof(answer));
    return n > 0 && fwrite(answer, 1, (size_t)n, stdout) == (size_t)n ? 0 : 1;
}
