#!/bin/bash
# Two "hosts" of two ranks each (two_hosts.sh): faults of the network and of a whole host. Needs
# root, so it runs outside of Bazel's sandbox:
#   bazel build --config=cpu //dist:fault_test //dist:lossy_link
#   dist/network_test.sh bazel-bin/dist/fault_test bazel-bin/dist/lossy_link
set -u
program=$(realpath "$1") link=$(realpath "$2")
# shellcheck source=dist/two_hosts.sh
. "$(dirname "$(realpath "$0")")/two_hosts.sh"

# start HOST key=value...: the parent of a host's two ranks, in the background.
start() {
  local host=$1
  shift
  spawn "$host" "$work/host-$host" "$program" --run nproc=2 nnodes=2 node_rank="$host" \
    master_addr=10.77.0.1 stall=3 out="$work" "$@"
  pids[host]=$!
}

# finish CODE0 CODE1: both parents' exit codes, within 60 s.
finish() {
  local host code
  for host in 0 1; do
    timeout 60 tail --pid="${pids[host]}" -f /dev/null || kill -9 "${pids[host]}"
    wait "${pids[host]}"
    code=$?
    expect "exit code $code of host $host, want ${*:host+1:1}" test "$code" = "${*:host+1:1}"
  done
}

says() { expect "host $1 says '$2'" grep -q "$2" "$work/host-$1"; }

# Whether a process runs: one that only waits to be collected, which some containers' first process
# never does, has ended.
lives() { grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status"; }

no_ranks_left() {
  local file
  for file in "$work"/pid-*; do
    for _ in $(seq 50); do lives "$(cat "$file")" || continue 2; sleep 0.1; done
    expect "$(basename "$file") has ended" false
  done
}

# The files of the case before; the hosts' own remain.
clean() { rm -f "$work"/host-? "$work"/pid-* "$work"/ready-* "$work"/result; }

declare -a pids

clean
begin "four ranks on one host and on two"
"$program" --run nproc=4 out="$work" >"$work/host-0" 2>&1
want=$(cat "$work/result")
rm -f "$work/result"
start 0; start 1; finish 0 0
expect "equal sums" test "$(cat "$work/result")" = "$want"

clean
begin "a rank of the other host is killed"
start 0 fault=kill rank=3; start 1 fault=kill rank=3; finish 3 3
says 0 "\[rank 3\] was killed by signal 9"
says 1 "\[rank 3\] was killed by signal 9"
no_ranks_left

clean
begin "a rank that is lost once: both hosts start again"
start 0 fault=kill_once rank=3 restarts=1; start 1 fault=kill_once rank=3 restarts=1; finish 0 0
says 0 "starts the ranks again (1 of 1)"
says 1 "starts the ranks again (1 of 1)"
expect "equal sums" test "$(cat "$work/result")" = "$want"
no_ranks_left

clean
begin "the other host's parent is killed"
start 0 steps=1000000; start 1 steps=1000000
while [ ! -e "$work/ready-3" ]; do sleep 0.1; done
kill -9 "${pids[1]}"
finish 3 137
no_ranks_left

clean
begin "the network is cut"
start 0 steps=1000000; start 1 steps=1000000
while [ ! -e "$work/ready-3" ]; do sleep 0.1; done
link_down 1
finish 3 3
says 0 "no heartbeat"
says 1 "lost the store"
no_ranks_left
link_up 1

clean
begin "SIGTERM on one host stops both after the same step"
start 0 steps=1000000; start 1 steps=1000000
while [ ! -e "$work/ready-3" ]; do sleep 0.1; done
kill -TERM "${pids[1]}"
finish 143 143
expect "stopped" grep -q stopped "$work/result"

clean
begin "both hosts take themselves for host 0"
on 1 "$program" --run nproc=2 nnodes=2 node_rank=0 master_addr=10.77.0.1 \
  out="$work" >"$work/host-1" 2>&1
expect "exit code of host 1" test $? = 1
says 1 "no address of"

for address in "" 127.0.0.1; do
  clean
  begin "a host without a loopback interface"
  # shellcheck disable=SC2016
  unshare --net bash -c '[ -n "$0" ] || { ip link set lo up && ip addr del 127.0.0.1/8 dev lo; }
    exec timeout 60 "$@"' "$address" "$program" --run nproc=2 out="$work" >"$work/host-0" 2>&1
  expect "exit code" test $? = 1
  says 0 "the loopback interface is missing or down"
done

clean
begin "a link that delays by 10 ms and loses 2 % of the frames"
if [ ! -e /dev/net/tun ]; then
  skip "this kernel has no TAP interfaces"
else
  expect "the link" lossy_link "$link" 10 2
  start 0 master_addr=10.78.0.1 stall=20; start 1 master_addr=10.78.0.1 stall=20; finish 0 0
  expect "equal sums" test "$(cat "$work/result")" = "$want"
  begin "it goes dead"
  clean
  start 0 master_addr=10.78.0.1 stall=8 steps=1000000
  start 1 master_addr=10.78.0.1 stall=8 steps=1000000
  while [ ! -e "$work/ready-3" ]; do sleep 0.1; done
  kill -STOP "$link_pid"
  finish 3 3
  says 0 "no heartbeat"
  no_ranks_left
  kill -CONT "$link_pid"
fi

finish_tests
