// Asks the kernel for the time by system calls, as programs without a C library do: nothing in it knows of the vDSO.
typedef long long i64;

static i64 call(i64 number, i64 a, i64 b, i64 c) {
    i64 result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

void _start(void) {
    char byte, text[24];
    while (call(0, 0, (i64)&byte, 1) == 1) {
        if (byte != '\n') continue;
        i64 now[2];
        call(228, 0, (i64)now, 0);
        i64 value = now[0] * 1000000000 + now[1];
        int at = sizeof text;
        text[--at] = '\n';
        for (; value; value /= 10) text[--at] = '0' + value % 10;
        call(1, 1, (i64)(text + at), sizeof text - at);
    }
    call(60, 0, 0, 0);
}
