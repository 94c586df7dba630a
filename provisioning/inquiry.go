package provisioning

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/gin-gonic/gin"

	"hotdeskd/hotdesk"
	"hotdeskd/phonetemplates"
)

// inquiry is one request of a phone on its way to an answer, and what is noted of
// it for the administrator.
type inquiry struct {
	*gin.Context
	file   string
	asked  phonetemplates.Request
	known  bool // the file is one that some vendor's phones ask for
	mac    hotdesk.MAC
	secure bool
	note   hotdesk.ProvisioningRequest
}

// inquire reads a request; nothing about it is trusted.
func (s *Server) inquire(c *gin.Context, file string) *inquiry {
	q := &inquiry{Context: c, file: file, secure: c.Request.TLS != nil}
	q.asked, q.known = s.Templates.Match(file, c.Request.UserAgent())
	if mac, err := hotdesk.ParseMAC(q.asked.MAC); err == nil {
		q.mac = mac
		q.note.MAC = mac.String()
	}
	q.note.Source, q.note.Secure, q.note.Method, q.note.File = c.Request.RemoteAddr, q.secure, c.Request.Method, clip(file)
	q.note.UserAgent, q.note.Model = clip(c.Request.UserAgent()), q.asked.Model
	return q
}

// is notes what comes of the inquiry, and why.
func (q *inquiry) is(verdict, reason string) { q.note.Verdict, q.note.Reason = verdict, reason }

// remember keeps the request for the administrator, refused or not.
func (s *Server) remember(q *inquiry) {
	q.note.Status = q.Writer.Status()
	s.Live.NoteRequest(q.note)
}

// notFound is the one answer to everything unknown: no file, no token, no MAC
// can be told from any other.
func (q *inquiry) notFound(reason string) {
	q.is("not-found", reason)
	notFound(q.Context)
}

func notFound(c *gin.Context) {
	c.Header("Content-Type", "text/plain; charset=utf-8")
	c.String(http.StatusNotFound, "404 page not found\n")
}

// later asks a phone to come again.
func (q *inquiry) later(reason string) {
	q.is("refused", reason)
	q.Header("Retry-After", "30")
	q.String(http.StatusServiceUnavailable, "try again later\n")
}

// clip bounds what a stranger can make us keep.
func clip(text string) string {
	if len(text) > 200 {
		return strings.ToValidUTF8(text[:200], "")
	}
	return text
}

// siteOf finds the site whose networks an address is in.
func (s *Server) siteOf(remote string) (hotdesk.Site, bool) {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return hotdesk.Site{}, false
	}
	for _, site := range s.Desk.Sites() {
		for _, text := range site.Networks {
			if n, err := netip.ParsePrefix(text); err == nil && n.Contains(ap.Addr().Unmap()) {
				return site, true
			}
		}
	}
	return hotdesk.Site{}, false
}

// siteNamed returns a site that there is.
func (s *Server) siteNamed(name string) hotdesk.Site {
	if site, err := s.Desk.Site(name); err == nil {
		return site
	}
	return hotdesk.Site{Name: name}
}
