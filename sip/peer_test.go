package sip

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"hotdeskd/hotdesk"
)

// peer is a phone or PBX that does exactly what the test says, message by
// message. It knows no transactions and repeats nothing.
type peer struct {
	o    *office
	conn net.PacketConn
	at   string // its own address
	via  string // its transport: UDP, TCP or TLS
	seen []string
	kept []sip.Message // came while something else was waited for

	// of a phone
	id   string // digest user
	user string // user part of AOR and Contact
	gen  uint64 // generation of the secret it uses
	cseq int
	call string // Call-ID of its registrations
	n    int    // numbers branches, tags and Call-IDs
	sent string // its last message
	deaf bool   // passes over what cannot be read, and answers to nothing of its own
	also string // headers in every message of a dialog, such as Allow
}

// plug connects a peer.
func (o *office) plug(at string) *peer {
	o.t.Helper()
	conn, err := o.net.ListenPacket(netip.MustParseAddrPort(at))
	if err != nil {
		o.t.Fatal(err)
	}
	p := &peer{o: o, conn: conn, at: at, via: "UDP", call: "reg-1-" + at}
	o.t.Cleanup(func() { _ = conn.Close() })
	return p
}

// phone connects the phone of a device with its present secret.
func (o *office) phone(n int) *peer {
	o.t.Helper()
	p := o.plug(fmt.Sprintf("192.0.2.1%d:5060", n))
	p.id = fmt.Sprintf("HD%04d", n)
	p.user, p.gen = p.id, o.generation(p.id)
	return p
}

// desk is a phone whose user has logged in and that is registered as such.
func (o *office) desk(n int, user hotdesk.Extension) *peer {
	o.t.Helper()
	o.login(hotdesk.DeviceID(fmt.Sprintf("HD%04d", n)), user)
	p := o.phone(n)
	p.user = string(user)
	p.register()
	return p
}

func (o *office) generation(id string) uint64 {
	o.t.Helper()
	p, err := o.Phone(hotdesk.DeviceID(id))
	if err != nil {
		o.t.Fatal(err)
	}
	return p.Device.Generation
}

func (p *peer) secret() string {
	return p.o.Secret(hotdesk.DeviceID(p.id), p.gen).Reveal()
}

// contact is where the peer says that it can be reached.
func (p *peer) contact() string {
	to := "sip:" + p.user + "@" + p.at
	if p.via != "UDP" {
		to += ";transport=" + strings.ToLower(p.via)
	}
	return to
}

func (p *peer) next() int { p.n++; return p.n }

func (p *peer) send(text string) {
	p.o.t.Helper()
	p.seen, p.sent = append(p.seen, "> "+firstLine(text)), text
	if _, err := p.conn.WriteTo([]byte(text), net.UDPAddrFromAddrPort(server)); err != nil {
		p.o.t.Fatal(err)
	}
}

func firstLine(text string) string { line, _, _ := strings.Cut(text, "\r\n"); return line }

// name says what a message is: "INVITE", or "200 INVITE" for a response.
func name(msg sip.Message) string {
	switch m := msg.(type) {
	case *sip.Request:
		return string(m.Method)
	case *sip.Response:
		return fmt.Sprint(m.StatusCode, " ", m.CSeq().MethodName)
	}
	return "nothing"
}

// read returns the next message within the time, or nil.
func (p *peer) read(within time.Duration) sip.Message {
	p.o.t.Helper()
	if len(p.kept) > 0 {
		msg := p.kept[0]
		p.kept = p.kept[1:]
		return msg
	}
	return p.receive(within)
}

// registered is the answer to a REGISTER; the edge may ask something before it
// comes, which is kept.
func (p *peer) registered() *sip.Response {
	p.o.t.Helper()
	for {
		switch msg := p.receive(time.Minute).(type) {
		case *sip.Response:
			if p.deaf && msg.CallID().Value() != p.call {
				continue
			}
			return msg
		case nil:
			p.o.t.Fatalf("%s: REGISTER is not answered; so far:\n%s", p.at, strings.Join(p.seen, "\n"))
		default:
			p.kept = append(p.kept, msg)
		}
	}
}

func (p *peer) receive(within time.Duration) sip.Message {
	p.o.t.Helper()
	return p.receiveUntil(time.Now().Add(within))
}

func (p *peer) receiveUntil(deadline time.Time) sip.Message {
	p.o.t.Helper()
	buf := make([]byte, 1<<16)
	_ = p.conn.SetReadDeadline(deadline)
	n, _, err := p.conn.ReadFrom(buf)
	if err != nil {
		return nil
	}
	msg, err := sip.ParseMessage(append([]byte(nil), buf[:n]...))
	if err != nil && p.deaf {
		return p.receiveUntil(deadline)
	}
	if err != nil {
		p.o.t.Fatalf("%s got what cannot be read: %v\n%s", p.at, err, buf[:n])
	}
	if req, ok := msg.(*sip.Request); ok && (p.at == pbxAddr || p.at == spareAddr) && req.Method == sip.OPTIONS && !p.o.pings {
		p.reply(req, 200, "OK", "", "") // is it there? It is
		return p.receiveUntil(deadline)
	}
	p.seen = append(p.seen, "< "+name(msg))
	return msg
}

// expect reads until the message of this name; 100s in between do not count.
func (p *peer) expect(want string) sip.Message {
	p.o.t.Helper()
	for {
		msg := p.read(time.Minute)
		if name(msg) == want {
			return msg
		}
		if !strings.HasPrefix(name(msg), "100 ") {
			p.o.t.Fatalf("%s got %s, want %s; so far:\n%s", p.at, name(msg), want, strings.Join(p.seen, "\n"))
		}
	}
}

func (p *peer) request(want string) *sip.Request {
	p.o.t.Helper()
	return p.expect(want).(*sip.Request)
}

func (p *peer) response(want string) *sip.Response {
	p.o.t.Helper()
	return p.expect(want).(*sip.Response)
}

// silent fails when a message comes within the time.
func (p *peer) silent(within time.Duration) {
	p.o.t.Helper()
	if msg := p.read(within); msg != nil {
		p.o.t.Fatalf("%s got %s, want nothing:\n%s", p.at, name(msg), msg.String())
	}
}

// drop forgets what has come by now.
func (p *peer) drop() {
	for {
		synctest.Wait()
		if p.read(20*time.Millisecond) == nil {
			return
		}
	}
}

// sign answers a challenge.
func (p *peer) sign(challenge, method, uri string) string {
	p.o.t.Helper()
	chal, err := digest.ParseChallenge(challenge)
	if err != nil {
		p.o.t.Fatal(err)
	}
	cred, err := digest.Digest(chal, digest.Options{Method: method, URI: uri, Username: p.id, Password: p.secret()})
	if err != nil {
		p.o.t.Fatal(err)
	}
	return "Authorization: " + cred.String() + "\r\n"
}

// registration is what a REGISTER may differ in.
type registration struct {
	aor, contact, expires, callID string
	cseq                          int
}

// tryRegister sends a REGISTER, answers the challenge and returns the outcome.
func (p *peer) tryRegister(r registration) *sip.Response {
	p.o.t.Helper()
	if r.aor == "" {
		r.aor = "sip:" + p.user + "@192.0.2.1"
	}
	if r.contact == "" {
		r.contact = "<" + p.contact() + ">"
	}
	if r.expires == "" {
		r.expires = "300"
	}
	if r.callID == "" {
		r.callID = p.call
	}
	auth := ""
	for try := 0; ; try++ {
		p.cseq++
		cseq := p.cseq
		if r.cseq != 0 {
			cseq = r.cseq
		}
		p.send(fmt.Sprintf("REGISTER sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/%s %s;rport;branch=z9hG4bKr%d\r\nMax-Forwards: 70\r\n"+
			"From: <%s>;tag=r\r\nTo: <%s>\r\nCall-ID: %s\r\nCSeq: %d REGISTER\r\nContact: %s\r\nExpires: %s\r\nUser-Agent: Test 1.0\r\n%sContent-Length: 0\r\n\r\n",
			p.via, p.at, p.next(), r.aor, r.aor, r.callID, cseq, r.contact, r.expires, auth))
		res := p.registered()
		if res.StatusCode != 401 || try > 0 {
			return res
		}
		auth = p.sign(res.GetHeader("WWW-Authenticate").Value(), "REGISTER", "sip:192.0.2.1")
	}
}

func (p *peer) register() {
	p.o.t.Helper()
	if res := p.tryRegister(registration{}); res.StatusCode != 200 {
		p.o.t.Fatalf("%s: REGISTER got %d", p.id, res.StatusCode)
	}
}

// leg is the peer's side of one call.
type leg struct {
	p                           *peer
	callID, local, remote       string // local and remote are From and To values with tags
	target                      string // where requests go
	cseq                        int
	branch, uri, headers, offer string // of the INVITE
	invite                      *sip.Request
}

const sdp = "Content-Type: application/sdp\r\n"

// text writes a request of the dialog.
func (d *leg) text(method, branch string, cseq int, uri, headers, body string) string {
	return fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/%s %s;rport;branch=%s\r\nMax-Forwards: 70\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n"+
		"Contact: <%s>\r\n%sContent-Length: %d\r\n\r\n%s",
		method, uri, d.p.via, d.p.at, branch, d.local, d.remote, d.callID, cseq, method, d.p.contact(), d.p.also+headers, len(body), body)
}

// dial sends an INVITE without waiting for anything. from is a PBX's caller.
func (p *peer) dial(number, offer, headers string) *leg {
	p.o.t.Helper()
	n := p.next()
	d := &leg{
		p: p, callID: fmt.Sprintf("call-%d@%s", n, p.at), local: fmt.Sprintf("<sip:%s@192.0.2.1>;tag=l%d", p.user, n), remote: "<sip:" + number + "@192.0.2.1>",
		cseq: 1, uri: "sip:" + number + "@192.0.2.1", offer: offer, headers: headers,
	}
	d.send("")
	return d
}

// send sends the INVITE, or sends it anew with credentials.
func (d *leg) send(auth string) {
	d.p.o.t.Helper()
	d.branch = fmt.Sprintf("z9hG4bKi%d", d.p.next())
	kind := sdp
	if d.offer == "" || strings.Contains(d.headers, "Content-Type") {
		kind = ""
	}
	d.p.send(d.text("INVITE", d.branch, d.cseq, d.uri, auth+d.headers+kind, d.offer))
}

// call dials and answers the challenge.
func (p *peer) invite(number, offer string) *leg {
	p.o.t.Helper()
	d := p.dial(number, offer, "")
	d.answerChallenge()
	return d
}

func (d *leg) answerChallenge() {
	d.p.o.t.Helper()
	res := d.p.response("401 INVITE")
	d.ackFailure(res)
	d.cseq++
	d.send(d.p.sign(res.GetHeader("WWW-Authenticate").Value(), "INVITE", d.uri))
}

// ackFailure acknowledges a final response that is no 2xx.
func (d *leg) ackFailure(res *sip.Response) {
	keep := d.remote
	d.remote = res.To().Value()
	d.p.send(d.text("ACK", d.branch, d.cseq, d.uri, "", ""))
	d.remote = keep
}

// refused expects a final refusal and acknowledges it.
func (d *leg) refused(want string) *sip.Response {
	d.p.o.t.Helper()
	res := d.p.response(want)
	d.ackFailure(res)
	return res
}

// answered expects the 200 and acknowledges it, with a body for a late offer.
func (d *leg) answered(body string) *sip.Response {
	d.p.o.t.Helper()
	res := d.p.response("200 INVITE")
	d.confirm(res, body)
	return res
}

func (d *leg) confirm(res *sip.Response, body string) {
	d.remote, d.target = res.To().Value(), res.Contact().Address.String()
	kind := sdp
	if body == "" {
		kind = ""
	}
	d.p.send(d.text("ACK", fmt.Sprintf("z9hG4bKa%d", d.p.next()), int(res.CSeq().SeqNo), d.target, kind, body))
}

// do sends a request inside the dialog.
func (d *leg) do(method, headers, body string) {
	d.p.o.t.Helper()
	d.cseq++
	d.branch, d.uri = fmt.Sprintf("z9hG4bKd%d", d.p.next()), d.target
	d.p.send(d.text(method, d.branch, d.cseq, d.target, headers, body))
}

// cancel takes the INVITE back.
func (d *leg) cancel() {
	d.p.o.t.Helper()
	d.p.send(d.text("CANCEL", d.branch, d.cseq, d.uri, "", ""))
}

// bye hangs up and waits for the 200.
func (d *leg) bye() {
	d.p.o.t.Helper()
	d.do("BYE", "", "")
	d.p.expect("200 BYE")
}

// ring takes an INVITE that came to the peer and says 180.
func (p *peer) ring() *leg {
	p.o.t.Helper()
	d := p.incoming(p.request("INVITE"))
	d.reply(180, "Ringing", "")
	return d
}

func (p *peer) incoming(inv *sip.Request) *leg {
	return &leg{
		p: p, invite: inv, callID: inv.CallID().Value(), local: inv.To().Value() + fmt.Sprintf(";tag=t%d", p.next()), remote: inv.From().Value(),
		target: inv.Contact().Address.String(),
	}
}

// reply answers the INVITE that came.
func (d *leg) reply(status int, reason, body string) {
	d.p.o.t.Helper()
	d.p.reply(d.invite, status, reason, d.local, body)
}

// reply answers a request; to is the To value with our tag, empty for the one
// that came.
func (p *peer) reply(req *sip.Request, status int, reason, to, body string, headers ...string) {
	p.o.t.Helper()
	if to == "" {
		to = req.To().Value()
	}
	text := fmt.Sprintf("SIP/2.0 %d %s\r\n", status, reason)
	for _, via := range req.GetHeaders("Via") {
		text += "Via: " + via.Value() + "\r\n"
	}
	kind := sdp
	if body == "" {
		kind = ""
	}
	p.send(text + fmt.Sprintf("From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\nContact: <%s>\r\n%s%sContent-Length: %d\r\n\r\n%s",
		req.From().Value(), to, req.CallID().Value(), req.CSeq().Value(), p.contact(), p.also+strings.Join(headers, ""), kind, len(body), body))
}

// ok answers a request inside a dialog.
func (p *peer) ok(want string) *sip.Request {
	p.o.t.Helper()
	req := p.request(want)
	p.reply(req, 200, "OK", "", "")
	return req
}

func (p *peer) asRequest(msg sip.Message) *sip.Request {
	p.o.t.Helper()
	req, ok := msg.(*sip.Request)
	if !ok {
		p.o.t.Fatalf("%s got %s, want a request", p.at, name(msg))
	}
	return req
}

func (p *peer) asResponse(msg sip.Message) *sip.Response {
	p.o.t.Helper()
	res, ok := msg.(*sip.Response)
	if !ok {
		p.o.t.Fatalf("%s got %s, want a response", p.at, name(msg))
	}
	return res
}

// trunk is the PBX that the site's calls go to.
func (o *office) trunk() *peer {
	p := o.plug(pbxAddr)
	p.user = "pbx"
	return p
}
