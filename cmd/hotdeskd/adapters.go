package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"hotdeskd/hotdesk"
	"hotdeskd/ivr"
	"hotdeskd/journal"
	"hotdeskd/sip"
)

// attendant lets the edge hand calls to the IVR; neither knows the other.
type attendant struct{ menu *ivr.Menu }

func (a attendant) Attend(ctx context.Context, v sip.Visit) (sip.Conversation, error) {
	c, err := a.menu.Attend(ctx, ivr.Visit(v))
	if err != nil {
		return nil, attendError(err)
	}
	return conversation{c}, nil
}

// conversation translates the IVR's errors into the edge's.
type conversation struct{ *ivr.Conversation }

func (c conversation) Describe(offer []byte) ([]byte, error) {
	b, err := c.Conversation.Describe(offer)
	return b, attendError(err)
}

func (c conversation) Accept(answer []byte) error { return attendError(c.Conversation.Accept(answer)) }

func attendError(err error) error {
	for _, pair := range [][2]error{{ivr.ErrBusy, sip.ErrBusy}, {ivr.ErrNotAcceptable, sip.ErrNotAcceptable}, {ivr.ErrBadOffer, sip.ErrBadOffer}} {
		if errors.Is(err, pair[0]) {
			return errors.Join(pair[1], err)
		}
	}
	return err
}

// advertised is the address that phones are told to send audio to.
func advertised(host string) func(netip.Addr) netip.Addr {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	return func(netip.Addr) netip.Addr { return addr }
}

// history is the journal as the API reads it.
type history struct {
	*journal.Journal
	dir string
}

// Calls come in the order in which they began; the journal has them as they ended.
func (h history) Calls(user hotdesk.Extension, device hotdesk.DeviceID, limit int) ([]hotdesk.Call, error) {
	calls, err := h.Journal.Calls(journal.CallFilter{User: user, Device: device, Limit: limit})
	slices.SortStableFunc(calls, func(a, b hotdesk.Call) int { return b.Started.Compare(a.Started) })
	return calls, err
}

func (h history) Verify() (int, error) { return journal.Verify(h.dir, h.Head()) }
