/* Loaded before the C library (LD_PRELOAD): names that end in .test resolve as this file says. Other names, and numbers,
 * are left to the system. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

typedef int resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static const struct {
    const char *name;
    const char *addresses[4];
    int error;
    int seconds;
} names[] = {
    {"six-four.test", {"::1", "127.0.0.1"}, 0, 0},
    {"four-six.test", {"127.0.0.1", "::1"}, 0, 0},
    {"six.test", {"::1"}, 0, 0},
    {"twice.test", {"127.0.0.1", "127.0.0.1"}, 0, 0},
    {"three.test", {"127.0.0.1", "127.0.0.2", "127.0.0.3"}, 0, 0},
    {"slow.test", {"127.0.0.1"}, 0, 2},
    {"unknown.test", {0}, EAI_NONAME, 0},
    {"later.test", {0}, EAI_AGAIN, 0},
};

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    resolver *system_resolver = (resolver *)dlsym(RTLD_NEXT, "getaddrinfo");
    struct addrinfo numeric = {0};
    size_t i, n;
    for (i = 0; host && i < sizeof names / sizeof *names; i++) {
        struct addrinfo **end = found;
        if (strcmp(host, names[i].name)) continue;
        if (names[i].seconds) sleep(names[i].seconds);
        if (names[i].error) return names[i].error;
        if (hints) numeric = *hints;
        numeric.ai_flags |= AI_NUMERICHOST;
        for (n = 0; names[i].addresses[n]; n++) {
            int error = system_resolver(names[i].addresses[n], service, &numeric, end);
            if (error) return error;
            while (*end) end = &(*end)->ai_next;
        }
        return 0;
    }
    return system_resolver(host, service, hints, found);
}
