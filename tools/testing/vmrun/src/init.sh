# Runs as the guest's first process. The lines above this one set what the run wants.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
vm=/run/vm

# fail REASON: the guest cannot be prepared.
fail() {
	echo "$1" >$vm/ctl/status
	power_off
}

power_off() {
	sync
	echo o >/proc/sysrq-trigger
	# Not a program: the host's files may be gone before this process is.
	while :; do :; done
}

# host_mount DIR TARGET ro|rw: mounts a directory of the host.
host_mount() {
	if [ $vm_arch = uml ]; then
		# mount(2) takes the bare path, the newer system calls take an option.
		mount -t hostfs -o "$3,$1" none "$2" 2>/dev/null ||
			mount -t hostfs -o "$3,hostfs=$1" none "$2"
	else
		mount -t 9p -o "$3,trans=virtio,version=9p2000.L,msize=512000" "$4" "$2"
	fi
}

if [ -O /bin/mount ]; then
	mount -t proc proc /proc
else
	# An unprivileged user's guest: the host's root is nobody here, and a setuid program would
	# become that.
	setpriv --no-new-privs mount -t proc proc /proc
	setpriv --no-new-privs mount -o remount,bind,ro,nosuid /
fi
mount -t sysfs sysfs /sys
grep -q " /dev devtmpfs" /proc/mounts || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for dir in /dev/shm /tmp /run /mnt /var/tmp; do
	mount -t tmpfs -o mode=1777 tmpfs $dir
done
mount -t debugfs debugfs /sys/kernel/debug
mount -t configfs configfs /sys/kernel/config
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p $vm /run/lock /run/mount
host_mount "$vm_rundir" $vm rw ctl
echo "the guest did not come up" >$vm/ctl/status
ln -sfn /proc/self/fd /dev/fd
ln -sfn /proc/self/fd/0 /dev/stdin
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
hostname guest 2>/dev/null
{ ip link set lo up || ifconfig lo 127.0.0.1 up; } 2>/dev/null

index=0
printf '%s' "$vm_shares" | while read -r mode dir; do
	mkdir -p "$dir" 2>/dev/null
	host_mount "$dir" "$dir" $mode share$index || fail "$dir cannot be shared"
	index=$((index + 1))
done || exit

# Modules of this kernel are not where modprobe looks for them.
printf '#!/bin/sh\nexec /sbin/modprobe -d "%s" "$@"\n' "$vm_modroot" >$vm/bin/modprobe
chmod 755 $vm/bin/modprobe
echo $vm/bin/modprobe >/proc/sys/kernel/modprobe

# Disks in memory. brd makes them all of one size; where sizes differ null_blk does it.
RAMDISKS=
ram_sizes=$(printf '%s\n' $vm_ram | sort -u | wc -l)
index=0
for size in $vm_ram; do
	if [ "$ram_sizes" -eq 1 ]; then
		RAMDISKS="$RAMDISKS /dev/ram$index"
	else
		null=/sys/kernel/config/nullb/vmram$index
		mkdir $null
		echo $((size >> 20)) >$null/size
		echo 1 >$null/memory_backed
		echo 1 >$null/power || fail "no RAM disk of $size bytes"
		# Older drivers name the device by number.
		[ -e /dev/vmram$index ] || ln -s nullb$(cat $null/index) /dev/vmram$index
		RAMDISKS="$RAMDISKS /dev/vmram$index"
	fi
	index=$((index + 1))
done
RAMDISKS=${RAMDISKS# }

# Reports before this line are the test kernel's own affair.
echo "vm: begin" >/dev/kmsg

for module in $vm_modules; do
	insmod $vm/mod/$module 2>$vm/ctl/insmod ||
		fail "$module cannot be loaded: $(cat $vm/ctl/insmod)"
done

export PATH=$vm/bin:$vm_path:$PATH
export HOME=/tmp TERM=${TERM:-linux} LANG=C.UTF-8 DISKS RAMDISKS BTRFS_KO BTRFS_C_KO BTRFS_TOP
cd "$vm_cwd" 2>/dev/null || cd /

if [ $vm_arch = uml ]; then
	out=/dev/tty1 err=/dev/tty2
else
	out=/dev/hvc0 err=/dev/hvc1
fi
exec 3<>$out 4<>$err
if [ $# -eq 0 ]; then
	stty sane <&3
	[ -z "$vm_size" ] || stty rows ${vm_size% *} cols ${vm_size#* } <&3
	setsid -c bash -i <&3 >&3 2>&3
	status=$?
else
	stty raw -echo <&3
	stty raw -echo <&4
	setsid -w "$@" </dev/null >&3 2>&4 3>&- 4>&-
	status=$?
	# Setting a mode waits until all output is out.
	stty raw -echo <&3
	stty raw -echo <&4
fi

# What the file system left behind shows when it goes.
cd /
umount -a -t btrfs 2>/dev/null
[ -z "$vm_rmmod" ] || rmmod $vm_rmmod 2>/dev/null
if [ -n "$vm_debug" ] && [ $# -gt 0 ] && [ -w /sys/kernel/debug/kmemleak ]; then
	# An object must be some seconds old before it is reported.
	sleep 5
	echo scan >/sys/kernel/debug/kmemleak
	echo scan >/sys/kernel/debug/kmemleak
	cat /sys/kernel/debug/kmemleak >/dev/kmsg
fi
echo $status >$vm/ctl/status
power_off
