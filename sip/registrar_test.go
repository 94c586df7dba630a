package sip

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
)

// pbxRegistrar is a PBX that wants its users to register: it challenges, checks, keeps
// contacts and writes down what it was asked.
type pbxRegistrar struct {
	o    *office
	peer *peer

	mu        sync.Mutex
	passwords map[string]string            // by authentication user
	contacts  map[string]map[string]string // by AOR: contact URI -> expires
	registers []*sip.Request               // that passed, or failed for good
	times     []time.Time                  // when each came
	invites   []*sip.Request
	dead      bool
	noOptions bool   // OPTIONS are not answered
	full      bool   // accounts have as many contacts as they may, as Kamailio says it
	ringing   bool   // calls are not answered
	challenge string // WWW-Authenticate; empty: MD5 with qop=auth
	// first may answer a request before anything else does; it holds the lock.
	first   func(*sip.Request) bool
	foreign string // a contact that somebody else has registered
}

// openRegistrar makes "main" a PBX of mode register with users 100 to 103 there.
func (o *office) openRegistrar() *pbxRegistrar {
	o.t.Helper()
	r := &pbxRegistrar{
		o: o, peer: o.trunk(), contacts: map[string]map[string]string{},
		passwords: map[string]string{"emergency": "e", "auth100": "p100", "101": "p101", "102": "p102", "103": "p103"},
	}
	go r.serve()
	file := hotdesk.Desired{PBX: []hotdesk.PBXSpec{{
		Name: "main", Mode: ptr("register"), Domain: ptr("pbx.example"),
		Account: &hotdesk.AccountSpec{AuthUser: ptr("emergency"), Secret: ptr("e")},
	}}}
	for n := range 4 {
		u := hotdesk.UserSpec{Extension: fmt.Sprint(100 + n), PBX: &hotdesk.UserPBXSpec{Name: "main", Secret: ptr(fmt.Sprint("p", 100+n))}}
		if n == 0 {
			u.PBX.AuthUser = ptr("auth100")
		}
		file.Users = append(file.Users, u)
	}
	if _, err := o.Apply(context.Background(), file, hotdesk.ApplyOptions{}); err != nil {
		o.t.Fatal(err)
	}
	return r
}

func (r *pbxRegistrar) serve() {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := r.peer.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		msg, err := sip.ParseMessage(slices.Clone(buf[:n]))
		if req, ok := msg.(*sip.Request); err == nil && ok {
			r.answer(req)
		}
	}
}

func (r *pbxRegistrar) answer(req *sip.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.dead:
	case r.first != nil && r.first(req):
	case req.Method == sip.OPTIONS && r.noOptions:
	case req.Method == sip.OPTIONS:
		r.peer.reply(req, 200, "OK", "", "")
	case req.Method == sip.ACK:
	case req.GetHeader("Authorization") == nil && (req.Method == sip.REGISTER || req.Method == sip.INVITE):
		r.peer.reply(req, 401, "Unauthorized", req.To().Value()+";tag=p", "", "WWW-Authenticate: "+cmp.Or(r.challenge, `Digest realm="pbx", nonce="n", algorithm=MD5, qop="auth"`)+"\r\n")
	case req.Method == sip.INVITE:
		r.invites = append(r.invites, req)
		if r.ringing {
			r.peer.reply(req, 180, "Ringing", req.To().Value()+";tag=p", "")
			return
		}
		r.peer.reply(req, 486, "Busy Here", req.To().Value()+";tag=p", "")
	case req.Method == sip.REGISTER:
		r.register(req)
	}
}

func (r *pbxRegistrar) register(req *sip.Request) {
	r.registers, r.times = append(r.registers, req), append(r.times, time.Now())
	user := quoted(req.GetHeader("Authorization").Value(), "username")
	secret := "p" + strings.TrimPrefix(user, "auth")
	if user == "emergency" {
		secret = "e"
	}
	if r.passwords[user] != secret {
		r.peer.reply(req, 403, "Forbidden", req.To().Value()+";tag=p", "")
		return
	}
	if r.full {
		r.peer.reply(req, 503, "Service Unavailable", req.To().Value()+";tag=p", "", "P-Registrar-Error: Too many registered contacts\r\n")
		r.peer.reply(req, 500, "I'm terribly sorry, server error occurred (1/SL)", req.To().Value()+";tag=p", "")
		return
	}
	aor := req.To().Address.User
	if r.contacts[aor] == nil {
		r.contacts[aor] = map[string]string{}
	}
	c := req.Contact()
	if expires, _ := c.Params.Get("expires"); expires == "0" {
		delete(r.contacts[aor], c.Address.String())
	} else {
		r.contacts[aor][c.Address.String()] = expires
	}
	var list string
	for uri, expires := range r.contacts[aor] {
		list += "Contact: <" + uri + ">;expires=" + expires + "\r\n"
	}
	if r.foreign != "" {
		list += "Contact: <" + r.foreign + ">;expires=100\r\n"
	}
	text := "SIP/2.0 200 OK\r\nVia: " + req.Via().Value() + "\r\nFrom: " + req.From().Value() + "\r\nTo: " + req.To().Value() + ";tag=p\r\nCall-ID: " +
		req.CallID().Value() + "\r\nCSeq: " + req.CSeq().Value() + "\r\n" + list + "Content-Length: 0\r\n\r\n"
	r.peer.send(text)
}

// quoted finds a quoted parameter of a header.
func quoted(header, name string) string {
	_, rest, _ := strings.Cut(header, name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// with changes how the registrar behaves.
func (r *pbxRegistrar) with(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// plain answers with these headers and no Contact of its own.
func (r *pbxRegistrar) plain(req *sip.Request, status int, reason string, headers ...string) {
	r.peer.send(fmt.Sprintf("SIP/2.0 %d %s\r\nVia: %s\r\nFrom: %s\r\nTo: %s;tag=p\r\nCall-ID: %s\r\nCSeq: %s\r\n%sContent-Length: 0\r\n\r\n",
		status, reason, req.Via().Value(), req.From().Value(), req.To().Value(), req.CallID().Value(), req.CSeq().Value(), strings.Join(headers, "")))
}

// at lists the contacts that are registered for a user.
func (r *pbxRegistrar) at(user string) (uris []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uri := range r.contacts[user] {
		uris = append(uris, uri)
	}
	return uris
}

// of lists the REGISTERs that came for a user.
func (r *pbxRegistrar) of(user string) (all []*sip.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, req := range r.registers {
		if req.To().Address.User == user {
			all = append(all, req)
		}
	}
	return all
}
