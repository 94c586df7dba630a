package simphone

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"
)

// far is the other side of a call: the server, at 192.0.2.1, with its own socket
// for audio.
type far struct {
	o      *office
	req    *sip.Request
	tx     sip.ServerTransaction
	dialog *dialog
	audio  net.PacketConn
}

// farSDP is what the far side says of itself, with or without more lines.
func farSDP(more ...string) []byte {
	return sdp(append([]string{
		"v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0",
		"m=audio 7000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000",
	}, more...)...)
}

// listen opens the far side's audio.
func (o *office) listen() net.PacketConn {
	o.t.Helper()
	c, err := o.net.ListenPacket(netip.MustParseAddrPort("192.0.2.1:7000"))
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = c.Close() })
	return c
}

// calls hands every new INVITE of the phone to f, and the ones inside a dialog to
// again.
func (o *office) calls(f, again func(*far)) {
	audio := o.listen()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.onInvite = func(req *sip.Request, tx sip.ServerTransaction) {
		c := &far{o: o, req: req, tx: tx, audio: audio}
		if param(req.To().Params, "tag") != "" {
			c.dialog = invited(req, param(req.To().Params, "tag"), serverContact())
			again(c)
			return
		}
		tag := sip.GenerateTagN(10)
		req.To().Params.Add("tag", tag)
		c.dialog = invited(req, tag, serverContact())
		c.say(100, nil) // or sipgo says it, while we change the INVITE
		f(c)
	}
}

func serverContact() sip.Uri {
	return sip.Uri{Scheme: "sip", User: "server", Host: "192.0.2.1", Port: 5060}
}

func (f *far) say(status int, body []byte, headers ...sip.Header) {
	f.o.agent.respond(f.req, f.tx, status, reason(status), body, append(headers, &sip.ContactHeader{Address: serverContact()})...)
}

// take answers the call.
func (f *far) take() { f.say(200, farSDP()) }

// send sends a request inside the call and returns the response.
func (f *far) send(method sip.RequestMethod, body []byte, headers ...sip.Header) *sip.Response {
	f.o.t.Helper()
	req := f.dialog.next(method, "server")
	for _, h := range headers {
		req.AppendHeader(h)
	}
	setBody(req, body, "application/sdp")
	if method != sip.INVITE {
		res, err := f.o.agent.udp.do(f.o.soon(), req, "")
		if err != nil {
			f.o.t.Fatal(err)
		}
		return res
	}
	res, err := f.o.agent.udp.invite(f.o.soon(), req, "", func(*sip.Response) {}, func(*sip.Response) {})
	if err != nil {
		f.o.t.Fatal(err)
	}
	return res
}

// ack acknowledges a 2xx.
func (f *far) ack(res *sip.Response, body []byte) {
	f.o.t.Helper()
	req := f.dialog.ack(res.CSeq().SeqNo, "server")
	setBody(req, body, "application/sdp")
	if err := f.o.agent.udp.write(req); err != nil {
		f.o.t.Fatal(err)
	}
}

// packets returns what comes in on the far side's audio during a time.
func (f *far) packets(during time.Duration) []*rtp.Packet { return f.o.packets(f.audio, during) }

func (o *office) packets(conn net.PacketConn, during time.Duration) []*rtp.Packet {
	o.t.Helper()
	drain(conn)
	_ = conn.SetReadDeadline(time.Now().Add(during))
	var all []*rtp.Packet
	b := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFrom(b)
		if err != nil {
			return all
		}
		p := &rtp.Packet{}
		if err := p.Unmarshal(append([]byte(nil), b[:n]...)); err != nil {
			o.t.Fatal(err)
		}
		all = append(all, p)
	}
}

// drain drops what has come in before now.
func drain(conn net.PacketConn) {
	b := make([]byte, 2048)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(time.Nanosecond))
		if _, _, err := conn.ReadFrom(b); err != nil {
			return
		}
	}
}

// tone sends packets of a tone to the phone.
func (f *far) tone(packets int) {
	f.o.t.Helper()
	d, err := readSDP(f.req.Body(), []uint8{pcma})
	if err != nil {
		f.o.t.Fatal(err)
	}
	s := newStream(pcma, 101, true)
	for range packets {
		b, err := s.next().Marshal()
		if err != nil {
			f.o.t.Fatal(err)
		}
		if _, err := f.audio.WriteTo(b, net.UDPAddrFromAddrPort(d.addr)); err != nil {
			f.o.t.Fatal(err)
		}
		f.o.pass(frameTime)
	}
}

// ring calls the phone from the server and returns the final response.
func (o *office) ring(p *Phone, body []byte, change func(*sip.Request)) (*far, *sip.Response) {
	o.t.Helper()
	f := &far{o: o, dialog: o.dialogTo(p)}
	req := f.dialog.next(sip.INVITE, "server")
	setBody(req, body, "application/sdp")
	if change != nil {
		change(req)
	}
	f.req = req
	res, err := o.agent.udp.invite(o.soon(), req, "", func(*sip.Response) {}, func(*sip.Response) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.repeated++
	})
	if err != nil {
		o.t.Fatal(err)
	}
	if res.IsSuccess() {
		f.dialog.answered(res)
	}
	return f, res
}

// directionOf is the direction line of a description.
func directionOf(body []byte) string {
	for _, d := range []string{sendrecv, sendonly, recvonly, inactive} {
		if strings.Contains(string(body), "\r\na="+d+"\r\n") {
			return d
		}
	}
	return "none"
}

// version is the version in the o= line of a description.
func version(body []byte) int {
	_, o, _ := strings.Cut(string(body), "\r\no=")
	n, _ := strconv.Atoi(strings.Fields(o)[2])
	return n
}
