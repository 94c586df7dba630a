package sip

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/hotdesk/dial"
	"hotdeskd/sip/call"
	"hotdeskd/sip/dialog"
)

// maxDiversions is how often a call may have been forwarded before it comes to us.
const maxDiversions = 5

// fromPBX takes a call from a PBX to one of our users; without one it is for whom
// the number names.
func (e *Edge) fromPBX(req *sip.Request, tx sip.ServerTransaction, p hotdesk.PBX, user hotdesk.Extension) {
	number := req.Recipient.String()
	if user != "" {
		number = string(user)
	}
	if diversions(req) > maxDiversions {
		e.respond(req, tx, 482, "Loop Detected", nil)
		return
	}
	r := e.Desk.RouteInbound(number)
	r.Devices = slices.DeleteFunc(r.Devices, e.selves.calling)
	in := e.bench.Trying(req, tx, call.Incoming{
		Peer: dialog.Peer{Owner: call.TrunkLabel + p.Name, Far: true, Account: e.trunkAccount(p, user)}, PBX: true, Life: e.ordinary,
	})
	r.Caller = callerOf(req)
	if r.Kind == hotdesk.RouteInternal {
		rec := e.bench.Begin(hotdesk.CallExternal, "", "", r.Shown)
		e.bench.Connect(in, rec, e.userParty(r), [][]dialog.Target{e.desks(r, call.Alerts(req)...)})
		return
	}
	e.Log.Info("call from the PBX refused", "pbx", p.Name, "reason", r.Reason)
	e.refuse(in, r)
}

// diversions is how often a call was forwarded: each has an entry in Diversion (RFC 5806)
// or in History-Info, which begins with the first target (RFC 7044), or in both.
func diversions(req *sip.Request) int {
	entries := func(name string) (n int) {
		for _, h := range req.GetHeaders(name) {
			n += max(1, strings.Count(h.Value(), "<"))
		}
		return n
	}
	return max(entries("Diversion"), entries("History-Info")-1)
}

// trunkAccount answers a PBX's challenges inside a call that came from it: as the user
// whom it called, or as itself.
func (e *Edge) trunkAccount(p hotdesk.PBX, user hotdesk.Extension) func() dialog.Account {
	return func() dialog.Account {
		if p.Mode == "trunk" {
			user = ""
		}
		account, ok := e.Desk.PBXAccountOf(p.Name, user)
		if !ok {
			return dialog.Account{}
		}
		secret, err := e.Desk.PBXAccountSecret(account)
		if err != nil {
			e.Log.Error("secret of an account at the PBX cannot be opened", "pbx", p.Name, "user", string(user), "err", err)
			return dialog.Account{}
		}
		return dialog.Account{User: account.AuthUser, Password: secret.Reveal()}
	}
}

// callerOf is whose call it is that a PBX sends, as a phone is to show it: whom the PBX
// asserts (RFC 3325 section 9.1), else From; nobody when it asks for privacy (section 7)
// or names nobody. Numbers may come as tel: URIs (RFC 3966).
func callerOf(req *sip.Request) hotdesk.Caller {
	from := req.From()
	name, number := dialog.Unquoted(from.DisplayName), numberOf(from.Address)
	if call.Private(req) || strings.EqualFold(from.Address.User, "anonymous") || from.Address.Host == "anonymous.invalid" {
		if call.Private(req) || len(req.GetHeaders("P-Asserted-Identity")) == 0 {
			return hotdesk.Caller{Name: "Anonymous", Private: true}
		}
	}
	for _, h := range req.GetHeaders("P-Asserted-Identity") {
		var u sip.Uri
		params := sip.NewParams()
		display, err := sip.ParseAddressValue(h.Value(), &u, &params)
		if err != nil {
			continue
		}
		if n := numberOf(u); n != "" {
			number = n
			if display != "" {
				name = dialog.Unquoted(display)
			}
			break
		}
	}
	return hotdesk.Caller{Number: number, Name: name}
}

// numberOf is what was dialled or is to be shown of a sip: or tel: URI.
func numberOf(u sip.Uri) string {
	if u.User != "" {
		return u.User
	}
	number, _ := dial.Normalise(u.String())
	return number
}

// redirect gives the targets to ring when one of them sends the caller on (RFC 3261
// section 8.1.3.4): what a phone's Contact names is dialled with the rights of its own
// user, what a PBX's names is asked of that PBX.
func (e *Edge) redirect(from dialog.Target, contacts []sip.Uri) []dialog.Target {
	for _, c := range contacts {
		if strings.HasPrefix(from.Label, call.TrunkLabel) {
			number := numberOf(c)
			if number == "" || number == from.URI.User {
				continue
			}
			next := from
			next.URI = *from.URI.Clone()
			next.URI.User = strings.ReplaceAll(number, "#", "%23")
			next.To = dialog.Party{URI: next.URI}
			return []dialog.Target{next}
		}
		id := hotdesk.DeviceID(from.Label)
		r := e.Desk.Route(id, c.String())
		user := string(r.Caller.User) // not what its phone registers as, which may be the device's id
		switch {
		case r.Kind == hotdesk.RouteInternal && len(r.PBX) == 0:
			r.Caller = hotdesk.Caller{Name: dialog.Unquoted(from.From.Name), Number: from.From.URI.User}
			r.Devices = slices.DeleteFunc(r.Devices, func(d hotdesk.DeviceID) bool { return d == id })
			if all := e.desks(r, sip.NewHeader("Diversion", call.NameAddr(dialog.Party{URI: sip.Uri{Scheme: "sip", User: user, Host: e.name}})+";reason=unconditional")); len(all) > 0 {
				return all
			}
		case r.Kind == hotdesk.RouteInternal, r.Kind == hotdesk.RouteExternal:
			if groups := e.trunks(id, r); len(groups) > 0 {
				return groups[0]
			}
		}
	}
	return nil
}

// lookForPBXs tells the guard each second where the PBXes are.
func (e *Edge) lookForPBXs(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		e.knowPBXs()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
