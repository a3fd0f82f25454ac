//go:build cgo

package cli

// isFull says that this program is linked with the C library.
const isFull = true
