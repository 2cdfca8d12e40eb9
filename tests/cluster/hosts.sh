#!/usr/bin/env bash
# Three hosts with sshd, and a head before them, in network namespaces of this machine; as root on Linux:
#   hosts.sh up | down
# Everything is in ADMMCTL_CLUSTER_DIR and in namespaces whose names begin with admmctl-. The bridge between them is in
# the head's namespace, names are resolved by a file that only they see: the machine's own network and
# /etc/hosts stay as they are.
#   $ADMMCTL_CLUSTER_DIR/in HOST COMMAND...   runs a command on one of: head host1 host2 host3
set -euo pipefail
D=${ADMMCTL_CLUSTER_DIR:-/tmp/admmctl-cluster}
HOSTS=(host1 host2 host3)

down() {
    for name in head "${HOSTS[@]}"; do
        [ -e "/run/netns/admmctl-$name" ] || continue
        for signal in TERM KILL; do
            # Whoever lives in one of these namespaces was started in it.
            pids=$(ip netns pids "admmctl-$name" 2>/dev/null || true)
            [ -z "$pids" ] && break
            # shellcheck disable=SC2086
            kill -$signal $pids 2>/dev/null || true
            for _ in $(seq 20); do
                [ -z "$(ip netns pids "admmctl-$name" 2>/dev/null)" ] && break
                sleep 0.1
            done
        done
        ip netns del "admmctl-$name" || true
    done
    rm -rf "$D/ssh" "$D/in" "$D/hosts"
    rmdir "$D" 2>/dev/null || true
}

up() {
    mkdir -p "$D/ssh" /run/sshd
    chmod 755 "$D" "$D/ssh"
    ssh-keygen -q -t ed25519 -N '' -f "$D/ssh/hostkey"
    ssh-keygen -q -t ed25519 -N '' -f "$D/ssh/id"
    install -m 600 "$D/ssh/id.pub" "$D/ssh/authorized_keys"
    cat > "$D/ssh/sshd_config" <<EOF
HostKey $D/ssh/hostkey
AuthorizedKeysFile $D/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
MaxStartups 100
EOF
    cat > "$D/ssh/config" <<EOF
Host host*
  User root
  IdentityFile $D/ssh/id
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
EOF
    printf '#!/bin/sh\nexec /usr/bin/ssh -F "%s" "$@"\n' "$D/ssh/config" > "$D/ssh/ssh"
    # ssh is found here by mpiexec; every host has shared memory of its own; host names are the namespaces' own: MPI tells hosts apart by them.
    cat > "$D/in" <<EOF
#!/bin/sh
name=\$1; shift
PATH="$D/ssh:\$PATH" exec nsenter --net="/run/netns/admmctl-\$name" unshare --mount --uts --ipc sh -c \\
    'mount --bind "$D/hosts" /etc/hosts; mount -t tmpfs shm /dev/shm; hostname "\$0"; exec "\$@"' "\$name" "\$@"
EOF
    chmod +x "$D/in" "$D/ssh/ssh"
    printf '%s\n' "127.0.0.1 localhost" "10.78.0.254 head" "10.78.0.1 host1" "10.78.0.2 host2" "10.78.0.3 host3" \
        > "$D/hosts"
    for name in head "${HOSTS[@]}"; do
        ip netns add "admmctl-$name"
        ip -n "admmctl-$name" link set lo up
    done
    ip -n admmctl-head link add br0 type bridge
    ip -n admmctl-head addr add 10.78.0.254/24 dev br0
    ip -n admmctl-head link set br0 up
    for i in 1 2 3; do
        ip -n admmctl-head link add "to$i" type veth peer name eth0 netns "admmctl-host$i"
        ip -n admmctl-head link set "to$i" master br0 up
        ip -n "admmctl-host$i" addr add "10.78.0.$i/24" dev eth0
        ip -n "admmctl-host$i" link set eth0 up
        "$D/in" "host$i" /usr/sbin/sshd -f "$D/ssh/sshd_config" -o "PidFile=$D/ssh/sshd$i.pid"
    done
    for i in 1 2 3; do
        for _ in $(seq 50); do
            [ "$("$D/in" head ssh "host$i" hostname 2>/dev/null)" = "host$i" ] && continue 2
            sleep 0.1
        done
        echo "host$i does not answer by ssh"
        return 1
    done
}

case "${1:-}" in
    up) down; if ! up; then down; exit 1; fi ;;
    down) down ;;
    *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
