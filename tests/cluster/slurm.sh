#!/usr/bin/env bash
# A Slurm of three nodes on the hosts of hosts.sh, from Debian's packages, with a munge of its own: slurm.sh up | down
# Then: SLURM_CONF=$ADMMCTL_CLUSTER_DIR/slurm/slurm.conf $ADMMCTL_CLUSTER_DIR/in head sbatch ...
# Every node says that it has SLURM_TEST_CPUS cores (96 unless set), whatever the machine has.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
D=${ADMMCTL_CLUSTER_DIR:-/tmp/admmctl-cluster}
S=$D/slurm
export SLURM_CONF=$S/slurm.conf

living() {
    for file in "$S"/*.pid; do
        [ -f "$file" ] && kill -0 "$(cat "$file")" 2>/dev/null && cat "$file"
    done
    true
}

down() {
    [ -d "$S" ] || return 0
    [ -x "$D/in" ] && timeout 10 "$D/in" head scancel -u root 2>/dev/null || true
    for signal in TERM KILL; do
        pids=$(living)
        [ -z "$pids" ] && break
        # shellcheck disable=SC2086
        kill -$signal $pids 2>/dev/null || true
        for _ in $(seq 50); do
            [ -z "$(living)" ] && break
            sleep 0.1
        done
    done
    # The last steps of jobs tidy up, too.
    for _ in 1 2 3 4 5; do rm -rf "$S" 2>/dev/null && break; sleep 0.2; done
}

up() {
    mkdir -p "$S/state" "$S/log" "$S/spool" "$S/munge"
    chmod 700 "$S/munge"
    head -c 128 /dev/urandom > "$S/munge/key"
    chmod 400 "$S/munge/key"
    # --force: it would rather not be root; nobody else uses it.
    munged --force --socket="$S/munge.socket" --key-file="$S/munge/key" --pid-file="$S/munged.pid" \
        --seed-file="$S/munge/seed" --log-file="$S/log/munged.log" 2>"$S/log/munged.err"
    cat > "$SLURM_CONF" <<EOF
ClusterName=admmctl
SlurmctldHost=head(10.78.0.254)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$S/munge.socket
StateSaveLocation=$S/state
SlurmdSpoolDir=$S/spool/%n
SlurmctldPidFile=$S/slurmctld.pid
SlurmdPidFile=$S/slurmd.%n.pid
SlurmctldLogFile=$S/log/slurmctld.log
SlurmdLogFile=$S/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=pmi2
ReturnToService=2
SwitchType=switch/none
SlurmctldTimeout=30
SlurmdTimeout=30
KillWait=5
MinJobAge=300
SchedulerParameters=sched_min_interval=20000,batch_sched_delay=0,sched_interval=1,bf_interval=1
NodeName=n[1-3] NodeHostname=host[1-3] NodeAddr=10.78.0.[1-3] Port=17001 CPUs=${SLURM_TEST_CPUS:-96} RealMemory=2000
PartitionName=test Nodes=n[1-3] Default=YES MaxTime=60 State=UP
EOF
    "$D/in" head slurmctld -c -f "$SLURM_CONF"
    for i in 1 2 3; do
        "$D/in" "host$i" slurmd -f "$SLURM_CONF" -N "n$i"
    done
    for _ in $(seq 200); do
        [ "$("$D/in" head sinfo -h -t idle -o %D 2>/dev/null)" = 3 ] && return
        sleep 0.1
    done
    echo "its nodes are not idle after 20 s: $("$D/in" head sinfo -h 2>&1 | tail -n 1); $(tail -n 1 "$S/log/slurmctld.log")"
    return 1
}

case "${1:-}" in
    up) down; [ -x "$D/in" ] || bash "$HERE/hosts.sh" up; if ! up; then down; exit 1; fi ;;
    down) down ;;
    *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
