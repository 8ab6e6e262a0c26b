#!/bin/sh
# From installed Debian packages to a cloud image's root filesystem, and the parts of its boot files.
#
#   root.sh ARCHIVE FOLDER BLOCKS
#
# Runs as root, or as the root of a user namespace, so that every file gets its owner. Needs no mount and
# no chroot. ARCHIVE is mmdebstrap's tar file; in FOLDER appear
#
#   root.img     ext4 of BLOCKS blocks of 4096 bytes, cleanly unmounted
#   boot/        what kernel images are made of: vmlinuz, initrd, stub, os-release, uname, the program ukify with
#                its Python modules, and systemd-mount, which the initrd lacks
#   esp/         the files of the EFI system partition, without a kernel image
set -eu
PATH=$PATH:/usr/sbin:/sbin # which an ordinary user of Debian does not have
here=$(dirname "$0")
archive=$1
folder=$2
blocks=$3
tree=$folder/tree
trap 'rm -rf "$tree"' EXIT

mkdir "$tree" "$folder/boot"
# A user namespace may not make devices; the guest's own /dev is a devtmpfs.
tar --extract --numeric-owner --same-owner --preserve-permissions --xattrs --xattrs-include='*' \
    --exclude='./dev/*' --directory "$tree" --file "$archive"

# --- The image ---------------------------------------------------------------------------------------

# mmdebstrap leaves the building machine's name, resolver and mirror; they must not travel.
echo localhost >"$tree/etc/hostname"
chmod 644 "$tree/etc/hostname"
rm -f "$tree/etc/resolv.conf"
rm -f "$tree"/etc/apt/sources.list "$tree"/etc/apt/sources.list.d/*
# An image for many guests has it empty. Then systemd goes through all units at the first boot, which takes
# software emulation most of a minute.
echo 00000000000000000000000000b007ed >"$tree/etc/machine-id"

mkdir -p "$tree/boot/efi"
cat >"$tree/etc/fstab" <<FSTAB
LABEL=cloudimg-rootfs / ext4 discard,errors=remount-ro 0 1
LABEL=UEFI /boot/efi vfat umask=0077 0 1
FSTAB

# The form that Debian's and Ubuntu's images have: one line in flow style.
cat >"$tree/etc/cloud/cloud.cfg.d/90_dpkg.cfg" <<CLOUD
datasource_list: [ NoCloud, ConfigDrive, Azure, Ec2, GCE, None ]
CLOUD

# What tells a boot test, on the serial console, that this root was reached. A disk of a test gets a number of
# its own in /etc/boot-proof.
install -m 755 "$here/proof/boot-proof" "$tree/usr/local/sbin/"
install -m 644 "$here/proof/boot-proof.service" "$here/proof/boot-proof.target" "$tree/etc/systemd/system/"
echo none >"$tree/etc/boot-proof"
# A login prompt hangs up whoever writes to its line.
ln -s /dev/null "$tree/etc/systemd/system/serial-getty@ttyS0.service"

# --- The parts of a kernel image ---------------------------------------------------------------------

kernel=$(echo "$tree"/boot/vmlinuz-*)
version=${kernel#"$tree"/boot/vmlinuz-}
cp "$kernel" "$folder/boot/vmlinuz"
cp "$tree/boot/initrd.img-$version" "$folder/boot/initrd"
cp "$tree/usr/lib/systemd/boot/efi/linuxx64.efi.stub" "$folder/boot/stub"
cp "$tree/usr/lib/os-release" "$folder/boot/os-release"
cp "$tree/usr/bin/systemd-mount" "$folder/boot/systemd-mount"
echo "$version" >"$folder/boot/uname"
# The guest's own ukify, to be run by this machine's Python; of the guest's modules it gets the one it needs.
cp "$tree/usr/bin/ukify" "$folder/boot/ukify"
mkdir "$folder/boot/python"
cp -r "$tree"/usr/lib/python3/dist-packages/pefile.py \
    "$tree"/usr/lib/python3/dist-packages/ordlookup "$folder/boot/python"
chmod -R a+rX "$folder/boot"

# --- The EFI system partition ------------------------------------------------------------------------

# shim loads grubx64.efi beside itself. Firmware without a boot entry starts BOOTX64.EFI; fbx64.efi then
# makes the entry that BOOTX64.CSV describes, in UTF-16 with a byte order mark.
mkdir -p "$folder/esp/EFI/ubuntu" "$folder/esp/EFI/BOOT"
cp "$tree/usr/lib/shim/shimx64.efi.signed" "$folder/esp/EFI/ubuntu/shimx64.efi"
cp "$tree/usr/lib/shim/shimx64.efi.signed" "$folder/esp/EFI/BOOT/BOOTX64.EFI"
cp "$tree/usr/lib/shim/fbx64.efi.signed" "$folder/esp/EFI/BOOT/fbx64.efi"
{
    printf '\377\376'
    printf 'shimx64.efi,ubuntu,,This is the boot entry for ubuntu\n' | iconv -f UTF-8 -t UTF-16LE
} >"$folder/esp/EFI/ubuntu/BOOTX64.CSV"

# --- The filesystem ----------------------------------------------------------------------------------

mke2fs -q -t ext4 -b 4096 -L cloudimg-rootfs -d "$tree" "$folder/root.img" "$blocks" >/dev/null
