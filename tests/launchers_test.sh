#!/bin/bash
# The trainer under the real torchrun, Slurm, Open MPI and MPICH, on one host and on two (network
# namespaces of this machine): each must give the adapter that one rank gives, to the last byte.
# Those that are not installed are skipped, visibly. Needs root, so it runs outside of Bazel's
# sandbox, from the trainer's runfiles, where its example is:
#   bazel build --config=cpu //trainer:train //dist:lossy_link
#   tests/launchers_test.sh bazel-bin/trainer/train bazel-bin/dist/lossy_link
set -u
here=$(dirname "$(realpath "$0")")
trainer=$(realpath "$1") link=$(realpath "$2")
# shellcheck source=dist/two_hosts.sh
. "$here/../dist/two_hosts.sh"
cd "$trainer.runfiles/lockstep" || exit 1
unset BUILD_WORKING_DIRECTORY LOCKSTEP_CI
export XDG_CACHE_HOME=$work/cache

train=("$trainer" --device=cpu --max_steps=4 --num_threads=1)

# same_as_one CODE FOLDER: whether a run ended well and gave the one rank's bytes.
same_as_one() {
  expect "exit code $1" test "$1" = 0
  expect "the same adapter" cmp -s "$work/one/adapter_model.safetensors" "$2/adapter_model.safetensors"
}

# run FOLDER COMMAND...: a launcher's command that ends with the trainer's.
run() {
  local folder=$work/$1
  shift
  "$@" --output_dir="$folder" >"$folder.log" 2>&1
  same_as_one $? "$folder"
}

# expect_ranks FOLDER N
expect_ranks() { expect "$2 ranks" grep -q "\"ranks\": $2," "$work/$1/run.json"; }

begin "one rank by hand"
timeout 120 "${train[@]}" --nproc_per_node=1 --output_dir="$work/one" >"$work/one.log" 2>&1
expect "exit code" test $? = 0
expect "an adapter" test -s "$work/one/adapter_model.safetensors"

# by_hand_on_two_hosts FOLDER ADDRESS: two ranks on each.
by_hand_on_two_hosts() {
  local host
  for host in 1 0; do
    spawn $host "$work/$1-$host.log" timeout 120 "${train[@]}" --nnodes=2 --node_rank=$host \
      --nproc_per_node=2 --master_addr="$2" --master_port=29300 --output_dir="$work/$1"
    pids[host]=$!
  done
  for host in 1 0; do
    wait "${pids[host]}"
    same_as_one $? "$work/$1"
  done
  expect_ranks "$1" 4
}

begin "by hand on two hosts"
by_hand_on_two_hosts by_hand 10.77.0.1

begin "by hand on two hosts, over a link that delays by 5 ms and loses 1 % of the frames"
if [ ! -e /dev/net/tun ]; then
  skip "this kernel has no TAP interfaces"
else
  expect "the link" lossy_link "$link" 5 1
  by_hand_on_two_hosts lossy 10.78.0.1
fi

begin "by hand on two hosts, each of which takes itself for host 0"
spawn 0 "$work/first.log" timeout 60 "${train[@]}" --nnodes=2 --node_rank=0 --nproc_per_node=1 \
  --master_addr=10.77.0.1 --output_dir="$work/first"
pids[0]=$!
on 1 timeout 60 "${train[@]}" --nnodes=2 --node_rank=0 --nproc_per_node=1 \
  --master_addr=10.77.0.1 --output_dir="$work/second" >"$work/second.log" 2>&1
expect "exit code of the second" test $? = 1
expect "it says so" grep -q "every node takes itself for node 0" "$work/second.log"
kill "${pids[0]}"
wait "${pids[0]}"

# --- torchrun ---------------------------------------------------------------------------------
torchrun=${TORCHRUN:-$(command -v torchrun)}
begin "torchrun"
if [ -z "$torchrun" ]; then
  skip "torchrun is not installed"
else
  echo "torchrun of torch $("$(dirname "$torchrun")/python" -c 'import torch; print(torch.__version__)')"
  run torchrun timeout 120 "$torchrun" --no-python --nproc_per_node=3 "${train[@]}"
  expect_ranks torchrun 3
  begin "torchrun on two hosts"
  for host in 1 0; do
    spawn $host "$work/torchrun2-$host.log" timeout 120 "$torchrun" --no-python --nnodes=2 \
      --node_rank=$host --nproc_per_node=2 --master_addr=10.77.0.1 --master_port=29400 \
      "${train[@]}" --output_dir="$work/torchrun2"
    pids[host]=$!
  done
  for host in 1 0; do
    wait "${pids[host]}"
    same_as_one $? "$work/torchrun2"
  done
  expect_ranks torchrun2 4
fi

# --- Open MPI and MPICH ---------------------------------------------------------------------------
# They start the other host's processes by a remote shell: this one.
cat >"$work/rsh" <<EOF
#!/bin/bash
host=\${1#node}
shift
exec ip netns exec lk$id-\$host unshare --uts bash -c 'hostname node'\$host'; mount --bind $work/hosts /etc/hosts; '"\$*"
EOF
chmod +x "$work/rsh"

begin "Open MPI"
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
if [ -z "$mpirun" ] || ! "$mpirun" --allow-run-as-root --version 2>&1 | grep -qE "Open MPI|OpenRTE"; then
  skip "Open MPI's mpirun is not installed"
else
  "$mpirun" --allow-run-as-root --version | head -n 1
  mpirun=(timeout 120 "$mpirun" --allow-run-as-root)
  run openmpi "${mpirun[@]}" -n 3 --oversubscribe "${train[@]}"
  expect_ranks openmpi 3
  begin "Open MPI on two hosts"
  run openmpi2 on 0 "${mpirun[@]}" --host node0:2,node1:2 -n 4 --mca plm_rsh_agent "$work/rsh" \
    --mca oob_tcp_if_include eth0 --mca btl_tcp_if_include eth0 \
    "${train[@]}" --master_addr=10.77.0.1
  expect_ranks openmpi2 4
  begin "Open MPI on two hosts without an address"
  on 0 "${mpirun[@]}" --host node0:2,node1:2 -n 4 --mca plm_rsh_agent "$work/rsh" \
    --mca oob_tcp_if_include eth0 "${train[@]}" --output_dir="$work/none" >"$work/none.log" 2>&1
  expect "it fails" test $? != 0
  expect "it says what is missing" grep -q "want the address of node 0, got none" "$work/none.log"
  expect "no folder" test ! -e "$work/none"
fi

begin "MPICH"
mpiexec=$(command -v mpiexec.hydra)
if [ -z "$mpiexec" ]; then
  skip "MPICH's mpiexec is not installed"
else
  "$mpiexec" --version | sed -n 's/ *Version: */MPICH /p'
  run mpich timeout 120 "$mpiexec" -n 3 "${train[@]}"
  expect_ranks mpich 3
  begin "MPICH on two hosts"
  run mpich2 on 0 timeout 120 "$mpiexec" -launcher rsh -launcher-exec "$work/rsh" -iface eth0 \
    -hosts node0:2,node1:2 -n 4 "${train[@]}" --master_addr=10.77.0.1
  expect_ranks mpich2 4
fi

# --- Slurm ----------------------------------------------------------------------------------------
# A cluster of the two hosts, with a munge of its own.
start_slurm() {
  local host
  mkdir -p "$work/slurm/state" "$work/slurm/spool0" "$work/slurm/spool1"
  chmod 755 "$work" "$work/slurm"
  head -c 1024 /dev/urandom >"$work/slurm/key" && chmod 400 "$work/slurm/key"
  munged --force --key-file="$work/slurm/key" --socket="$work/slurm/munge" \
    --pid-file="$work/slurm/munged.pid" --log-file="$work/slurm/munged.log" \
    --seed-file="$work/slurm/seed" >"$work/slurm.log" 2>&1 || return
  cat >"$work/slurm/slurm.conf" <<EOF
ClusterName=lockstep
SlurmctldHost=node0(10.77.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/slurm/munge
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$work/slurm/state
SlurmdSpoolDir=$work/slurm/spool%n
SlurmctldPidFile=$work/slurm/slurmctld.pid
SlurmdPidFile=$work/slurm/slurmd-%n.pid
SlurmctldLogFile=$work/slurm/slurmctld.txt
SlurmdLogFile=$work/slurm/slurmd-%n.txt
ReturnToService=2
MpiDefault=none
NodeName=node0 NodeAddr=10.77.0.1 CPUs=4 State=UNKNOWN
NodeName=node1 NodeAddr=10.77.0.2 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=node0,node1 Default=YES State=UP
EOF
  echo "CgroupPlugin=cgroup/v1" >"$work/slurm/cgroup.conf"  # not used, but looked for
  export SLURM_CONF=$work/slurm/slurm.conf
  spawn 0 "$work/slurm/ctld.txt" slurmctld -D
  for host in 0 1; do
    mkdir -p "$work/slurm/spoolnode$host"
    spawn $host "$work/slurm/slurmd.txt" slurmd -D
  done
  for _ in $(seq 100); do
    [ "$(on 0 sinfo -h -t idle -o %D 2>/dev/null)" = 2 ] && return
    sleep 0.2
  done
  false
}

begin "Slurm"
if ! command -v slurmctld slurmd srun munged >/dev/null; then
  skip "Slurm is not installed (slurmctld, slurmd, srun, munged)"
elif ! start_slurm; then
  skip "Slurm did not start: $(tail -n 3 "$work/slurm.log")"
else
  srun --version
  run slurm on 0 timeout 120 srun -N 1 -n 3 "${train[@]}"
  expect_ranks slurm 3
  begin "Slurm on two hosts"
  run slurm2 on 0 timeout 120 srun -N 2 --ntasks-per-node=2 "${train[@]}"
  expect_ranks slurm2 4
  begin "Slurm, one task on each of two hosts"
  run slurm3 on 0 timeout 120 srun -N 2 --ntasks-per-node=1 "${train[@]}" --nproc_per_node=2
  expect_ranks slurm3 4
  begin "Slurm's batch script, where no srun has started anything"
  printf '#!/bin/bash\nexec "$@"\n' >"$work/batch" && chmod +x "$work/batch"
  run slurm4 on 0 timeout 120 sbatch -N 2 -n 4 -W -o "$work/batch.txt" "$work/batch" "${train[@]}" \
    --nproc_per_node=2
  expect_ranks slurm4 2
fi
[ -s "$work/slurm/munged.pid" ] && kill "$(cat "$work/slurm/munged.pid")"

finish_tests
