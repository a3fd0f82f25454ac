// Package counters keeps what the broker has counted since the host started, in a
// file of root's that outlives the broker. The command prints it for monitoring
// systems.
package counters

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Path is the file: /run is emptied when the host starts.
const Path = "/run/gotmpns/counters"

// Bounds are the upper bounds of the buckets for the duration of logins, in seconds;
// one more bucket takes all that is longer.
var Bounds = []float64{0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5}

// The reasons of refusals.
const (
	Configuration = "configuration"
	Target        = "target"
	Process       = "process"
	Internal      = "internal"
	System        = "system"
)

// reasons are all of them.
var reasons = []string{Configuration, Target, Process, Internal, System}

// Values are the counts.
type Values struct {
	Logins     uint64            `json:"logins"`
	Refusals   map[string]uint64 `json:"refusals"` // by reason
	HandedOver uint64            `json:"handed_over"`
	Removed    uint64            `json:"removed"` // instances
	Seconds    float64           `json:"seconds"` // all logins together
	Buckets    []uint64          `json:"buckets"` // by Bounds, each without those before it
}

// Read reads the counts; there are none where no broker has run since the host started.
func Read(path string) (Values, error) {
	var v Values
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return v, fmt.Errorf("cannot read the counters: %w", err)
	default:
		if err := json.Unmarshal(text, &v); err != nil {
			return Values{}, fmt.Errorf("cannot use the counters in %s: %w", path, err)
		}
	}
	return begun(v), nil
}

// begun makes room for what has not been counted yet.
func begun(v Values) Values {
	if v.Refusals == nil {
		v.Refusals = map[string]uint64{}
	}
	for _, reason := range reasons {
		v.Refusals[reason] += 0 // an alert sees a count grow, and not that one appears
	}
	if len(v.Buckets) != len(Bounds)+1 {
		v.Buckets = make([]uint64, len(Bounds)+1)
	}
	return v
}

// Counters are counts that go on from those in a file. Its methods may be called at
// the same time.
type Counters struct {
	path    string
	mu      sync.Mutex
	values  Values
	changed bool
}

// Open continues the counts in a file, or begins with none.
func Open(path string) *Counters {
	v, err := Read(path)
	if err != nil {
		v = begun(Values{})
	}
	return &Counters{path: path, values: v}
}

// Login counts a login that was answered.
func (c *Counters) Login(took time.Duration) {
	c.add(func(v *Values) {
		v.Logins++
		v.Seconds += took.Seconds()
		at := 0
		for at < len(Bounds) && took.Seconds() > Bounds[at] {
			at++
		}
		v.Buckets[at]++
	})
}

// Refusal counts a login that was refused.
func (c *Counters) Refusal(reason string) { c.add(func(v *Values) { v.Refusals[reason]++ }) }

// HandedOver counts a login that was handed over to a worker.
func (c *Counters) HandedOver() { c.add(func(v *Values) { v.HandedOver++ }) }

// Removed counts an instance that was removed.
func (c *Counters) Removed() { c.add(func(v *Values) { v.Removed++ }) }

func (c *Counters) add(change func(*Values)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.values)
	c.changed = true
}

// Save writes the counts if they have changed: all of them or none.
func (c *Counters) Save() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.changed {
		return nil
	}
	text, err := json.Marshal(c.values)
	if err == nil {
		err = os.WriteFile(c.path+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(c.path+".new", c.path)
	}
	if err != nil {
		return fmt.Errorf("cannot write the counters: %w", err)
	}
	c.changed = false
	return nil
}
