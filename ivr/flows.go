package ivr

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"hotdeskd/hotdesk"
)

// prompt is the one table from the rules' errors to what is said. It is asked
// only where the error may be told: never before a right PIN, but for what
// concerns the device alone.
func prompt(err error) string {
	switch {
	case errors.Is(err, hotdesk.ErrNotHotDesk):
		return "not_enabled"
	case errors.Is(err, hotdesk.ErrFixedDevice):
		return "not_hotdesk_phone"
	case errors.Is(err, hotdesk.ErrBlocked):
		return "blocked"
	case errors.Is(err, hotdesk.ErrDeviceInCall):
		return "end_call_first"
	case errors.Is(err, hotdesk.ErrSecondPhoneRefused):
		return "elsewhere_refused"
	case errors.Is(err, hotdesk.ErrNobody):
		return "nobody_here"
	}
	return "error"
}

// refusal is the one table from why a call is refused to what is said.
func refusal(reason string) string {
	switch reason {
	case hotdesk.ReasonIdle:
		return "idle_blocked"
	case hotdesk.ReasonBlocked:
		return "blocked"
	case hotdesk.ReasonNoPBX:
		return "no_outside"
	case hotdesk.ReasonUnknown:
		return "no_such_number"
	case hotdesk.ReasonOffDesk:
		return "not_at_a_desk"
	}
	return "not_allowed"
}

// wrong tells whether a PIN was refused in a way that must not be told apart: an
// unknown extension, a wrong PIN, a disabled user and a lock are all one answer.
func wrong(err error) bool {
	return errors.Is(err, hotdesk.ErrNoMatch) || errors.Is(err, hotdesk.ErrLocked)
}

// fail tells an error of the rules and ends the call.
func (d *dialogue) fail(ctx context.Context, err error) error {
	key := prompt(err)
	if key == "error" {
		d.log.Error("hot-desk request failed", slog.String("action", d.action), slog.Any("err", err))
	}
	return d.bye(ctx, key)
}

// asking is the context of a question to the rules. What the caller asked for with
// a right PIN is done even if they hang up meanwhile.
func asking(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), deskTimeout)
}

// login: [which extension?] which PIN? up to three times. A PIN that was dialled with
// the code counts as the first answer: it has gone over the wire and into the phone's
// list of calls already, and the person is told not to do so again.
func (d *dialogue) login(ctx context.Context, phone hotdesk.Phone, dialled hotdesk.Extension, dialledPIN hotdesk.Secret) error {
	if phone.Device.Type == hotdesk.Fixed {
		return d.bye(ctx, "not_hotdesk_phone")
	}
	var first []word
	if dialled != "" {
		first = announce(dialled) // lets a typing error be heard before the PIN is typed
	}
	for try := 1; ; try++ {
		if d.desk.Locked(d.visit.Device) {
			return d.bye(ctx, "locked")
		}
		user, pin := dialled, dialledPIN
		if pin == "" || try > 1 {
			var err error
			if user, pin, err = d.credentials(ctx, dialled, first); err != nil {
				return err
			}
		} else if d.visit.Show != nil {
			d.log.Warn("a PIN was dialled with the code; tell the user to type it only when asked", "device", string(d.visit.Device))
			d.visit.Show("Type the PIN when asked")
		}
		call, cancel := asking(ctx)
		result, err := d.desk.Login(call, hotdesk.LoginRequest{
			Device: d.visit.Device, User: user, PIN: pin, By: hotdesk.ByIVR, Call: d.visit.CallID,
		})
		cancel()
		switch {
		case err == nil && result.Already:
			return d.bye(ctx, "already_here")
		case err == nil:
			return d.loggedIn(ctx, user, result)
		case !wrong(err):
			return d.fail(ctx, err)
		case try == maxTries:
			return d.bye(ctx, "no_match")
		}
		first = d.again()
	}
}

// credentials asks for the extension, unless it was dialled, and the PIN.
func (d *dialogue) credentials(ctx context.Context, dialled hotdesk.Extension, first []word) (hotdesk.Extension, hotdesk.Secret, error) {
	user := dialled
	if dialled == "" {
		digits, err := d.ask(ctx, askExtension(), first...)
		if err != nil {
			return "", "", err
		}
		// Too long a number is just another extension that nobody has. It is not
		// logged: people type their PIN here.
		user, first = hotdesk.Extension(digits), nil
		clear(digits)
	}
	pin, err := d.ask(ctx, askPIN(), first...)
	if err != nil {
		return "", "", err
	}
	return user, secret(pin), nil
}

// again is what comes before the next question after a wrong PIN. What was typed
// ahead of the bad news is dropped: it was meant for another question.
func (d *dialogue) again() []word {
	d.line.forget()
	d.show("no_match")
	return []word{{key: "no_match"}, {key: "try_again"}}
}

func (d *dialogue) loggedIn(ctx context.Context, user hotdesk.Extension, result hotdesk.LoginResult) error {
	more := announce(user)
	if len(result.Moved) > 0 {
		more = append(more, word{key: "moved"})
	}
	more = append(more, word{key: "wait_update"})
	if d.visit.Show != nil {
		d.visit.Show("Logged in: " + string(user))
	}
	return d.bye(ctx, "logged_in", more...)
}

// logout needs no PIN.
func (d *dialogue) logout(ctx context.Context, everywhere bool) error {
	call, cancel := asking(ctx)
	defer cancel()
	_, err := d.desk.Logout(call, hotdesk.LogoutRequest{
		Device: d.visit.Device, By: hotdesk.ByIVR, Call: d.visit.CallID, Everywhere: everywhere,
	})
	if err != nil {
		return d.fail(ctx, err)
	}
	return d.bye(ctx, "logged_out", word{key: "wait_update"})
}

// changePIN: [which extension?] old PIN, new PIN, new PIN again.
func (d *dialogue) changePIN(ctx context.Context, phone hotdesk.Phone) error {
	var here hotdesk.Extension // who sits here need not say who they are
	if phone.User != nil {
		here = phone.User.Extension
	}
	var first []word
	for try := 1; ; try++ {
		if d.desk.Locked(d.visit.Device) {
			return d.bye(ctx, "locked")
		}
		user, old, err := d.credentials(ctx, here, first)
		if err != nil {
			return err
		}
		switch err = d.newPIN(ctx, user, old); {
		case !wrong(err):
			return err
		case try == maxTries:
			return d.bye(ctx, "no_match")
		}
		first = d.again()
	}
}

// newPIN asks for the new PIN until it is fit or was refused too often. A wrong
// old PIN comes back as the rules' error: they compare it last, so that nobody
// can try PINs here without giving a new one.
func (d *dialogue) newPIN(ctx context.Context, user hotdesk.Extension, old hotdesk.Secret) error {
	var first []word
	for rewrites := 0; ; rewrites++ {
		chosen, err := d.ask(ctx, askNewPIN(), first...)
		if err != nil {
			return err
		}
		repeated, err := d.ask(ctx, askRepeat())
		if err != nil {
			clear(chosen)
			return err
		}
		bad := "pin_mismatch"
		if secret(repeated) == hotdesk.Secret(chosen) {
			call, cancel := asking(ctx)
			err = d.desk.ChangePIN(call, hotdesk.ChangePINRequest{
				Device: d.visit.Device, User: user, Old: old, New: secret(chosen), Call: d.visit.CallID,
			})
			cancel()
			switch {
			case err == nil:
				return d.bye(ctx, "pin_changed")
			case wrong(err):
				return err
			case !errors.Is(err, hotdesk.ErrWeakPIN):
				return d.fail(ctx, err)
			}
			bad = "pin_weak"
		}
		clear(chosen)
		if rewrites == maxRewrites {
			return d.bye(ctx, bad)
		}
		d.line.forget()
		d.show(bad)
		first = []word{{key: bad}}
	}
}

// who tells which phone this is and who sits here, so that a desk can be found by ear.
func (d *dialogue) who(ctx context.Context, phone hotdesk.Phone) error {
	id := string(phone.Device.ID)
	more := append([]word{{key: "hd"}}, readBack(strings.TrimLeft(id, "HD"))...)
	if phone.User != nil {
		more = append(more, announce(phone.User.Extension)...)
	}
	if d.visit.Show != nil {
		d.visit.Show("This phone is " + id)
	}
	return d.bye(ctx, "this_phone_is", more...)
}

// announce is "Extension one zero zero".
func announce(ext hotdesk.Extension) []word {
	return append([]word{{key: "ext_is"}}, readBack(string(ext))...)
}

// display is what the phone's screen says where a prompt tells a state.
func display(key string) string {
	switch key {
	case "no_match":
		return "Wrong extension or PIN"
	case "locked":
		return "Locked, try later"
	case "already_here":
		return "Already logged in"
	case "logged_out":
		return "Logged out"
	case "nobody_here":
		return "Nobody logged in"
	case "idle_blocked":
		return "Not logged in: dial *77"
	case "not_allowed":
		return "Number not allowed"
	case "blocked":
		return "Phone blocked"
	case "no_outside":
		return "No outside calls"
	case "no_such_number":
		return "No such number"
	case "not_at_a_desk":
		return "Not at a desk"
	case "not_enabled":
		return "Hot-desking not enabled"
	case "not_hotdesk_phone":
		return "Not a shared phone"
	case "elsewhere_refused":
		return "Logged in elsewhere"
	case "end_call_first":
		return "End the other call first"
	case "pin_weak":
		return "PIN too easy"
	case "pin_mismatch":
		return "PINs differ"
	case "pin_changed":
		return "PIN changed"
	case "cancelled":
		return "Cancelled"
	case "no_entry":
		return "Nothing entered"
	case "error":
		return "Error, try later"
	}
	return ""
}

// show puts a state on the phone's display, for people who cannot hear it.
func (d *dialogue) show(key string) {
	if text := display(key); text != "" && d.visit.Show != nil {
		d.visit.Show(text)
	}
}
