package main

import (
	"fmt"
	"strings"
)

func (r report) writeSecond(b *strings.Builder) {
	b.WriteString("\n## Second login of a user\n\nWhile another session of the user is open: microseconds of open_session, and from the last instruction of the\n" +
		"login process until it has gone; medians.\n\n| mounts on the host |")
	for _, c := range r.columns {
		fmt.Fprintf(b, " %d | its end |", c.mounts)
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|---:|", len(r.columns)) + "\n")
	for _, v := range variants {
		fmt.Fprintf(b, "| %s |", v.title)
		for _, c := range r.columns {
			fmt.Fprintf(b, " %.0f | %.0f |", quantile(c.second[v.service], 0.5), quantile(c.ends[v.service], 0.5))
		}
		b.WriteByte('\n')
	}
}

func (r report) writePopulated(b *strings.Builder) {
	fmt.Fprintf(b, "\n## Many users\n\nEach session has a process of its own; they are those of up to %d users, each with a namespace and an instance. Microseconds of open_session, medians of %d;\n"+
		"of the commands, milliseconds from start to end.\n\n| sessions of others |", usersMost, usersRounds)
	for _, p := range r.populated {
		fmt.Fprintf(b, " %d |", p.sessions)
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(r.populated)) + "\n")
	for _, row := range populatedRows {
		title := row.title
		if row.service != floor && row.service != noinit {
			title = "broker: " + title
		}
		fmt.Fprintf(b, "| %s |", title)
		for _, p := range r.populated {
			fmt.Fprintf(b, " %.0f |", quantile(p.times[row.title], 0.5))
		}
		b.WriteByte('\n')
	}
	for _, c := range populatedCommands {
		fmt.Fprintf(b, "| `gotmpns %s`, ms |", strings.Join(c.args, " "))
		for _, p := range r.populated {
			fmt.Fprintf(b, " %.0f |", quantile(p.commands[c.title], 0.5))
		}
		b.WriteByte('\n')
	}
	r.writeBrokerWeight(b)
}

func (r report) writeBrokerWeight(b *strings.Builder) {
	b.WriteString("| broker: KiB resident; descriptors |")
	for _, p := range r.populated {
		fmt.Fprintf(b, " %d; %d |", p.broker.memory, p.broker.descriptors)
	}
	fmt.Fprintf(b, "\n\nWhen all of them have ended, the broker has %d KiB resident, %d threads and %d descriptors.\n"+
		"\nA logout with `cleanup = \"logout\"`, while %d other users are logged in and the host has %d mounts, takes %.1f ms of the\n"+
		"broker's processor time (median of %d), and the login before it %.1f; no login waits for it.\n",
		r.deserted.memory, r.deserted.threads, r.deserted.descriptors, logoutUsers, logoutMounts, r.logout.logout, logouts, r.logout.login)
}

// manyUsersRatio is what a row costs with the most users, as a multiple of what it costs
// with none.
func (r report) manyUsersRatio(title string) float64 {
	none, most := r.populated[0], r.populated[len(r.populated)-1]
	return quantile(most.times[title], 0.5) / quantile(none.times[title], 0.5)
}

// Limits of issue "a login costs the same on an empty host and on a full one".
const (
	manyUsersLimit = 1.2
	secondLimit    = 0.10 // of pam_namespace noinit, with the most mounts
	secondGrowth   = 1.3
	logoutLimit    = 10.0 // ms
	hostMountLimit = 0.2
	keptLimit      = 0.3
)

// commandLimits are milliseconds.
var commandLimits = map[string]float64{"status": 1000, "path": 100, "check": 1000, "clean": 2000}

func (r report) writeManyTargets(b *strings.Builder, verdict map[bool]string) {
	row := func(target string, measured, limit float64, unit string) {
		fmt.Fprintf(b, "| %s | %.2f%s | %s |\n", target, measured, unit, verdict[measured <= limit])
	}
	most := r.populated[len(r.populated)-1]
	for _, p := range populatedRows {
		if p.service != floor && p.service != noinit {
			row(fmt.Sprintf("broker: %s, with %d sessions and instances: at most %.1f times the empty host's", p.title, most.sessions, manyUsersLimit),
				r.manyUsersRatio(p.title), manyUsersLimit, " times")
		}
	}
	for _, c := range populatedCommands {
		row(fmt.Sprintf("`gotmpns %s` with %d sessions: at most %.0f ms", c.title, most.sessions, commandLimits[c.title]),
			quantile(most.commands[c.title], 0.5), commandLimits[c.title], " ms")
	}
	row(fmt.Sprintf("broker: at most %d MiB resident with %d sessions", memoryLimit>>10, most.sessions), float64(most.broker.memory)/1024, memoryLimit>>10, " MiB")
	row(fmt.Sprintf("broker: a logout with clean-up, %d sessions, %d mounts: at most %.0f ms", logoutUsers, logoutMounts, logoutLimit), r.logout.logout, logoutLimit, " ms")
	r.writeSecondTargets(row)
	ours, theirs := r.crowded[broker], r.crowded[noinit]
	row(fmt.Sprintf("mount(2) on the host, %d sessions of %d users: at most %.1f times pam_namespace's", crowd, crowdUsers, hostMountLimit),
		ours.mount[crowd]/theirs.mount[crowd], hostMountLimit, " times")
	row(fmt.Sprintf("mounts that the kernel keeps for each of them: at most %.1f times pam_namespace's", keptLimit),
		ours.copies/theirs.copies, keptLimit, " times")
	row(fmt.Sprintf("kernel memory for each of them, without the process's: at most %.1f times pam_namespace's", keptLimit),
		r.kernelMemory(broker)/r.kernelMemory(noinit), keptLimit, " times")
	stormRow := func(name string, storms map[string]storm) {
		row("logins per second "+name+", pam_namespace `noinit`'s as a multiple of the broker's: at most 1",
			storms[noinit].perSecond/storms[broker].perSecond, 1, " times")
	}
	stormRow("in a storm", r.storms)
	stormRow("where each user logs in three times", r.again)
}

func (r report) writeSecondTargets(row func(target string, measured, limit float64, unit string)) {
	few, many := r.columns[0], r.columns[len(r.columns)-1]
	second := func(c column, service string) float64 { return quantile(c.second[service], 0.5) }
	ends := func(c column, service string) float64 { return quantile(c.ends[service], 0.5) }
	row(fmt.Sprintf("broker: second login with %d mounts: at most %.2f times pam_namespace `noinit`", many.mounts, secondLimit),
		second(many, broker)/second(many, noinit), secondLimit, " times")
	row(fmt.Sprintf("broker: second login with %d mounts: at most %.1f times its own with %d", many.mounts, secondGrowth, few.mounts),
		second(many, broker)/second(few, broker), secondGrowth, " times")
	row(fmt.Sprintf("broker: end of its process with %d mounts: at most %.2f times pam_namespace `noinit`", many.mounts, secondLimit),
		ends(many, broker)/ends(many, noinit), secondLimit, " times")
}

const growth = `
## What grows, and what does not

- **With the mounts of the host:** the first login of a user, whose namespace is a copy of the host's table, as with every
  module that unshares; and the end of the last session. A second login and its end do not: it joins. A worker grows as
  the broker does.
- **With the sessions of other users:** nothing on a login's path, where the kernel's own lists are short; a mount(2) on the host, which
  the kernel passes on to each *user's* namespace, not to each session's; status, check and clean, which look at all of
  them; and the broker, which keeps a descriptor for each user and one for each session, and some 0.5 KiB of memory for both.
- **With the instances of other users:** clean, and the directory that they are in.
- **With the processes of the host:** the broker's look, a moment after sessions have ended, for processes that stayed; no login waits for it.
`
