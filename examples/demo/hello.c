#include <stdio.h>
#include <sys/utsname.h>

int main(int argc, char **argv)
{
    struct utsname u;

    if (uname(&u) < 0)
        return 1;
    printf("Hello, %s, from a container on Linux %s, built by minke.\n", argc > 1 ? argv[1] : "you", u.release);
    return 0;
}
