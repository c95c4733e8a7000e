#!/bin/bash
# The trainer under the real torchrun, Slurm, Open MPI and MPICH, on one host and on two (network
# namespaces of this machine): each must give the adapter that one rank gives, to the last byte.
# Those that are not installed are skipped, visibly. Needs root, so it runs outside of Bazel's
# sandbox, from the trainer's runfiles, where its example is:
#   bazel build --config=cpu //trainer:train //dist:lossy_link
#   tests/launchers_test.sh bazel-bin/trainer/train bazel-bin/dist/lossy_link
# With ranks on two GPUs, one for each of two hosts, or sharing one with NCCL_MULTI_RANK_GPU_ENABLE=1
# (from a bundle: tools/gpu_bundle):
#   scripts/tests/launchers_test.sh bin/train bin/lossy_link cuda
set -u
here=$(dirname "$(realpath "$0")")
trainer=$(realpath "$1") link=$(realpath "$2") device=${3:-cpu}
one_host_will_do=yes
# shellcheck source=dist/two_hosts.sh
. "$here/../dist/two_hosts.sh"
cd "$trainer.runfiles/lockstep" 2>/dev/null || cd "$(dirname "$trainer")/../runfiles" || exit 1
unset BUILD_WORKING_DIRECTORY LOCKSTEP_CI
export XDG_CACHE_HOME=$work/cache

# Ranks of one host, and of each of two.
if [ "$device" = cpu ]; then several=3 per_host=2; else several=2 per_host=1; fi
all=$((2 * per_host))
# The GPUs that ranks may use, as CUDA_VISIBLE_DEVICES has them: all, where it is not set. Both hosts
# see all of them.
gpus_here=()
if [ "$device" = cuda ]; then
  all_gpus=$(nvidia-smi --query-gpu=index --format=csv,noheader | paste -sd,)
  IFS=, read -ra gpus_here <<<"${CUDA_VISIBLE_DEVICES-$all_gpus}"
  # Where ranks may share GPUs (docs/launch.md), one will do.
  [ "${NCCL_MULTI_RANK_GPU_ENABLE-}" != 1 ] || gpus_here+=("${gpus_here[0]}")
fi
cat >"$work/train" <<EOF
#!/bin/bash
case \$(hostname) in
  node0) export CUDA_VISIBLE_DEVICES=${gpus_here[0]-} ;;
  node1) export CUDA_VISIBLE_DEVICES=${gpus_here[1]-} ;;
esac
exec $trainer "\$@"
EOF
chmod +x "$work/train"
train=("$work/train" --device="$device" --max_steps=4 --num_threads=1)

# begin_on_two_hosts NAME: as begin; fails where there are none.
begin_on_two_hosts() {
  begin "$1 on two hosts${2:-}"
  [ -n "$hosts" ] || { skip "there are none" && false; }
}

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

# lives PROCESS: whether it runs; one that only waits to be collected has ended.
lives() { grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status"; }

# process_of RANK FOLDER: its number, from the table that rank 0 prints.
process_of() { awk -v rank="$1" '$1 == rank && $3 ~ /^[0-9]+$/ { print $5 }' "$work/$2.log"; }

# lose_a_rank FOLDER COMMAND...: a launcher's command that ends with the trainer's, whose rank 1 is
# killed while it trains. Prints the launcher's exit code.
lose_a_rank() {
  local folder=$1 log=$work/$1.log job code rank ranks
  shift
  "$@" --max_steps=100000 --save_steps=2 --output_dir="$work/$folder" >"$log" 2>&1 &
  job=$!
  for _ in $(seq 300); do  # any checkpoint: the first one is soon rotated away
    ! compgen -G "$work/$folder/checkpoints/step-*" >/dev/null || break
    sleep 0.2
  done
  ranks=("$(process_of 0 "$folder")" "$(process_of 1 "$folder")")
  expect "kills rank 1" kill -9 "${ranks[1]:-none}"
  wait $job
  code=$?
  expect "exit code $code of a launcher that lost a rank" test $code != 0 -a $code != 124
  for rank in "${ranks[@]}"; do
    for _ in $(seq 100); do lives "$rank" || continue 2; sleep 0.1; done
    expect "process $rank has ended" false
  done
  expect "a checkpoint" test -s "$(find "$work/$folder/checkpoints" -name state.json | tail -n 1)"
  echo "$case_name: exit code $code; $(grep -m 1 -iE "lost|killed .signal|exited on signal" "$log")"
}

# expect_ranks FOLDER N
expect_ranks() { expect "$2 ranks" grep -q "\"ranks\": $2," "$work/$1/run.json"; }

begin "one rank by hand"
timeout 120 "${train[@]}" --nproc_per_node=1 --output_dir="$work/one" >"$work/one.log" 2>&1
expect "exit code" test $? = 0
expect "an adapter" test -s "$work/one/adapter_model.safetensors"

if [ "$device" = cuda ] && [ ${#gpus_here[@]} -lt 2 ]; then
  begin "launchers"
  skip "two ranks need 2 GPUs, got ${#gpus_here[@]}"
  finish_tests
  exit
fi

# by_hand_on_two_hosts FOLDER ADDRESS
by_hand_on_two_hosts() {
  local host
  for host in 1 0; do
    spawn $host "$work/$1-$host.log" timeout 120 "${train[@]}" --nnodes=2 --node_rank=$host \
      --nproc_per_node=$per_host --master_addr="$2" --master_port=29300 --output_dir="$work/$1"
    pids[host]=$!
  done
  for host in 1 0; do
    wait "${pids[host]}"
    same_as_one $? "$work/$1"
  done
  expect_ranks "$1" $all
}

begin_on_two_hosts "by hand" && by_hand_on_two_hosts by_hand 10.77.0.1

if begin_on_two_hosts "by hand" ", over a link that delays by 5 ms and loses 1 % of the frames"; then
  if [ ! -e /dev/net/tun ]; then
    skip "this kernel has no TAP interfaces"
  else
    expect "the link" lossy_link "$link" 5 1
    by_hand_on_two_hosts lossy 10.78.0.1
  fi
fi

if begin_on_two_hosts "by hand" ", each of which takes itself for host 0"; then
  spawn 0 "$work/first.log" timeout 60 "${train[@]}" --nnodes=2 --node_rank=0 --nproc_per_node=1 \
    --master_addr=10.77.0.1 --output_dir="$work/first"
  pids[0]=$!
  on 1 timeout 60 "${train[@]}" --nnodes=2 --node_rank=0 --nproc_per_node=1 \
    --master_addr=10.77.0.1 --output_dir="$work/second" >"$work/second.log" 2>&1
  expect "exit code of the second" test $? = 1
  expect "it says so" grep -q "every node takes itself for node 0" "$work/second.log"
  kill "${pids[0]}"
  wait "${pids[0]}"
fi

# --- torchrun ---------------------------------------------------------------------------------
torchrun=${TORCHRUN:-$(command -v torchrun)}
begin "torchrun"
if [ -z "$torchrun" ]; then
  skip "torchrun is not installed"
else
  echo "torchrun of torch $("$(dirname "$torchrun")/python" -c 'import torch; print(torch.__version__)')"
  run torchrun timeout 120 "$torchrun" --no-python --nproc_per_node=$several "${train[@]}"
  expect_ranks torchrun $several
  begin "torchrun, a rank is killed"
  lose_a_rank torchrun3 timeout 60 "$torchrun" --no-python --nproc_per_node=2 "${train[@]}"
fi
if [ -n "$torchrun" ] && begin_on_two_hosts "torchrun"; then
  for host in 1 0; do
    spawn $host "$work/torchrun2-$host.log" timeout 120 "$torchrun" --no-python --nnodes=2 \
      --node_rank=$host --nproc_per_node=$per_host --master_addr=10.77.0.1 --master_port=29400 \
      "${train[@]}" --output_dir="$work/torchrun2"
    pids[host]=$!
  done
  for host in 1 0; do
    wait "${pids[host]}"
    same_as_one $? "$work/torchrun2"
  done
  expect_ranks torchrun2 $all
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
  run openmpi "${mpirun[@]}" -n $several --oversubscribe "${train[@]}"
  expect_ranks openmpi $several
  begin "Open MPI, a rank is killed"
  lose_a_rank openmpi3 "${mpirun[@]}" -n 2 --oversubscribe "${train[@]}"
  slots=node0:$per_host,node1:$per_host
  # Whatever this machine's environment says of starting processes.
  by_rsh=(--mca plm rsh --mca plm_rsh_agent "$work/rsh" --mca oob_tcp_if_include eth0)
  if begin_on_two_hosts "Open MPI"; then
    run openmpi2 on 0 "${mpirun[@]}" --host $slots -n $all "${by_rsh[@]}" --mca btl_tcp_if_include eth0 \
      "${train[@]}" --master_addr=10.77.0.1
    expect_ranks openmpi2 $all
  fi
  if begin_on_two_hosts "Open MPI" " without an address"; then
    on 0 "${mpirun[@]}" --host $slots -n $all "${by_rsh[@]}" "${train[@]}" \
      --output_dir="$work/none" >"$work/none.log" 2>&1
    expect "it fails" test $? != 0
    expect "it says what is missing" grep -q "want the address of node 0, got none" "$work/none.log"
    expect "no folder" test ! -e "$work/none"
  fi
fi

begin "MPICH"
mpiexec=$(command -v mpiexec.hydra)
if [ -z "$mpiexec" ]; then
  skip "MPICH's mpiexec is not installed"
else
  "$mpiexec" --version | sed -n 's/ *Version: */MPICH /p'
  run mpich timeout 120 "$mpiexec" -n $several "${train[@]}"
  expect_ranks mpich $several
  begin "MPICH, a rank is killed"
  lose_a_rank mpich3 timeout 60 "$mpiexec" -n 2 "${train[@]}"
  if begin_on_two_hosts "MPICH"; then
    run mpich2 on 0 timeout 120 "$mpiexec" -launcher rsh -launcher-exec "$work/rsh" -iface eth0 \
      -hosts node0:$per_host,node1:$per_host -n $all "${train[@]}" --master_addr=10.77.0.1
    expect_ranks mpich2 $all
  fi
fi

# --- Slurm ----------------------------------------------------------------------------------------
# A cluster of the two hosts, or of this machine, with a munge of its own.
gpus=
start_slurm() {
  local host names=(node0 node1) addresses=(10.77.0.1 10.77.0.2)
  [ -n "$hosts" ] || { names=("$(hostname -s)") addresses=(127.0.0.1); }
  mkdir -p "$work/slurm/state"
  chmod 755 "$work" "$work/slurm"
  head -c 1024 /dev/urandom >"$work/slurm/key" && chmod 400 "$work/slurm/key"
  munged --force --key-file="$work/slurm/key" --socket="$work/slurm/munge" \
    --pid-file="$work/slurm/munged.pid" --log-file="$work/slurm/munged.log" \
    --seed-file="$work/slurm/seed" >"$work/slurm.log" 2>&1 || return
  cat >"$work/slurm/slurm.conf" <<EOF
ClusterName=lockstep
SlurmctldHost=${names[0]}(${addresses[0]})
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
PartitionName=all Nodes=ALL Default=YES State=UP
EOF
  # GPUs that Slurm deals to tasks; of their files only the names count.
  if [ "$device" = cuda ] && [ -z "$hosts" ] && [ "${gpus_here[0]}" != "${gpus_here[1]}" ] &&
    mknod "$work/slurm/gpu0" c 1 3 &&
    mknod "$work/slurm/gpu1" c 1 3; then
    gpus=" Gres=gpu:2"
    echo "GresTypes=gpu" >>"$work/slurm/slurm.conf"
    echo "Name=gpu File=$work/slurm/gpu[0-1] Flags=nvidia_gpu_env" >"$work/slurm/gres.conf"
  fi
  echo "CgroupPlugin=cgroup/v1" >"$work/slurm/cgroup.conf"  # not used, but looked for
  export SLURM_CONF=$work/slurm/slurm.conf
  for host in "${!names[@]}"; do
    mkdir -p "$work/slurm/spool${names[host]}"
    echo "NodeName=${names[host]} NodeAddr=${addresses[host]} CPUs=4 State=UNKNOWN$gpus" \
      >>"$work/slurm/slurm.conf"
  done
  spawn 0 "$work/slurm/ctld.txt" slurmctld -D
  for host in "${!names[@]}"; do spawn "$host" "$work/slurm/slurmd.txt" slurmd -D; done
  for _ in $(seq 100); do
    [ "$(on 0 sinfo -h -t idle -o %D 2>/dev/null)" = ${#names[@]} ] && return
    sleep 0.2
  done
  false
}

begin "Slurm"
if ! command -v slurmctld slurmd srun munged >/dev/null; then
  skip "Slurm is not installed (slurmctld, slurmd, srun, munged)"
elif ! start_slurm; then
  skip "Slurm did not start: $(tail -n 3 "$work/slurm.log" "$work"/slurm/*.txt)"
else
  srun --version
  if [ "$device" = cpu ] || [ -z "$hosts" ]; then
    run slurm on 0 timeout 120 srun -N 1 -n $several "${train[@]}"
    expect_ranks slurm $several
    begin "Slurm, a rank is killed"
    lose_a_rank slurm5 on 0 timeout 60 srun -N 1 -n 2 "${train[@]}"
  fi
  if [ -n "$gpus" ]; then
    begin "Slurm, each task sees a GPU of its own alone"
    run slurm6 timeout 120 srun -n 2 --gpus-per-task=1 "${train[@]}"
    expect_ranks slurm6 2
    expect "GPU 0 twice" test "$(grep -cE "^ +[01] .*cuda:0 " "$work/slurm6.log")" = 2
  fi
  if begin_on_two_hosts "Slurm"; then
    run slurm2 on 0 timeout 120 srun -N 2 --ntasks-per-node=$per_host "${train[@]}"
    expect_ranks slurm2 $all
  fi
  if begin_on_two_hosts "Slurm, one task a host"; then
    run slurm3 on 0 timeout 120 srun -N 2 --ntasks-per-node=1 "${train[@]}" \
      --nproc_per_node=$per_host
    expect_ranks slurm3 $all
  fi
  begin "Slurm's batch script, where no srun has started anything"
  printf '#!/bin/bash\nexec "$@"\n' >"$work/batch" && chmod +x "$work/batch"
  run slurm4 on 0 timeout 120 sbatch -n $several -W -o "$work/batch.txt" "$work/batch" \
    "${train[@]}" --nproc_per_node=$per_host
  expect_ranks slurm4 $per_host
fi
[ -s "$work/slurm/munged.pid" ] && kill "$(cat "$work/slurm/munged.pid")"

finish_tests
