package sip

import (
	"strings"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/ingress"
)

// caller is a request's proven origin.
type caller struct {
	device     hotdesk.DeviceID
	generation uint64 // of the secret that was used; 0 when the flow was proof enough
	blocked    bool
}

// authenticate finds out which device sent the request, by its digest. When it
// cannot, it has sent the challenge: unknown devices get the same 401 as wrong
// secrets, and every 401 carries a challenge.
func (e *Edge) authenticate(req *sip.Request, tx sip.ServerTransaction) (caller, bool) {
	var creds []hotdesk.Credential
	var c caller
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
		e.respond(req, tx, 401, "Unauthorized", nil,
			sip.NewHeader("WWW-Authenticate", e.auth.Challenge(result == ingress.Stale)))
		e.forget(req, tx)
		return caller{}, false
	}
	c.device, c.generation = deviceID(user), creds[index].Generation
	return c, true
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
