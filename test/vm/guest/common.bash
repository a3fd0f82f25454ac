# shellcheck shell=bash disable=SC2034
#
# What the scenarios in the virtual machine share: lines "ok …" and "FAIL …", the
# ways in which people log in, and what they find there. Sourced by the scenarios
# as root, inside the machine, which is thrown away afterwards.

readonly stacks=(/etc/pam.d/common-session /etc/pam.d/common-session-noninteractive)
patience=90 # seconds for one login, on a slow emulated machine
passed=0 failed=0

chapter() { printf '\n# %s (%s s after boot)\n' "$*" "$(cut -d. -f1 /proc/uptime)"; }
note() { printf '%s\n' "$*" | sed 's/^/    /'; }
ok() { passed=$((passed + 1)) && echo "ok   $*"; }
fail() { failed=$((failed + 1)) && echo "FAIL $*"; }

# check TEXT COMMAND...: ok when it succeeds
check() {
	local text=$1
	shift
	if "$@"; then ok "$text"; else fail "$text"; fi
}

# same TEXT GOT WANT
same() {
	if [ "$2" = "$3" ]; then ok "$1"; else fail "$1: $2, not $3"; fi
}

# matches TEXT GOT REGEX
matches() {
	if [[ $2 =~ $3 ]]; then ok "$1"; else fail "$1: \"$2\" does not match \"$3\""; fi
}

# the_end: the last line, which test/vm/run looks for.
the_end() {
	printf '\nend: %d passed, %d failed\n' "$passed" "$failed"
}

# ---- the module ----

enable_module() {
	local stack
	for stack in "${stacks[@]}"; do
		grep -q pam_gotmpns "$stack" || echo "session required pam_gotmpns.so" >>"$stack"
	done
}

disable_module() {
	sed -i /pam_gotmpns/d "${stacks[@]}"
}

# instance USER: its device and inode, as the host sees it; nothing where there is none.
instance() {
	stat --format %d:%i /tmp/gotmpns-*/"$(id -u "$1")" 2>/dev/null
}

# the_log SINCE: what the module has said since then.
the_log() {
	journalctl --sync
	journalctl --boot --no-pager --output cat --since "@$1" --grep 'pam_gotmpns'
}

# ---- SELinux ----

# denials SINCE: who was denied what on whose, each once.
denials() {
	journalctl --sync
	journalctl --boot --no-pager --output cat --since "@$1" --grep 'avc:.*denied' |
		sed -nE 's/.*denied +\{ ([^}]*) \}.*comm="([^"]*)".*scontext=[^:]*:[^:]*:([^: ]*).*tcontext=[^:]*:[^:]*:([^: ]*).*tclass=([a-z_0-9]*).*/\2: \3 \4 (\5 (\1))/p' |
		sort | uniq
}

# of_ours: those that have to do with us.
of_ours() { grep -E 'gotmpns|mounton|nsfs_t|sys_chroot' || true; }

# seuser_of USER SEUSER:RANGE: what the policy has for USER, from the next login on.
seuser_of() {
	local seusers
	seusers=/etc/selinux/$(sed -n 's/^SELINUXTYPE=//p' /etc/selinux/config)/seusers
	sed -i "/^$1:/d" "$seusers"
	echo "$1:$2" >>"$seusers"
	# Users of SELinux do not see each other's files, by the constraints of the policy.
	chcon --recursive --user "${2%%:*}" "/home/$1"
}

# level_has_its_own LEVEL: alice, at LEVEL, has an instance of that level, by ssh.
level_has_its_own() {
	local answer
	answer=$(ssh_as alice 'id -Z | cut -d: -f4- | sed "s/-.*//" >>/tmp/visits; stat --format "%d:%i %C" /tmp' 2>/root/level.err)
	[ -n "$answer" ] || note "$(tail -n 3 /root/level.err)"
	same "$1: its own instance, with its label" "${answer% *} ${answer##*:s}" \
		"$(stat --format %d:%i "/tmp/gotmpns-"*"/1000.at-$1") ${1#s}"
}

# ---- ways to log in ----

# What somebody sees there; it leaves a file in /tmp, which others must not see.
make_look() {
	cat >/usr/local/bin/look <<-'END'
		#!/bin/bash
		# look WAY [FILE]: into FILE, as a whole, or to the standard output
		if [ $# = 2 ]; then
			"$0" "$1" >"$2.new"
			exec mv "$2.new" "$2"
		fi
		touch "/tmp/by-$(id -un)-$1"
		echo "tmp=$(stat --format %d:%i /tmp)"
		echo "ns=$(readlink /proc/self/ns/mnt)"
		echo "context=$(tr -d '\0' 2>/dev/null </proc/self/attr/current)"
		echo "label=$(getfattr --absolute-names --only-values --name security.selinux /tmp 2>/dev/null | tr -d '\0')"
		echo "sees=$(ls --almost-all /tmp | tr '\n' ' ')"
		echo end=yes
	END
	chmod 755 /usr/local/bin/look
	[ ! -e /sys/fs/selinux/enforce ] || restorecon /usr/local/bin/look
	touch /tmp/hosts-own
}

ssh_as() {
	local user=$1
	shift
	timeout $patience ssh -n -o BatchMode=yes -i /root/.ssh/id_test "$user@127.0.0.1" "$@"
}

# await FILE: until it is there
await() {
	local i
	for ((i = patience * 5; i > 0; i--)); do
		[ ! -e "$1" ] || return 0
		sleep 0.2
	done
	return 1
}

# Each way takes a user and prints what `look` does, or nothing.
by_ssh() { ssh_as "$1" look ssh; }
by_su() { timeout $patience su "$1" -c 'look su' </dev/null; }
by_su_login() { timeout $patience su - "$1" -c 'look su-' </dev/null; }
by_sudo() { timeout $patience sudo -u "$1" /usr/local/bin/look sudo </dev/null; }
by_pamname() {
	local out=/home/$1/pamname.out
	rm -f "$out"
	timeout $patience systemd-run --quiet --wait --collect --service-type=exec \
		--property=PAMName=login --property="User=$1" /usr/local/bin/look pamname "$out"
	cat "$out"
}
# A console: agetty and login, on a line where nobody needs to type.
by_login() {
	local out=/home/$1/login.out
	rm -f "$out"
	mkdir -p /run/systemd/system/serial-getty@ttyS2.service.d
	cat >/run/systemd/system/serial-getty@ttyS2.service.d/test.conf <<-END
		[Service]
		ExecStart=
		ExecStart=-/sbin/agetty --local-line --autologin $1 ttyS2 vt100
	END
	# shellcheck disable=SC2016 # for the shell that logs in
	grep -q ttyS2 "/home/$1/.profile" ||
		echo 'case $(tty) in /dev/ttyS2) look login ~/login.out && exec sleep infinity ;; esac' >>"/home/$1/.profile"
	systemctl daemon-reload
	systemctl start serial-getty@ttyS2.service
	await "$out" && cat "$out"
	systemctl stop serial-getty@ttyS2.service
	# pam_selinux has given the line to the user.
	[ ! -e /sys/fs/selinux/enforce ] || restorecon /dev/ttyS2
}
# An @reboot line is run when cron starts and the machine has just booted.
by_cron() {
	local out=/home/$1/cron.out
	rm -f "$out"
	echo "@reboot /usr/local/bin/look cron $out" | crontab -u "$1" -
	rm -f /run/crond.reboot
	systemctl restart cron
	await "$out" && cat "$out"
	crontab -u "$1" -r
}
by_at() {
	local out=/home/$1/at.out
	rm -f "$out"
	echo "/usr/local/bin/look at $out" | timeout $patience su "$1" -c 'cd && at now' || return
	await "$out" && cat "$out"
}
# The manager runs for as long as a session of the user, or lingers.
by_user_service() {
	ssh_as "$1" systemd-run --user --quiet --wait --collect --pipe /usr/local/bin/look user-service
}

readonly ways=(ssh su su_login sudo login pamname cron at user_service)

# value KEY TEXT
value() { sed -n "s/^$1=//p" <<<"$2"; }

# arrive WAY USER: USER logs in by WAY; what he saw is in $seen. Fails where it did not come to that.
arrive() {
	seen=$("by_$1" "$2" 2>"/root/$1-$2.err")
	[ "$(value end "$seen")" = yes ]
}

complaint() { tail -n 2 "/root/$1-$2.err" | tr -d '\r' | tr '\n' ' '; }

# private WAY USER: USER logs in by WAY and has a /tmp of his own.
private() {
	local way=$1 user=$2 since
	since=$(date +%s.%N)
	if ! arrive "$way" "$user"; then
		fail "$way, $user: no login: $(complaint "$way" "$user")"
		note "$(the_log "$since")"
	elif [ "$(value tmp "$seen")" != "$(instance "$user")" ]; then
		fail "$way, $user: /tmp is $(value tmp "$seen"), not the instance $(instance "$user")"
	elif [[ $(value sees "$seen") == *hosts-own* ]]; then
		fail "$way, $user: sees the host's: $(value sees "$seen")"
	elif [[ $(value sees "$seen" | sed "s/by-$user-//g") == *by-* ]]; then
		fail "$way, $user: sees what is another's: $(value sees "$seen")"
	else
		ok "$way, $user: a private /tmp"
	fi
}

# refused WAY USER REGEX: USER does not get in by WAY, and the log says why.
refused() {
	local way=$1 user=$2 patience=40 since log
	since=$(date +%s.%N)
	if arrive "$way" "$user"; then
		fail "$way, $user: got in"
		return
	fi
	log=$(the_log "$since" | grep -v ': private /' | head -n 1)
	matches "$way, $user: refused, and the log says why" "$log" "$3"
	note "$log"
}
