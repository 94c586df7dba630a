package dialog

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// MinSE is the shortest session interval that we take (RFC 4028 section 4).
const MinSE = 90 * time.Second

// Session is what both ends of a dialog have agreed on to keep it alive (RFC 4028); zero
// is nothing.
type Session struct {
	Interval time.Duration
	Refresh  bool // we refresh it, the party does otherwise
}

// expires reads a Session-Expires header, which has a compact form.
func expires(msg sip.Message) (seconds int, refresher string, ok bool) {
	for _, name := range []string{"Session-Expires", "x"} {
		for _, h := range msg.GetHeaders(name) {
			number, params, _ := strings.Cut(h.Value(), ";")
			n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 31)
			if err != nil {
				continue
			}
			for p := range strings.SplitSeq(params, ";") {
				if key, value, found := strings.Cut(p, "="); found && strings.EqualFold(strings.TrimSpace(key), "refresher") {
					refresher = strings.ToLower(strings.Trim(strings.TrimSpace(value), `"`))
				}
			}
			return int(n), refresher, true
		}
	}
	return 0, "", false
}

// AnswerSession is what we agree on as the UAS of an INVITE or UPDATE (section 9), and
// the headers that the 2xx says it with. tooBrief asks for a 422 with MinSEHeader.
func AnswerSession(req *sip.Request) (s Session, headers []sip.Header, tooBrief bool) {
	seconds, refresher, ok := expires(req)
	if !ok {
		return s, nil, false
	}
	options, _ := tokens(req, "Supported", "k")
	timer := false
	for _, o := range options {
		timer = timer || o == "timer"
	}
	required, _ := tokens(req, "Require")
	for _, o := range required {
		timer = timer || o == "timer"
	}
	s.Interval = time.Duration(seconds) * time.Second
	if s.Interval < MinSE {
		if timer {
			return Session{}, nil, true
		}
		s.Interval = MinSE // a proxy on the way may want it shorter than the UAC knows how to
	}
	if refresher != "uac" && refresher != "uas" {
		refresher = "uas"
		if timer {
			refresher = "uac"
		}
	}
	if !timer {
		refresher = "uas" // whoever does not know timers refreshes nothing (table 2)
	}
	s.Refresh = refresher == "uas"
	headers = []sip.Header{sip.NewHeader("Session-Expires", fmt.Sprintf("%d;refresher=%s", int(s.Interval/time.Second), refresher))}
	if refresher == "uac" {
		headers = append(headers, sip.NewHeader("Require", "timer"))
	}
	return s, headers, false
}

// MinSEHeader says how long an interval must be at least.
func MinSEHeader() sip.Header {
	return sip.NewHeader("Min-SE", strconv.Itoa(int(MinSE/time.Second)))
}

// AcceptedSession is what the 2xx to an INVITE or UPDATE of ours says (section 7.2).
func AcceptedSession(res *sip.Response) Session {
	seconds, refresher, ok := expires(res)
	if !ok || seconds <= 0 {
		return Session{}
	}
	return Session{Interval: max(MinSE, time.Duration(seconds)*time.Second), Refresh: refresher != "uas"}
}

// MinimumOf is the shortest interval that a 422 would take (section 6); 0 when it does
// not say.
func MinimumOf(res *sip.Response) time.Duration {
	h := res.GetHeader("Min-SE")
	if h == nil {
		return 0
	}
	number, _, _ := strings.Cut(h.Value(), ";")
	n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// RefreshHeaders ask for the same again, in a refresh of ours.
func (s Session) RefreshHeaders() []sip.Header {
	return []sip.Header{
		sip.NewHeader("Supported", "timer"),
		sip.NewHeader("Session-Expires", fmt.Sprintf("%d;refresher=uac", int(s.Interval/time.Second))),
		MinSEHeader(),
	}
}

// Due is when something has to be done, from the last refresh: half of the interval by
// who refreshes, and by the other a little before its end (section 10).
func (s Session) Due() time.Duration {
	if s.Refresh {
		return s.Interval / 2
	}
	return s.Interval - min(32*time.Second, s.Interval/3)
}
