package sip

import (
	"strings"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/ingress"
)

// caller is a request's origin.
type caller struct {
	device     hotdesk.DeviceID
	generation uint64 // of the secret that was used; 0 when there was none
	blocked    bool
	unsure     bool // an emergency call whose device is a guess
	upstream   bool // it comes from a PBX, for user when that is known
	pbx        hotdesk.PBX
	user       hotdesk.Extension
}

// check judges a request's digest. user is the name in it, also when it is wrong.
func (e *Edge) check(req *sip.Request) (c caller, result ingress.Result, user string) {
	var creds []hotdesk.Credential
	result, user, index := e.auth.Check(req, func(user string) (string, []string) {
		var ok bool
		creds, c.blocked, ok = e.Desk.Credentials(deviceID(user))
		if !ok {
			return "", nil
		}
		ha1s := make([]string, len(creds))
		for i, cred := range creds {
			ha1s[i] = cred.HA1
		}
		return string(deviceID(user)), ha1s
	})
	if result != ingress.Right {
		return caller{}, result, user
	}
	c.device, c.generation = deviceID(user), creds[index].Generation
	return c, result, user
}

// authenticate finds out which device sent the request, by its digest. When it
// cannot, it has sent the challenge.
func (e *Edge) authenticate(req *sip.Request, tx sip.ServerTransaction) (caller, bool) {
	c, result, _ := e.check(req)
	if result != ingress.Right {
		e.challenge(req, tx, result == ingress.Stale)
		return caller{}, false
	}
	return c, true
}

// challenge asks for credentials: unknown devices get the same 401 as wrong secrets.
// It is not remembered, whoever asks (RFC 3261 section 8.2.7).
func (e *Edge) challenge(req *sip.Request, tx sip.ServerTransaction, stale bool) {
	e.respond(req, tx, 401, "Unauthorized", nil, sip.NewHeader("WWW-Authenticate", e.auth.Challenge(stale)))
	tx.Terminate()
}

// deviceID reads a digest user name; phones may change its case.
func deviceID(user string) hotdesk.DeviceID { return hotdesk.DeviceID(strings.ToUpper(user)) }

// proven notes the generation that passed. The call or registration goes on
// when the store is down; the next success notes it again.
func (e *Edge) proven(c caller) {
	if c.generation == 0 {
		return
	}
	if err := e.Desk.Prove(e.ctx, c.device, c.generation); err != nil {
		e.Log.Warn("proof of a new secret not stored yet", "device", string(c.device), "err", err)
	}
}
