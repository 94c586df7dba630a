//go:build !unix

package ivr

import "syscall"

// markVoice does nothing where the system keeps DSCP to itself.
func markVoice(_, _ string, _ syscall.RawConn) error { return nil }
