# shellcheck shell=bash disable=SC2154,SC2086
#
# Clean roots to build packages in, for `deb` and `rpm`, which source this and
# test/root/mounts.bash before it. They set:
#
#   suite      release of Debian
#   arch       another architecture of Debian to build for; or empty
#   packages   what the clean root has, beside the essential ones

# clean_root prints the directory of the clean root, and makes it if there is none.
clean_root() {
	local cache root
	cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/gotmpns/builders
	root=$cache/$suite-$(echo "${packages[@]}" | sha256sum | cut -c1-16)
	mkdir -p "$cache"
	chmod 700 "$cache"
	exec 9>"$cache/lock"
	flock 9
	if [ ! -d "$root" ]; then
		echo "test/package: making a clean Debian $suite to build in (once)" >&2
		rm -rf --one-file-system "$cache/$suite".new
		# Not --quiet, which keeps the reason of a failure from the log as well.
		# shellcheck disable=SC2016 # the hook is a shell's
		TMPDIR=/var/tmp setpriv --pdeathsig KILL unshare --mount --propagation private -- \
			mmdebstrap --mode=root --variant=minbase ${arch:+"--architectures=$(dpkg --print-architecture),$arch"} --include="$(IFS=, && echo "${packages[*]}")" \
			--aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
			--customize-hook='chroot "$1" useradd --create-home builder' \
			"$suite" "$cache/$suite.new" "$(mirror)" 9>&- </dev/null >"$cache/log" 2>&1 ||
			{ tail -n 20 "$cache/log" >&2; die "cannot make the clean root (all of it in $cache/log)"; }
		mv "$cache/$suite.new" "$root"
	fi
	exec 9>&-
	echo "$root"
}

# mount_builder ROOT OUT: the clean root with memory above it, in $top/root; OUT is
# /out in there. To be called by pid 1 of new namespaces.
mount_builder() {
	mount -t tmpfs -o mode=755 disposable $top
	mkdir $top/upper $top/work $top/root
	mount -t overlay -o "lowerdir=$1,upperdir=$top/upper,workdir=$top/work" disposable $top/root
	mount_kernel $top/root
	mkdir $top/root/out
	mount --bind "$2" $top/root/out
}
