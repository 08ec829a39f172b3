// Tells of its own process: `keys add PROGRAM...` makes a key in a new session keyring and goes on as PROGRAM;
// `keys find` looks for that key; `user` prints the effective user.
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static const char *const NAME = "kiln-test-key";
int main(int count, char **args) {
    if (count > 1 && !strcmp(args[1], "user")) return printf("user %u\n", geteuid()) < 0;
    if (count > 3 && !strcmp(args[2], "add")) {
        if (syscall(SYS_keyctl, 1, NULL) < 0 || syscall(SYS_add_key, "user", NAME, "x", 1, -3) < 0) return perror("add"), 1;
        if (syscall(SYS_request_key, "user", NAME, NULL, 0) < 0) return perror("find"), 1;
        execvp(args[3], args + 3);
        return perror(args[3]), 1;
    }
    return puts(syscall(SYS_request_key, "user", NAME, NULL, 0) < 0 ? "no key" : "the host's key") < 0;
}
