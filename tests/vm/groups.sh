#!/bin/sh
# In a guest: control groups of version 2 narrowed, filled, frozen and killed in by murphy (/murphy), and given back.
# Prints a line for each thing that was seen; anything else ends it.
set -eu
fail() { echo "FAILED: $*"; exit 1; }
export MURPHY_STATE_DIR=/tmp/state MURPHY_SOCKET=/tmp/s NO_COLOR=1 G=/sys/fs/cgroup/app
mount | grep -q ' /sys/fs/cgroup type cgroup2' || fail "no version 2 here"
echo "kernel $(uname -r), controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"
for c in cpu memory io pids; do echo "+$c" > /sys/fs/cgroup/cgroup.subtree_control || fail "no $c"; done
mkdir $G
sh -c 'while :; do sleep 0.2; done' & echo $! > $G/cgroup.procs; victim=$!
/murphy agent > /tmp/log 2>&1 &
n=0; until /murphy list > /dev/null 2>&1; do n=$((n+1)); [ $n -lt 100 ] || fail "the agent does not answer: $(cat /tmp/log)"; sleep 0.3; done
arm() { /murphy arm cgroup:/app "$@" --id T --for 5m > /tmp/said 2>&1 || fail "$* : $(cat /tmp/said)"; }
number() { /murphy list --json | tr -d ' ,"' | sed -n "s/^$1://p" | head -1; }
disarm() { /murphy disarm T > /tmp/said 2>&1 || fail "disarm: $(cat /tmp/said)"; }
is() { [ "$(cat $G/$1)" = "$2" ] || fail "$1 is $(cat $G/$1), not $2"; }

arm cgroup_squeeze cpu=0.2 memory=64MiB memory_high=48MiB pids=7
is cpu.max "20000 100000"; is memory.max 67108864; is memory.high 50331648; is pids.max 7
echo "narrowed: cpu.max $(cat $G/cpu.max), memory.max $(cat $G/memory.max), memory.high $(cat $G/memory.high), pids.max 7"
disarm; is cpu.max "max 100000"; is memory.max max; is memory.high max; is pids.max max
echo "and given back"

arm cgroup_squeeze cpu=0.1
sh -c "echo \$\$ > $G/cgroup.procs; while :; do :; done" & burner=$!
sleep 3; a=$(sed -n 's/usage_usec //p' $G/cpu.stat); sleep 4; b=$(sed -n 's/usage_usec //p' $G/cpu.stat)
echo "a loop at cpu=0.1 got $(( (b - a) / 40000 )) % of a core; throttled_periods $(number throttled_periods)"
[ $(( (b - a) / 40000 )) -le 14 ] || fail "that is not narrowed"
disarm; kill -9 $burner

arm cgroup_squeeze pids=3
sh -c "echo \$\$ > $G/cgroup.procs; for i in 1 2 3 4 5 6; do sleep 1 & done; wait" 2> /tmp/forks || true
grep -qi fork /tmp/forks || fail "everyone could start processes: $(cat /tmp/forks)"
echo "pids=3: $(head -1 /tmp/forks); forks_refused $(number forks_refused)"
disarm

for disk in ubda vda; do
  [ -e /sys/block/$disk ] || continue
  [ -b /dev/$disk ] || mknod /dev/$disk b $(tr : ' ' < /sys/block/$disk/dev)
  mkdir -p /disk; mke2fs -F /dev/$disk > /tmp/said 2>&1 || fail "no mke2fs: $(cat /tmp/said)"
  mount -t ext4 /dev/$disk /disk || mount -t ext2 /dev/$disk /disk || fail "ext4 and ext2 are both not here"
  # How long it takes the group to write 4 MB to the disk, in hundredths of a second.
  copy() { a=$(cut -d' ' -f1 /proc/uptime); sh -c "echo \$\$ > $G/cgroup.procs; exec dd if=/dev/zero of=/disk/x bs=65536 count=64 conv=fsync" 2> /dev/null
    b=$(cut -d' ' -f1 /proc/uptime); echo "$a $b" | awk '{ print int(($2 - $1) * 100) }'; }
  free=$(copy)
  arm cgroup_squeeze write=1MB/s read=2MB/s path=/disk
  echo "io.max: $(cat $G/io.max)"; grep -q "rbps=2000000 wbps=1000000" $G/io.max || fail "io.max: $(cat $G/io.max)"
  slow=$(copy); echo "4.2 MB to the disk take $slow hundredths of a second, and $free without"
  [ $slow -ge 300 ] && [ $slow -le 700 ] || fail "that is not 1 MB/s"
  disarm; [ -z "$(cat $G/io.max)" ] || grep -q wbps=max $G/io.max || fail "io.max stays: $(cat $G/io.max)"
  again=$(copy); echo "and given back: '$(cat $G/io.max)', $again hundredths"
  [ $again -lt 200 ] || fail "it is still slow"
  umount /disk
done
[ -d /disk ] || fail "no disk"

arm pause
grep -q "frozen 1" $G/cgroup.events || fail "not frozen"
disarm; grep -q "frozen 0" $G/cgroup.events || fail "still frozen"
echo "frozen and thawed as a whole"

echo 60 > $G/pids.max
arm pid_fill
echo "pid_fill: pids.current $(cat $G/pids.current) of $(cat $G/pids.max)"; is pids.current 60
disarm; [ $(cat $G/pids.current) -lt 10 ] || fail "still full"
echo max > $G/pids.max

echo $((64 << 20)) > $G/memory.max
arm memory load=90% mode=reach reserve=4MiB
part() { echo $(( $(cat $G/memory.current) * 100 / (64 << 20) )); }
n=0; until [ $(part) -ge 86 ]; do n=$((n+1)); [ $n -lt 60 ] || fail "memory stays at $(part) %: $(/murphy list --json | tr -d '\n ')"; sleep 0.5; done
echo "memory asked to reach 90 %: memory.current is $(part) % of memory.max"
disarm
arm memory size=200MiB reserve=0B
n=0; until [ "$(number oom_killed)" = 1 ] || [ "$(number oom_killed)" = 1.0 ]; do n=$((n+1)); [ $n -lt 60 ] || fail "not killed: $(/murphy list --json)"; sleep 0.3; done
echo "memory over the limit: oom_killed $(number oom_killed), and the group's own process lives: $(kill -0 $victim && echo yes)"
disarm

# Both killed in the middle, and recovered.
arm cgroup_squeeze pids=9 cpu=0.5
end() {
  for p in /proc/[0-9]*; do
    # A process may be gone by then.
    if tr '\0' ' ' 2> /dev/null < $p/cmdline | grep -q "$1"; then kill -$2 ${p#/proc/}; fi
  done
}
# An agent starts another watchdog when its own ends: that one is held first.
end "murphy __watchdog" STOP; end "^/murphy agent" KILL; end "murphy __watchdog" KILL
sleep 1
is pids.max 9
/murphy recover > /tmp/said 2>&1 || fail "recover: $(cat /tmp/said)"
is pids.max max; is cpu.max "max 100000"
echo "agent and watchdog killed: recovered"
kill -9 $victim
echo WHOLE
