package dialog

import (
	"sync"

	"github.com/emiago/sipgo/sip"
)

// Handler is what stands behind our end of a dialog.
type Handler interface {
	// Request handles a request inside the dialog; it answers it.
	Request(req *sip.Request, tx sip.ServerTransaction)
	// Acked takes the ACK to a 2xx of ours.
	Acked(req *sip.Request)
}

// Table finds the dialog of a request by Call-ID and both tags (RFC 3261 section 12.2.2):
// several early dialogs of one INVITE of ours differ in the party's tag alone. The flows
// of dialogs are made known for as long as they last.
type Table struct {
	know, forget func(Flow)

	mu      sync.Mutex
	entries map[key]*entry
	owners  map[string]map[key]*entry
}

type key struct{ callID, local, remote string }

func keyOf(d *Dialog) key { return key{d.CallID, d.LocalTag, d.RemoteTag} }

type entry struct {
	dialog  *Dialog
	handler Handler
	flow    Flow // that was made known
}

// NewTable makes one; know and forget are told the flows of its dialogs.
func NewTable(know, forget func(Flow)) *Table {
	return &Table{know: know, forget: forget, entries: map[key]*entry{}, owners: map[string]map[key]*entry{}}
}

// Add puts a dialog in, or another handler behind it.
func (t *Table) Add(d *Dialog, h Handler) {
	e := &entry{d, h, d.Flow()}
	t.mu.Lock()
	old := t.entries[keyOf(d)]
	t.entries[keyOf(d)] = e
	if t.owners[d.Peer.Owner] == nil {
		t.owners[d.Peer.Owner] = map[key]*entry{}
	}
	t.owners[d.Peer.Owner][keyOf(d)] = e
	t.mu.Unlock()
	t.know(e.flow)
	if old != nil {
		t.forget(old.flow)
	}
}

// Remove takes a dialog out.
func (t *Table) Remove(d *Dialog) {
	t.mu.Lock()
	e := t.entries[keyOf(d)]
	if e == nil || e.dialog != d {
		t.mu.Unlock()
		return
	}
	delete(t.entries, keyOf(d))
	own := t.owners[d.Peer.Owner]
	if delete(own, keyOf(d)); len(own) == 0 {
		delete(t.owners, d.Peer.Owner)
	}
	f := e.flow
	t.mu.Unlock()
	t.forget(f)
}

// Find returns the dialog that a request belongs to, and who handles it.
func (t *Table) Find(req *sip.Request) (*Dialog, Handler, bool) {
	ours, ok := Param(req.To().Params, "tag")
	if !ok {
		return nil, nil, false
	}
	theirs, _ := Param(req.From().Params, "tag")
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[key{req.CallID().Value(), ours, theirs}]
	if e == nil {
		return nil, nil, false
	}
	return e.dialog, e.handler, true
}

// Move lets a dialog follow its party to another flow.
func (t *Table) Move(d *Dialog, f Flow) {
	t.mu.Lock()
	old := f
	if e := t.entries[keyOf(d)]; e != nil && e.dialog == d {
		old, e.flow = e.flow, f
	}
	t.mu.Unlock()
	d.move(f)
	if old != f {
		t.know(f)
		t.forget(old)
	}
}

// Of lists the dialogs with a party, and who handles them.
func (t *Table) Of(owner string) (dialogs []*Dialog, handlers []Handler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.owners[owner] {
		dialogs, handlers = append(dialogs, e.dialog), append(handlers, e.handler)
	}
	return dialogs, handlers
}

// Len is how many dialogs there are.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.entries)
}
