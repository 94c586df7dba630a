package simphone

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// routes writes the Route headers of a request and its target.
func routes(req *sip.Request) string {
	var all []string
	for _, h := range req.GetHeaders("Route") {
		all = append(all, h.Value())
	}
	return strings.Join(append(all, req.Recipient.String()), " ")
}

func address(t *testing.T, text string) sip.Uri {
	t.Helper()
	var u sip.Uri
	if err := sip.ParseUri(text, &u); err != nil {
		t.Fatal(err)
	}
	return u
}

// Requests inside a dialog must take the recorded route, reversed for who called,
// to the other side's Contact (RFC 3261 section 12.1), with the tags and a rising
// CSeq.
func TestDialogRoute(t *testing.T) {
	record := []sip.Header{
		&sip.RecordRouteHeader{Address: address(t, "sip:p1;lr")}, &sip.RecordRouteHeader{Address: address(t, "sip:p2;lr")},
	}
	caller := &dialog{
		callID: "x", local: party{"", address(t, "sip:a@x"), "ours"}, contact: address(t, "sip:a@192.0.2.50"),
		remote: party{"", address(t, "sip:b@x"), ""}, target: address(t, "sip:b@x"),
	}
	invite := caller.next(sip.INVITE, "phone")
	invite.AppendHeader(record[0])
	invite.AppendHeader(record[1])
	callee := invited(invite, "theirs", address(t, "sip:b@192.0.2.9"))

	ok := sip.NewResponse(200, "OK")
	to := &sip.ToHeader{Address: address(t, "sip:b@x"), Params: sip.NewParams()}
	to.Params.Add("tag", "theirs")
	ok.AppendHeader(to)
	ok.AppendHeader(&sip.ContactHeader{Address: address(t, "sip:b@192.0.2.9")})
	ok.AppendHeader(record[0])
	ok.AppendHeader(record[1])
	caller.answered(ok)

	ack, bye, back := caller.ack(1, "phone"), caller.next(sip.BYE, "phone"), callee.next(sip.BYE, "other")
	for name, c := range map[string]struct{ got, want string }{
		"ACK":             {routes(ack), "<sip:p2;lr> <sip:p1;lr> sip:b@192.0.2.9"},
		"caller's BYE":    {routes(bye), "<sip:p2;lr> <sip:p1;lr> sip:b@192.0.2.9"},
		"callee's BYE":    {routes(back), "<sip:p1;lr> <sip:p2;lr> sip:a@192.0.2.50"},
		"CSeq of ACK":     {ack.CSeq().Value(), "1 ACK"},
		"CSeq of BYE":     {bye.CSeq().Value(), "2 BYE"},
		"callee's From":   {param(back.From().Params, "tag"), "theirs"},
		"callee's To":     {param(back.To().Params, "tag"), "ours"},
		"caller's To":     {param(bye.To().Params, "tag"), "theirs"},
		"caller's From":   {param(bye.From().Params, "tag"), "ours"},
		"callee's caller": {callee.remote.uri.String(), "sip:a@x"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", name, c.got, c.want)
		}
	}
}
