#!/usr/bin/env bash
# A SLURM of one node on this machine, for tests: slurm.sh start | kill-node | start-node | stop.
# Needs Debian's slurm-wlm and munge, and root (or sudo). Refuses to touch another configuration.
set -euo pipefail
SUDO=$([ "$(id -u)" = 0 ] || echo sudo)
CONF=/etc/slurm/slurm.conf
MARK="# lcelib's test cluster"
STATE=/var/tmp/lcelib-slurm

start_node() { $SUDO slurmd -N node -L "$STATE/slurmd.log"; }

case "${1:-}" in
start)
  if [ -e "$CONF" ] && ! grep -q "$MARK" "$CONF"; then
    echo "$CONF is of another cluster: nothing is done" >&2
    exit 1
  fi
  $SUDO mkdir -p /etc/slurm "$STATE/state" "$STATE/spool" /run/munge
  $SUDO tee "$CONF" >/dev/null <<END
$MARK
ClusterName=test
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
ReturnToService=2
SlurmdTimeout=10
AccountingStorageType=accounting_storage/none
StateSaveLocation=$STATE/state
SlurmdSpoolDir=$STATE/spool
SlurmctldLogFile=$STATE/slurmctld.log
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/slurmd.pid
NodeName=node NodeHostname=$(hostname) NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(free -m | awk '/Mem:/{print $2}') State=UNKNOWN
PartitionName=main Nodes=node Default=YES MaxTime=INFINITE State=UP
END
  $SUDO chown munge: /run/munge
  pgrep -x munged >/dev/null || $SUDO -u munge munged 2>/dev/null || $SUDO runuser -u munge -- munged
  $SUDO slurmctld -c
  start_node
  for _ in $(seq 60); do
    [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && exit 0
    sleep 1
  done
  sinfo >&2
  $SUDO tail -5 "$STATE/slurmctld.log" "$STATE/slurmd.log" >&2
  exit 1
  ;;
kill-node) $SUDO pkill -9 -x slurmd ;;
start-node) start_node ;;
stop)
  for daemon in slurmctld slurmd slurmstepd; do $SUDO pkill -9 -x "$daemon" || true; done
  $SUDO rm -rf "$CONF" "$STATE"
  ;;
*)
  echo "slurm.sh start | kill-node | start-node | stop" >&2
  exit 2
  ;;
esac
