//go:build tools

// Package tools pins runc in a module of its own: it and containerd disagree on shared dependencies.
package tools

import _ "github.com/opencontainers/runc"
