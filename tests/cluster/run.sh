#!/usr/bin/env bash
# The tests on real clusters that this machine makes for itself: tests/cluster/run.sh [short|all [OPTIONS OF PYTEST]]
# All of them take some ten minutes, the short set (3 kills, one ssh run, one Slurm job) some two minutes. Hosts are
# network namespaces and need root on Linux; missing Debian packages are installed where apt can. What cannot run
# here is skipped by name. Whatever is brought up is taken down, after a failure and Ctrl-C too.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${ADMMCTL_PYTHON:-.venv/bin/python}
[ -x "$PYTHON" ] || make .venv/.ready-dev

if [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ]; then
    PATH=$PATH:/usr/sbin:/sbin
    for program in slurmctld slurmd munged sshd ip; do
        if ! command -v $program > /dev/null; then
            if command -v apt-get > /dev/null; then
                echo "cluster: $program is missing: installing slurm-wlm munge openssh-server iproute2"
                # Daemons that packages start are not wanted.
                { timeout 240 apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive timeout 600 \
                    apt-get install -y -qq --no-install-recommends slurm-wlm munge openssh-server iproute2; } \
                    > /dev/null 2>&1 || echo "cluster: apt-get could not install them"
            fi
            break
        fi
    done
    # One at a time on a machine: the namespaces have names.
    exec 9> /tmp/admmctl-cluster.lock
    flock -w 1200 9 || { echo "cluster: skipped, another tests/cluster/run.sh is at work"; exit 0; }
    ADMMCTL_CLUSTER_DIR=$(mktemp -d /tmp/admmctl-cluster.XXXXXX)
    export ADMMCTL_CLUSTER_DIR
    down() {
        trap '' INT TERM
        bash tests/cluster/slurm.sh down 9>&- || true
        bash tests/cluster/hosts.sh down 9>&- || true
        rm -rf "$ADMMCTL_CLUSTER_DIR"
    }
    trap down EXIT
    trap 'exit 130' INT TERM
fi

export ADMMCTL_CLUSTER_TESTS=${1:-all}
# -rs: what is skipped, and why; -s: what the tests have measured.
"$PYTHON" -m pytest -m cluster tests/cluster -rs -s "${@:2}" 9>&-
