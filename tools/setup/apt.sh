# SPDX-License-Identifier: GPL-2.0
# Stage: Debian packages. What the machine needs is installed; what only the
# tests need (kernel source, rust-src, btrfs-progs) is unpacked in the cache by
# way of a private apt state, which leaves the machine's own sources alone.

apt_dir=$cache/apt

# Programs and libraries: "what proves that it is there:package".
base_needs="
gcc:gcc make:make flex:flex bison:bison bc:bc cpio:cpio insmod:kmod xz:xz-utils
perl:perl patch:patch python3:python3 setsid:util-linux mkfs.ext4:e2fsprogs
getfattr:attr setfacl:acl ps:procps mkfs.xfs:xfsprogs fio:fio
/usr/include/stdio.h:libc6-dev /usr/include/libelf.h:libelf-dev
lib/liblzo2.so.2:liblzo2-2 lib/libudev.so.1:libudev1 lib/libzstd.so.1:libzstd1
/usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
"
x86_needs="qemu-system-x86_64:qemu-system-x86"

os_codename() { (. /etc/os-release && echo "${VERSION_CODENAME:-}"); }

# have THING: a program in PATH or sbin, a file, or a shared library (lib/NAME).
have() {
	case $1 in
	lib/*) ldconfig -p 2>/dev/null | grep -qF "${1#lib/}" ||
		/sbin/ldconfig -p | grep -qF "${1#lib/}" ;;
	/*) [ -e "$1" ] ;;
	*) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
	esac
}

# bindgen loads libclang; the kernel's headers need 17 or newer.
libclang_found() {
	for _lib in /usr/lib/llvm-*/lib/libclang.so.1 /usr/lib/llvm-*/lib/libclang-*.so.*; do
		[ -e "$_lib" ] || continue
		_major=${_lib#/usr/lib/llvm-}
		[ "${_major%%/*}" -ge 17 ] 2>/dev/null && return 0
	done
	return 1
}

libclang_package() {
	for _major in 19 22 21 20 18 17; do
		if [ -n "$(apt-cache madison libclang1-$_major 2>/dev/null)" ]; then
			echo "libclang1-$_major"
			return
		fi
	done
	die "no libclang of version 17 or newer in the machine's apt sources (libclang1-19 and its like)"
}

# rust_packages: prints the packages of a Rust that is new enough.
rust_packages() {
	for _set in "rustc cargo rustfmt rust-clippy" "rustc-web cargo-web rustfmt-web rust-web-clippy"; do
		_candidate=$(apt-cache policy "${_set%% *}" 2>/dev/null |
			sed -n 's/^ *Candidate: *\([0-9.]*\).*/\1/p')
		if [ -n "$_candidate" ] && version_ge "$_candidate" "$min_rustc"; then
			echo "$_set"
			return
		fi
	done
	die "no rustc here, and apt has none of version $min_rustc or newer; see https://rustup.rs"
}

# The LLVM tools of rustc's LLVM, where they are missing.
clang_needs() {
	_major=$(llvm_major)
	for _need in clang-$_major ld.lld-$_major:lld-$_major llvm-link-$_major:llvm-$_major; do
		have "${_need%%:*}" || echo "${_need#*:}"
	done
}

# What is missing, by package name; Rust and libclang by these words.
missing_needs() {
	for _need in $base_needs $([ -z "$want_x86" ] || echo "$x86_needs"); do
		have "${_need%%:*}" || echo "${_need#*:}"
	done
	have cargo && have "${RUSTC:-rustc}" || echo RUST
	[ -z "$want_clang" ] || clang_needs
	libclang_found || echo LIBCLANG
}

# Stops with the command to type where the packages cannot be installed from here.
install_packages() {
	have apt-get || die "this set-up needs Debian's apt-get"
	_needs=$(missing_needs)
	[ -n "$_needs" ] || return 0
	if [ -z "$(apt-cache madison make 2>/dev/null)" ]; then
		say "reading the package lists"
		may_be_root || die "apt has no package lists. Run this, then start again:
  sudo apt-get update"
		as_root apt-get update >/dev/null 2>&1 || die "no network: apt-get update fails"
	fi
	_missing=
	for _need in $_needs; do
		case $_need in
		RUST) _need=$(rust_packages) || exit 1 ;;
		LIBCLANG) _need=$(libclang_package) || exit 1 ;;
		esac
		_missing="$_missing$_need "
	done
	_command="apt-get install --no-install-recommends --no-upgrade -y $_missing"
	may_be_root || die "packages are missing. Run this, then start again:
  sudo $_command"
	_upgrades=$($_command -s | awk '/^Inst/ && $3 ~ /^\[/ { print $2 }' | tr '\n' ' ')
	if [ -n "$_upgrades" ]; then
		die "installing the missing packages would upgrade: $_upgrades
If that is fine, run this, then start again:
  $_command"
	fi
	say "installing packages: $_missing"
	as_root env DEBIAN_FRONTEND=noninteractive $_command >"$log_dir/apt-install.log" 2>&1 || {
		tail -n 20 "$log_dir/apt-install.log" >&2
		die "apt-get install failed (no network?)"
	}
}

may_be_root() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# private_apt PROGRAM ARG...: apt with the private state.
private_apt() {
	_program=$1
	shift
	"$_program" -o Dir::State="$apt_dir/state" -o Dir::State::status=/var/lib/dpkg/status \
		-o Dir::Cache="$apt_dir/cache" -o Dir::Etc::SourceList="$apt_dir/etc/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null \
		-o Dir::Etc::PreferencesParts=/dev/null -o APT::Sandbox::User=root \
		-o Acquire::Languages=none -o Acquire::Retries=2 "$@"
}

# Writes the private sources: the machine's own Debian suites and, from the same
# mirror, the suites that may have what we need.
write_sources() {
	_code=$(os_codename)
	[ -n "$_code" ] || die "/etc/os-release names no Debian release"
	_key=/usr/share/keyrings/debian-archive-keyring.gpg
	_own=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
		awk -v code="$_code" '$3 == "main" && ($2 == code || index($2, code "-") == 1)' | sort -u)
	_mirror=$(echo "$_own" | awk -v code="$_code" '$2 == code { print $1; exit }')
	[ -n "$_mirror" ] || die "apt's configuration has no Debian mirror for $_code"
	mkdir -p "$apt_dir/etc" "$apt_dir/state/lists/partial" "$apt_dir/cache/archives/partial"
	{
		echo "$_own"
		for _suite in "$_code-backports" trixie trixie-backports; do
			# Debian 12 has no forky-backports: apt says so, and goes on.
			echo "$_mirror $_suite main"
		done
	} | sort -u | awk -v key="$_key" 'NF == 3 { print "deb [signed-by=" key "] " $0 }' \
		>"$apt_dir/etc/sources.list"
}

private_apt_ready=

# Brings the private package lists up to date, once per run and only when needed.
private_lists() {
	[ -z "$private_apt_ready" ] || return 0
	say "reading the package lists of the Debian mirror"
	mkdir -p "$log_dir"
	write_sources
	# A suite that the mirror does not have makes update fail though the others are there.
	private_apt apt-get update >"$log_dir/apt-update.log" 2>&1 || true
	[ -n "$(private_apt apt-cache madison make)" ] || {
		tail -n 5 "$log_dir/apt-update.log" >&2
		die "no network: the Debian mirror cannot be read"
	}
	private_apt_ready=1
}

# newest_version PACKAGE [REGEX]: the newest one whose line of madison matches.
newest_version() {
	private_apt apt-cache madison "$1" | grep -E "${2:-.}" |
		awk -F' *[|] *' '{ print $2 }' | sort -V | tail -n 1
}

# download PACKAGE VERSION: leaves the verified package in the cache, sets $deb.
download() {
	deb=$(ls "$apt_dir/$1_$(echo "$2" | sed 's/:/%3a/')"_*.deb 2>/dev/null | head -n 1)
	[ -z "$deb" ] || return 0
	say "downloading $1 $2"
	(cd "$apt_dir" && run_logged "download-$1" private_apt apt-get download "$1=$2") ||
		die "$1 cannot be downloaded (see above)"
	deb=$(ls "$apt_dir/$1_$(echo "$2" | sed 's/:/%3a/')"_*.deb | head -n 1)
}
