# SPDX-License-Identifier: GPL-2.0
# Shared by the set-up stages: where things are, and how messages look.
# Sourced with $top set to the root of the checkout.

kernel_series=7.3
bindgen_version=0.72.1
fsx_version=0.3.2
min_rustc=1.85.0
# What one UML kernel needs in the cache, in MiB (source and build tree).
space_source=2600
space_kernel=1500

cache=${XDG_CACHE_HOME:-$HOME/.cache}/btrfs-rs
source_dir=$cache/linux-source-$kernel_series
progs_dir=$cache/progs
tools_dir=$cache/tools
log_dir=$cache/log
jobs=${JOBS:-$(nproc)}

say() { printf 'setup: %s\n' "$*" >&2; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

# run_logged NAME COMMAND...: runs quietly, shows the end of the log when it fails.
run_logged() {
	_log=$log_dir/$1.log
	shift
	mkdir -p "$log_dir"
	if ! "$@" >"$_log" 2>&1 </dev/null; then
		tail -n 30 "$_log" >&2
		return 1
	fi
}

# version_ge A B: A is at least B, as versions go.
version_ge() {
	[ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

# need_space MIB WHAT: stops unless the cache's file system has that much left.
need_space() {
	mkdir -p "$cache" || die "cannot create $cache"
	_free=$(df -Pm "$cache" | awk 'NR == 2 { print $4 }')
	[ "$_free" -ge "$1" ] ||
		die "no space for $2: $cache has $_free MiB free, $1 MiB are needed"
}

rustc_version() { "${RUSTC:-rustc}" --version | awk '{ print $2 }'; }
