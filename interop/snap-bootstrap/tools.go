//go:build tools

// Package tools names the program that this module exists for, so that `go mod tidy` keeps what it requires.
package tools

import _ "github.com/snapcore/snapd/cmd/snap-bootstrap"
