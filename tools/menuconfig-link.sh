#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Links this tree into a kernel source tree as fs/btrfs-rust, so that its options
# appear in menuconfig (File systems) and the module builds with the kernel.
#
# usage: tools/menuconfig-link.sh KERNEL-SOURCE            link it
#        tools/menuconfig-link.sh --remove KERNEL-SOURCE   undo that
#
# The kernel tree gets one symbolic link and one line each in fs/Kconfig and
# fs/Makefile; doing it twice changes nothing more.
set -eu

name=btrfs-rust
top=$(dirname "$(dirname "$(readlink -f "$0")")")
kconfig_line="source \"fs/$name/Kconfig\""
make_line="obj-\$(CONFIG_BTRFS_FS_RUST) += $name/"

die() { echo "menuconfig-link: $*" >&2; exit 1; }

# edit FILE SCRIPT: changes FILE by sed, leaving none half written.
edit() {
	sed "$2" "$1" >"$1.new" && cat "$1.new" >"$1" && rm "$1.new" || die "cannot write $1"
}

remove=
if [ "${1:-}" = --remove ]; then
	remove=1
	shift
fi
[ $# -eq 1 ] || { sed -n '3,11s/^# \{0,1\}//p' "$0" >&2; exit 64; }
fs=$1/fs
[ -e "$1/Kbuild" ] && [ -e "$fs/btrfs/Kconfig" ] || die "$1 is no kernel source tree"

if [ -n "$remove" ]; then
	rm -f "$fs/$name"
	edit "$fs/Kconfig" "\\|^source \"fs/$name/|d"
	edit "$fs/Makefile" "/^obj.*BTRFS_FS_RUST/d"
	echo "removed from $1"
	exit
fi

[ ! -e "$fs/$name" ] || [ -L "$fs/$name" ] || die "$fs/$name is there and is no link of ours"
ln -sfn "$top" "$fs/$name"
grep -qF "$kconfig_line" "$fs/Kconfig" ||
	edit "$fs/Kconfig" "\\|^source \"fs/btrfs/Kconfig\"|a $kconfig_line"
grep -qF "$make_line" "$fs/Makefile" ||
	edit "$fs/Makefile" "/^obj-.*CONFIG_BTRFS_FS)/a $make_line"
grep -qF "$kconfig_line" "$fs/Kconfig" && grep -qF "$make_line" "$fs/Makefile" ||
	die "fs/Kconfig or fs/Makefile of $1 has no btrfs to stand next to"
echo "linked into $1: see File systems -> Btrfs filesystem support (Rust), with CONFIG_BTRFS_FS off"
