# Two "hosts" on this machine, for tests: network namespaces joined by a bridge, each with a host
# name and a hosts file of its own. Needs root. To be sourced; afterwards:
#
#   $work                     a folder that both see
#   on HOST COMMAND...        runs a command on host 0 (node0, 10.77.0.1) or 1 (node1, 10.77.0.2)
#   spawn HOST FILE COMMAND...
#                             the same in the background, its output to FILE; $! is its process
#   link_down HOST, link_up HOST
#   lossy_link PROGRAM DELAY_MS LOSS_PERCENT
#                             a second link, by //dist:lossy_link: 10.78.0.1 and 10.78.0.2
#   begin NAME                a test case, named in reports
#   expect WHAT COMMAND...    counts the command's success or failure
#   skip WHY                  counts this case as skipped, visibly
#   finish_tests              prints the counts; its exit code is the script's
#
# Where hosts cannot be made (no root, no ip), the script ends here with one skipped test; if it has
# set one_host_will_do, it goes on, with $hosts empty, and host 0 is this machine.
work=$(mktemp -d)
passed=0 failed=0 skipped=0
id=$$ link_pid= hosts=yes

# A host's processes end with it, whatever they are.
remove_hosts() {
  local host
  [ -n "$hosts" ] || jobs -p | xargs -r kill
  for host in 0 1; do
    ip netns pids "lk$id-$host" 2>/dev/null | xargs -r kill -9
  done
  [ -z "$link_pid" ] || kill -9 "$link_pid" 2>/dev/null
  wait 2>/dev/null  # without a word of the shell about each of them
  for host in 0 1; do
    ip netns del "lk$id-$host" 2>/dev/null
  done
  ip link del "lkb$id" 2>/dev/null
  rm -rf "$work"
}

make_hosts() {
  local host
  ip link add "lkb$id" type bridge && ip link set "lkb$id" up || return
  for host in 0 1; do
    ip netns add "lk$id-$host" &&
      ip link add "lk$id-$host" type veth peer name eth0 netns "lk$id-$host" &&
      ip link set "lk$id-$host" master "lkb$id" up &&
      ip -n "lk$id-$host" addr add "10.77.0.$((host + 1))/24" dev eth0 &&
      ip -n "lk$id-$host" link set eth0 up &&
      ip -n "lk$id-$host" link set lo up || return
  done
  printf '127.0.0.1 localhost\n10.77.0.1 node0\n10.77.0.2 node1\n' >"$work/hosts"
}

on() { (become "$@"); }

spawn() {
  local file=$2
  become "$1" "${@:3}" >"$file" 2>&1 &
}

become() {
  local host=$1
  shift
  [ -n "$hosts" ] || exec "$@"
  # shellcheck disable=SC2016
  exec ip netns exec "lk$id-$host" unshare --uts bash -c \
    'hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"' - \
    "node$host" "$work/hosts" "$@"
}

link_down() { ip link set "lk$id-$1" down; }
link_up() { ip link set "lk$id-$1" up; }

lossy_link() {
  local host
  "$1" "lkt$id-0" "lkt$id-1" "$2" "$3" >"$work/link" &
  link_pid=$!
  for _ in $(seq 50); do grep -q ready "$work/link" && break || sleep 0.1; done
  for host in 0 1; do
    ip link set "lkt$id-$host" netns "lk$id-$host" name eth1 &&
      ip -n "lk$id-$host" addr add "10.78.0.$((host + 1))/24" dev eth1 &&
      ip -n "lk$id-$host" link set eth1 up || return
  done
}

begin() { case_name=$1; }

expect() {
  local what=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED ($case_name): $what"
    tail -n 12 "$work"/*.log "$work"/host-* 2>/dev/null
  fi
}

skip() {
  skipped=$((skipped + 1))
  echo "SKIPPED ($case_name): $1"
}

finish_tests() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" = 0 ]
}

trap remove_hosts EXIT
case_name="two hosts on this machine"
if [ "$(id -u)" != 0 ] || ! command -v ip >/dev/null || ! make_hosts 2>"$work/error"; then
  skip "network namespaces need root and iproute2 $(cat "$work/error" 2>/dev/null)"
  hosts=
  if [ -z "${one_host_will_do:-}" ]; then
    finish_tests
    exit
  fi
fi
