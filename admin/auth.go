package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"hotdeskd/hotdesk"
)

// Access says who somebody is; package access does it.
type Access interface {
	ByToken(text string) (hotdesk.Principal, error)
	BySession(text string) (hotdesk.Principal, error)
	SignIn(ctx context.Context, name string, password hotdesk.Secret, source string) (session string, err error)
	SignOut(session string)
	NewLink() (code string)
	LinkOpen(code string) bool
	UseLink(ctx context.Context, code, name string, password hotdesk.Secret, source string) (session string, err error)
	Create(context.Context, hotdesk.TokenSpec, string) (hotdesk.APIToken, hotdesk.Secret, error)
	Tokens() []hotdesk.APIToken
	Revoke(ctx context.Context, idOrName, by string) error
}

// right is what an operation asks of who wants it: a role, and whether it
// reaches beyond one site.
type right struct {
	role hotdesk.Role
	wide bool
}

// rights are the kinds of operations.
func look() right       { return right{hotdesk.RoleViewer, false} }
func lookWide() right   { return right{hotdesk.RoleViewer, true} }
func seat() right       { return right{hotdesk.RoleDeskManager, false} }
func seatWide() right   { return right{hotdesk.RoleDeskManager, true} }
func change() right     { return right{hotdesk.RoleAdmin, false} }
func changeWide() right { return right{hotdesk.RoleAdmin, true} }
func own() right        { return right{hotdesk.RoleOwner, true} }

// check refuses a principal that does not have the right, in words.
func (r right) check(p hotdesk.Principal) error {
	switch {
	case p.Role == "":
		return hotdesk.ErrUnauthorized
	case !p.Role.May(r.role):
		return errors.Join(hotdesk.ErrForbidden, errors.New("this needs the role "+string(r.role)+"; "+p.Name+" is "+string(p.Role)))
	case r.wide && p.Site != "":
		return errors.Join(hotdesk.ErrForbidden, errors.New("this reaches beyond site "+p.Site+", the only one that "+p.Name+" may see"))
	}
	return nil
}

// principalKey is where a request's context carries who asks.
type principalKey struct{}

func with(ctx context.Context, p hotdesk.Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// who is the one who asks; nobody, with no right at all, when no listener said.
func who(ctx context.Context) hotdesk.Principal {
	p, _ := ctx.Value(principalKey{}).(hotdesk.Principal)
	return p
}

// by is the name of who asks, for the audit log.
func by(ctx context.Context) string { return who(ctx).Name }

// Handler is the API as the command socket serves it: whoever gets through to it
// is root or the server's own account, and so an owner.
func (s *Server) Handler() http.Handler {
	local := hotdesk.Principal{Name: string(hotdesk.ByAdmin), Role: hotdesk.RoleOwner, By: hotdesk.ByAdmin}
	return heads(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.router.ServeHTTP(w, r.WithContext(with(r.Context(), local)))
	}))
}

// heads answers HEAD as GET is answered, wherever GET is (RFC 9110 section 9.3.2); the
// server leaves the body out. Uptime monitors ask so. A stream has no head of its own.
func heads(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead && r.URL.Path != "/api/v1/events" && r.URL.Path != "/api/v1/backup" {
			r = r.Clone(r.Context())
			r.Method = http.MethodGet
		}
		h.ServeHTTP(w, r)
	})
}

// sessionCookie is what a browser holds after signing in.
const sessionCookie = "hotdeskd_session"

// Console is API and console as the network gets them. The API wants a token or
// a browser session, the console's pages lead to signing in; health is told to
// everybody, without reasons. A browser's change from another site's page is
// refused (CSRF).
func (s *Server) Console() http.Handler {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		p, err := s.identify(r)
		if err == nil {
			r = r.WithContext(with(r.Context(), p))
		}
		switch path := r.URL.Path; {
		case path == "/healthz" || path == "/readyz":
			s.router.ServeHTTP(w, r)
		case strings.HasPrefix(path, "/api/") || path == "/metrics":
			if err != nil {
				unauthorized(w, r)
				return
			}
			s.router.ServeHTTP(w, r)
		default:
			s.pages.ServeHTTP(w, r)
		}
	})
	return http.NewCrossOriginProtection().Handler(heads(h))
}

// identify finds out who sent a request: by its token, else by its session.
func (s *Server) identify(r *http.Request) (hotdesk.Principal, error) {
	if text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return s.Access.ByToken(strings.TrimSpace(text))
	}
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return hotdesk.Principal{}, hotdesk.ErrUnauthorized
	}
	return s.Access.BySession(cookie.Value)
}

// unauthorized says whether there was no token, or one that is not good (any more).
func unauthorized(w http.ResponseWriter, r *http.Request) {
	why := "there is no token; make one with \"hotdeskd token create\" and give it as --token or HOTDESKD_TOKEN (HTTP: \"Authorization: Bearer …\"), or sign in to the console"
	if r.Header.Get("Authorization") != "" {
		why = "the token is unknown, revoked or expired; make another one with \"hotdeskd token create\""
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="hotdeskd"`)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusUnauthorized)
	p := Problem{Title: "Unauthorized", Status: http.StatusUnauthorized, Code: "unauthorized",
		Detail: why}
	// Nothing can be done when nobody reads the answer.
	_ = json.NewEncoder(w).Encode(p)
}

// find is the device that an operation is about, if who asks may see it.
func (s *Server) find(ctx context.Context, idOrMAC string) (hotdesk.Phone, error) {
	p, err := s.Desk.FindDevice(idOrMAC)
	if err == nil && !who(ctx).Sees(p.Device.Site) {
		return hotdesk.Phone{}, hotdesk.ErrNotFound
	}
	return p, err
}

// sees tells whether who asks may see what happened at a device.
func (s *Server) sees(ctx context.Context, id hotdesk.DeviceID) bool {
	if who(ctx).Site == "" {
		return true
	}
	p, err := s.Desk.Phone(id)
	return err == nil && who(ctx).Sees(p.Device.Site)
}
