// Tells the time when asked by a line. The first letter says how:
//   t  by every call there is       k  starts a child that stays        c  asks that child
//   f  by a child of its own        r  by a system call of its own      h  starts four threads that read all the time
//   y  starts 31 threads that do nothing but read
//   w  by a thread of its own       n  what those have seen             s  sleeps 0.3 s until a moment of the wall clock
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile unsigned long reads, bad;

static long long of(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }

static long long now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return of(t);
}

static void tell(FILE *out) {
    long long real = now(CLOCK_REALTIME), mono = now(CLOCK_MONOTONIC), coarse = now(CLOCK_REALTIME_COARSE);
    struct timeval v;
    gettimeofday(&v, 0);
    fprintf(out, "%lld %lld %lld %lld %lld\n", real, v.tv_sec * 1000000000LL + v.tv_usec * 1000LL,
            (long long)time(0) * 1000000000LL, coarse, mono);
    fflush(out);
}

static void *in_a_thread(void *unused) { tell(stdout); return unused; }

static void *hot(void *unused) {
    for (;;) {
        for (int i = 0; i < 5000; i++) {
            struct timespec t = { 0, -1 };
            struct timeval v = { 0, -1 };
            if (clock_gettime(CLOCK_REALTIME, &t) || t.tv_nsec < 0 || t.tv_nsec > 999999999 || t.tv_sec < 1000000000) bad++;
            if (gettimeofday(&v, 0) || v.tv_usec < 0 || v.tv_usec > 999999 || time(0) < 1000000000) bad++;
            struct timespec a, b;
            clock_gettime(CLOCK_MONOTONIC, &a);
            clock_gettime(CLOCK_MONOTONIC, &b);
            if (of(b) < of(a)) bad++;
            reads++;
        }
        usleep(1000);
    }
    return unused;
}

static void *without_pause(void *unused) {
    for (;;) {
        struct timespec t = { 0, -1 };
        if (clock_gettime(CLOCK_REALTIME, &t) || t.tv_nsec < 0 || t.tv_nsec > 999999999 || t.tv_sec < 1000000000) bad++;
        reads++;
    }
    return unused;
}

int main(void) {
    char line[64];
    int ask[2] = { -1, -1 }, answer[2] = { -1, -1 };
    FILE *kid = 0;
    while (fgets(line, sizeof line, stdin)) {
        pthread_t thread;
        switch (line[0]) {
        case 't': tell(stdout); break;
        case 'w': pthread_create(&thread, 0, in_a_thread, 0); pthread_join(thread, 0); break;
        case 'f':
            if (fork() == 0) { tell(stdout); _exit(0); }
            wait(0);
            break;
        case 'k': {
            if (pipe(ask) || pipe(answer)) return 1;
            pid_t child = fork();
            if (child == 0) {
                char one;
                close(ask[1]);
                FILE *out = fdopen(answer[1], "w");
                while (read(ask[0], &one, 1) == 1) tell(out);
                _exit(0);
            }
            close(ask[0]);
            close(answer[1]);
            kid = fdopen(answer[0], "r");
            printf("%d\n", child);
            fflush(stdout);
            break;
        }
        case 'c':
            if (!kid || write(ask[1], "t", 1) != 1 || !fgets(line, sizeof line, kid)) return 2;
            fputs(line, stdout);
            // The rest of a long line.
            while (!strchr(line, '\n') && fgets(line, sizeof line, kid)) fputs(line, stdout);
            fflush(stdout);
            break;
        case 'r': {
            struct timespec t;
            syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
            printf("%lld\n", of(t));
            fflush(stdout);
            break;
        }
        case 'h':
            for (int i = 0; i < 4; i++) pthread_create(&thread, 0, hot, 0);
            printf("4\n");
            fflush(stdout);
            break;
        case 'y':
            for (int i = 0; i < 31; i++) pthread_create(&thread, 0, without_pause, 0);
            printf("31\n");
            fflush(stdout);
            break;
        case 'n': printf("%lu %lu\n", reads, bad); fflush(stdout); break;
        case 's': {
            long long before = now(CLOCK_MONOTONIC);
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += 300000000;
            if (until.tv_nsec >= 1000000000) { until.tv_sec++; until.tv_nsec -= 1000000000; }
            clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &until, 0);
            printf("%lld\n", now(CLOCK_MONOTONIC) - before);
            fflush(stdout);
            break;
        }
        }
    }
    return 0;
}
