// Package size reads sizes as users write them.
package size

import (
	"strconv"
	"strings"
)

// Parse reads a size such as "2G" or "512", in bytes; fault says what is wrong with it.
func Parse(text string) (bytes uint64, fault string) {
	digits := strings.TrimRight(text, "kKmMgGtT")
	shift, ok := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[strings.ToUpper(text[len(digits):])]
	isNumber := digits != "" && strings.Trim(digits, "0123456789") == ""
	n, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case !ok || !isNumber:
		return 0, `is not a valid size; use a number followed by K, M, G or T, as in "512M"`
	case err != nil || n > 1<<63>>shift:
		return 0, "is too large"
	case n == 0:
		return 0, "must not be zero"
	}
	return n << shift, ""
}
