// Package headers is the C headers, which "go mod vendor" copies with it.
package headers
