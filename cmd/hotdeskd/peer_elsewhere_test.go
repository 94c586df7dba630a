package main

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/internal/phonefile"
)

// tap is a NAT before one phone, over UDP, that keeps what the server sends through it.
type tap struct {
	port string
	mu   sync.Mutex
	got  []sip.Message
}

// openTap stands before the server until the test ends.
func openTap(t *testing.T, server string) *tap {
	t.Helper()
	inside, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	outside, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(inside.LocalAddr().String(), ":")
	p := &tap{port: port}
	var phone net.Addr
	var done sync.WaitGroup
	done.Go(func() {
		b := make([]byte, 65536)
		for {
			n, from, err := inside.ReadFrom(b)
			if err != nil {
				return
			}
			p.mu.Lock()
			phone = from
			p.mu.Unlock()
			_, _ = outside.Write(b[:n]) // what is lost comes again
		}
	})
	done.Go(func() {
		b := make([]byte, 65536)
		for {
			n, err := outside.Read(b)
			if err != nil {
				return
			}
			m, parseErr := sip.ParseMessage(b[:n])
			p.mu.Lock()
			if parseErr == nil {
				p.got = append(p.got, m)
			}
			to := phone
			p.mu.Unlock()
			if to != nil {
				_, _ = inside.WriteTo(b[:n], to)
			}
		}
	})
	t.Cleanup(func() {
		_ = inside.Close()
		_ = outside.Close()
		done.Wait()
	})
	return p
}

// before is a phone's file with which it finds the server behind the tap.
func (p *tap) before(t *testing.T, f *phonefile.File) *phonefile.File {
	t.Helper()
	if err := f.Set("account.1.sip_server.1.port", p.port); err != nil {
		t.Fatal(err)
	}
	return f
}

// last is the newest request of a method that the phone got; nil: none.
func (p *tap) last(method sip.RequestMethod) (last *sip.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.got {
		if req, ok := m.(*sip.Request); ok && req.Method == method {
			last = req
		}
	}
	return last
}

// sippElsewhere is a PBX that calls an extension and, once it rings, has had the call
// answered on another phone of its ring group.
const sippElsewhere = `<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="ring group">
<send retrans="500"><![CDATA[
INVITE sip:100@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK-[pid]-[call_number]
From: "Front Door" <sip:900@[local_ip]:[local_port]>;tag=[call_number]
To: <sip:100@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:900@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 6000 RTP/AVP 8
]]></send>
<recv response="100" optional="true"></recv>
<recv response="180"></recv>
<label id="1"/>
<recv response="180" next="1" timeout="2000" ontimeout="2"></recv>
<label id="2"/>
<send retrans="500"><![CDATA[
CANCEL sip:100@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK-[pid]-[call_number]
From: "Front Door" <sip:900@[local_ip]:[local_port]>;tag=[call_number]
To: <sip:100@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 CANCEL
Max-Forwards: 70
Reason: SIP;cause=200;text="Call completed elsewhere"
Content-Length: 0

]]></send>
<recv response="180" optional="true"></recv>
<recv response="200"></recv>
<recv response="487"></recv>
<send><![CDATA[
ACK sip:100@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK-[pid]-[call_number]
From: "Front Door" <sip:900@[local_ip]:[local_port]>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
</scenario>
`

// A PBX's ring group: the call is answered on another phone, and the PBX's CANCEL says
// so. Both phones of the user, Baresip and Linphone, are told it by the same words, so
// that neither need show a missed call.
func TestPeerAnsweredElsewhere(t *testing.T) {
	needPeer(t, "sipp")
	needPeer(t, "baresip")
	needPeer(t, "linphone-daemon")
	t.Parallel()
	port := freePorts(t, 1)[0]
	s := startServer(t)
	s.apply(office(fmt.Sprintf("127.0.0.1:%d", port)))
	s.apply("users:\n  - {extension: \"100\", pbx: {name: main}}\n")
	setAllow(s)
	var taps []*tap
	files := []*phonefile.File{}
	for n, id := range []string{"HD0001", "HD0002"} {
		s.mustFetch(s.enrolment() + phoneMAC(n) + ".cfg")
		s.must("login", s.api.Post(s.context(), "/devices/"+id+"/login", map[string]string{"user": "100"}, nil))
		taps = append(taps, openTap(t, s.app.ready.SIP.UDP))
		files = append(files, taps[n].before(t, s.mustFetch(s.device(id).ProvisioningURL+phoneMAC(n)+".cfg")))
	}
	first := startBaresip(t, files[0], "manual")
	second := startLinphone(t, files[1], "udp")
	s.awaitDevice("HD0001", "registered", registered)
	s.awaitDevice("HD0002", "registered", registered)

	pbx, dir := sipp(t, sippElsewhere, "", s.app.ready.SIP.UDP, "-p", fmt.Sprint(port), "-m", "1")
	if err := pbx.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- pbx.Wait() }()
	first.await(s, "CALL_INCOMING", 0)
	second.state(s, "IncomingReceived")
	within(t, 2*patience, "end of the PBX's call", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	if good := counted(t, dir, "SuccessfulCall(C)"); good != 1 {
		t.Errorf("the PBX's call did not go as it should")
	}
	first.await(s, "CALL_CLOSED", 0)
	for n, p := range taps {
		within(t, patience, "CANCEL", func() bool { return p.last(sip.CANCEL) != nil })
		reason := p.last(sip.CANCEL).GetHeader("Reason")
		if reason == nil || reason.Value() != `SIP;cause=200;text="Call completed elsewhere"` {
			t.Errorf("phone %d is told %v:\n%s", n+1, reason, p.last(sip.CANCEL))
		}
	}
}
