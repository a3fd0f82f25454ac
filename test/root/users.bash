# shellcheck shell=bash
#
# The users of a disposable root, and its sshd, for `layer` and for test/host/image,
# which source this. To be called as root of that root only.

# The users have these names and uids on every machine: one of the machine's own
# who is in the way is not known in here.
make_users() {
	local who name home
	for who in alice bob carol 1000 1001 1002; do
		name=$(getent passwd "$who" | cut -d: -f1) || continue
		userdel --force "$name"
	done
	for who in alice bob carol students 1000 1001 1002; do
		name=$(getent group "$who" | cut -d: -f1) || continue
		groupdel --force "$name"
	done
	groupadd --gid 1003 students || groupadd students
	for who in alice:1000 bob:1001 carol:1002; do
		name=${who%:*} home=/home/${who%:*}
		[ ! -e "$home" ] || home+=.test
		groupadd --gid "${who#*:}" "$name"
		useradd --uid "${who#*:}" --gid "$name" --home-dir "$home" --create-home --shell /bin/bash "$name"
		echo "$name:$name" | chpasswd --crypt-method SHA512 --sha-rounds 1000
	done
	gpasswd --add carol students
	for who in alice carol; do
		echo "$who ALL=(ALL:ALL) NOPASSWD: ALL" >/etc/sudoers.d/$who
		chmod 440 /etc/sudoers.d/$who
	done
	# Root may map everybody into a user namespace.
	echo root:0:65536 | tee -a /etc/subuid >>/etc/subgid
	# A shell on a terminal leaves no file behind.
	echo 'unset HISTFILE' >>/etc/bash.bashrc
}

make_ssh() {
	local name home
	rm -rf /root/.ssh
	mkdir -m 700 /root/.ssh
	ssh-keygen -q -t ed25519 -N '' -C test -f /root/.ssh/id_test
	for name in root alice bob; do
		home=$(getent passwd $name | cut -d: -f6)
		install -d -m 700 -o $name -g $name "$home/.ssh"
		install -m 600 -o $name -g $name /root/.ssh/id_test.pub "$home/.ssh/authorized_keys"
	done
	rm -f /etc/ssh/ssh_host_*
	ssh-keygen -q -t ed25519 -N '' -C disposable -f /etc/ssh/ssh_host_ed25519_key
	sed 's/^/127.0.0.1,localhost /' /etc/ssh/ssh_host_ed25519_key.pub >/root/.ssh/known_hosts
	cat >/etc/ssh/sshd_config <<-END
		ListenAddress 127.0.0.1:22
		HostKey /etc/ssh/ssh_host_ed25519_key
		UsePAM yes
		UseDNS no
		PermitRootLogin prohibit-password
		KbdInteractiveAuthentication no
		PasswordAuthentication yes
		AllowAgentForwarding yes
		X11Forwarding yes
		MaxStartups 300
		MaxSessions 100
		PrintMotd no
		AcceptEnv LANG LC_*
		Subsystem sftp /usr/lib/openssh/sftp-server
	END
	# Since OpenSSH 9.8, who comes often or is killed has to wait.
	! sshd -t -o PerSourcePenalties=no 2>/dev/null || echo 'PerSourcePenalties no' >>/etc/ssh/sshd_config
}
