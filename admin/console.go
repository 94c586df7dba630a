package admin

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"hotdeskd/hotdesk"
)

// shippedConsole is the console's pages, its style, its script, and htmx 4.0.1
// (0BSD, see htmx.LICENSE) as its package has it.
//
//go:embed console
var shippedConsole embed.FS

// console serves the console's pages.
func (s *Server) console() error {
	pages, err := template.ParseFS(shippedConsole, "console/*.html")
	if err != nil {
		return err
	}
	static, err := fs.Sub(shippedConsole, "console")
	if err != nil {
		return err
	}
	s.templates = pages
	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.Use(func(c *gin.Context) {
		c.Header("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		c.Header("Cache-Control", "no-store")
	})
	for _, name := range []string{"console.css", "console.js", "htmx.min.js", "htmx.LICENSE"} {
		r.StaticFileFS("/static/"+name, name, http.FS(static))
	}
	r.GET("/signin", func(c *gin.Context) { s.page(c, http.StatusOK, "signin", signIn{Next: c.Query("next")}) })
	r.POST("/signin", form, s.signIn)
	r.POST("/signout", s.signOut)
	r.GET("/setup/:code", func(c *gin.Context) {
		s.page(c, http.StatusOK, "setup", setup{Open: s.Access.LinkOpen(c.Param("code")), Name: "admin"})
	})
	r.POST("/setup/:code", form, s.setup)
	signedIn := r.Group("/", s.signedIn, form)
	signedIn.GET("/", func(c *gin.Context) { s.desk(c, "", nil) })
	signedIn.GET("/live", s.live)
	signedIn.POST("/devices/:id/logout", func(c *gin.Context) {
		in := struct {
			DeviceInput
			Body *struct {
				Reason string `json:"reason,omitempty"`
			}
		}{DeviceInput: DeviceInput{ID: c.Param("id")}, Body: &struct {
			Reason string `json:"reason,omitempty"`
		}{c.PostForm("reason")}}
		err := seat().check(who(c.Request.Context()))
		if err == nil {
			_, err = s.logout(c.Request.Context(), &in)
		}
		s.desk(c, c.Param("id")+" is logged out; its phone will show that in a moment.", err)
	})
	signedIn.POST("/pending/:mac/approve", func(c *gin.Context) {
		model, desk := c.PostForm("model"), c.PostForm("desk")
		in := struct {
			DeviceInput
			Body *DevicePatch
		}{DeviceInput{ID: c.Param("mac")}, &DevicePatch{Model: given(model), Desk: given(desk)}}
		err := seat().check(who(c.Request.Context()))
		said := ""
		if err == nil {
			var made *body[Device]
			if made, err = s.approve(c.Request.Context(), &in); err == nil {
				said = c.Param("mac") + " is " + *made.Body.ID + " now. It shows so when it asks for its configuration again, within a minute; restart it to hurry."
			}
		}
		s.desk(c, said, err)
	})
	r.NoRoute(func(c *gin.Context) {
		c.String(http.StatusNotFound, "There is no such page. The console begins at /\n")
	})
	s.pages = r
	return nil
}

// form reads a form, of either encoding, into memory and never to a file; one that
// is larger than any of ours is refused before it is kept.
func form(c *gin.Context) {
	if c.Request.Method != http.MethodPost {
		return
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxForm)
	err := c.Request.ParseForm()
	if err == nil {
		err = c.Request.ParseMultipartForm(maxForm)
	}
	var large *http.MaxBytesError
	switch {
	case err == nil || errors.Is(err, http.ErrNotMultipart):
	case errors.As(err, &large):
		c.Abort()
		c.String(http.StatusRequestEntityTooLarge, "This form is too large.\n")
	default:
		c.Abort()
		c.String(http.StatusBadRequest, "This form cannot be read. Load the page again.\n")
	}
}

func given(text string) *string {
	if text = strings.TrimSpace(text); text == "" {
		return nil
	}
	return &text
}

// page writes one page whole, or an error and nothing of the page.
func (s *Server) page(c *gin.Context, status int, name string, data any) {
	var b bytes.Buffer
	if err := s.templates.ExecuteTemplate(&b, name, data); err != nil {
		s.Log.Error("page cannot be rendered", "page", name, "err", err)
		c.String(http.StatusInternalServerError, "Something went wrong; the server's log says what.\n")
		return
	}
	c.Data(status, "text/html; charset=utf-8", b.Bytes())
}

// signedIn leads whoever is not signed in to where that is done.
func (s *Server) signedIn(c *gin.Context) {
	if look().check(who(c.Request.Context())) == nil {
		return
	}
	c.Abort()
	if c.Request.Method != http.MethodGet || c.GetHeader("HX-Request") != "" || c.FullPath() == "/live" {
		c.String(http.StatusUnauthorized, "You are not signed in any more. Load the page again.\n")
		return
	}
	c.Redirect(http.StatusSeeOther, "/signin?next="+url.QueryEscape(c.Request.URL.RequestURI()))
}

type signIn struct{ Name, Next, Error string }

type setup struct {
	Name, Error string
	Open        bool
}

func (s *Server) signIn(c *gin.Context) {
	form := signIn{Name: strings.TrimSpace(c.PostForm("name")), Next: c.PostForm("next")}
	session, err := s.Access.SignIn(c.Request.Context(), form.Name, hotdesk.Secret(strings.TrimSpace(c.PostForm("password"))), remoteHost(c.Request))
	if err != nil {
		form.Error = s.say(err)
		s.page(c, http.StatusUnauthorized, "signin", form)
		return
	}
	s.setSession(c, session)
	next := "/"
	if u, err := url.Parse(form.Next); err == nil && u.Host == "" && u.Scheme == "" && strings.HasPrefix(u.Path, "/") && !strings.HasPrefix(form.Next, "//") && !strings.Contains(form.Next, "\\") {
		next = form.Next
	}
	c.Redirect(http.StatusSeeOther, next)
}

func (s *Server) setup(c *gin.Context) {
	form := setup{Name: strings.TrimSpace(c.PostForm("name")), Open: s.Access.LinkOpen(c.Param("code"))}
	if form.Open && c.PostForm("password") != c.PostForm("again") {
		form.Error = "The two passwords differ."
		s.page(c, http.StatusUnprocessableEntity, "setup", form)
		return
	}
	session, err := s.Access.UseLink(c.Request.Context(), c.Param("code"), form.Name, hotdesk.Secret(strings.TrimSpace(c.PostForm("password"))), remoteHost(c.Request))
	if err != nil {
		form.Error, form.Open = s.say(err), s.Access.LinkOpen(c.Param("code"))
		s.page(c, http.StatusUnprocessableEntity, "setup", form)
		return
	}
	s.setSession(c, session)
	c.Redirect(http.StatusSeeOther, "/")
}

func (s *Server) setSession(c *gin.Context, session string) {
	http.SetCookie(c.Writer, &http.Cookie{
		Name: sessionCookie, Value: session, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: c.Request.TLS != nil,
	})
}

func (s *Server) signOut(c *gin.Context) {
	if cookie, err := c.Request.Cookie(sessionCookie); err == nil {
		s.Access.SignOut(cookie.Value)
	}
	http.SetCookie(c.Writer, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true})
	c.Redirect(http.StatusSeeOther, "/signin")
}

// say turns an error into a sentence for a person.
func (s *Server) say(err error) string {
	var p *Problem
	if !errors.As(s.problem(err), &p) {
		return "Something went wrong."
	}
	text := cmp.Or(p.Detail, p.Title)
	for _, prefix := range []string{"invalid: ", "not signed in: ", "conflict: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// live tells an open page that something changed, at most four times a second.
func (s *Server) live(c *gin.Context) {
	out := s.openStream(c, "live")
	if out == nil {
		return
	}
	defer out.close()
	ctx, stop := context.WithCancel(c.Request.Context())
	defer stop()
	changed := make(chan struct{}, 1)
	go func() {
		for ev := range s.Live.Events(ctx, s.Live.LastEvent()) {
			if ev.Name == "reset" || s.seesEvent(ctx, ev) {
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		}
	}()
	alive, check := time.NewTicker(heartbeat), time.NewTicker(s.recheck)
	defer alive.Stop()
	defer check.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	for {
		text := ": alive\n\n"
		select {
		case <-changed:
			text = "data: changed\n\n"
		case <-alive.C:
		case <-check.C:
			if !s.still(c.Request) {
				return
			}
			continue
		case <-ctx.Done():
			return
		}
		if out.send(text) != nil {
			return
		}
		pause.Reset(250 * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}
