package admin

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hotdeskd/hotdesk"
)

// NewToken is a token to be made.
type NewToken struct {
	Name string `json:"name"`
	Role string `json:"role" enum:"viewer,desk-manager,admin,owner"`
	Site string `json:"site,omitempty" doc:"the one site it may see and change; empty: all"`
	TTL  string `json:"ttl,omitempty" doc:"how long it is good for, like 90d or 12h; empty: until it is revoked"`
}

// MadeToken is a token with its text, which is shown this once.
type MadeToken struct {
	hotdesk.APIToken
	Token string `json:"token"`
}

// ConsoleLink is a one-time link to the console.
type ConsoleLink struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

func (s *Server) tokens() {
	route(s, changeWide(), http.MethodGet, "/tokens", "List API tokens", 200, func(context.Context, *none) (*body[list[hotdesk.APIToken]], error) {
		return listOf(s.Access.Tokens()), nil
	})
	route(s, changeWide(), http.MethodPost, "/tokens", "Make an API token; its text is shown this once", 201, s.createToken)
	route(s, changeWide(), http.MethodDelete, "/tokens/{id}", "Revoke an API token, by id or name", 204, func(ctx context.Context, in *struct {
		ID string `path:"id"`
	}) (*none, error) {
		for _, t := range s.Access.Tokens() {
			if (t.ID == in.ID || t.Name == in.ID) && !who(ctx).Role.May(t.Role) {
				return nil, fmt.Errorf("%w: only an owner revokes an owner's token", hotdesk.ErrForbidden)
			}
		}
		return &none{}, s.Access.Revoke(ctx, in.ID, by(ctx))
	})
	route(s, own(), http.MethodPost, "/console/link", "Make a one-time link by which somebody chooses an owner's name and password", 200,
		func(context.Context, *none) (*body[ConsoleLink], error) {
			l, err := s.NewConsoleLink()
			if err != nil {
				return nil, err
			}
			return &body[ConsoleLink]{l}, nil
		})
}

// NewConsoleLink makes a one-time link to the console.
func (s *Server) NewConsoleLink() (ConsoleLink, error) {
	if s.ConsoleURL == "" {
		return ConsoleLink{}, fmt.Errorf("%w: the console is switched off; set console.listen in the server's configuration", hotdesk.ErrConflict)
	}
	return ConsoleLink{URL: s.ConsoleURL + "/setup/" + s.Access.NewLink(), Expires: s.Desk.Now().Add(time.Hour).UTC()}, nil
}

// createToken gives nobody more rights than who asks has.
func (s *Server) createToken(ctx context.Context, in *struct{ Body NewToken }) (*body[MadeToken], error) {
	role := hotdesk.Role(in.Body.Role)
	if !who(ctx).Role.May(role) {
		return nil, fmt.Errorf("%w: %s is %s and cannot make a token that is %s", hotdesk.ErrForbidden, by(ctx), who(ctx).Role, role)
	}
	if in.Body.Site != "" {
		if _, err := s.oneSite(ctx, in.Body.Site); err != nil {
			return nil, err
		}
	}
	ttl, err := parseTTL(in.Body.TTL)
	if err != nil {
		return nil, err
	}
	t, text, err := s.Access.Create(ctx, hotdesk.TokenSpec{Name: in.Body.Name, Role: role, Site: in.Body.Site, TTL: ttl}, by(ctx))
	if err != nil {
		return nil, err
	}
	return &body[MadeToken]{MadeToken{t, text.Reveal()}}, nil
}

// parseTTL reads how long a token is good for: "90d", or as Go writes it, "12h".
func parseTTL(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= 36500 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%w: ttl: %q must be written like 90d or 12h", hotdesk.ErrInvalid, text)
}
