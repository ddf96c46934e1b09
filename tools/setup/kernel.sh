# SPDX-License-Identifier: GPL-2.0
# Stage: configure and build a test kernel.

# kernel_fragment ARCH FLAVOUR: prints the configuration fragment.
kernel_fragment() {
	cat "$top/tools/setup/config/$1.config" || return
	if [ "$2" != fast ]; then
		cat "$top/tools/setup/config/$2.config"
	fi
}

# llvm_major: the LLVM that rustc is made with.
llvm_major() {
	"${RUSTC:-rustc}" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p'
}

# kernel_llvm FLAVOUR: the suffix of the LLVM tools that build it; nothing where gcc does.
kernel_llvm() {
	case $1 in
	kasan | inline) echo "-$(llvm_major)" ;;
	esac
}

# kernel_key ARCH FLAVOUR: what the build depends on, as a short hash.
kernel_key() {
	{
		kernel_fragment "$1" "$2"
		cat "$source_dir/.package-version"
		# What concerns one architecture begins with its name; gcc's kernels are as they are
		# without what is for clang's.
		for _patch in "$top"/tools/setup/patches/"$1"-*.patch; do
			case $_patch:$(kernel_llvm "$2") in
			*-clang-*:) continue ;;
			esac
			[ ! -e "$_patch" ] || cat "$_patch"
		done
		"${RUSTC:-rustc}" --version
		_llvm=$(kernel_llvm "$2")
		if [ -z "$_llvm" ]; then gcc --version; else "clang$_llvm" --version; fi | head -n 1
	} | sha256sum | cut -c 1-10
}

# kernel_dir ARCH FLAVOUR: the build tree that belongs to this checkout.
kernel_dir() { echo "$cache/kernels/$1-$2-$(kernel_key "$1" "$2")"; }

# kernel_link ARCH FLAVOUR: the short name under which the newest tree is found.
kernel_link() {
	if [ "$2" = fast ]; then echo "$cache/$1"; else echo "$cache/$1-$2"; fi
}

kernel_make() {
	_dir=$1
	_arch=$2
	shift 2
	PATH=$tools_dir/bin:$PATH RUST_LIB_SRC=$(rust_lib_src) \
		make -C "$source_dir" O="$_dir" ARCH="$_arch" LOCALVERSION= \
		${kernel_llvm_suffix:+LLVM="$kernel_llvm_suffix"} "$@"
}

# Options of the fragment that Kconfig did not grant.
kernel_config_misses() {
	grep -E '^CONFIG_[A-Z0-9_]+=' "$1/fragment" | while IFS= read -r _line; do
		grep -qxF -e "$_line" "$1/.config" || echo "$_line"
	done
}

# An option of the base may be repeated by the debug fragment: the last one counts.
kernel_configure() {
	_dir=$1
	mkdir -p "$_dir"
	{
		kernel_fragment "$2" "$3"
		echo "CONFIG_LOCALVERSION=\"-btrfsrs-$2-$3-$4\""
	} >"$_dir/fragment"
	case $2 in
	um) _base=alldefconfig ;;
	*) _base=allnoconfig ;;
	esac
	KCONFIG_ALLCONFIG=$_dir/fragment run_logged "config-$2-$3" \
		kernel_make "$_dir" "$2" "$_base" ||
		die "the kernel cannot be configured (see above)"
	_misses=$(kernel_config_misses "$_dir")
	case $_misses in
	*CONFIG_RUST=*)
		kernel_make "$_dir" "$2" rustavailable >&2
		die "the kernel refuses CONFIG_RUST (see above)"
		;;
	?*) die "options that this kernel does not grant: $(echo $_misses)" ;;
	esac
}

# build_kernel ARCH FLAVOUR
build_kernel() {
	kernel_llvm_suffix=$(kernel_llvm "$2")
	_key=$(kernel_key "$1" "$2")
	kdir=$cache/kernels/$1-$2-$_key
	if [ ! -e "$kdir/.complete" ]; then
		need_space "$space_kernel" "a kernel build tree"
		mkdir -p "$kdir"
		exec 8>"$kdir/.lock"
		flock 8
	fi
	if [ ! -e "$kdir/.complete" ]; then
		[ -e "$kdir/.configured" ] || {
			say "configuring the $1 kernel, $2 flavour"
			kernel_configure "$kdir" "$1" "$2" "$_key"
			touch "$kdir/.configured"
		}
		say "building the $1 kernel, $2 flavour, $jobs jobs (some minutes; log: $log_dir/kernel-$1-$2.log)"
		run_logged "kernel-$1-$2" kernel_make "$kdir" "$1" -j"$jobs" ||
			die "the $1 $2 kernel does not build (see above)"
		rm -rf "$kdir/modroot"
		run_logged "modules-$1-$2" kernel_make "$kdir" "$1" \
			modules_install INSTALL_MOD_PATH="$kdir/modroot" INSTALL_MOD_STRIP=1 ||
			die "the modules of the $1 $2 kernel cannot be installed (see above)"
		touch "$kdir/.complete"
	fi
	exec 8>&-
	_link=$(kernel_link "$1" "$2")
	# A directory of that name was put there by hand: keep it out of the way.
	if [ -d "$_link" ] && [ ! -L "$_link" ]; then
		mv "$_link" "$cache/kernels/$1-$2-$(date +%s)"
	fi
	ln -sfn "$kdir" "$_link.new.$$" && mv -T "$_link.new.$$" "$_link"
	say "$1 kernel, $2 flavour: $kdir"
}
