# SPDX-License-Identifier: GPL-2.0
# For the tests that write, sourced in the guest: makes a file system on the guest's disks and
# leaves it to the judge at the end. The disks are RAMDISKS, or DISKS where there are none.

# A test is a list of commands of which each must succeed: say which did not.
[ -z "${BASH_VERSION:-}" ] || {
	set -E
	trap 'echo "line $LINENO failed: $BASH_COMMAND" >&2' ERR
}

bin=$BTRFS_TOP/build/testing/release
disks=${RAMDISKS:-$DISKS}
first=${disks%% *}
mnt=/mnt/x
options=noatime

# begin [MKFS-ARGUMENT]...: a new file system, mounted on $mnt with $options.
begin() {
	mkfs.btrfs -q -f "$@" $disks
	attach
}

attach() {
	mkdir -p $mnt
	devices=
	for disk in $disks; do devices=$devices,device=$disk; done
	mount -t btrfs -o "$options$devices" "$first" $mnt
}

# again: the same file system through a new mount.
again() {
	cd /
	umount $mnt
	attach
}

# end [JUDGE-OPTION]...: unmounts, and judges what is there.
end() {
	cd /
	"$BTRFS_TOP/tools/testing/judge" "$@" $disks -- $mnt
}

fail() {
	echo "$*" >&2
	exit 1
}

# refused ERROR COMMAND...: the command fails, and says ERROR.
refused() {
	wanted=$1
	shift
	if "$@" >/tmp/refused 2>&1; then
		fail "not refused: $*"
	fi
	grep -qF "$wanted" /tmp/refused || {
		cat /tmp/refused
		fail "refused, but not with '$wanted': $*"
	}
}

# random SIZE FILE: bytes that no compressor shrinks.
random() { head -c "$1" /dev/urandom >"$2"; }

# text SIZE FILE: lines that every compressor shrinks.
text() { seq 1 1000000 | head -c "$1" >"$2"; }
