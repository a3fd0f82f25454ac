//go:build !cgo

package cli

const isFull = false
