#!/bin/bash
# arm64.sh CACHE MURPHY [arm61|arm612|arm16k] [E2E TEST...]: murphy on a machine with an aarch64 processor, which QEMU makes.
# See README.md. MURPHY is built for aarch64 (deploy/build --target aarch64-unknown-linux-gnu).
#
# Without E2E: every kind of fault, and clocks of programs in several languages, a line "ok" or "FAIL" for each thing seen.
# With E2E, which is tests/e2e built statically for aarch64: those of its tests whose names are given, run in there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../.." && pwd)
export VMTEST_CACHE=$(cd "$1" && pwd); C=$VMTEST_CACHE murphy=$(realpath "$2") kernel=${3:-arm61}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
guest=(-e "${MURPHY_GUEST_ENGINE:-icount}" -k "$kernel" -M 2500 -c 2 -R "$C/armroot.img" -E PATH=/usr/sbin:/usr/bin:/sbin:/bin)
programs=$root/tests/e2e/clocks/programs
# A program for the other machine, with the compiler that lies in the cache.
cross() { LD_LIBRARY_PATH=$C/arm-cc/usr/lib/x86_64-linux-gnu "$C/arm-cc/usr/bin/aarch64-linux-gnu-$1" "${@:2}"; }
cc() { cross gcc-12 --sysroot="$C/arm-cc" -O2 -pthread "$@"; }
mkdir "$work/programs"; export GOARCH=arm64 CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=mod
if command -v go >/dev/null; then (cd "$work" && go build -o "$work/programs/teller-go" "$programs/teller.go"); fi
# Another one, which another Go has made: MURPHY_GO_TELLER. The tests take that: where a kernel is new an old one sees nothing.
[ -z "${MURPHY_GO_TELLER:-}" ] || cp "$MURPHY_GO_TELLER" "$work/programs/teller-go-new"
if [ $# -gt 3 ]; then
  cross strip -o "$work/murphy" "$murphy"; cross strip -o "$work/e2e" "$4"
  # The tests know the program and the pages by the paths at which they were built.
  program=$(realpath "$(dirname "$4")/..")/murphy
  printf '#!/bin/sh\nip link set lo up; for c in cpu memory io pids; do echo +$c >/sys/fs/cgroup/cgroup.subtree_control; done; cd %q; exec /e2e --test-threads=1 --nocapture "$@" 2>&1\n' "$root" >"$work/go"
  # What `go build` would make takes long in there: it is made here.
  [ ! -e "$work/programs/teller-go" ] || { printf '#!/bin/sh\ncp /programs/teller-go-new "$3" 2>/dev/null || cp /programs/teller-go "$3"\n' >"$work/programs/go"; chmod +x "$work/programs/go"; guest+=(-f "$work/programs/go:/usr/bin/go" -f "$work/programs:/programs"); }
  chmod +x "$work/go"
  for part in tests deploy configs docs; do guest+=(-f "$root/$part:$root/$part"); done
  "$here/vmtest" "${guest[@]}" -t "${MURPHY_GUEST_SECONDS:-1800}" -f "$work/murphy:$program" -f "$work/e2e:/e2e" -- "$work/go" "${@:5}"
  exit
fi
cat >"$work/skew.c" <<'C'
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
static long long now(void) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
/* Asks whoever answers lines at 3 with lines at 4 for the time: by how many microseconds it is ahead, and when, by the surest of 25. */
int main(void) {
    long long width = 1LL << 62, ahead = 0, at = 0;
    for (int i = 0; i < 25; i++) {
        char line[256]; size_t n = 0; long long told = 0, before = now();
        if (write(3, "t\n", 2) != 2) return 1;
        while (n < sizeof line - 1) { ssize_t got = read(4, line + n, sizeof line - 1 - n); if (got <= 0) return 1; n += got; if (line[n - 1] == '\n') break; }
        long long after = now();
        line[n] = 0; sscanf(line, "%lld", &told);
        if (after - before < width) { width = after - before; at = before + width / 2; ahead = told - at; }
    }
    printf("%lld %lld\n", ahead / 1000, at);
    return 0;
}
C
cat >"$work/signals.c" <<'C'
#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* Reads the clock without pause, and is nearly always in the handler of a signal that came while it did. */
static void slowly(int unused) { struct timespec t = { 0, 60000000 }; (void)unused; nanosleep(&t, 0); }
int main(void) {
    struct itimerval every = { { 0, 70000 }, { 0, 70000 } };
    signal(SIGALRM, slowly);
    setitimer(ITIMER_REAL, &every, 0);
    for (;;) { struct timespec t; struct timeval v; if (clock_gettime(CLOCK_REALTIME, &t) || gettimeofday(&v, 0) || t.tv_sec < 1000000000) _exit(9); }
}
C
cc -static -o "$work/programs/signals" "$work/signals.c"; cc -static -o "$work/programs/skew" "$work/skew.c"
cc -static -o "$work/programs/teller" "$programs/teller.c"; cc -o "$work/programs/teller-dynamic" "$programs/teller.c"
musl=$C/arm-root/usr; L=$musl/lib/aarch64-linux-musl
cross gcc-12 --sysroot="$C/arm-cc" -O2 -nostdinc -isystem "$musl/include/aarch64-linux-musl" -static -nostdlib -o "$work/programs/teller-musl" \
  "$L/crt1.o" "$L/crti.o" "$programs/teller.c" -Wl,--start-group "$L/libc.a" "$C"/arm-cc/usr/lib/gcc-cross/aarch64-linux-gnu/12/libgcc{,_eh}.a -Wl,--end-group "$L/crtn.o"
cp "$programs/teller.py" "$programs/teller.js" "$work/programs/"
"$here/vmtest" "${guest[@]}" -t "${MURPHY_GUEST_SECONDS:-1500}" -f "$murphy:/murphy" -f "$work/programs:/programs" -- "$here/arm64-guest.sh"
