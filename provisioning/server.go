package provisioning

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"hotdeskd/hotdesk"
	"hotdeskd/phonetemplates"
)

// Desk is what provisioning asks the rules.
type Desk interface {
	ReadToken(text string) (hotdesk.Token, bool)
	URLToken(hotdesk.Device) string
	EnrolmentToken(site string) string
	HTTPPassword(hotdesk.Device) hotdesk.Secret
	KnowsPassword(p hotdesk.Phone, user, password string) bool
	Secret(id hotdesk.DeviceID, generation uint64) hotdesk.Secret
	AdminPassword(hotdesk.Device) hotdesk.Secret
	Phone(hotdesk.DeviceID) (hotdesk.Phone, error)
	Transport(hotdesk.Phone) string
	PhoneAs(hotdesk.DeviceID, hotdesk.Extension) (hotdesk.Phone, error)
	PhoneByMAC(hotdesk.MAC) (hotdesk.Phone, error)
	Sites() []hotdesk.Site
	Site(name string) (hotdesk.Site, error)
	Now() time.Time
	Late() bool
	Layers(hotdesk.Phone) []hotdesk.Parameter
	DialPlan(hotdesk.Phone) hotdesk.DialPlan
	Claim(ctx context.Context, mac hotdesk.MAC, site, source string) (hotdesk.Phone, error)
	Enrol(context.Context, hotdesk.Pending) (hotdesk.Phone, error)
	Reclaim(ctx context.Context, was hotdesk.Device, site, source string, alive hotdesk.Alive) (hotdesk.Phone, error)
	Reclaimable(hotdesk.DeviceID) (hotdesk.TurnedAway, bool)
	Fetched(ctx context.Context, id hotdesk.DeviceID, version uint64) error
	Release(ctx context.Context, id hotdesk.DeviceID, by string) error
}

// Options of New; all are required but Log.
type Options struct {
	Desk      Desk
	Live      *hotdesk.Live
	Templates *phonetemplates.Set
	// URL is where phones reach this server, "http://192.0.2.1:8080".
	URL string
	// SecureURL is the same over HTTPS; empty when there is no such listener.
	SecureURL string
	// SIPHost is where phones register, SIPPorts the port of every transport that
	// is on (udp, tcp, tls).
	SIPHost  string
	SIPPorts map[string]int
	// Alive tells whether the phone that registered as a device still answers; nil
	// when nobody knows.
	Alive hotdesk.Alive
	Log   *slog.Logger
}

// Server answers the phones. It is safe for concurrent use.
type Server struct {
	Options
	router *gin.Engine
}

// New builds the server; it listens nowhere by itself (Handler).
func New(o Options) (*Server, error) {
	if o.Desk == nil || o.Live == nil || o.Templates == nil || o.URL == "" || o.SIPHost == "" || len(o.SIPPorts) == 0 {
		return nil, errors.New("provisioning.New: an option is missing")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.URL = strings.TrimSuffix(o.URL, "/")
	s := &Server{Options: o, router: gin.New()}
	s.router.HandleMethodNotAllowed = false
	s.router.RedirectTrailingSlash = false
	s.router.GET("/p/:token/:file", s.get)
	s.router.HEAD("/p/:token/:file", s.get)
	s.router.GET("/:file", s.getBare)
	s.router.GET("/p/:token", s.getBare) // what would be a token is the file
	s.router.NoRoute(notFound)
	return s, nil
}

// Handler is the server as net/http needs it.
func (s *Server) Handler() http.Handler { return s.router }

// get serves one file under a token.
func (s *Server) get(c *gin.Context) {
	q := s.inquire(c, c.Param("file"))
	defer s.remember(q)
	token, ok := s.Desk.ReadToken(c.Param("token"))
	q.note.Site, q.note.Device = token.Site, token.Device
	switch {
	case !ok:
		q.notFound("the token in the URL was never issued")
	case !q.known || q.asked.Scope != phonetemplates.Own:
		q.notFound("no file of that name is served to a phone that has its URL; it goes on to the next name")
	case q.mac.IsZero():
		q.notFound("no MAC in the name of the file")
	case token.Site != "":
		s.enrol(q, token.Site)
	default:
		s.own(q, token)
	}
}

// getBare answers a phone that knows this server's address and no more: from a
// site's networks, with the way to the site's enrolment URL, the same for every
// phone of a vendor.
func (s *Server) getBare(c *gin.Context) {
	q := s.inquire(c, cmp.Or(c.Param("file"), c.Param("token")))
	defer s.remember(q)
	site, ok := s.siteOf(c.Request.RemoteAddr)
	switch {
	case !q.known:
		q.note.File = "" // it may be a token
		q.notFound("no file of that name")
	case q.asked.Scope == phonetemplates.Absent:
		q.notFound("this file is never served; the phone goes on to the next name")
	case !ok:
		q.notFound("no token in the URL, and the address is in no site's networks")
	default:
		q.note.Site = site.Name
		q.is("enrolment", "no token in the URL: the file leads to the enrolment URL of "+site.Name)
		s.plain(q, phonetemplates.Enrolment, s.EnrolmentURL(site.Name), "")
	}
}

// lateReason: what was written is not in memory yet, so nobody can say now what this
// phone is.
const lateReason = "the server is busy writing; the phone comes again"

// own serves a device by its own URL. A token that was issued but is not in use
// any more lets the phone go, from a site's networks: it is never left bricked.
func (s *Server) own(q *inquiry, token hotdesk.Token) {
	p, err := s.Desk.Phone(token.Device)
	if err == nil && token.Current && p.Device.Claimed {
		switch {
		case p.Device.MAC != q.mac:
			q.notFound("the URL is another phone's (" + p.Device.MAC.String() + ")")
		case !s.rightVendor(q, p):
		case p.Site.RequireHTTPS && !q.secure:
			q.is("holding", "site "+p.Site.Name+" requires HTTPS: the file leads there")
			s.plain(q, phonetemplates.Holding, s.DeviceURL(p.Device), "HTTPS")
		default:
			s.serve(q, p, "served", "by its own URL")
		}
		return
	}
	if token.Late {
		q.later(lateReason)
		return
	}
	site, ok := s.siteOf(q.Request.RemoteAddr)
	if !ok {
		q.notFound("the URL is revoked, and the address is in no site's networks")
		return
	}
	q.note.Site = site.Name
	q.is("release", "the URL is revoked: the phone is let go and led to the enrolment URL")
	s.plain(q, phonetemplates.Release, s.EnrolmentURL(site.Name), "")
}

// rightVendor refuses a file of another vendor than the device's: the phone could
// not read its own.
func (s *Server) rightVendor(q *inquiry, p hotdesk.Phone) bool {
	q.note.Device, q.note.Site = p.Device.ID, p.Device.Site
	if p.Model.Vendor == "" || q.asked.Vendor == p.Model.Vendor {
		return true
	}
	q.is("refused", "the phone asks as "+q.asked.Vendor+" and "+string(p.Device.ID)+" is a "+p.Device.Model+"; if that is wrong: hotdeskd device replace "+string(p.Device.ID)+" "+p.Device.MAC.String()+" --model MODEL")
	notFound(q.Context)
	return false
}

// enrol serves a phone that comes by the enrolment URL, as option 66 makes many
// do at every boot.
func (s *Server) enrol(q *inquiry, site string) {
	p, err := s.Desk.PhoneByMAC(q.mac)
	if err == nil && !s.rightVendor(q, p) {
		return
	}
	switch {
	case s.siteNamed(site).RequireHTTPS && !q.secure:
		q.is("holding", "site "+site+" requires HTTPS: the file leads there")
		s.plain(q, phonetemplates.Holding, s.EnrolmentURL(site), "HTTPS")
	case err == nil && p.Device.Claimed:
		s.returning(q, p, site)
	case q.Request.Method == http.MethodHead:
		q.notFound("HEAD says nothing about a phone that is not enrolled")
	case err == nil:
		s.claim(q, p, site)
	default:
		s.newcomer(q, site)
	}
}

// newcomer answers a phone whose MAC no device has.
func (s *Server) newcomer(q *inquiry, site string) {
	p, err := s.Desk.Enrol(q.Request.Context(), hotdesk.Pending{
		MAC: q.mac, Model: q.asked.Model, Site: site, Source: q.Request.RemoteAddr,
		UserAgent: clip(q.Request.UserAgent()), Seen: s.Desk.Now(), Problem: q.asked.Problem,
	})
	switch {
	case err == nil:
		s.claim(q, p, site)
	case errors.Is(err, hotdesk.ErrPending):
		q.is("holding", "nobody has approved this phone yet")
		s.plain(q, phonetemplates.Holding, s.EnrolmentURL(site), "Waiting for approval")
	case errors.Is(err, hotdesk.ErrBusy):
		q.later("more than 60 new phones in a minute from one address")
	default:
		s.Log.Warn("phone could not be enrolled", "mac", q.mac.String(), "err", err)
		q.later(err.Error())
	}
}

// claim hands an approved device's phone its identity.
func (s *Server) claim(q *inquiry, p hotdesk.Phone, site string) {
	claimed, err := s.Desk.Claim(q.Request.Context(), q.mac, site, q.Request.RemoteAddr)
	switch {
	case errors.Is(err, hotdesk.ErrConflict): // somebody was faster
		if p, err = s.Desk.PhoneByMAC(q.mac); err != nil {
			q.notFound("the device was removed meanwhile")
			return
		}
		if !p.Device.Claimed {
			q.later(lateReason)
			return
		}
		s.returning(q, p, site)
	case errors.Is(err, hotdesk.ErrBlocked):
		q.is("holding", "the device is blocked")
		s.plain(q, phonetemplates.Holding, s.EnrolmentURL(site), "Blocked")
	case errors.Is(err, hotdesk.ErrAnotherSite):
		s.Log.Warn("phone came by another site's enrolment URL", "mac", q.mac.String(), "site", site)
		q.is("holding", "it came by the enrolment URL of "+site+" and its device belongs to "+p.Device.Site)
		s.plain(q, phonetemplates.Holding, s.EnrolmentURL(site), "Another site")
	case err != nil:
		s.Log.Warn("phone could not be claimed", "mac", q.mac.String(), "err", err)
		q.later(err.Error())
	default:
		s.firstFile(q, claimed, "claimed")
	}
}

// firstFile gives a phone the file that makes it the device. One that does not
// have what it must show from now on may try again.
func (s *Server) firstFile(q *inquiry, p hotdesk.Phone, why string) {
	q.note.Device = p.Device.ID
	if s.serve(q, p, "claimed", why) {
		return
	}
	q.is("failed", "the file was not taken whole: the phone may claim again")
	if err := s.Desk.Release(context.WithoutCancel(q.Request.Context()), p.Device.ID, "phone"); err != nil {
		s.Log.Error("a phone that did not get its file cannot be released; release it by hand", "device", string(p.Device.ID), "err", err)
	}
}

// returning serves a claimed phone in place when it knows its HTTP password.
// Without it, it was reset, or somebody else uses its MAC: it is asked for the
// password and, where the site takes every phone, taken anew once it is clear
// that it has none.
func (s *Server) returning(q *inquiry, p hotdesk.Phone, site string) {
	user, password, given := q.Request.BasicAuth()
	if given && s.Desk.KnowsPassword(p, user, password) {
		s.serve(q, p, "served", "by the enrolment URL, with its password")
		return
	}
	reason := "the device is claimed: the phone must send its HTTP password"
	if given && s.Desk.Late() {
		q.later(lateReason)
		return
	}
	if given {
		reason = "wrong HTTP password"
	}
	if q.Request.Method != http.MethodHead { // which says nothing of what the phone has
		s.Live.TurnAway(p.Device, site, q.Request.RemoteAddr)
		_, reset := s.Desk.Reclaimable(p.Device.ID)
		if reset {
			anew, err := s.Desk.Reclaim(q.Request.Context(), p.Device, site, q.Request.RemoteAddr, s.Alive)
			if err == nil {
				s.firstFile(q, anew, "claimed anew: it was reset, and the site takes every phone")
				return
			}
			reason += "; it was reset, or another phone uses its MAC: " + err.Error()
		}
		if reset || given {
			s.Live.Publish("device.claim_conflict", p.Device.ID, "", map[string]any{"source": q.Request.RemoteAddr})
		}
	}
	q.is("challenged", reason)
	q.Header("WWW-Authenticate", `Basic realm="hotdeskd"`)
	q.String(http.StatusUnauthorized, "401 unauthorized\n")
}

// serve writes the device's complete file. Only one that was taken whole, or
// found unchanged, counts as fetched; it tells whether that is so.
func (s *Server) serve(q *inquiry, p hotdesk.Phone, verdict, why string) bool {
	q.is(verdict, why)
	f, err := s.render(p, p.Device.Wanted)
	if err != nil {
		s.Log.Error("configuration cannot be rendered", "device", string(p.Device.ID), "err", err)
		q.is("failed", err.Error())
		q.String(http.StatusInternalServerError, "500 internal error\n")
		return false
	}
	if !s.write(q, f) {
		if q.Request.Method == http.MethodGet {
			q.is("failed", "the phone went away before it had the whole file")
		}
		return false
	}
	if q.Writer.Status() == http.StatusNotModified {
		q.is("unchanged", why)
	}
	s.Live.Admitted(p.Device.ID)
	if p.Late {
		return true // the phone is asked to fetch again: what was not the claim's own may be old
	}
	if err := s.Desk.Fetched(context.WithoutCancel(q.Request.Context()), p.Device.ID, p.Device.Wanted); err != nil {
		s.Log.Warn("fetch not stored; the phone will be asked to fetch again", "device", string(p.Device.ID), "err", err)
	}
	return true
}

// write sends a file with its length and ETag; it tells whether a GET was
// answered whole.
func (s *Server) write(c *inquiry, f phonetemplates.File) bool {
	etag := `"` + digest(f.Content) + `"`
	c.Header("ETag", etag)
	c.Header("Cache-Control", "no-store")
	get := c.Request.Method == http.MethodGet
	if get && c.GetHeader("If-None-Match") == etag {
		c.Status(http.StatusNotModified)
		return true
	}
	c.Header("Content-Type", f.ContentType)
	c.Header("Content-Length", fmt.Sprint(len(f.Content)))
	c.Status(http.StatusOK)
	if !get {
		return false
	}
	n, err := c.Writer.Write(f.Content)
	if err == nil {
		err = http.NewResponseController(c.Writer).Flush()
	}
	// The request's context says nothing about it: it ends also when a phone has
	// read everything and hangs up before we look.
	return err == nil && n == len(f.Content)
}

// plain serves a file without an account, which leads the phone to url.
func (s *Server) plain(q *inquiry, kind phonetemplates.Kind, url, label string) {
	model := q.asked.Model
	if s.Templates.FileName(model, q.mac.String()) == "" || kind == phonetemplates.Enrolment {
		model = s.Templates.AnyModel(q.asked.Vendor)
	}
	p := phonetemplates.Phone{Model: model, Account: phonetemplates.Account{Label: label}, Server: phonetemplates.Server{URL: url}}
	if kind != phonetemplates.Enrolment {
		p.MAC = q.mac.String()
	}
	f, err := s.Templates.Render(kind, p, nil)
	if err != nil {
		s.Log.Error("file without an account cannot be rendered", "kind", string(kind), "err", err)
		q.is("failed", err.Error())
		notFound(q.Context)
		return
	}
	s.write(q, f)
}

// EnrolmentURL is the URL that goes into DHCP option 66.
func (s *Server) EnrolmentURL(site string) string {
	return s.base(s.siteNamed(site)) + "/p/" + s.Desk.EnrolmentToken(site) + "/"
}

// DeviceURL is the device's own provisioning URL.
func (s *Server) DeviceURL(d hotdesk.Device) string {
	return s.base(s.siteNamed(d.Site)) + "/p/" + s.Desk.URLToken(d) + "/"
}

// base is how a site's phones reach this server.
func (s *Server) base(site hotdesk.Site) string {
	if site.RequireHTTPS && s.SecureURL != "" {
		return s.SecureURL
	}
	return s.URL
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
