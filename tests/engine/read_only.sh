#!/usr/bin/env bash
# usage: read_only.sh STATE TREE TMPFS_OPTIONS COMMAND...   (in a fresh mount namespace, as root)
#
# Runs the command as the server's container does: this machine read-only, the tree below /opt/stackc, the volumes below
# /var/lib/stackc, and /tmp in memory. Nothing that is mounted here shows outside.
set -Eeuo pipefail

state=$1 tree=$2 options=$3
shift 3
mount --make-rprivate /
for folder in /opt /var/lib /run; do
  mount -t tmpfs -o mode=755 tmpfs "$folder"
done
mkdir -p /opt/stackc /var/lib/stackc/hf /var/lib/stackc/cache /run/stackc
for part in bin lib plan.json; do
  [[ -d $tree/$part ]] && mkdir "/opt/stackc/$part" || : >"/opt/stackc/$part"
  mount --bind "$tree/$part" "/opt/stackc/$part"
done
for volume in hf cache; do
  mkdir -p "$state/$volume"
  mount --bind "$state/$volume" "/var/lib/stackc/$volume"
done
mount -t tmpfs -o "$options" tmpfs /tmp
for folder in / /opt /opt/stackc/{bin,lib,plan.json} /var/lib /run; do
  mount -o remount,bind,ro "$folder"
done
# A place that is still writable would prove nothing.
for folder in / /opt/stackc /opt/stackc/{bin,lib} /var/lib/stackc /var/tmp /run /root; do
  ! : 2>/dev/null >"$folder/written" || {
    echo "$folder can be written" >&2
    exit 1
  }
done
cd /
exec "$@"
