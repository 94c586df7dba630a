package simphone

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"hotdeskd/internal/memnet"
)

// office is the world of a phone under test, on a network in memory: files and a
// registrar at 192.0.2.1, and what they saw.
type office struct {
	*shelf
	t     *testing.T
	net   *memnet.Net
	agent *agent      // the SIP server's socket
	mute  atomic.Bool // the server sends nothing by SIP

	mu       sync.Mutex
	password string // SIP password in force
	granted  int
	nonce    int                   // number of the last nonce
	oldest   int                   // the oldest one that is still taken
	repeated int                   // 2xx to an INVITE of ours that came again
	counts   map[string]int        // highest nc seen, by nonce
	registry []string              // REGISTERs that passed: "user expires call-id cseq"
	requests map[string][]*request // what else came, by method
	onInvite func(*sip.Request, sip.ServerTransaction)

	steps []string
}

// request is one that the server received.
type request struct {
	*sip.Request
	at time.Time
}

// mutable is a socket that can be made to send nothing.
type mutable struct {
	net.PacketConn
	mute *atomic.Bool
}

func (m *mutable) WriteTo(b []byte, to net.Addr) (int, error) {
	if m.mute.Load() {
		return len(b), nil
	}
	return m.PacketConn.WriteTo(b, to)
}

const phoneIP = "192.0.2.50"

// inOffice runs a test in a bubble with an office.
func inOffice(t *testing.T, test func(*testing.T, *office)) {
	inBadOffice(t, memnet.Conditions{}, test)
}

func inBadOffice(t *testing.T, c memnet.Conditions, test func(*testing.T, *office)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := &office{
			shelf: &shelf{files: map[string]string{}, etags: true}, t: t, net: memnet.New(1, c),
			password: "secret", granted: 300, counts: map[string]int{}, requests: map[string][]*request{},
		}
		o.web()
		open := func(netip.AddrPort) (net.PacketConn, error) {
			c, err := o.net.ListenPacket(netip.MustParseAddrPort("192.0.2.1:5060"))
			return &mutable{PacketConn: c, mute: &o.mute}, err
		}
		var err error
		if o.agent, err = openAgent(Config{Local: "192.0.2.1", ListenPacket: open}, "server", o.receive, func(err error) { t.Error(err) }); err != nil {
			t.Fatal(err)
		}
		defer o.agent.close()
		test(t, o)
	})
}

// web serves the files.
func (o *office) web() {
	l, err := o.net.Listen(netip.MustParseAddrPort("192.0.2.1:8080"))
	if err != nil {
		o.t.Fatal(err)
	}
	srv := &http.Server{Handler: o.shelf}
	go func() { _ = srv.Serve(l) }()
	o.t.Cleanup(func() { _ = srv.Close() })
}

// give puts a complete account on the shelf; more lines replace those of the same
// parameter.
func (o *office) give(user, password string, more ...string) {
	lines := append([]string{
		"# " + user, "account.1.enable = 1", "account.1.label = Desk " + user, "account.1.user_name = " + user,
		"account.1.auth_name = HD0001", "account.1.password = " + password, "account.1.display_name = Name " + user,
		"account.1.sip_server.1.address = 192.0.2.1", "account.1.sip_server.1.port = 5060",
		"account.1.sip_server.1.expires = 600", "sip.notify_reboot_enable = 0", "sip.trust_ctrl = 1",
		"static.auto_provision.server.url = http://192.0.2.1:8080/p/token/",
	}, more...)
	seen := map[string]int{}
	var file []string
	for _, line := range lines {
		key, _, _ := strings.Cut(line, " =")
		if i, again := seen[key]; again {
			file[i] = line
			continue
		}
		seen[key] = len(file)
		file = append(file, line)
	}
	o.shelf.mu.Lock()
	defer o.shelf.mu.Unlock()
	o.files["805ec0000001.cfg"] = ini(file...)
}

// hold puts a file without an account on the shelf.
func (o *office) hold() {
	o.shelf.mu.Lock()
	defer o.shelf.mu.Unlock()
	o.files["805ec0000001.cfg"] = ini("account.1.enable = 0", "account.1.label = Waiting")
}

// receive is the SIP server.
func (o *office) receive(req *sip.Request, tx sip.ServerTransaction) {
	o.mu.Lock()
	o.requests[string(req.Method)] = append(o.requests[string(req.Method)], &request{req, time.Now()})
	onInvite := o.onInvite
	o.mu.Unlock()
	switch req.Method {
	case sip.REGISTER:
		o.register(req, tx)
	case sip.INVITE:
		onInvite(req, tx)
	case sip.ACK:
	default:
		o.agent.respond(req, tx, 200, "OK", nil)
	}
}

// register is a registrar that changes its nonce when told and insists on a
// rising count.
func (o *office) register(req *sip.Request, tx sip.ServerTransaction) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if known, right := o.proof(req); !right || !known {
		o.nonce++
		challenge := &digest.Challenge{Realm: "office", Nonce: "n" + strconv.Itoa(o.nonce), Algorithm: "MD5", QOP: []string{"auth"}, Stale: right}
		o.agent.respond(req, tx, 401, "Unauthorized", nil, sip.NewHeader("WWW-Authenticate", challenge.String()))
		return
	}
	expires := req.GetHeader("Expires").Value()
	if n := number(expires, 0); n > 0 && n < o.granted/10 {
		o.agent.respond(req, tx, 423, "Interval Too Brief", nil, sip.NewHeader("Min-Expires", "60"))
		return
	}
	o.registry = append(o.registry, fmt.Sprintf("%s %s %s %d", req.To().Address.User, expires, req.CallID().Value(), req.CSeq().SeqNo))
	contact := req.Contact().Clone()
	contact.Params = sip.NewParams()
	contact.Params.Add("expires", strconv.Itoa(min(number(expires, 0), o.granted)))
	o.agent.respond(req, tx, 200, "OK", nil, contact)
}

// proof judges the credentials: right ones may be made with an old nonce.
func (o *office) proof(req *sip.Request) (fresh, right bool) {
	h := req.GetHeader("Authorization")
	if h == nil {
		return false, false
	}
	cred, err := digest.ParseCredentials(h.Value())
	if err != nil || cred.Username != "HD0001" {
		return false, false
	}
	want, err := digest.Digest(&digest.Challenge{Realm: "office", Nonce: cred.Nonce, Algorithm: "MD5", QOP: []string{"auth"}}, digest.Options{
		Method: string(req.Method), URI: cred.URI, Username: "HD0001", Password: o.password, Count: cred.Nc, Cnonce: cred.Cnonce,
	})
	if err != nil || want.Response != cred.Response {
		return false, false
	}
	rising := cred.Nc > o.counts[cred.Nonce]
	o.counts[cred.Nonce] = max(cred.Nc, o.counts[cred.Nonce])
	made := number(strings.TrimPrefix(cred.Nonce, "n"), 0)
	return rising && made >= o.oldest && made <= o.nonce, true
}

// registered returns the REGISTERs that passed.
func (o *office) registered() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.registry...)
}

// came returns the requests of a method.
func (o *office) came(method sip.RequestMethod) []*request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]*request(nil), o.requests[string(method)]...)
}

// phone switches a phone on; it is off again when the test ends.
func (o *office) phone(change func(*Config)) (p *Phone, off func()) {
	o.t.Helper()
	transport := &http.Transport{DialContext: o.net.Dial, DisableKeepAlives: true}
	cfg := Config{
		Provision: "http://192.0.2.1:8080/p/token/", MAC: "805ec0000001", Model: "yealink-t46u", Local: phoneIP,
		HTTP: transport, ListenPacket: o.net.ListenPacket,
		Step: o.step,
	}
	if change != nil {
		change(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	off = sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil {
			o.t.Errorf("Run: %v", err)
		}
	})
	o.t.Cleanup(off)
	return p, off
}

func (o *office) step(s Step) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.steps = append(o.steps, s.Name)
}

// told fails the test unless these steps were told, in this order.
func (o *office) told(want ...string) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	left := want
	for _, s := range o.steps {
		if len(left) > 0 && s == left[0] {
			left = left[1:]
		}
	}
	if len(left) > 0 {
		o.t.Errorf("steps %q, want %q among them", o.steps, want)
	}
}

// ready is a phone that has registered as HD0001.
func (o *office) ready(change func(*Config)) (*Phone, func()) {
	o.t.Helper()
	o.give("HD0001", "secret")
	p, off := o.phone(change)
	if err := p.Registered(o.soon()); err != nil {
		o.t.Fatal(err)
	}
	return p, off
}

// pass lets time pass, which takes none: it is fake.
func (o *office) pass(d time.Duration) { time.Sleep(d) }

// soon is a context that ends before anybody loses patience, in fake time.
func (o *office) soon() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	o.t.Cleanup(cancel)
	return ctx
}

// wait fails the test when something does not come true in a minute.
func (o *office) wait(what string, true func() bool) {
	o.t.Helper()
	for range 6000 {
		if true() {
			return
		}
		o.pass(10 * time.Millisecond)
	}
	o.t.Fatalf("never: %s", what)
}

// dialogTo begins a dialog of the server with the phone, or a request outside one.
func (o *office) dialogTo(p *Phone) *dialog {
	p.mu.Lock()
	contact := p.line.contact()
	p.mu.Unlock()
	return &dialog{
		callID: sip.GenerateTagN(10), contact: sip.Uri{Scheme: "sip", User: "server", Host: "192.0.2.1", Port: 5060},
		local:  party{"Anna", sip.Uri{Scheme: "sip", User: "101", Host: "192.0.2.1"}, sip.GenerateTagN(10)},
		remote: party{uri: sip.Uri{Scheme: "sip", User: "HD0001", Host: "192.0.2.1"}}, target: contact,
	}
}

// notify sends a NOTIFY and returns the status of its answer.
func (o *office) notify(p *Phone, event string, own *credentials) int {
	o.t.Helper()
	d := o.dialogTo(p)
	if own == nil {
		own = &credentials{}
	}
	res, err := own.exchange(func() *sip.Request {
		req := d.next(sip.NOTIFY, "server")
		req.AppendHeader(sip.NewHeader("Event", event))
		return req
	}, func(req *sip.Request) (*sip.Response, error) { return o.agent.udp.do(o.soon(), req, "") })
	if err != nil {
		o.t.Fatal(err)
	}
	return res.StatusCode
}

// fields splits a line of the registry.
func fields(line string) (user, expires, callID string, cseq int) {
	f := strings.Fields(line)
	return f[0], f[1], f[2], number(f[3], 0)
}
