package sip

import (
	"strings"

	"github.com/emiago/sipgo/sip"
)

// onSubscribe answers subscriptions. None is kept in this version: packages that
// phones ask for by themselves get an honest 489 with what we would take, which
// stops them from asking in a storm (RFC 6665 section 4.2.1.3).
func (e *Edge) onSubscribe(req *sip.Request, tx sip.ServerTransaction, t *ticket) (keep bool) {
	if _, ok := e.authenticate(req, tx); !ok {
		return false
	}
	t.prove()
	event := ""
	for _, name := range []string{"Event", "o"} { // the compact form of RFC 6665 section 8.2.1
		if h := req.GetHeader(name); h != nil {
			event = strings.TrimSpace(h.Value())
		}
	}
	if event == "" {
		e.respond(req, tx, 400, "Event is missing", nil)
		return true
	}
	e.respond(req, tx, 489, "Bad Event", nil, sip.NewHeader("Allow-Events", "check-sync"))
	return true
}
