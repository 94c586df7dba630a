package provisioning

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
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
	Secret(id hotdesk.DeviceID, generation uint64) hotdesk.Secret
	AdminPassword(hotdesk.Device) hotdesk.Secret
	Phone(hotdesk.DeviceID) (hotdesk.Phone, error)
	Transport(hotdesk.Phone) string
	PhoneAs(hotdesk.DeviceID, hotdesk.Extension) (hotdesk.Phone, error)
	PhoneByMAC(hotdesk.MAC) (hotdesk.Phone, error)
	Sites() []hotdesk.Site
	Now() time.Time
	Layers(hotdesk.Phone) []hotdesk.Parameter
	DialPlan(hotdesk.Phone) hotdesk.DialPlan
	Claim(ctx context.Context, mac hotdesk.MAC, site, source string) (hotdesk.Phone, error)
	Enrol(context.Context, hotdesk.Pending) (hotdesk.Phone, error)
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
	Log      *slog.Logger
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
	s.router.NoRoute(notFound)
	return s, nil
}

// Handler is the server as net/http needs it.
func (s *Server) Handler() http.Handler { return s.router }

// notFound is the one answer to everything unknown: no file, no token, no MAC
// can be told from any other.
func notFound(c *gin.Context) {
	c.Header("Content-Type", "text/plain; charset=utf-8")
	c.String(http.StatusNotFound, "404 page not found\n")
}

// get serves one file.
func (s *Server) get(c *gin.Context) {
	token, ok := s.Desk.ReadToken(c.Param("token"))
	if !ok {
		notFound(c)
		return
	}
	asked, ok := s.Templates.Match(c.Param("file"), c.Request.UserAgent())
	if !ok || asked.Scope != phonetemplates.Own {
		notFound(c)
		return
	}
	mac, err := hotdesk.ParseMAC(asked.MAC)
	if err != nil {
		notFound(c)
		return
	}
	if token.Site != "" {
		s.enrol(c, token.Site, mac, asked)
		return
	}
	s.own(c, token, mac, asked)
}

// own serves a device by its own URL. A token that was issued but is not in use
// any more lets the phone go, from a site's networks: it is never left bricked.
func (s *Server) own(c *gin.Context, token hotdesk.Token, mac hotdesk.MAC, asked phonetemplates.Request) {
	p, err := s.Desk.Phone(token.Device)
	if err == nil && token.Current && p.Device.Claimed {
		if p.Device.MAC != mac {
			notFound(c)
			return
		}
		s.serve(c, p)
		return
	}
	site, ok := s.siteOf(c.Request.RemoteAddr)
	if !ok {
		notFound(c)
		return
	}
	s.hold(c, site, mac, asked, "")
}

// enrol serves a phone that comes by the enrolment URL, as option 66 makes many
// do at every boot.
func (s *Server) enrol(c *gin.Context, site string, mac hotdesk.MAC, asked phonetemplates.Request) {
	p, err := s.Desk.PhoneByMAC(mac)
	if err == nil && p.Device.Claimed {
		s.returning(c, p)
		return
	}
	if c.Request.Method == http.MethodHead { // only looking
		notFound(c)
		return
	}
	if err != nil {
		_, err = s.Desk.Enrol(c.Request.Context(), hotdesk.Pending{
			MAC: mac, Model: asked.Model, Site: site, Source: c.Request.RemoteAddr,
			UserAgent: clip(c.Request.UserAgent()), Seen: s.Desk.Now(), Problem: asked.Problem,
		})
		if errors.Is(err, hotdesk.ErrPending) {
			s.hold(c, site, mac, asked, "Waiting for approval")
			return
		}
		if err != nil {
			s.Log.Warn("phone could not be enrolled", "mac", mac.String(), "err", err)
			later(c)
			return
		}
	}
	claimed, err := s.Desk.Claim(c.Request.Context(), mac, site, c.Request.RemoteAddr)
	switch {
	case errors.Is(err, hotdesk.ErrConflict): // somebody was faster
		if p, err = s.Desk.PhoneByMAC(mac); err != nil {
			notFound(c)
			return
		}
		s.returning(c, p)
	case errors.Is(err, hotdesk.ErrBlocked):
		s.hold(c, site, mac, asked, "Blocked")
	case errors.Is(err, hotdesk.ErrAnotherSite):
		s.Log.Warn("phone came by another site's enrolment URL", "mac", mac.String(), "site", site)
		s.hold(c, site, mac, asked, "Another site")
	case err != nil:
		s.Log.Warn("phone could not be claimed", "mac", mac.String(), "err", err)
		later(c)
	default:
		if s.serve(c, claimed) {
			return
		}
		// The phone does not have what it must show from now on: let it try again.
		if err := s.Desk.Release(context.WithoutCancel(c.Request.Context()), claimed.Device.ID, "phone"); err != nil {
			s.Log.Error("a phone that did not get its file cannot be released; release it by hand", "device", string(claimed.Device.ID), "err", err)
		}
	}
}

// later asks a phone to come again.
func later(c *gin.Context) {
	c.Header("Retry-After", "30")
	c.String(http.StatusServiceUnavailable, "try again later\n")
}

// clip bounds what a stranger can make us keep.
func clip(text string) string {
	if len(text) > 200 {
		return strings.ToValidUTF8(text[:200], "")
	}
	return text
}

// returning serves a claimed phone in place when it knows its HTTP password.
// Without it, it was reset, or somebody else uses its MAC.
func (s *Server) returning(c *gin.Context, p hotdesk.Phone) {
	user, password, given := c.Request.BasicAuth()
	if given && user == string(p.Device.ID) && same(password, s.Desk.HTTPPassword(p.Device).Reveal()) {
		s.serve(c, p)
		return
	}
	s.Live.Barred(p.Device.ID)
	if given {
		s.Live.Publish("device.claim_conflict", p.Device.ID, "", map[string]any{"source": c.Request.RemoteAddr})
	}
	c.Header("WWW-Authenticate", `Basic realm="hotdeskd"`)
	c.String(http.StatusUnauthorized, "401 unauthorized\n")
}

// serve writes the device's complete file. Only one that was taken whole, or
// found unchanged, counts as fetched; it tells whether that is so.
func (s *Server) serve(c *gin.Context, p hotdesk.Phone) bool {
	f, err := s.render(p, p.Device.Wanted)
	if err != nil {
		s.Log.Error("configuration cannot be rendered", "device", string(p.Device.ID), "err", err)
		c.String(http.StatusInternalServerError, "500 internal error\n")
		return false
	}
	if !s.write(c, f) {
		return false
	}
	s.Live.Admitted(p.Device.ID)
	if err := s.Desk.Fetched(context.WithoutCancel(c.Request.Context()), p.Device.ID, p.Device.Wanted); err != nil {
		s.Log.Warn("fetch not stored; the phone will be asked to fetch again", "device", string(p.Device.ID), "err", err)
	}
	return true
}

// write sends a file with its length and ETag; it tells whether a GET was
// answered whole.
func (s *Server) write(c *gin.Context, f phonetemplates.File) bool {
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

// hold serves the file without an account: the phone waits, or is let go.
func (s *Server) hold(c *gin.Context, site string, mac hotdesk.MAC, asked phonetemplates.Request, label string) {
	model := asked.Model
	if s.Templates.FileName(model, mac.String()) == "" { // none that we know, or one that is refused
		model = s.Templates.AnyModel(asked.Vendor)
	}
	f, err := s.Templates.Render(phonetemplates.Holding, phonetemplates.Phone{
		MAC: mac.String(), Model: model, Account: phonetemplates.Account{Label: label},
		Server: phonetemplates.Server{URL: s.EnrolmentURL(site)},
	}, nil)
	if err != nil {
		s.Log.Error("holding file cannot be rendered", "mac", mac.String(), "err", err)
		notFound(c)
		return
	}
	s.write(c, f)
}

// siteOf finds the site whose networks an address is in.
func (s *Server) siteOf(remote string) (string, bool) {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return "", false
	}
	for _, site := range s.Desk.Sites() {
		for _, text := range site.Networks {
			if n, err := netip.ParsePrefix(text); err == nil && n.Contains(ap.Addr().Unmap()) {
				return site.Name, true
			}
		}
	}
	return "", false
}

// EnrolmentURL is the URL that goes into DHCP option 66.
func (s *Server) EnrolmentURL(site string) string {
	return s.URL + "/p/" + s.Desk.EnrolmentToken(site) + "/"
}

// DeviceURL is the device's own provisioning URL.
func (s *Server) DeviceURL(d hotdesk.Device) string {
	return s.URL + "/p/" + s.Desk.URLToken(d) + "/"
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
