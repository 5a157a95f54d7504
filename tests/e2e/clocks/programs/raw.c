// Asks the kernel for the time by system calls, as programs without a C library do: nothing in it knows of the vDSO.
typedef long long i64;

#ifdef __aarch64__
enum { READ = 63, WRITE = 64, EXIT = 93, CLOCK_GETTIME = 113 };

static i64 call(i64 number, i64 a, i64 b, i64 c) {
    register i64 x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
#else
enum { READ = 0, WRITE = 1, EXIT = 60, CLOCK_GETTIME = 228 };

static i64 call(i64 number, i64 a, i64 b, i64 c) {
    i64 result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
#endif

void _start(void) {
    char byte, text[24];
    while (call(READ, 0, (i64)&byte, 1) == 1) {
        if (byte != '\n') continue;
        i64 now[2];
        call(CLOCK_GETTIME, 0, (i64)now, 0);
        i64 value = now[0] * 1000000000 + now[1];
        int at = sizeof text;
        text[--at] = '\n';
        for (; value; value /= 10) text[--at] = '0' + value % 10;
        call(WRITE, 1, (i64)(text + at), sizeof text - at);
    }
    call(EXIT, 0, 0, 0);
}
