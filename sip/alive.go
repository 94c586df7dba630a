package sip

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
func (e *Edge) Alive(ctx context.Context, id hotdesk.DeviceID) bool {
	l, ok := e.locations.get(id)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, aliveWait)
	defer cancel()
	req := sip.NewRequest(sip.OPTIONS, uri(l.Contact))
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "hotdeskd", Host: e.name}, Params: sip.NewParams()}
	from.Params.Add("tag", sip.GenerateTagN(16))
	call, hops := sip.CallIDHeader(uuid.NewString()), sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	req.AppendHeader(from)
	req.AppendHeader(&sip.ToHeader{Address: uri(l.AOR), Params: sip.NewParams()})
	req.AppendHeader(&call)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.OPTIONS})
	req.AppendHeader(&sip.ContactHeader{Address: e.contact(l.Flow)})
	res, err := e.net.Do(ctx, req, l.to())
	return err == nil && res.StatusCode/100 == 2
}
