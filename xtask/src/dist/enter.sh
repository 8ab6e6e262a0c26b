#!/bin/sh
# Runs a script within the root of a Debian system, as root of that.
#
#   enter.sh TREE SCRIPT PACKAGES IMAGE OUT ARGUMENT...
#
# Called in a mount namespace of its own. In the root appear /srv/check.sh, /srv/packages, /srv/disk.img, which cannot
# be changed there, and /srv/out, which can.
set -eu
PATH=$PATH:/usr/sbin:/sbin # which an ordinary user of Debian does not have
tree=$1
script=$2
packages=$3
image=$4
out=$5
shift 5

mount --rbind /proc "$tree/proc"
mount --rbind /dev "$tree/dev"
touch "$tree/srv/check.sh" "$tree/srv/disk.img"
mkdir "$tree/srv/packages" "$tree/srv/out"
read_only() {
    mount --bind "$1" "$2"
    mount -o remount,bind,ro "$2"
}
read_only "$script" "$tree/srv/check.sh"
read_only "$packages" "$tree/srv/packages"
read_only "$image" "$tree/srv/disk.img"
mount --bind "$out" "$tree/srv/out"

exec chroot "$tree" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/root LC_ALL=C.UTF-8 sh /srv/check.sh "$@"
