#!/usr/bin/env bash
# usage: root.sh BASE [SOURCE TARGET]...   (in fresh mount, pid, uts, ipc, network and cgroup namespaces)
#
# Becomes a systemd with a root of its own: this machine's root below an overlay, into which every write goes, and
# which is gone with the namespaces. Each SOURCE is mounted read-only at TARGET, BASE/console is the console.
set -Eeuo pipefail

base=$1
shift
root=$base/root

# Nothing that is mounted here may show outside.
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$base"
mkdir "$base/upper" "$base/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$root"

mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for folder in run tmp dev; do
  mount -t tmpfs -o mode=755 tmpfs "$root/$folder"
done
chmod 1777 "$root/tmp"
for node in null zero full random urandom tty; do
  : > "$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir -m 1777 "$root/dev/shm"
mkdir "$root/dev/pts"
ln -s /proc/self/fd "$root/dev/fd"
ln -s pts/ptmx "$root/dev/ptmx"
: > "$root/dev/console"
mount --bind /proc/self/fd/1 "$root/dev/console"

# Units of this machine's packages have no business here.
for folder in etc/systemd/system lib/systemd/system/{sysinit,basic,local-fs,multi-user,sockets,timers}.target.wants; do
  [[ ! -d $root/$folder ]] || mount -t tmpfs -o mode=755 tmpfs "$root/$folder"
done
: > "$root/etc/fstab"
cat > "$root/etc/systemd/system/machine.target" <<'UNIT'
[Unit]
Wants=systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket basic.target
After=basic.target
AllowIsolate=yes
UNIT

while (($#)); do
  if [[ -d $1 ]]; then
    mkdir -p "$root$2"
  else
    mkdir -p "$(dirname "$root$2")"
    : > "$root$2"
  fi
  mount --bind "$1" "$root$2"
  mount -o remount,ro,bind "$root$2"
  shift 2
done

mkdir "$root/.outside"
cd "$root"
pivot_root . .outside
umount -l /.outside
rmdir /.outside
cd /
# systemd empties folders such as /tmp as it starts: never those of the machine that runs this test.
kind=$(stat -f -c %T /)
[[ $kind == overlayfs ]] || {
  echo "the root is not the overlay" >&2
  exit 1
}
# As on a booted machine: credentials reach a service by way of its own mounts. Outside nothing is shared any more.
mount --make-rshared /
exec env -i container=stackc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system \
  --log-target=journal --show-status=false --unit=machine.target
