package dial

import (
	"fmt"
	"slices"
	"strings"
)

// Action is what a hot-desk code asks for.
type Action string

const (
	Login     Action = "login"
	Logout    Action = "logout"
	LogoutAll Action = "logout_all"
	ChangePIN Action = "change_pin"
	Who       Action = "who"
)

// Code is one spelling that stands for an action, without its last '*'.
type Code struct {
	Action Action
	Number string
}

// Codes is the table of the configured hot-desk codes.
type Codes struct {
	exact    []Code   // the whole number is the code
	prefixes []string // an extension follows, of login codes and aliases
}

// NewCodes makes the table. login must end in '*' and is also the prefix of the
// fixed sub-codes 8 (change PIN) and 9 (which phone is this). aliases are given
// by action. It returns an error when a code is not made of '*', '#' and digits,
// does not begin with '*' or '#', or two codes are the same.
func NewCodes(login, logout, logoutAll string, aliases map[string][]string) (Codes, error) {
	var c Codes
	if !strings.HasSuffix(login, "*") {
		return c, fmt.Errorf("login code %q must end in '*', like *77*", login)
	}
	all := []struct {
		action Action
		codes  []string
	}{
		{Login, append([]string{login}, aliases[string(Login)]...)},
		{Logout, append([]string{logout}, aliases[string(Logout)]...)},
		{LogoutAll, append([]string{logoutAll}, aliases[string(LogoutAll)]...)},
		{ChangePIN, append([]string{login + "8*"}, aliases[string(ChangePIN)]...)},
		{Who, append([]string{login + "9*"}, aliases[string(Who)]...)},
	}
	for name := range aliases {
		if !slices.ContainsFunc(all, func(a struct {
			action Action
			codes  []string
		}) bool {
			return string(a.action) == name
		}) {
			return c, fmt.Errorf("aliases: %q is no action; use login, logout, logout_all, change_pin or who", name)
		}
	}
	for _, group := range all {
		for _, code := range group.codes {
			if err := c.add(group.action, code); err != nil {
				return Codes{}, err
			}
		}
	}
	return c, nil
}

func (c *Codes) add(action Action, code string) error {
	short := strings.TrimRight(code, "*")
	if len(short) < 2 || !strings.ContainsAny(code[:1], "*#") || strings.Trim(code, "*#0123456789") != "" {
		return fmt.Errorf("code %q of %s must begin with '*' or '#' and go on with digits", code, action)
	}
	for _, other := range c.exact {
		if other.Number == short {
			return fmt.Errorf("code %q stands for both %s and %s", code, other.Action, action)
		}
	}
	c.exact = append(c.exact, Code{action, short})
	if action == Login {
		c.prefixes = append(c.prefixes, code)
	}
	return nil
}

// Match tells what a normalised number asks for. A missing last '*' is accepted.
// extension is set when the code carries one (*77*100*, *11100).
func (c Codes) Match(number string) (action Action, extension string, ok bool) {
	short := strings.TrimRight(number, "*")
	for _, code := range c.exact {
		if short == code.Number {
			return code.Action, "", true
		}
	}
	for _, prefix := range c.prefixes {
		ext, found := strings.CutPrefix(short, prefix)
		if found && ext != "" && len(ext) <= 15 && strings.Trim(ext, "0123456789") == "" {
			return Login, ext, true
		}
	}
	return "", "", false
}

// MatchPIN reads a login code that somebody has typed a PIN behind, in one go:
// *77*100*4071. The PIN is for the login alone and is never to be shown.
func (c Codes) MatchPIN(number string) (extension, pin string, ok bool) {
	for _, prefix := range c.prefixes {
		rest, found := strings.CutPrefix(number, prefix)
		if !found {
			continue
		}
		ext, pin, found := strings.Cut(strings.TrimLeft(rest, "*"), "*")
		pin = strings.Trim(pin, "*#")
		if found && ext != "" && len(ext) <= 15 && strings.Trim(ext, "0123456789") == "" &&
			pin != "" && len(pin) <= 32 && strings.Trim(pin, "0123456789") == "" {
			return ext, pin, true
		}
	}
	return "", "", false
}

// Begins tells whether a number begins like a code, so that what follows may be an
// extension or a PIN: it goes to nobody else, and no record has it as it is.
func (c Codes) Begins(number string) bool {
	for _, prefix := range c.prefixes {
		if strings.HasPrefix(number, strings.TrimRight(prefix, "*")) {
			return true
		}
	}
	for _, code := range c.exact {
		if strings.HasPrefix(number, code.Number+"*") {
			return true
		}
	}
	return false
}

// Shown is how a number that begins like a code stands in records and events: the code
// alone, an ellipsis for what was typed behind it unless known says that this is an
// extension. Other numbers stay, but for what is typed behind an extension that known
// knows (100*4071).
func (c Codes) Shown(number string, known func(extension string) bool) string {
	if !c.Begins(number) {
		if head, tail, found := strings.Cut(number, "*"); found && tail != "" && known(head) {
			return head + "*…"
		}
		return number
	}
	short := strings.TrimRight(number, "*")
	for _, code := range c.exact {
		if short == code.Number {
			return number
		}
	}
	longest := ""
	for _, prefix := range c.prefixes {
		if bare := strings.TrimRight(prefix, "*"); strings.HasPrefix(number, prefix) && len(prefix) > len(longest) {
			longest = prefix
		} else if strings.HasPrefix(number, bare) && len(bare) > len(longest) {
			longest = bare
		}
	}
	for _, code := range c.exact {
		if strings.HasPrefix(number, code.Number+"*") && len(code.Number)+1 > len(longest) {
			longest = code.Number + "*"
		}
	}
	rest := strings.TrimPrefix(number, longest)
	if ext, tail, found := strings.Cut(rest, "*"); known(ext) {
		if !found {
			return longest + ext
		}
		if tail = strings.Trim(tail, "*"); tail == "" {
			return longest + ext + "*"
		}
		return longest + ext + "*…"
	}
	return longest + "…"
}

// Reserved returns the extensions that nobody may have, because dialling the
// login code with them means something else: with *77* and *77*5* that is 5.
func (c Codes) Reserved() []string {
	var reserved []string
	for _, code := range c.exact {
		for _, prefix := range c.prefixes {
			if ext, ok := strings.CutPrefix(code.Number, prefix); ok && ext != "" && strings.Trim(ext, "0123456789") == "" {
				reserved = append(reserved, ext)
			}
		}
	}
	slices.Sort(reserved)
	return slices.Compact(reserved)
}

// Hides tells whether a number (an emergency or idle number) would be taken for
// a hot-desk code.
func (c Codes) Hides(number string) bool {
	_, _, ok := c.Match(number)
	return ok
}

// All lists the codes as they are dialled, for the dial plans of phones.
func (c Codes) All() []Code { return slices.Clone(c.exact) }

// Prefixes lists the login codes after which an extension may follow.
func (c Codes) Prefixes() []string { return slices.Clone(c.prefixes) }
