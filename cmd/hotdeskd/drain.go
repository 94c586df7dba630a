package main

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// draining tells the service manager why the stop takes a while, and how long at most,
// so that it does not kill us in the middle of an emergency call.
func draining(c drainConfig, drain func(context.Context)) func(context.Context) {
	return func(ctx context.Context) {
		limit := max(c.calls(), c.emergency()) + time.Minute
		// Without a service manager there is nobody to tell, which is no error.
		_, _ = daemon.SdNotify(false, fmt.Sprintf("%s\nSTATUS=calls that are up come to their end; emergency calls get %s\nEXTEND_TIMEOUT_USEC=%d",
			daemon.SdNotifyStopping, c.emergency(), limit.Microseconds()))
		drain(ctx)
	}
}
