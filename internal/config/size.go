package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"gotmpns/internal/size"
)

// parseSize reads "2G", "20%" and plain numbers of bytes; fault says why it cannot.
func parseSize(v value) (bytes uint64, percent uint, fault string) {
	switch {
	case v.kind == unstable.String && strings.HasSuffix(v.text, "%"):
		percent, fault = parsePercent(strings.TrimSuffix(v.text, "%"))
	case v.kind == unstable.String:
		bytes, fault = size.Parse(v.text)
	case v.kind == unstable.Integer:
		bytes, fault = parseBytes(v.text)
	default:
		fault = fmt.Sprintf(`is %s; expected a number of bytes or a string like "2G"`, v)
	}
	return bytes, percent, fault
}

func parseBytes(text string) (uint64, string) {
	n, fault := parseInteger(text)
	switch {
	case fault != "":
		return 0, fault
	case n == 0:
		return 0, "must not be zero"
	case n < 0:
		return 0, "is not a positive number of bytes"
	}
	return uint64(n), ""
}

func parsePercent(digits string) (uint, string) {
	n, err := strconv.ParseUint(digits, 10, 8)
	if err != nil || n < 1 || n > 100 {
		return 0, "is not a percentage of the memory; use 1% to 100%"
	}
	return uint(n), ""
}

// ParseSize reads a size as the configuration has it, such as "2G", into bytes.
func ParseSize(text string) (uint64, error) {
	bytes, fault := size.Parse(text)
	if fault != "" {
		return 0, fmt.Errorf("%q %s", text, fault)
	}
	return bytes, nil
}
