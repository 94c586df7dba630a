package main

import (
	"context"
	"fmt"
	"strings"

	"hotdeskd/admin"
	"hotdeskd/internal/simphone"
)

// phone makes a phone of the demo; it boots when its step comes.
func (d *demo) phone(mac, model string) (*simphone.Phone, error) {
	return simphone.New(simphone.Config{
		Provision: d.app.files.EnrolmentURL("demo"), MAC: mac, Model: model, AutoAnswer: true, Speak: true,
	})
}

// boots: the phone fetches, is claimed, shows its HD number and registers.
func (d *demo) boots(ctx context.Context, id string, p *simphone.Phone) error {
	d.switchOn(p)
	claimed, data, err := d.await(ctx, "device.claimed", id, nil)
	if err != nil {
		return err
	}
	d.say(claimed, "phone %s booted; its display shows %s", data["mac"], id)
	registered, _, err := d.await(ctx, "device.registered", id, nil)
	if err != nil {
		return err
	}
	dev, err := admin.Get[admin.Device](ctx, d.api, "/devices/"+id)
	if err != nil {
		return err
	}
	over, _, _ := strings.Cut(dev.Source, ":")
	d.say(registered, "%s, a %s, registered over %s", id, dev.Model, strings.ToUpper(over))
	return p.Registered(ctx)
}

// refused: an idle phone may not call outside, and says why.
func (d *demo) refused(ctx context.Context, p *simphone.Phone) error {
	c, err := p.Dial(ctx, "0612345678")
	if err != nil {
		return err
	}
	if err := c.WaitHeard(ctx, 25); err != nil {
		return err
	}
	if err := c.HangUp(ctx); err != nil {
		return err
	}
	id, data, err := d.await(ctx, "call.ended", "HD0001", map[string]string{"result": "refused"})
	if err != nil {
		return err
	}
	d.say(id, "HD0001 dialled %s: refused, because it is %s; the reason was spoken", data["to"], data["reason"])
	return nil
}

// emergency: 112 goes through from the same idle phone.
func (d *demo) emergency(ctx context.Context, p *simphone.Phone) error {
	c, err := p.Dial(ctx, "112")
	if err != nil {
		return err
	}
	id, _, err := d.await(ctx, "emergency.called", "HD0001", nil)
	if err != nil {
		return err
	}
	d.say(id, "HD0001 dialled 112: relayed to the PBX with the desk's number")
	if err := c.WaitHeard(ctx, 10); err != nil {
		return err
	}
	if err := c.HangUp(ctx); err != nil {
		return err
	}
	id, _, err = d.await(ctx, "call.ended", "HD0001", map[string]string{"kind": "emergency", "result": "answered"})
	if err == nil {
		d.say(id, "the emergency call was answered and has ended")
	}
	return err
}

// login: the code, the PIN, one transaction.
func (d *demo) login(ctx context.Context, p *simphone.Phone, device, user, pin string) error {
	c, err := p.Dial(ctx, "*77*"+user+"*")
	if err != nil {
		return err
	}
	if err := c.Press(ctx, pin+"#"); err != nil {
		return err
	}
	id, data, err := d.await(ctx, "session.started", device, nil)
	if err != nil {
		return err
	}
	d.say(id, "*77*%s* and the PIN: user %s is logged in at %s, session %s", user, user, device, data["session"])
	dev, err := admin.Get[admin.Device](ctx, d.api, "/devices/"+device)
	if err != nil {
		return err
	}
	if dev.User == nil || *dev.User != user {
		return fmt.Errorf("the API says %s is %s", device, dev.State)
	}
	d.say("GET /devices/"+device, "%s is %s by %s; configuration %d wanted, %d fetched", device, dev.State, *dev.User, dev.Config.Wanted, dev.Config.Fetched)
	return c.HangUp(ctx)
}

// updated: check-sync after the call, fetch, registration with the new secret.
func (d *demo) updated(ctx context.Context, p *simphone.Phone, device string) error {
	dev, err := admin.Get[admin.Device](ctx, d.api, "/devices/"+device)
	if err != nil {
		return err
	}
	version := map[string]string{"version": fmt.Sprint(dev.Config.Wanted)}
	id, data, err := d.await(ctx, "device.fetched", device, version)
	if err != nil {
		return err
	}
	d.say(id, "%s was told to fetch (check-sync) and took version %v", device, data["version"])
	id, _, err = d.await(ctx, "device.config_current", device, version)
	if err != nil {
		return err
	}
	dev, err = admin.Get[admin.Device](ctx, d.api, "/devices/"+device)
	if err != nil {
		return err
	}
	d.say(id, "%s registered with secret %d of %d; its display shows %q: %s", device, dev.Generation.Proven, dev.Generation.Current, p.State().Label, dev.State)
	return nil
}

// call: 100 calls 101, who sees 100.
func (d *demo) call(ctx context.Context, p *simphone.Phone) error {
	c, err := p.Dial(ctx, "101")
	if err != nil {
		return err
	}
	id, data, err := d.await(ctx, "call.answered", "HD0001", map[string]string{"kind": "internal"})
	if err != nil {
		return err
	}
	d.say(id, "%s called %s: answered at %s, call %s", data["user"], data["to"], data["to_device"], data["call"])
	if err := c.WaitHeard(ctx, 10); err != nil {
		return err
	}
	if err := c.HangUp(ctx); err != nil {
		return err
	}
	_, _, err = d.await(ctx, "call.ended", "HD0001", map[string]string{"kind": "internal"})
	return err
}

// moved: who logs in elsewhere leaves the phone where they sat.
func (d *demo) moved(ctx context.Context, device string) error {
	id, data, err := d.await(ctx, "session.ended", device, nil)
	if err != nil {
		return err
	}
	d.say(id, "100 sits elsewhere now: session %s at %s has ended", data["session"], device)
	return nil
}

// logout: by the first line key; the phone goes back to idle.
func (d *demo) logout(ctx context.Context, p *simphone.Phone, device string) error {
	c, err := p.DialKey(ctx, 1)
	if err != nil {
		return err
	}
	id, data, err := d.await(ctx, "session.ended", device, nil)
	if err != nil {
		return err
	}
	d.say(id, "the Logout key of %s: session %s has ended", device, data["session"])
	dev, err := admin.Get[admin.Device](ctx, d.api, "/devices/"+device)
	if err != nil {
		return err
	}
	d.say("GET /devices/"+device, "%s is %s", device, dev.State)
	return c.HangUp(ctx)
}
