package registrar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/internal/paced"
	"hotdeskd/sip/dialog"
)

// Options of New; all but File are required.
type Options struct {
	// Known tells whether a device may be registered: it exists and is not blocked.
	Known func(hotdesk.DeviceID) bool
	Live  *hotdesk.Live
	// Know and Forget are told the flows of registered phones.
	Know, Forget func(dialog.Flow)
	// Moved is told that a phone in a call is on another flow now, and Away that its calls
	// may be gone: it was started anew, or is not registered any more.
	Moved func(hotdesk.DeviceID, dialog.Flow)
	Away  func(hotdesk.DeviceID)
	// Chore runs something beside everything else, until the server stops.
	Chore func(func(context.Context))
	File  string // where UDP locations outlive a restart; empty: nowhere
	Now   func() time.Time
	Log   *slog.Logger
}

// Registrar keeps where the phones are. Its methods may be called from any goroutine.
type Registrar struct {
	Options
	table   *table
	line    Line
	unsaved paced.Failure // the tries to write the locations down
}

// Line is how phones are asked something.
type Line struct {
	Net     *dialog.Net
	Contact func(dialog.Flow) sip.Uri // our address for whoever is on a flow
	Host    string                    // ours, as in URIs
}

// New makes a registrar.
func New(o Options) *Registrar {
	return &Registrar{Options: o, table: newTable(o.Know, o.Forget)}
}

// Use gives it the way to the phones, before the first message.
func (r *Registrar) Use(l Line) { r.line = l }

// Get returns where a device is registered.
func (r *Registrar) Get(id hotdesk.DeviceID) (Location, bool) { return r.table.get(id) }

// Last returns where a device was registered last, also when that has run out.
func (r *Registrar) Last(id hotdesk.DeviceID) (Location, bool) { return r.table.last(id) }

// On lists the devices that are registered on a flow, in order.
func (r *Registrar) On(f dialog.Flow) []hotdesk.DeviceID { return r.table.on(f) }

// Count is how many devices are registered on a flow.
func (r *Registrar) Count(f dialog.Flow) int { return r.table.count(f) }

// At lists the devices that were heard from an address last, in order.
func (r *Registrar) At(a netip.Addr) []hotdesk.DeviceID { return r.table.at(a) }

// Silent tells whether a device's phone has not answered for a while.
func (r *Registrar) Silent(id hotdesk.DeviceID) bool { return r.table.silent(id) }

// Gone takes out who was registered on a connection that has ended. Their devices' calls
// have some time to come back on another one.
func (r *Registrar) Gone(f dialog.Flow) {
	for _, id := range r.table.lost(f, r.Now()) {
		r.Log.Info("phone's connection ended", "device", string(id), "flow", f.String())
		r.Live.Unregistered(id)
	}
}

// comeBack is how long a phone in a call may take to open another connection when
// its own has ended.
const comeBack = 90 * time.Second

// Serve expires registrations, asks phones behind a NAT and writes the file within a second of a
// change, so that phones on UDP can be reached after a restart.
func (r *Registrar) Serve(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return r.save()
		}
		for _, id := range r.table.expired(r.Now()) {
			r.Live.Unregistered(id)
			r.Away(id)
		}
		for _, l := range r.table.due(r.Now()) {
			r.feel(l)
		}
		for _, id := range r.table.missing(r.Now().Add(-comeBack)) {
			r.Away(id)
		}
		if err := r.save(); err != nil {
			r.unsaved.Failed(r.Log, "phone locations not saved; after a restart phones are reached when they register again", err)
		} else {
			r.unsaved.Worked(r.Log, "phone locations are saved again")
		}
	}
}

// save writes the file anew and puts it in place whole.
func (r *Registrar) save() error {
	if r.File == "" {
		return nil
	}
	udp, changed := r.table.dirty()
	if !changed {
		return nil
	}
	b, err := json.Marshal(udp)
	if err != nil {
		return fmt.Errorf("encode locations: %w", err)
	}
	tmp := r.File + ".new"
	if err = os.WriteFile(tmp, b, 0o600); err == nil {
		err = os.Rename(tmp, r.File)
	}
	if err != nil {
		r.table.touch() // once more in a second
		return fmt.Errorf("write locations: %w", err)
	}
	return nil
}

// Load brings the phones of the last run back. A file that cannot be
// read costs nothing but time: the phones register again.
func (r *Registrar) Load() error {
	if r.File == "" {
		return nil
	}
	b, err := os.ReadFile(filepath.Clean(r.File))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read locations: %w", err)
	}
	var saved map[hotdesk.DeviceID]Location
	if err := json.Unmarshal(b, &saved); err != nil {
		return fmt.Errorf("read locations %s: %w", r.File, err)
	}
	now := r.Now()
	for id, l := range saved {
		if !r.Known(id) || now.After(l.Expires) {
			continue
		}
		r.table.put(l, now)
		r.Live.Registered(id, hotdesk.Registration{Contact: l.Contact, Source: l.Flow.String(), UserAgent: l.UserAgent, Since: now, Expires: l.Expires})
	}
	return nil
}

// URI parses a stored URI; it was parsed once already.
func URI(text string) sip.Uri {
	var u sip.Uri
	if err := sip.ParseUri(text, &u); err != nil {
		return sip.Uri{Scheme: "sip", Host: "invalid.invalid"}
	}
	return u
}

// Request builds a request outside any dialog, to the Contact that a phone gave.
func (r *Registrar) Request(method sip.RequestMethod, l Location, callID, tag string, cseq uint32) *sip.Request {
	req := sip.NewRequest(method, URI(l.Contact))
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "hotdeskd", Host: r.line.Host}, Params: sip.NewParams()}
	from.Params.Add("tag", tag)
	call, hops := sip.CallIDHeader(callID), sip.MaxForwardsHeader(70)
	for _, route := range l.Route() {
		req.AppendHeader(route)
	}
	req.AppendHeader(&hops)
	req.AppendHeader(from)
	req.AppendHeader(&sip.ToHeader{Address: URI(l.AOR), Params: sip.NewParams()})
	req.AppendHeader(&call)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: method})
	req.AppendHeader(&sip.ContactHeader{Address: r.line.Contact(l.Flow)})
	req.AppendHeader(sip.NewHeader("User-Agent", r.line.Net.Agent))
	return req
}
