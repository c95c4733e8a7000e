#!/bin/bash
# Two "hosts" of two ranks each: network namespaces of this machine, joined by a bridge. Needs root,
# so it runs outside of Bazel's sandbox:
#   bazel build --config=cpu //dist:fault_test && dist/network_test.sh bazel-bin/dist/fault_test
set -u
program=$(realpath "$1")
work=$(mktemp -d)
id=$$
passed=0 failed=0

cleanup() {
  for host in 0 1; do ip netns del "lk$id-$host" 2>/dev/null; done
  ip link del "lkb$id" 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT

make_hosts() {
  ip link add "lkb$id" type bridge && ip link set "lkb$id" up || exit 1
  for host in 0 1; do
    ip netns add "lk$id-$host"
    ip link add "lk$id-$host" type veth peer name eth0 netns "lk$id-$host"
    ip link set "lk$id-$host" master "lkb$id" up
    ip -n "lk$id-$host" addr add "10.77.0.$((host + 1))/24" dev eth0
    ip -n "lk$id-$host" link set eth0 up
    ip -n "lk$id-$host" link set lo up
  done
}

# start HOST key=value...: the parent of a host's two ranks, in the background.
start() {
  local host=$1
  shift
  ip netns exec "lk$id-$host" "$program" --run nproc=2 nnodes=2 node_rank="$host" \
    master_addr=10.77.0.1 stall=3 out="$work" "$@" >"$work/host-$host" 2>&1 &
  pids[host]=$!
}

# finish CODE0 CODE1: both parents' exit codes, within 30 s.
finish() {
  local host code
  for host in 0 1; do
    timeout 30 tail --pid="${pids[host]}" -f /dev/null || kill -9 "${pids[host]}"
    wait "${pids[host]}"
    code=$?
    expect "exit code $code of host $host, want ${*:host+1:1}" test "$code" = "${*:host+1:1}"
  done
}

expect() {
  local what=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED ($case_name): $what"
    tail -n 12 "$work"/host-*
  fi
}

says() { expect "host $1 says '$2'" grep -q "$2" "$work/host-$1"; }

begin() {
  case_name=$1
  rm -f "$work"/*
}

no_ranks_left() {
  local file
  for file in "$work"/pid-*; do
    for _ in $(seq 50); do kill -0 "$(cat "$file")" 2>/dev/null || continue 2; sleep 0.1; done
    expect "$(basename "$file") has ended" false
  done
}

declare -a pids
make_hosts

begin "four ranks on one host and on two"
"$program" --run nproc=4 out="$work" >"$work/host-0" 2>&1
want=$(cat "$work/result")
rm -f "$work/result"
start 0; start 1; finish 0 0
expect "equal sums" test "$(cat "$work/result")" = "$want"

begin "a rank of the other host is killed"
start 0 fault=kill rank=3; start 1 fault=kill rank=3; finish 3 3
says 0 "\[rank 3\] was killed by signal 9"
says 1 "\[rank 3\] was killed by signal 9"
no_ranks_left

begin "the other host's parent is killed"
start 0 steps=1000000; start 1 steps=1000000
while [ ! -e "$work/ready-3" ]; do sleep 0.1; done
kill -9 "${pids[1]}"
finish 3 137
no_ranks_left

begin "the network is cut"
start 0 steps=1000000; start 1 steps=1000000
while [ ! -e "$work/ready-3" ]; do sleep 0.1; done
ip link set "lk$id-1" down
finish 3 3
says 0 "no heartbeat"
says 1 "lost the store"
no_ranks_left
ip link set "lk$id-1" up

begin "SIGTERM on one host stops both after the same step"
start 0 steps=1000000; start 1 steps=1000000
while [ ! -e "$work/ready-3" ]; do sleep 0.1; done
kill -TERM "${pids[1]}"
finish 143 143
expect "stopped" grep -q stopped "$work/result"

begin "both hosts take themselves for host 0"
ip netns exec "lk$id-1" "$program" --run nproc=2 nnodes=2 node_rank=0 master_addr=10.77.0.1 \
  out="$work" >"$work/host-1" 2>&1
expect "exit code of host 1" test $? = 1
says 1 "no address of"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
