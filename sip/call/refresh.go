package call

import (
	"context"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// refreshWait is how long the answer to a refresh may take.
const refreshWait = 32 * time.Second

// keep keeps the session of a side from now on: we refresh it when half of its interval
// is over, or the call ends a little before its end when the other one has not (RFC 4028
// section 10). Each side has its own. Nothing stops what ran before.
func (s *side) keep(session dialog.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if session.Interval <= 0 {
		return
	}
	s.timer = time.AfterFunc(session.Due(), func() {
		select {
		case <-s.call.done:
			return
		default:
		}
		if session.Refresh {
			s.refresh(session)
			return
		}
		if s.call.rec.Kind() == hotdesk.CallEmergency {
			return // people may be talking
		}
		s.call.Log.Info("call ended: its session was not refreshed", "device", string(s.device))
		s.call.end(nil, "session_expired")
	})
}

// refresh says that we are there: by an UPDATE where the party takes it, or by a
// re-INVITE with what it was told last.
func (s *side) refresh(session dialog.Session) {
	c, d := s.call, s.dialog()
	select {
	case c.busy <- struct{}{}:
		defer func() { <-c.busy }()
	case <-c.done:
		return
	}
	ctx, stop := c.until(nil)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, refreshWait)
	defer cancel()
	res, err := s.sendRefresh(ctx, d, session)
	switch {
	case ctx.Err() != nil && err != nil:
		select {
		case <-c.done:
			return
		default:
		}
	case err == nil && res.IsSuccess():
		agreed := dialog.AcceptedSession(res)
		if agreed.Interval == 0 { // it does not know timers: nobody can lose what nobody keeps
			agreed = session
		}
		s.keep(agreed)
		return
	case err == nil && res.StatusCode == 422: // at once, while the old interval lasts
		session.Interval = max(session.Interval, dialog.MinimumOf(res), dialog.MinSE)
		if res, err = s.sendRefresh(ctx, d, session); err == nil && res.IsSuccess() {
			s.keep(dialog.Session{Interval: max(session.Interval, dialog.AcceptedSession(res).Interval), Refresh: true})
			return
		}
	case err == nil && res.StatusCode != 481 && res.StatusCode != 408:
		s.keep(session) // it is there, and says no to the refresh alone
		return
	}
	if c.rec.Kind() == hotdesk.CallEmergency && (err != nil || res.StatusCode != 481) {
		return
	}
	c.Log.Info("call ended: its session cannot be refreshed", "device", string(s.device), "err", err)
	c.end(s, "session_expired")
}

func (s *side) sendRefresh(ctx context.Context, d *dialog.Dialog, session dialog.Session) (*sip.Response, error) {
	if d.Allows(sip.UPDATE) || d.LastSDP() == nil {
		req := d.Request(sip.UPDATE)
		for _, h := range session.RefreshHeaders() {
			req.AppendHeader(h)
		}
		return d.Do(ctx, req)
	}
	req := d.Request(sip.INVITE)
	for _, h := range session.RefreshHeaders() {
		req.AppendHeader(h)
	}
	dialog.SetSDP(req, d.LastSDP())
	res, m, err := d.Modify(ctx, req)
	if m != nil {
		s.confirmed(m.Confirm(nil))
	}
	return res, err
}
