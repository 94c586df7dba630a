package main

import (
	"strings"
	"testing"

	"hotdeskd/hotdesk"
	"hotdeskd/internal/phonefile"
)

// Two phones are registered from one address and port. 112 with the digest of the first
// names its desk at the PBX; without credentials it is challenged once, then placed and
// marked as of a desk that is not certain.
func TestPeerOneAddress(t *testing.T) {
	needPeer(t, "kamailio")
	t.Parallel()
	carrier := startTrunk(t)
	k := startKamailio(t, carrier.addr, map[string]string{"hd-emerg": "lifesaver"})
	s := startServer(t)
	s.apply(kamailioOffice(k, "udp"))
	s.await("registration of the emergency account", func() bool { return k.contacts("hd-emerg") != "" })
	w := openWire(t, s.app.ready.SIP.UDP)
	files := map[string]*phonefile.File{}
	for n, id := range []string{"HD0001", "HD0002"} { // the second one was heard last
		files[id] = s.mustFetch(s.enrolment() + phoneMAC(n) + ".cfg")
		w.register(files[id])
		if d := s.awaitDevice(id, "registered", registered); !strings.HasSuffix(d.Source, w.at) {
			t.Fatalf("%s is at %s, not %s", id, d.Source, w.at)
		}
	}
	uri := "sip:112@" + s.app.ready.SIP.UDP

	// The first phone proves who it is.
	w.request("INVITE", uri, "HD0001", "proven", 1, "", offer(6000))
	res := w.response("proven")
	w.ack(res, uri)
	w.request("INVITE", uri, "HD0001", "proven", 2, w.answer(files["HD0001"], res, "INVITE", uri), offer(6000))
	up := w.response("proven")
	if up.StatusCode != 200 {
		t.Fatalf("112 is answered\n%s", up)
	}
	w.ack(up, uri)
	shown := func() string { return carrier.last("INVITE").From().DisplayName }
	if got := shown(); !strings.Contains(got, "2-1") || strings.Contains(got, "not certain") {
		t.Errorf("the rescue centre is shown %q, want desk 2-1", got)
	}
	w.hangUp(up)

	// Somebody on that address proves nothing, and names nobody.
	w.request("INVITE", uri, "nobody", "guess1", 1, "", offer(6000))
	res = w.response("guess1")
	if res.StatusCode != 401 {
		t.Fatalf("the first call without credentials is answered\n%s", res)
	}
	w.ack(res, uri)
	w.request("INVITE", uri, "nobody", "guess1", 2, "", offer(6000)) // the challenge is not understood
	up = w.response("guess1")
	if up.StatusCode != 200 {
		t.Fatalf("the second call without credentials is answered\n%s", up)
	}
	w.ack(up, uri)
	if got := shown(); !strings.Contains(got, "(desk not certain)") {
		t.Errorf("the rescue centre is shown %q", got)
	}
	w.hangUp(up)
	if got := carrier.dialled(); len(got) != 2 {
		t.Errorf("dialled %q", got)
	}
	calls := s.awaitCalls(2)
	if calls[0].FromDevice != "HD0001" || calls[0].Reason != "" || calls[1].Reason != hotdesk.ReasonNotCertain {
		t.Errorf("recorded as %+v", calls)
	}
}
