package sip

import (
	"context"
	"errors"
	"fmt"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"
	"github.com/icholy/digest"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
	"hotdeskd/sip/registrar"
)

// ErrNotRegistered: the device's phone cannot be reached now.
var ErrNotRegistered = errors.New("phone is not registered")

// CheckSync asks the device's phone to fetch its configuration: a NOTIFY outside
// any dialog, to the Contact that the phone registered, on its own flow. A
// challenge is answered with the secret the phone has proven, then with each
// newer one. The answer's status is told in words by the event device.asked, and nothing
// more: phones say 200, 481 or 489 as they like, and the fetch is the proof.
//
// Errors: ErrNotRegistered, dialog.ErrFlowGone, or that no answer came.
func (e *Edge) CheckSync(ctx context.Context, id hotdesk.DeviceID, cs hotdesk.CheckSync) error {
	l, ok := e.registrar.Get(id)
	if !ok {
		return fmt.Errorf("%w: %s", ErrNotRegistered, id)
	}
	callID, tag := uuid.NewString(), sip.GenerateTagN(16)
	creds, _, _ := e.Desk.Credentials(id)
	var answer sip.Header
	for try := 0; ; try++ {
		req := e.notify(l, cs, callID, tag, uint32(try+1))
		if answer != nil {
			req.AppendHeader(answer)
		}
		res, err := e.net.Do(ctx, req, l.To())
		if err != nil {
			e.asked(id, cs, 0)
			return err
		}
		// Credentials come newest first, so the proven one is the last.
		next := len(creds) - 1 - try
		if (res.StatusCode == 401 || res.StatusCode == 407) && next >= 0 {
			answer, err = e.answerNotify(res, req, id, creds[next].Generation)
			if err == nil {
				continue
			}
		}
		e.asked(id, cs, res.StatusCode)
		return nil
	}
}

// asked tells what a phone has said to a check-sync; status 0 is nothing.
func (e *Edge) asked(id hotdesk.DeviceID, cs hotdesk.CheckSync, status int) {
	words := fmt.Sprintf("the phone answers %d to this check-sync; many phones fetch all the same, others need a restart (device reboot)", status)
	switch {
	case status == 0:
		words = "the phone does not answer: is it switched on, and is this server's address still right for it?"
	case status == 401 || status == 407:
		words = "the phone does not take the password of this server's check-sync: switch its challenge of NOTIFY off, or restart it"
	case status/100 == 2:
		words = "the phone has heard it; that it has fetched its configuration shows in device requests"
	}
	e.Log.Debug("check-sync answered", "device", string(id), "status", status)
	e.Live.Publish("device.asked", id, "", map[string]any{"event": cs.Event, "status": status, "words": words})
}

// notify builds one NOTIFY of a check-sync.
func (e *Edge) notify(l registrar.Location, cs hotdesk.CheckSync, callID, tag string, cseq uint32) *sip.Request {
	req := e.registrar.Request(sip.NOTIFY, l, callID, tag, cseq)
	req.AppendHeader(sip.NewHeader("Event", cs.Event))
	req.AppendHeader(sip.NewHeader("Subscription-State", "terminated"))
	if cs.ContentType != "" {
		ct := sip.ContentTypeHeader(cs.ContentType)
		req.AppendHeader(&ct)
	}
	req.SetBody(cs.Body)
	return req
}

// answerNotify answers a phone's challenge with one of its device's secrets.
func (e *Edge) answerNotify(res *sip.Response, req *sip.Request, id hotdesk.DeviceID, generation uint64) (sip.Header, error) {
	challenge, name := "WWW-Authenticate", "Authorization"
	if res.StatusCode == 407 {
		challenge, name = "Proxy-Authenticate", "Proxy-Authorization"
	}
	value, err := dialog.Answer(res.GetHeaders(challenge), digest.Options{
		Method: "NOTIFY", URI: req.Recipient.String(), Username: string(id), Password: e.Desk.Secret(id, generation).Reveal(),
	})
	if err != nil {
		return nil, err
	}
	return sip.NewHeader(name, value), nil
}

// Alive asks the phone that registered as a device whether it is still there.
func (e *Edge) Alive(ctx context.Context, id hotdesk.DeviceID) bool {
	return e.registrar.Alive(ctx, id)
}
