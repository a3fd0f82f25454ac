# shellcheck shell=bash
#
# The mounts of a disposable root, for `enter` and `layer`, which source this.
# To be called by pid 1 of new mount and pid namespaces with private propagation
# only: nothing here may reach the machine.

# Where it is put together: the one directory that every machine has and that
# is not needed until it is mounted anew.
readonly top=/sys

die() {
	echo "test/${0##*test/}: $*" >&2
	exit 1
}

# checkout_id PROJECT: tells what this checkout leaves from what another one does.
checkout_id() {
	echo "$1" | sha256sum | cut -c1-8
}

# mirror: where this machine has Debian's packages from.
mirror() {
	# shellcheck disable=SC2016 # apt's own way of naming a field
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
		grep -v security | head -n 1
}

# require_root: the one line that says what is missing, before anything is tried.
require_root() {
	local capabilities
	[ "$EUID" = 0 ] || die 'needs root: run it as root or with sudo'
	capabilities=$(awk '$1 == "CapEff:" { print $2 }' /proc/self/status)
	((0x$capabilities >> 21 & 1)) ||
		die 'needs CAP_SYS_ADMIN to make namespaces and mounts: a container has it with --privileged'
}

# lower_mounts prints / and every other file system on a disk, parents first:
# lowerdir=/ shows the root file system and none that is mounted on it. Those
# that tests have no business with are left out, and so are mount points with a
# name that would need quoting in mount options: they appear as empty directories.
lower_mounts() {
	echo /
	awk '{ for (i = 7; $i != "-"; i++); }
		$(i + 1) !~ /^(ext[234]|xfs|btrfs|f2fs|zfs)$/ { next }
		$5 !~ "^/[A-Za-z0-9._+@/-]+$" { next }
		$5 ~ "^/(boot|dev|media|mnt|proc|run|snap|sys|tmp|var/tmp)(/|$)" { next }
		{ print $5 }' /proc/self/mountinfo | LC_ALL=C sort -u |
		while read -r point; do
			# A bind mount of a single file (containers have them) is no lowerdir.
			[ ! -d "$point" ] || echo "$point"
		done
}

# upper_name POINT: the directory that takes what is written below POINT.
upper_name() {
	echo "$top/upper/${1//\//%}"
}

# hide PATH...: PATH is not there in the root to be mounted, whatever the
# machine has in it. A whiteout does that at once; removing would take as long
# as there are files. The kernel makes a directory that replaces it opaque.
hide() {
	local path point on upper
	for path; do
		on=/
		for point in "${points[@]}"; do
			[[ $path != "$point"/* ]] || on=$point
		done
		upper=$(upper_name "$on")${path#"${on%/}"}
		rm -rf "$upper"
		[ -d "${upper%/*}" ] || install -d -m 755 "${upper%/*}"
		mknod "$upper" c 0 0
	done
}

# mount_overlays LAYER: mounts the overlays, and a tmpfs that takes the writes;
# the root is in $top/root then. LAYER is a file made by `layer`, or empty. It is
# unpacked rather than mounted as a lower directory, because the kernel refuses
# (ELOOP) a lower directory that is inside another one, here /.
mount_overlays() {
	local layer=$1 point upper
	local -a points
	mount -t tmpfs -o mode=755 disposable $top
	mkdir $top/upper $top/work $top/root
	[ -z "$layer" ] ||
		tar --extract --file "$layer" --directory $top/upper --numeric-owner --same-permissions \
			--xattrs --xattrs-include='*' --acls
	mapfile -t points < <(lower_mounts)
	for point in "${points[@]}"; do
		upper=$(upper_name "$point")
		[ -d "$upper" ] || mkdir "$upper"
		chown --reference="$point" "$upper"
		chmod --reference="$point" "$upper"
		mkdir "$top/work/${point//\//%}"
	done
	hide /tmp /var/tmp
	for point in "${points[@]}"; do
		mount -t overlay -o "lowerdir=$point,upperdir=$(upper_name "$point"),workdir=$top/work/${point//\//%}" \
			disposable "$top/root$point"
	done
	mkdir -m 1777 $top/root/tmp $top/root/var/tmp
}

# mount_kernel ROOT: /proc, /sys, /dev and /run. Sysctls belong to the machine,
# but for a few: they are read-only, or a test changes them for everybody.
mount_kernel() {
	local root=$1 node
	local -a nodes
	mkdir -p "$root"/{proc,sys,dev,run}
	mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
	mount --bind -o ro,nosuid,nodev,noexec "$root/proc/sys" "$root/proc/sys"
	[ ! -e /proc/sysrq-trigger ] ||
		mount --bind -o ro,nosuid,nodev,noexec "$root/proc/sysrq-trigger" "$root/proc/sysrq-trigger"
	mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"

	mount -t tmpfs -o nosuid,mode=755 dev "$root/dev"
	for node in null zero full random urandom tty fuse; do
		[ ! -c "/dev/$node" ] || nodes+=("/dev/$node")
	done
	cp -a "${nodes[@]}" "$root/dev/"
	# As udev has it; without udev it is root's.
	[ ! -c "$root/dev/fuse" ] || chmod 666 "$root/dev/fuse"
	mkdir "$root"/dev/{pts,shm}
	mount -t devpts -o newinstance,nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts "$root/dev/pts"
	mount -t tmpfs -o nosuid,nodev,mode=1777 shm "$root/dev/shm"
	ln -s pts/ptmx /proc/self/fd "$root/dev/"
	ln -s fd/0 "$root/dev/stdin"
	ln -s fd/1 "$root/dev/stdout"
	ln -s fd/2 "$root/dev/stderr"

	mount -t tmpfs -o nosuid,nodev,mode=755 run "$root/run"
	mkdir -m 755 "$root/run/sshd"
	mkdir -m 1777 "$root/run/lock"
	# As on a host where somebody has logged in: pam_motd leaves it.
	install -m 644 /dev/null "$root/run/motd.dynamic"
}

# make_root ROOT: / is ROOT from now on, and the machine's is out of reach.
make_root() {
	cd "$1" || exit
	pivot_root . .
	umount --lazy .
	cd /
	# Programs may be elsewhere: Debian 11 can have a /bin of its own.
	hash -r
}
