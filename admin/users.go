package admin

import (
	"context"
	"net/http"
	"time"

	"hotdeskd/hotdesk"
)

// User is a person as the API shows one.
type User struct {
	Extension   string               `json:"extension"`
	Name        string               `json:"name"`
	Enabled     bool                 `json:"enabled"`
	HotDesk     bool                 `json:"hot_desk"`
	PINSet      bool                 `json:"pin_set"`
	LockedUntil *time.Time           `json:"locked_until"`
	Language    string               `json:"language,omitempty"`
	CallerID    string               `json:"caller_id,omitempty"`
	OffDesk     string               `json:"off_desk,omitempty"`
	PBX         *hotdesk.UserPBXSpec `json:"pbx,omitempty"`
	Keys        []hotdesk.Key        `json:"keys,omitempty"`
	Devices     []string             `json:"devices"`
}

// user shows a person, with those of the devices that the principal may see. How
// the account at the PBX is called is for those who can change it; its secret, even
// sealed, is in the export alone.
func (s *Server) user(ctx context.Context, v hotdesk.UserView) User {
	u := User{
		Extension: string(v.User.Extension), Name: v.User.Name, Enabled: v.User.Enabled, HotDesk: v.User.HotDesk,
		PINSet: v.User.PINHash != "", Language: v.User.Language, CallerID: v.User.CallerID, OffDesk: v.User.OffDesk,
		PBX: v.User.Spec().PBX, Keys: v.User.Keys, Devices: []string{},
	}
	if u.PBX != nil {
		if u.PBX.Sealed = nil; change().check(who(ctx)) != nil {
			u.PBX.AuthUser = nil
		}
	}
	for _, id := range v.Devices {
		if s.sees(ctx, id) {
			u.Devices = append(u.Devices, string(id))
		}
	}
	if !v.LockedUntil.IsZero() {
		u.LockedUntil = &v.LockedUntil
	}
	return u
}

// UserInput names a user.
type UserInput struct {
	Extension string `path:"extension"`
}

func (in UserInput) ext() hotdesk.Extension { return hotdesk.Extension(in.Extension) }

// UserPatch is a change of a user; what is left out stays.
type UserPatch struct {
	Name     *string              `json:"name,omitempty"`
	PIN      *string              `json:"pin,omitempty" doc:"4 to 16 digits; hashed on arrival"`
	Enabled  *bool                `json:"enabled,omitempty" doc:"false ends the sessions"`
	HotDesk  *bool                `json:"hot_desk,omitempty"`
	Language *string              `json:"language,omitempty"`
	CallerID *string              `json:"caller_id,omitempty"`
	OffDesk  *string              `json:"off_desk,omitempty"`
	PBX      *hotdesk.UserPBXSpec `json:"pbx,omitempty"`
	Keys     []hotdesk.Key        `json:"keys,omitempty"`
}

// NewUser is a user to be added.
type NewUser struct {
	Extension string `json:"extension"`
	UserPatch
}

func (p UserPatch) spec(extension string) hotdesk.UserSpec {
	return hotdesk.UserSpec{
		Extension: extension, Name: p.Name, PIN: p.PIN, Enabled: p.Enabled, HotDesk: p.HotDesk, Language: p.Language,
		CallerID: p.CallerID, OffDesk: p.OffDesk, PBX: p.PBX, Keys: p.Keys,
	}
}

func (s *Server) users() {
	route(s, look(), http.MethodGet, "/users", "List users", 200, func(ctx context.Context, in *struct{ Paging }) (*body[list[User]], error) {
		var all []User
		for _, v := range s.Desk.Users() {
			all = append(all, s.user(ctx, v))
		}
		return page(all, in.Paging, in.Limit, func(u User) string { return u.Extension })
	})
	route(s, changeWide(), http.MethodPost, "/users", "Add a user", 201, func(ctx context.Context, in *struct{ Body NewUser }) (*body[User], error) {
		v, err := s.Desk.AddUser(ctx, in.Body.spec(in.Body.Extension), by(ctx))
		return s.shownUser(ctx, v, err)
	})
	route(s, look(), http.MethodGet, "/users/{extension}", "Show a user", 200, func(ctx context.Context, in *UserInput) (*body[User], error) {
		v, err := s.Desk.User(in.ext())
		return s.shownUser(ctx, v, err)
	})
	route(s, changeWide(), http.MethodPatch, "/users/{extension}", "Change a user", 200, func(ctx context.Context, in *struct {
		UserInput
		Body UserPatch
	}) (*body[User], error) {
		v, err := s.Desk.UpdateUser(ctx, in.ext(), in.Body.spec(in.Extension), by(ctx))
		return s.shownUser(ctx, v, err)
	})
	route(s, changeWide(), http.MethodDelete, "/users/{extension}", "Delete a user", 204, func(ctx context.Context, in *UserInput) (*none, error) {
		return &none{}, s.Desk.RemoveUser(ctx, in.ext(), by(ctx))
	})
	route(s, seatWide(), http.MethodPost, "/users/{extension}/pin", "Set a user's PIN", 204, func(ctx context.Context, in *struct {
		UserInput
		Body struct {
			PIN string `json:"pin"`
		}
	}) (*none, error) {
		return &none{}, s.Desk.SetPIN(ctx, in.ext(), hotdesk.Secret(in.Body.PIN), by(ctx))
	})
	route(s, seatWide(), http.MethodPost, "/users/{extension}/unlock", "Forgive wrong PINs", 204, func(ctx context.Context, in *UserInput) (*none, error) {
		return &none{}, s.Desk.Unlock(ctx, in.ext(), by(ctx))
	})
	route(s, seatWide(), http.MethodPost, "/users/{extension}/logout", "Log a user out everywhere", 204, func(ctx context.Context, in *struct {
		UserInput
		Body *struct {
			Reason string `json:"reason,omitempty"`
		}
	}) (*none, error) {
		r := hotdesk.LogoutRequest{By: who(ctx).By, Name: by(ctx)}
		if in.Body != nil {
			r.Reason = in.Body.Reason
		}
		_, err := s.Desk.LogoutUser(ctx, in.ext(), r)
		return &none{}, err
	})
}

func (s *Server) shownUser(ctx context.Context, v hotdesk.UserView, err error) (*body[User], error) {
	if err != nil {
		return nil, err
	}
	return &body[User]{s.user(ctx, v)}, nil
}
