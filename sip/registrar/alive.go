package registrar

import (
	"context"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"hotdeskd/hotdesk"
)

// aliveWait is how long a phone may take to say that it is there.
const aliveWait = 2 * time.Second

// Alive asks the phone that registered as a device whether it is still there: an
// OPTIONS to its Contact on its flow (RFC 3261 section 11). Only a 2xx is a yes:
// a phone that was reset has its address still and its account no more.
func (r *Registrar) Alive(ctx context.Context, id hotdesk.DeviceID) bool {
	l, ok := r.table.get(id)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, aliveWait)
	defer cancel()
	req := r.Request(sip.OPTIONS, l, uuid.NewString(), sip.GenerateTagN(16), 1)
	res, err := r.line.Net.Do(ctx, req, l.To())
	return err == nil && res.StatusCode/100 == 2
}
