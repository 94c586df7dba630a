package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"hotdeskd/hotdesk"
)

// searched is how far back calls and sessions are looked for.
const searched = 10000

func (s *Server) history() {
	route(s, look(), http.MethodGet, "/sessions", "Who sits where, and who sat there", 200, s.sessions)
	route(s, look(), http.MethodGet, "/calls", "Call records, newest first", 200, func(ctx context.Context, in *struct {
		Paging
		User   string `query:"user"`
		Device string `query:"device"`
	}) (*body[list[hotdesk.Call]], error) {
		device := hotdesk.DeviceID(in.Device)
		if in.Device != "" {
			p, err := s.find(ctx, in.Device)
			if err != nil {
				return nil, err
			}
			device = p.Device.ID
		}
		calls, err := s.Journal.Calls(hotdesk.Extension(in.User), device, searched)
		if err != nil {
			return nil, err
		}
		calls = slices.DeleteFunc(calls, func(c hotdesk.Call) bool {
			return !s.sees(ctx, c.FromDevice) && !s.sees(ctx, c.ToDevice)
		})
		for i := range calls {
			for _, id := range []*hotdesk.DeviceID{&calls[i].FromDevice, &calls[i].ToDevice} {
				if !s.sees(ctx, *id) {
					*id = "" // at another site
				}
			}
		}
		return page(calls, in.Paging, in.rows(), func(c hotdesk.Call) string { return c.ID })
	})
	route(s, lookWide(), http.MethodGet, "/audit", "The audit log, newest first", 200, s.audit)
	route(s, lookWide(), http.MethodGet, "/audit/verify", "Check the chain of the audit log", 200, func(context.Context, *none) (*body[Verified], error) {
		rows, err := s.Journal.Verify()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", hotdesk.ErrConflict, err)
		}
		return &body[Verified]{Verified{rows}}, nil
	})
}

// Verified says how many rows of the audit log were checked and found whole.
type Verified struct {
	Rows int `json:"rows"`
}

// audit reads one row more than asked, which tells whether there is another page.
func (s *Server) audit(_ context.Context, in *struct{ Paging }) (*body[list[hotdesk.AuditRow]], error) {
	rows, err := s.Journal.Audit(in.rows()+1, in.After)
	if err != nil {
		return nil, err
	}
	return page(rows, Paging{}, in.rows(), func(r hotdesk.AuditRow) string { return r.Op })
}

// sessions lists those that last and, from the audit log, those that ended.
func (s *Server) sessions(ctx context.Context, in *struct{ Paging }) (*body[list[hotdesk.Session]], error) {
	rows, err := s.Journal.Audit(searched, "")
	if err != nil {
		return nil, err
	}
	all := s.Desk.Sessions()
	for _, row := range rows {
		if row.Action != "session.ended" {
			continue
		}
		since, err := time.Parse(time.RFC3339Nano, row.Detail["since"])
		if err != nil {
			continue // a row of a later version
		}
		until := row.Time
		all = append(all, hotdesk.Session{
			ID: row.Detail["session"], Device: row.Device, User: row.User, Since: since,
			By: hotdesk.Actor(row.Detail["began_by"]), Until: &until,
		})
	}
	all = slices.DeleteFunc(all, func(x hotdesk.Session) bool { return !s.sees(ctx, x.Device) })
	slices.SortStableFunc(all, func(a, b hotdesk.Session) int { return b.Since.Compare(a.Since) })
	return page(all, in.Paging, in.rows(), func(x hotdesk.Session) string { return x.ID })
}
