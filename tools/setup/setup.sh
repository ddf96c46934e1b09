#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prepares a Debian machine for building and testing: packages, the kernel's
# source, Rust's library source, bindgen, fsx, btrfs-progs, and the test kernels.
# Everything but the packages goes to ${XDG_CACHE_HOME:-~/.cache}/btrfs-rs.
# Doing it again does only what is missing.
#
# usage: tools/setup/setup.sh [KERNEL]...
#
# KERNEL is um, um-debug (these two are the default), x86_64, x86_64-debug, one
# that clang builds (um-kasan, x86_64-kasan, x86_64-inline), or none (everything
# but a kernel).
#
#        tools/setup/setup.sh --print KERNEL
#
# prints the build tree of a test kernel as a make or shell assignment list:
# KDIR, RUST_LIB_SRC, TOOLS, and LLVM where clang builds it.
set -eu

top=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
. "$top/tools/setup/lib.sh"
. "$top/tools/setup/apt.sh"
. "$top/tools/setup/sources.sh"
. "$top/tools/setup/kernel.sh"

# split_kernel NAME: sets $arch and $flavour.
split_kernel() {
	case $1 in
	um | x86_64) flavour=fast ;;
	um-debug | um-kasan | x86_64-debug | x86_64-kasan | x86_64-inline) flavour=${1#*-} ;;
	*) die "no such kernel: $1 ({um,x86_64}{,-debug,-kasan}, x86_64-inline)" ;;
	esac
	arch=${1%%-*}
}

print_settings() {
	split_kernel "$1"
	[ -e "$source_dir/.package-version" ] || die "no set-up yet: run tools/setup/setup.sh $1"
	printf 'KDIR=%s\nRUST_LIB_SRC=%s\nTOOLS=%s\nLLVM=%s\n' \
		"$(kernel_dir "$arch" "$flavour")" "$(rust_lib_src)" "$tools_dir/bin" \
		"$(kernel_llvm "$flavour")"
}

main() {
	if [ "${1:-}" = --print ]; then
		print_settings "${2:-um}"
		return
	fi
	[ $# -gt 0 ] || set -- um um-debug
	want_x86=
	want_clang=
	for _kernel; do
		case $_kernel in
		none) continue ;;
		x86_64*) want_x86=1 ;;
		esac
		case $_kernel in
		*-kasan | *-inline) want_clang=1 ;;
		esac
		split_kernel "$_kernel"
	done
	umask 022
	mkdir -p "$cache" "$log_dir" || die "cannot write to $cache"
	# One at a time; the second one finds everything done.
	exec 9>"$cache/.setup.lock"
	flock -n 9 || {
		say "waiting for another set-up"
		flock 9
	}
	install_packages
	setup_source
	setup_rust_src
	setup_bindgen
	setup_fsx
	setup_progs
	# Kernels have locks of their own: building one takes long.
	exec 9>&-
	for _kernel; do
		[ "$_kernel" != none ] || continue
		split_kernel "$_kernel"
		[ -e "$(kernel_dir "$arch" "$flavour")/.complete" ] || check_toolchain
		build_kernel "$arch" "$flavour"
	done
	say "done"
}

main "$@"
