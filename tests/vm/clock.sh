#!/bin/bash
# The machine's clock, set wrong and right again, in a guest whose clock is nobody's: offset, drift, strobe, what NTP
# has put right, and kill -9. Usage: clock.sh CACHE MURPHY [cloud|cloud612]; CACHE is filled by fetch.sh.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export VMTEST_CACHE=$1
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cat > "$work/wall.c" <<'C'
#include <stdio.h>
#include <time.h>
static long long ns(clockid_t c) { struct timespec t; clock_gettime(c, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }
/* Without an argument: the wall clock minus one that nobody sets, in microseconds. With one: steps by so many milliseconds. */
int main(int n, char **v) {
    long long by = 0;
    if (n > 1) {
        sscanf(v[1], "%lld", &by);
        long long to = ns(CLOCK_REALTIME) + by * 1000000;
        struct timespec t = { to / 1000000000, to % 1000000000 };
        return clock_settime(CLOCK_REALTIME, &t) != 0;
    }
    long long a = ns(CLOCK_MONOTONIC_RAW), r = ns(CLOCK_REALTIME), b = ns(CLOCK_MONOTONIC_RAW);
    printf("%lld\n", (r - a / 2 - b / 2) / 1000);
    return 0;
}
C
cc -O2 -static -o "$work/wall" "$work/wall.c"
cat > "$work/guest.sh" <<'G'
#!/bin/sh
export MURPHY_STATE_DIR=/tmp/state NO_COLOR=1
M=/m BASE=$(/wall) BAD=0
us() { echo $(( $(/wall) - BASE )); }
# is NAME VALUE WANTED WITHIN, in microseconds
is() { d=$(( $2 - $3 )); [ $d -lt 0 ] && d=$(( -d )); if [ $d -le "$4" ]; then echo "ok   $1: $2 us of $3"; else echo "FAIL $1: $2 us of $3, within $4"; BAD=1; fi; }
dogs() { ps | grep __watchdo[g] | awk '{print $1}'; }
arm() { $M arm node:self system_clock "$@" >/dev/null 2>&1 & P=$!; sleep 2; }
arm offset=1h --for 4s; is "offset" "$(us)" 3600000000 1000; wait $P; is "after offset" "$(us)" 0 1000
arm offset=5s --for 4s; /wall -5000; is "put right by someone" "$(us)" 0 20000; before=$(us); wait $P; is "left as it is" "$(us)" "$before" 3000
BASE=$(/wall)
arm offset=5s --for 4s; /wall -3000; wait $P; is "after a part was put right" "$(us)" 0 20000
BASE=$(/wall)
arm drift=10% --for 14s; a=$(us); sleep 8; b=$(us); wait $P
[ $(( b - a )) -gt 700000 ] || { echo "FAIL drift: $(( b - a )) us in some 8 s"; BAD=1; }
is "after drift, $(( b - a )) us in some 8 s" "$(us)" 0 5000; adjtimex | grep -E "freq.*:|tick:" | tr -s ' '
arm offset=-30s strobe=1s --for 6s; n=0; while [ $n -lt 6 ]; do v=$(us); case $v in -29*|-30*) w=1;; *) r=1;; esac; sleep 0.4; n=$((n+1)); done
[ "$w$r" = 11 ] || { echo "FAIL strobe"; BAD=1; }; wait $P; is "after strobe" "$(us)" 0 3000
arm offset=1h --for 60s; kill -9 $P; sleep 4; is "agent killed: watchdog" "$(us)" 0 3000
arm offset=-1h --for 60s; for d in $(dogs); do kill -9 "$d"; done; kill -9 $P; sleep 1; is "both killed" "$(us)" -3600000000 3000
$M recover; is "recovered" "$(us)" 0 3000
# Something with the name of a daemon that keeps clocks right.
printf '#!/bin/sh\nwhile :; do sleep 1; done\n' > /tmp/chronyd; chmod +x /tmp/chronyd; /tmp/chronyd & D=$!; sleep 1
$M arm node:self ntp_stop --for 3s >/dev/null 2>&1 & P=$!; sleep 2; grep -q 'State:.T' /proc/$D/status && echo "ok   ntp_stop" || { echo "FAIL ntp_stop"; BAD=1; }
wait $P; grep -q 'State:.T' /proc/$D/status && { echo "FAIL it stays stopped"; BAD=1; }; kill $D
set -- $($M exec --clock monotonic=100s -- sh -c 'cat /proc/self/timens_offsets'); [ "$2" = 100 ] && echo "ok   exec" || { echo "FAIL exec: $*"; BAD=1; }
exit $BAD
G
chmod +x "$work/guest.sh"
"$here/vmtest" -e tcg -k "${3:-cloud}" -t 280 -M 1024 -f "$work/wall:/wall" -f "$(realpath "$2"):/m" -- "$work/guest.sh"
