package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// column is one number of mounts.
type column struct {
	mounts, rounds int
	times          map[string][]float64
	second         map[string][]float64 // while another session of the user is open
	ends           map[string][]float64 // the end of such a session's process
}

func (c column) median(service string) float64 { return quantile(c.times[service], 0.5) }

type report struct {
	machine   []string
	columns   []column
	left      map[string]leftover
	crowded   map[string]crowded
	storms    map[string]storm
	again     map[string]storm // in which each user logs in three times
	logout    loggedOut
	populated []populated
	deserted  weight // of the broker, when all of these sessions have ended
	before    weight
	after     weight
	ssh       string                          // the part of a whole system, ready
	starts    map[string]map[string][]float64 // by user and starter
}

// What the module has to reach, and how far apart two medians may be and still
// count as equal: without a limit, noise would decide.
const (
	shippedLimit = 1.5
	growthLimit  = 1.1
)

func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// worst is the most of everything countable, and the median of the memory, which
// the kernel gives by the page and as it likes.
func worst(all []leftover) (w leftover) {
	var memory []float64
	for _, l := range all {
		w.threads = max(w.threads, l.threads)
		w.descriptors = max(w.descriptors, l.descriptors)
		w.children = max(w.children, l.children)
		memory = append(memory, float64(l.memory))
	}
	w.memory = int(quantile(memory, 0.5))
	return w
}

func describeMachine() []string {
	return []string{
		fmt.Sprintf("| date | %s |", time.Now().UTC().Format(time.DateOnly)),
		fmt.Sprintf("| CPU | %s, %d cores |", valueIn("/proc/cpuinfo", "model name", ":"), runtime.NumCPU()),
		fmt.Sprintf("| kernel | Linux %s |", firstLine("uname", "-r")),
		fmt.Sprintf("| system | %s |", strings.Trim(valueIn("/etc/os-release", "PRETTY_NAME", "="), `"`)),
		fmt.Sprintf("| Linux-PAM | %s |", firstLine("dpkg-query", "-W", "-f", "${Version}", "libpam-modules")),
		fmt.Sprintf("| Go | %s |", strings.TrimPrefix(runtime.Version(), "go")),
	}
}

// loadAverage is that of the last minute (proc_loadavg(5)).
func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	now, _, _ := strings.Cut(string(text), " ")
	return now
}

// valueIn returns what stands behind the first such key in a file of KEY SEPARATOR VALUE.
func valueIn(file, key, separator string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		k, v, found := strings.Cut(line, separator)
		if found && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func firstLine(program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	line, _, _ := strings.Cut(string(out), "\n")
	if err != nil || line == "" {
		return "unknown"
	}
	return line
}

func (r report) String() string {
	var b strings.Builder
	fmt.Fprint(&b, introduction)
	fmt.Fprintf(&b, "\n| | |\n|---|---|\n%s\n", strings.Join(r.machine, "\n"))
	r.writeTimes(&b)
	r.writeRatios(&b)
	b.WriteString("\n![Time of a login over mounts, and over sessions](benchmarks.svg)\n")
	r.writeSecond(&b)
	r.writePopulated(&b)
	r.writeLeft(&b)
	r.writeStorm(&b)
	r.writeCrowded(&b)
	b.WriteString(r.ssh)
	r.writeStarts(&b)
	r.writeTargets(&b)
	fmt.Fprint(&b, growth)
	fmt.Fprint(&b, method)
	return b.String()
}

func (r report) writeTimes(b *strings.Builder) {
	b.WriteString("\n## Time of open_session\n\nMicroseconds, median (95th percentile).\n\n| mounts on the host |")
	for _, c := range r.columns {
		fmt.Fprintf(b, " %d |", c.mounts)
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(r.columns)) + "\n")
	for _, v := range variants {
		fmt.Fprintf(b, "| %s |", v.title)
		for _, c := range r.columns {
			fmt.Fprintf(b, " %.0f (%.0f) |", c.median(v.service), quantile(c.times[v.service], 0.95))
		}
		b.WriteByte('\n')
	}
	b.WriteString("| logins of each kind |")
	for _, c := range r.columns {
		fmt.Fprintf(b, " %d |", c.rounds)
	}
	b.WriteByte('\n')
}

func (r report) writeRatios(b *strings.Builder) {
	b.WriteString("\nThis module's median as a multiple of the others':\n\n| mounts on the host |")
	for _, c := range r.columns {
		fmt.Fprintf(b, " %d |", c.mounts)
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(r.columns)) + "\n")
	for _, ours := range []string{worker, broker} {
		for _, v := range variants {
			if v.service == permit || v.service == worker || v.service == broker {
				continue
			}
			fmt.Fprintf(b, "| %s, of %s |", ours, v.title)
			for _, c := range r.columns {
				fmt.Fprintf(b, " %.2f |", c.median(ours)/c.median(v.service))
			}
			b.WriteByte('\n')
		}
	}
	few := r.columns[0]
	fmt.Fprintf(b, "\nWith %d mounts, the floor asked of a server takes %.2f times as long as pam_namespace `noinit`, and %.2f times as long\n"+
		"as the floor. That is what the two context switches cost here, before anything is checked.\n",
		few.mounts, few.median(asking)/few.median(noinit), few.median(asking)/few.median(floor))
}

// growth is what the mounts add, from the fewest to the most.
func (r report) growth(service string) float64 {
	return r.columns[len(r.columns)-1].median(service) - r.columns[0].median(service)
}

// beside is what a module leaves more than pam_permit, which leaves what
// loading a module leaves.
func (r report) beside(service string) leftover {
	l, p := r.left[service], r.left[permit]
	return leftover{l.threads - p.threads, l.descriptors - p.descriptors, l.children - p.children, l.memory - p.memory}
}

func (r report) writeLeft(b *strings.Builder) {
	b.WriteString("\n## Left in the login process\n\nAfter open_session, more than before it; memory also as the difference to `pam_permit`, " +
		"which has what\nloading any module costs.\n\n" +
		"| | threads | descriptors | children | private memory, KiB | beside pam_permit |\n|---|---:|---:|---:|---:|---:|\n")
	for _, v := range variants {
		l := r.left[v.service]
		fmt.Fprintf(b, "| %s | %d | %d | %d | %d | %+d |\n",
			v.title, l.threads, l.descriptors, l.children, l.memory, r.beside(v.service).memory)
	}
}

func (r report) writeCrowded(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %d sessions at once\n\nOf %d users, opened by %d clients at the same time, and kept. The time of a mount(2) on the host, "+
		"which the kernel\npasses on to every namespace, in microseconds; the mounts that the kernel keeps for each session; and the kernel memory "+
		"in use that\nit cannot reclaim (slabinfo(5)), for each session with its process, and as the difference to `pam_permit`, which has the process's.\n\n"+
		"| | logins per second | mount(2) with none | with %d | with %d | mounts for each | KiB for each | beside pam_permit |\n"+
		"|---|---:|---:|---:|---:|---:|---:|---:|\n",
		crowd, crowdUsers, clients, fewer, crowd)
	for _, v := range variants {
		c := r.crowded[v.service]
		fmt.Fprintf(b, "| %s | %.0f | %.0f | %.0f | %.0f | %.1f | %.1f | %+.1f |\n",
			v.title, c.perSecond, c.mount[0], c.mount[fewer], c.mount[crowd], c.copies, c.memory, r.kernelMemory(v.service))
	}
}

// kernelMemory is that of each session without its process's, in KiB.
func (r report) kernelMemory(service string) float64 {
	return r.crowded[service].memory - r.crowded[permit].memory
}

func (r report) writeTargets(b *strings.Builder) {
	few, many := r.columns[0], r.columns[len(r.columns)-1]
	shippedRatio := few.median(worker) / few.median(shipped)
	growthRatio := r.growth(worker) / r.growth(floor)
	left := r.beside(worker)
	clean := left.threads <= 0 && left.descriptors <= 0 && left.children <= 0
	verdict := map[bool]string{true: "yes", false: "**no**"}
	b.WriteString("\n## Targets\n\n| target | measured | met |\n|---|---|---|\n")
	r.writeBrokerTargets(b, verdict)
	fmt.Fprintf(b, "| worker: at most %.1f times pam_namespace as shipped, with %d mounts | %.2f times | %s |\n",
		shippedLimit, few.mounts, shippedRatio, verdict[shippedRatio <= shippedLimit])
	fmt.Fprintf(b, "| no thread, descriptor or child left in the login process | %d, %d, %d | %s |\n",
		left.threads, left.descriptors, left.children, verdict[clean])
	fmt.Fprintf(b, "| no more memory left there than pam_namespace leaves | %+d KiB beside its %+d | %s |\n",
		left.memory, r.beside(shipped).memory, verdict[left.memory <= r.beside(shipped).memory])
	fmt.Fprintf(b, "| worker: from %d to %d mounts it grows no more than the floor (%.0f%% are noise) | %.0f µs, the floor %.0f: %.2f times | %s |\n",
		few.mounts, many.mounts, (growthLimit-1)*100, r.growth(worker), r.growth(floor), growthRatio,
		verdict[growthRatio <= growthLimit])
	r.writeManyTargets(b, verdict)
	root, plain := r.startRatio("root"), r.startRatio("alice")
	fmt.Fprintf(b, "| `gotmpns run` starts in at most %.1f times the time of bwrap, for a plain user in %.1f | %.2f times, %.2f | %s |\n",
		startLimitRoot, startLimitPlain, root, plain, verdict[root <= startLimitRoot && plain <= startLimitPlain])
}

// What the broker has to reach.
const (
	floorLimit     = 1.5
	noinitLimit    = 0.3
	manyFloorLimit = 1.1
	memoryLimit    = 16 << 10 // KiB
)

func (r report) writeBrokerTargets(b *strings.Builder, verdict map[bool]string) {
	few, many := r.columns[0], r.columns[len(r.columns)-1]
	row := func(target string, measured, limit float64) {
		fmt.Fprintf(b, "| broker: %s | %.2f times | %s |\n", target, measured, verdict[measured <= limit])
	}
	row(fmt.Sprintf("at most %.1f times the floor, with %d mounts", floorLimit, few.mounts), few.median(broker)/few.median(floor), floorLimit)
	row(fmt.Sprintf("at most %.1f times pam_namespace `noinit`, with %d mounts", noinitLimit, few.mounts), few.median(broker)/few.median(noinit), noinitLimit)
	row(fmt.Sprintf("at most %.1f times the floor, with %d mounts", manyFloorLimit, many.mounts), many.median(broker)/many.median(floor), manyFloorLimit)
	ours, theirs := quantile(r.storms[broker].times, 0.99), quantile(r.storms[shipped].times, 0.99)
	fmt.Fprintf(b, "| broker: under a storm, a better 99th percentile than pam_namespace as shipped | %.0f µs, its %.0f (`noinit`: %.0f) | %s |\n",
		ours, theirs, quantile(r.storms[noinit].times, 0.99), verdict[ours < theirs])
	fmt.Fprintf(b, "| broker: at most %d MiB resident after the storms | %.1f MiB | %s |\n",
		memoryLimit>>10, float64(r.after.memory)/1024, verdict[r.after.memory <= memoryLimit])
}

const introduction = `# Benchmarks

What a login waits for this module, beside Linux-PAM's own pam_namespace; and what "gotmpns run" takes beside
unshare and bwrap. Written by

    make bench

which takes some ten minutes and needs root; nothing of it is edited by hand. The figures are this
machine's; the ratios carry over better. The load has the benchmark's own
processes in it, the part by ssh first of all, which runs before the rest.
`

const method = `
## What is measured

- Each login is a new process that calls pam_start, pam_open_session and pam_close_session for the user
  alice; pam_open_session alone is timed, with loading the module, as every login does. The variants take
  turns, in another order each round. The first logins, which make the directories, do not count.
- **pam_permit** does nothing: what PAM itself costs. The **floor** is three system calls in plain C, unchecked:
  a namespace, its propagation made slave, a directory bound over /tmp.
- The **floor, asked of a server**, is the same three system calls by a server in plain C, which sends the namespace to
  the login process: one question, one answer, nothing checked, one thread.
- **pam_namespace as shipped** is Debian's, with /tmp by user; it runs /etc/security/namespace.init, a shell
  script, for each login. With **noinit** it runs none.
- **pam_gotmpns (broker)** asks "gotmpns serve", which runs beside it; there is no worker to fall back on.
- **pam_gotmpns (worker)** has its default configuration and starts its worker for each login.
- It happens in a disposable root of its own mount and pid namespaces, / shared as on most hosts. The mounts
  are bind mounts; every new namespace has to copy them all. Something reads /dev/log, and the cgroup file
  systems are mounted, as on every booted host: where they are not, as in some chroots, the Go runtime reads the whole
  table of mounts when a worker starts, and that grows with it.
- Files are in the page cache, as an installation leaves them. The first login after boot takes longer, with
  either module.
`
