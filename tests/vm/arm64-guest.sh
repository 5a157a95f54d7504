#!/bin/bash
# In a guest with an aarch64 processor: every kind of fault by murphy (/murphy), a line for each thing that was seen.
# What programs here are (/programs): teller is C with glibc, static; teller-dynamic and teller-musl the same otherwise; teller-go.
cd /tmp; export MURPHY_STATE_DIR=/tmp/state MURPHY_SOCKET=/tmp/agent.sock NO_COLOR=1
M=/murphy BAD=0
ok() { echo "ok   $*"; }
fail() { echo "FAIL $*"; BAD=1; }
# is WHAT VALUE LEAST MOST
is() { if awk -v v="$2" -v a="$3" -v b="$4" 'BEGIN { exit !(v != "" && v + 0 >= a && v + 0 <= b) }'; then ok "$1: $2"; else fail "$1: $2, not $3 to $4"; fi; }
# until N COMMAND: tries it so many times, half a second apart
until_() { local n=$1; shift; while ! "$@" >/dev/null 2>&1; do n=$((n - 1)); [ $n -gt 0 ] || return 1; sleep 0.5; done; }
arm() { $M arm "$@" --id T --for 10m >/tmp/said 2>&1 || fail "arm $*: $(cat /tmp/said)"; }
off() { $M disarm T >/tmp/said 2>&1 || fail "disarm: $(cat /tmp/said)"; }
number() { $M list --json | tr -d ' ,"' | sed -n "s/^$1://p" | head -1; }
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
worst() { sort -n | tail -1; }
seconds() { curl -s -o /dev/null -w '%{time_total}' --max-time 60 "$@"; }
status() { curl -s -o /dev/null -w '%{http_code}' --max-time 60 "$@"; }
echo "kernel $(uname -r), pages of $(getconf PAGESIZE), $(nproc) processors; $($M --version)"

echo "# doctor"
$M doctor > doctor; $M doctor --json > doctor.json
python3 -m json.tool doctor.json > /dev/null && ok "doctor --json reads" || fail "doctor --json"
for f in clock system_clock net_delay io_error cpu cgroup_squeeze pause partition; do
  grep -q "✔ fault $f " doctor && ok "doctor: $f is possible" || fail "doctor: $(grep -A1 "fault $f " doctor)"; done
is "doctor: faults that are possible" "$(grep -c '✔ fault' doctor)" 75 120

echo "# proxy"
mkdir web; echo hello > web/index.html; python3 -m http.server 8000 --bind 127.0.0.1 -d web >/dev/null 2>&1 & WEB=$!
mkdir -p /srv/db /srv/shown; echo kept > /srv/db/file
$M agent --proxy web=127.0.0.1:8001,127.0.0.1:8000,http --toxiproxy 127.0.0.1:8474 > log 2>&1 & AGENT=$!
until_ 60 $M list && until_ 60 curl -sf http://127.0.0.1:8001/ || fail "the agent does not answer: $(cat log)"
is "http through the proxy" "$(status http://127.0.0.1:8001/)" 200 200
arm proxy:web abort status=503; is "abort" "$(status http://127.0.0.1:8001/)" 503 503; off
is "and afterwards" "$(status http://127.0.0.1:8001/)" 200 200
plain=$(for i in 1 2 3 4 5 6 7; do seconds http://127.0.0.1:8001/; echo; done | median)
arm proxy:web delay delay=800ms; late=$(for i in 1 2 3 4 5 6 7; do seconds http://127.0.0.1:8001/; echo; done | median); off
is "delay of 800 ms, seconds more in the median" "$(awk "BEGIN { print $late - $plain }")" 0.79 0.95
# Toxiproxy's words
curl -s -X POST -d '{"name":"tox","listen":"127.0.0.1:8002","upstream":"127.0.0.1:8000"}' http://127.0.0.1:8474/proxies > said
grep -q '"enabled":true' said && ok "toxiproxy: a proxy" || fail "toxiproxy: $(cat said)"
curl -s -X POST -d '{"name":"slow","type":"latency","attributes":{"latency":700}}' http://127.0.0.1:8474/proxies/tox/toxics > said
grep -q '"latency":700' said && ok "toxiproxy: a toxic" || fail "toxiproxy: $(cat said)"
is "toxiproxy: latency of 700 ms, seconds" "$(for i in 1 2 3 4 5; do seconds http://127.0.0.1:8002/; echo; done | median)" 0.69 1.2
curl -s -X DELETE http://127.0.0.1:8474/proxies/tox

echo "# files"
arm fs:/srv/db io_error errno=EIO ops=read
cat /srv/db/file > /dev/null 2> said && fail "it can be read" || { grep -q "Input/output" said && ok "io_error: $(cat said)" || fail "$(cat said)"; }
off; [ "$(cat /srv/db/file)" = kept ] && ok "and afterwards" || fail "not kept"
arm fs:/srv/db disk_full free=64KiB
dd if=/dev/zero of=/srv/db/big bs=4096 count=64 2> said && fail "it fits" || { grep -q "No space" said && ok "disk_full: $(stat -c %s /srv/db/big) bytes fit" || fail "$(cat said)"; }
off; rm -f /srv/db/big

echo "# processes and control groups"
sh -c 'while :; do :; done' & V=$!
ticks() { cut -d' ' -f14 /proc/$V/stat; }
arm process:$V pause; a=$(ticks); sleep 1; b=$(ticks); is "pause: ticks of a loop within a second" $((b - a)) 0 0; off
sleep 1; c=$(ticks); is "and afterwards" $((c - b)) 10 200
G=/sys/fs/cgroup/app; for c in cpu memory pids; do echo "+$c" > /sys/fs/cgroup/cgroup.subtree_control; done; mkdir $G; echo $V > $G/cgroup.procs
arm cgroup:/app cgroup_squeeze cpu=0.2 memory=64MiB pids=20
is "cgroup_squeeze: memory.max" "$(cat $G/memory.max)" 67108864 67108864; is "pids.max" "$(cat $G/pids.max)" 20 20
sleep 1; a=$(sed -n 's/usage_usec //p' $G/cpu.stat); s=$(date +%s%N); sleep 5; b=$(sed -n 's/usage_usec //p' $G/cpu.stat); t=$(date +%s%N)
is "a loop with cpu=0.2 gets of a processor, percent" $(( (b - a) * 100000 / (t - s) )) 12 26
off; [ "$(cat $G/memory.max) $(cat $G/cpu.max)" = "max max 100000" ] && ok "and given back" || fail "$(cat $G/memory.max $G/cpu.max)"
# Not a multiple of any size of page.
arm cgroup:/app cgroup_squeeze memory=50000001B; v=$(cat $G/memory.max); off; is "cgroup_squeeze by whole pages" "$v" 49900000 50000001
arm cgroup:/app memory size=80MiB; until_ 40 test "$(cat $G/memory.current)" -gt 0; n=0; while [ "$(cat $G/memory.current)" -lt 83886080 ] && [ $n -lt 60 ]; do n=$((n + 1)); sleep 0.5; done
is "memory: the group has" "$(cat $G/memory.current)" 83886080 110000000; off
arm node:self cpu load=60%; sleep 6; a=$(awk '/^cpu /{ print $2+$3+$4+$6+$7+$8, $5 }' /proc/stat); sleep 6; b=$(awk '/^cpu /{ print $2+$3+$4+$6+$7+$8, $5 }' /proc/stat); off
echo "     the machine's load with 60 %: $(echo $a $b | awk '{ printf "%d %%", ($3 - $1) * 100 / ($3 - $1 + $4 - $2) }') (one loop beside it)"
sleep 1000 & K=$!; $M arm process:$K kill > said 2>&1; sleep 1; kill -0 $K 2>/dev/null && fail "it lives: $(cat said)" || ok "kill"
kill $V

echo "# network"
ip netns add a; ip netns add b; ip link add va netns a type veth peer name vb netns b
ip -n a addr add 10.9.0.1/24 dev va; ip -n b addr add 10.9.0.2/24 dev vb; for n in a b; do ip -n $n link set lo up; ip -n $n link set v$n up; done
trip() { ip netns exec a ping -c 9 -i 0.3 -W 5 10.9.0.2 | sed -n 's/.*time=\([0-9.]*\).*/\1/p' | median; }
until_ 20 ip netns exec a ping -c 1 -W 1 10.9.0.2; base=$(trip); echo "     a round trip takes $base ms"
for engine in native emulated; do
  arm netns:a net_delay delay=120ms engine=$engine; is "net_delay of 120 ms, engine=$engine, median ms" "$(trip)" 120 135; off
  is "and afterwards" "$(trip)" 0 20
done
arm netns:a net_loss chance=50% direction=ingress; p=$(ip netns exec a ping -c 80 -i 0.02 -W 1 10.9.0.2 2>/dev/null | grep -c 'time='); off; is "net_loss of 50 %: answers to 80" "$p" 20 60
arm netns:a partition peer=10.9.0.2; ip netns exec a ping -c 2 -i 0.2 -W 1 10.9.0.2 > /dev/null && fail "partition" || ok "partition"; off
is "everything back" "$(ip netns exec a ping -c 3 -i 0.2 -W 5 10.9.0.2 | sed -n 's/.* \([0-9.]*\)% packet loss.*/\1/p')" 0 0
ip netns exec a nft list tables | grep -q murphy && fail "a table is left" || ok "no table is left"

echo "# clocks"
# A teller in each language: TELLER NAME COMMAND...; asked by a line, told by a line of nanoseconds.
start() { rm -f i o; mkfifo i o; "$@" < i > o & P=$!; exec 3> i 4< o; ask t; }
ask() { echo "$1" >&3; read -r -t 60 told <&4; told=(${told:-0}); }
stop() { exec 3>&- 4<&-; kill $P 2>/dev/null; wait $P 2>/dev/null; }
# How far ahead it is in microseconds, and when that was, in nanoseconds.
skew() { /programs/skew; }
us() { skew | cut -d' ' -f1; }
vdso() { python3 - $1 <<'PY'
import sys, hashlib
pid = sys.argv[1]
line = [l for l in open(f"/proc/{pid}/maps") if l.rstrip().endswith("[vdso]")][0]
a, b = (int(x, 16) for x in line.split()[0].split("-"))
with open(f"/proc/{pid}/mem", "rb", 0) as m:
    m.seek(a); print(hashlib.sha256(m.read(b - a)).hexdigest()[:16], (b - a))
PY
}
for which in "C, glibc, static:/programs/teller" "C, glibc:/programs/teller-dynamic" "C, musl, static:/programs/teller-musl" "Go:/programs/teller-go" "a newer Go:/programs/teller-go-new" "Python:python3 /programs/teller.py" "Node:node /programs/teller.js"; do
  name=${which%%:*} by=1000; [ "$name" = Python ] || [ "$name" = Node ] || [ -e "${which#*:}" ] || { echo "     $name: not here"; continue; }; start ${which#*:}; before=$(vdso $P)
  # Its clock has milliseconds.
  [ "$name" = Node ] && by=2500
  $M arm process:$P clock offset=1h --for 9s --dry-run > said 2>&1
  if grep -q issue/62309 said; then ok "$name: a Go that does not find the vDSO of this kernel; it is said"; stop; continue; fi
  is "$name: off before, us" "$(us)" -$by $by
  arm process:$P clock offset=3723s; is "$name: offset of 3723 s, us beside it" $(( $(us) - 3723000000 )) -$by $by; off
  is "$name: off afterwards, us" "$(us)" -$by $by
  [ "$(vdso $P)" = "$before" ] && ok "$name: vDSO as before: $before" || fail "$name: another vDSO: $(vdso $P), before $before"
  arm process:$P clock drift=10%; a=$(skew); sleep 10; b=$(skew); off
  is "$name: drift of 10 %, percent" "$(echo $a $b | awk '{ printf "%.4f", ($3 - $1) * 100000 / ($4 - $2) }')" 9.95 10.05
  stop
done
start /programs/teller; before=$(vdso $P)
arm process:$P clock offset=-1h clocks=realtime
ask f; is "a forked child has it, s" $(( (told - $(date +%s%N)) / 1000000000 )) -3601 -3599
ask w; is "a thread has it, s" $(( (told - $(date +%s%N)) / 1000000000 )) -3601 -3599
ask r; is "a system call of its own has not, s" $(( (told - $(date +%s%N)) / 1000000000 )) -1 1
off
ask h; n=50; rm -f stood
for i in $(seq $n); do arm process:$P clock offset=5s drift=-20%; number stop_us >> stood; off; [ "$(vdso $P)" = "$before" ] || fail "round $i: another vDSO"; done
ask n; is "$n rounds under load: bad readings of ${told[0]}" "${told[1]}" 0 0
ask n; r=${told[0]}; sleep 1; ask n; is "and its threads go on: readings within a second" $((told - r)) 1 99999999
echo "     a process of five threads stood: $(median < stood) us in the median, $(worst < stood) us at most, of $n"
stop
start /programs/teller; rm -f stood; for i in $(seq 15); do arm process:$P clock offset=5s; number stop_us >> stood; off; done; stop
echo "     a process of one thread stood: $(median < stood) us in the median, $(worst < stood) us at most, of 15"
start /programs/teller; before=$(vdso $P); ask y
for i in 1 2 3; do env -u MURPHY_SOCKET MURPHY_STATE_DIR=/tmp/other $M arm process:$P clock offset=1h --for 3s > said 2>&1 || fail "31 threads that do nothing but read: $(cat said)"; done
[ "$(vdso $P)" = "$before" ] && ok "31 threads that do nothing but read: changed and back, three times" || fail "another vDSO"
ask n; is "bad readings of ${told[0]}" "${told[1]}" 0 0; stop
/programs/signals & P=$!; sleep 1; before=$(vdso $P)
# One that is in a handler at each of many looks is tried again by the agent.
clear_() { [ "$(vdso $P)" = "$before" ] && $M list | grep -q 'nothing is armed'; }
for i in $(seq 12); do arm process:$P clock offset=1h; sleep 0.3; $M disarm T > /dev/null 2>&1; until_ 60 clear_; done
kill -0 $P 2>/dev/null && [ "$(vdso $P)" = "$before" ] && ok "a process that is in handlers of signals: changed and back, 12 times" || fail "a process that is in handlers of signals"
kill -9 $P; wait $P 2>/dev/null

echo "# the machine's clock"
# The wall clock beside one that nobody sets, in microseconds.
wall() { python3 -c 'import time; a = time.clock_gettime_ns(4); r = time.time_ns(); b = time.clock_gettime_ns(4); print((r - a // 2 - b // 2) // 1000)'; }
was=$(wall); arm node:self system_clock offset=1h; is "system_clock offset=1h, us" "$(( $(wall) - was ))" 3599999000 3600001000; off
is "off afterwards, us" "$(( $(wall) - was ))" -1000 1000
arm node:self system_clock drift=10%; a=$(wall); sleep 8; b=$(wall); off; is "drift of 10 %, us in 8 s of it" $((b - a)) 650000 850000
is "off afterwards, us" "$(( $(wall) - was ))" -1000 1000

echo "# kill -9"
start /programs/teller; before=$(vdso $P)
arm process:$P clock offset=1h; is "changed, s" $(( $(us) / 1000000 )) 3599 3601
kill -9 $AGENT; back() { [ "$(vdso $P)" = "$before" ]; }
until_ 60 back && ok "the watchdog put it back" || fail "the clock stays changed"
is "off afterwards, us" "$(us)" -1000 1000; stop
$M doctor > doctor; grep -iE "left|dead" doctor | head -3; kill $WEB
[ $BAD = 0 ] && echo WHOLE; exit $BAD
