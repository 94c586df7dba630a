package hotdesk

import (
	"cmp"
	"maps"
	"slices"
)

// PBXAccount is an account at a PBX that is to be registered now: of a user who
// sits somewhere, or the PBX's own for calls of no user.
type PBXAccount struct {
	PBX       string
	User      Extension // empty: the PBX's own account
	Extension string    // user part of the account's AOR
	AuthUser  string
	Sealed    string     // the secret, as stored
	Devices   []DeviceID // where the user sits
}

// PBXAccounts lists the accounts that are to be registered at PBXes of mode
// register: of every enabled user with a device, and every PBX's own.
func (s *Service) PBXAccounts() []PBXAccount {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	var all []PBXAccount
	for _, name := range slices.Sorted(maps.Keys(s.snap.pbxs)) {
		if p := s.snap.pbxs[name]; p.Mode == "register" && p.Account.AuthUser != "" {
			all = append(all, ownAccount(p))
		}
	}
	for ext, devices := range s.snap.rings {
		u := s.snap.users[ext]
		if len(devices) == 0 || u == nil || !u.Enabled || u.PBX == nil {
			continue
		}
		if p := s.snap.pbxs[u.PBX.Name]; p != nil && p.Mode == "register" {
			a := userAccount(u)
			a.Devices = slices.Clone(devices)
			all = append(all, a)
		}
	}
	return all
}

func ownAccount(p *PBX) PBXAccount {
	return PBXAccount{PBX: p.Name, Extension: p.Account.AuthUser, AuthUser: p.Account.AuthUser, Sealed: p.Account.Sealed}
}

func userAccount(u *User) PBXAccount {
	ext := cmp.Or(u.PBX.Extension, string(u.Extension))
	return PBXAccount{PBX: u.PBX.Name, User: u.Extension, Extension: ext, AuthUser: cmp.Or(u.PBX.AuthUser, ext), Sealed: u.PBX.Sealed}
}

// PBXAccountOf is the account by which a call goes out through a PBX: the user's,
// or with no user the PBX's own. ok is false when there is none.
func (s *Service) PBXAccountOf(pbx string, user Extension) (a PBXAccount, ok bool) {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	p := s.snap.pbxs[pbx]
	if p == nil {
		return a, false
	}
	if user == "" {
		return ownAccount(p), p.Account.AuthUser != ""
	}
	u := s.snap.users[user]
	if u == nil || u.PBX == nil || u.PBX.Name != pbx {
		return a, false
	}
	return userAccount(u), true
}

// PBXAccountSecret opens an account's secret; empty when it has none.
func (s *Service) PBXAccountSecret(a PBXAccount) (Secret, error) {
	if a.Sealed == "" {
		return "", nil
	}
	label := "pbx/" + a.PBX
	if a.User != "" {
		label = "user/" + string(a.User)
	}
	return s.vault.Unseal(label, a.Sealed)
}

// PBX states.
const (
	PBXUp      = "up"
	PBXDown    = "down"
	PBXUnknown = "unknown" // nothing was heard yet
)

// PBXStatus is what is known of a PBX now.
type PBXStatus struct {
	State      string   `json:"state" enum:"up,down,unknown"`
	Problem    string   `json:"problem,omitempty"` // why it is down
	Registered int      `json:"registered"`        // users that are registered there
	Account    string   `json:"account,omitempty"` // of the PBX's own account: registered, or what is wrong
	Failed     []string `json:"failed"`            // "user 100: the PBX refuses the password (403)"
	// Troubles are all that is wrong, with the next step for each.
	Troubles []PBXTrouble `json:"troubles"`
}

// SetPBX notes what is known of a PBX; a change of its state is an event.
func (l *Live) SetPBX(name string, s PBXStatus) {
	l.mu.Lock()
	before := cmp.Or(l.pbxs[name].State, PBXUnknown)
	l.pbxs[name] = s
	l.mu.Unlock()
	if s.State != before && s.State != PBXUnknown {
		data := map[string]any{"pbx": name}
		if s.Problem != "" {
			data["problem"] = s.Problem
		}
		l.Publish("pbx."+s.State, "", "", data)
	}
}

// PBX is what is known of a PBX now.
func (l *Live) PBX(name string) PBXStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.pbxs[name]
	if !ok {
		s.State = PBXUnknown
	}
	if s.Failed == nil {
		s.Failed = []string{}
	}
	if s.Troubles == nil {
		s.Troubles = []PBXTrouble{}
	}
	return s
}

// PBXTest is the story of one test of a PBX.
type PBXTest struct {
	OK      bool          `json:"ok"`
	Steps   []PBXTestStep `json:"steps"`
	Verdict string        `json:"verdict"` // in one sentence, with what to do
	Trouble PBXTrouble    `json:"-"`       // what is wrong, in the words that everybody tells it in
}

// PBXTestStep is one thing that was tried.
type PBXTestStep struct {
	Name string `json:"name"` // address, transport, OPTIONS, REGISTER
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}
