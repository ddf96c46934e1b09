# SPDX-License-Identifier: GPL-2.0
# Stage: kernel source, rust-src, bindgen and btrfs-progs, all in the cache.

apply_patches() {
	for _patch in "$top"/tools/setup/patches/*.patch; do
		if patch -d "$1" -p1 -R -f --dry-run <"$_patch" >/dev/null 2>&1; then
			continue
		fi
		patch -d "$1" -p1 -N -f -s <"$_patch" >/dev/null ||
			die "${_patch##*/} does not apply to $1"
	done
}

setup_source() {
	if [ ! -e "$source_dir/.package-version" ]; then
		private_lists
		_version=$(newest_version "linux-source-$kernel_series")
		[ -n "$_version" ] || die "the mirror has no linux-source-$kernel_series"
		need_space "$space_source" "the kernel source"
		download "linux-source-$kernel_series" "$_version"
		say "unpacking the kernel source $_version"
		_new=$cache/source.$$
		rm -rf "$_new"
		mkdir -p "$_new/deb"
		dpkg-deb -x "$deb" "$_new/deb" &&
			tar -C "$_new" -xJf "$_new/deb/usr/src/linux-source-$kernel_series.tar.xz" ||
			die "the kernel source cannot be unpacked (no space?)"
		apply_patches "$_new/linux-source-$kernel_series"
		echo "$_version" >"$_new/linux-source-$kernel_series/.package-version"
		rm -rf "$source_dir"
		mv "$_new/linux-source-$kernel_series" "$source_dir"
		rm -rf "$_new"
	fi
	apply_patches "$source_dir"
}

# The standard library's source: with the compiler (rustup component), or unpacked here.
rust_lib_src() {
	_with=$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib/src/rust/library
	if [ -d "$_with" ]; then
		echo "$_with"
	else
		echo "$cache/rust-src/usr/src/rustc-$(rustc_version)/library"
	fi
}

setup_rust_src() {
	have "${RUSTC:-rustc}" || die "rustc is missing"
	_rustc=$(rustc_version)
	version_ge "$_rustc" "$min_rustc" ||
		die "rustc $_rustc is too old: $min_rustc or newer is needed"
	[ ! -d "$(rust_lib_src)" ] || return 0
	private_lists
	for _package in rust-src rust-web-src; do
		_version=$(newest_version $_package "\\| *$(echo "$_rustc" | sed 's/\./\\./g')[+~-]")
		[ -n "$_version" ] || continue
		download $_package "$_version"
		mkdir -p "$cache/rust-src"
		dpkg-deb -x "$deb" "$cache/rust-src" || die "$_package cannot be unpacked (no space?)"
		# Browser toolchains (rust-web-src) may use another folder below usr/src.
		[ -d "$(rust_lib_src)" ] || for _dir in "$cache"/rust-src/usr/src/*"$_rustc"*/library; do
			ln -sfn "${_dir%/library}" "$cache/rust-src/usr/src/rustc-$_rustc"
		done
		break
	done
	[ -d "$(rust_lib_src)" ] ||
		die "no source of Rust's standard library for rustc $_rustc: rustup component add rust-src"
}

setup_bindgen() {
	if [ "$("$tools_dir/bin/bindgen" --version 2>/dev/null)" = "bindgen $bindgen_version" ]; then
		return 0
	fi
	say "building bindgen $bindgen_version (a minute)"
	# It runs for seconds: building it fast matters more than building it well.
	CARGO_TARGET_DIR=$cache/host/bindgen CARGO_PROFILE_RELEASE_OPT_LEVEL=1 run_logged bindgen \
		cargo install bindgen-cli --locked --force --version "$bindgen_version" --root "$tools_dir" ||
		die "bindgen cannot be built (see above; no network?)"
	rm -rf "$cache/host/bindgen"
}

# fsx for the tests that write: the port of the crate of that name.
setup_fsx() {
	if [ "$("$tools_dir/bin/fsx" --version 2>/dev/null)" = "fsx $fsx_version" ]; then
		return 0
	fi
	say "building fsx $fsx_version (a minute)"
	CARGO_TARGET_DIR=$cache/host/fsx CARGO_PROFILE_RELEASE_OPT_LEVEL=1 run_logged fsx \
		cargo install fsx --locked --force --version "$fsx_version" --root "$tools_dir" ||
		die "fsx cannot be built (see above; no network?)"
	rm -rf "$cache/host/fsx"
}

setup_progs() {
	[ ! -e "$progs_dir/.complete" ] || return 0
	private_lists
	_code=$(os_codename)
	_version=$(newest_version btrfs-progs " $_code(-backports|-updates|-security)?/")
	[ -n "$_version" ] || die "the mirror has no btrfs-progs for $_code"
	download btrfs-progs "$_version"
	mkdir -p "$progs_dir"
	dpkg-deb -x "$deb" "$progs_dir" || die "btrfs-progs cannot be unpacked (no space?)"
	touch "$progs_dir/.complete"
}

# What the kernel's own scripts say about the Rust toolchain, as one message.
check_toolchain() {
	libclang_found || die "libclang 17 or newer is missing (package libclang1-19)"
	PATH=$tools_dir/bin:$PATH RUST_LIB_SRC=$(rust_lib_src) \
		run_logged rustavailable make -s -C "$source_dir" ARCH=um O="$cache/rustavailable" \
		LOCALVERSION= rustavailable || die "the kernel cannot use this Rust toolchain (see above)"
	rm -rf "$cache/rustavailable"
}
