package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"hotdeskd/admin"
	"hotdeskd/internal/simphone"
)

// demoStep is how long a step of the demo may take.
const demoStep = 5 * time.Second

// demoOffice is what the demo applies; %s is the answering service.
const demoOffice = `
pbx:
  - {name: main, mode: trunk, domain: pbx.example, proxy: "%s"}
sites:
  - name: demo
    country: IT
    time_zone: Europe/Rome
    networks: ["127.0.0.0/8"]
    emergency:
      numbers: ["112", "113"]
      caller_id: "+390612345600"
      address: {street: "Via Appia 1", city: Roma, floor: "2"}
      routes: [{pbx: main}]
users:
  - {extension: "100", name: Mario Rossi, pin: "4071"}
  - {extension: "101", name: Anna Bianchi, pin: "5162"}
devices:
  - {mac: "80:5e:c0:00:00:01", model: yealink-t46u, site: demo, desk: "2-14"}
  - {mac: "00:04:13:00:00:02", model: snom-d785, site: demo, desk: "2-15", transport: tcp}
  - {mac: "c0:74:ad:00:00:03", model: grandstream-grp2614, site: demo, desk: "3-1", transport: tls}
`

// demo is the main job told line by line: a server on loopback, an answering
// service as its PBX, and three simulated phones of three vendors. What it tells
// comes from the server's events and API, with their ids.
type demo struct {
	out    io.Writer
	app    *app
	api    *admin.Client
	events chan admin.StreamEvent
	passed []admin.StreamEvent // that nobody has waited for yet
	start  time.Time
	phones sync.WaitGroup
	on     context.Context // the phones are on until it ends
}

// runDemo runs the server and the story; afterwards it stays up until ctx ends.
func runDemo(ctx context.Context, c config, out io.Writer, ready string, log *slog.Logger) error {
	service, err := simphone.Answer("127.0.0.1", nil)
	if err != nil {
		return err
	}
	defer service.Close()
	a, err := newApp(c, realWorld(), log)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	told := make(chan error, 1)
	err = a.Serve(ctx, func(a *app) error {
		if ready != "" {
			if err := a.writeReady(ready); err != nil {
				return err
			}
		}
		link, err := a.firstOwner()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "See it in the console: %s (works once)\n", link); err != nil {
			return err
		}
		d := &demo{out: out, app: a, api: admin.Local(a.ready.Socket), events: make(chan admin.StreamEvent, 1000), start: time.Now()}
		go func() {
			err := d.tell(ctx, service.Addr())
			told <- err
			if err != nil {
				stop()
			}
		}()
		return nil
	})
	stop()
	select {
	case storyErr := <-told:
		return errors.Join(storyErr, err)
	default: // interrupted in the middle of the story
		return err
	}
}

// demoConfig is a server of its own on loopback: ports that are free, and a data
// directory that is new unless one was given.
func demoConfig(c config, dataDir string) (config, error) {
	const free = "127.0.0.1:0"
	c.Provisioning.HTTP, c.Provisioning.HTTPS, c.Console.Listen = free, "", free
	c.SIP.UDP, c.SIP.TCP, c.SIP.TLS = free, free, free
	c.Drain = drainConfig{Calls: "1s", Emergency: "1s"} // nobody really talks
	if c.Log.Level == "info" {
		c.Log.Level = "warn" // the story is what one wants to read
	}
	if dataDir != "" {
		c.DataDir = dataDir
		if _, err := os.Stat(dataDir + "/" + databaseFile); err == nil {
			return c, fmt.Errorf("--demo: %s holds a server's data; give an empty --data-dir, or none", dataDir)
		}
		return c, nil
	}
	dir, err := os.MkdirTemp("", "hotdeskd-demo-")
	c.DataDir = dir
	return c, err
}

// tell is the story, and then waits for ctrl-C.
func (d *demo) tell(ctx context.Context, service string) error {
	var off context.CancelFunc
	d.on, off = context.WithCancel(ctx)
	defer d.phones.Wait()
	defer off()
	go d.follow(d.on)
	d.say("server", "phones fetch from %s and register to %s (UDP, TCP) and %s (TLS)", d.app.ready.Provisioning.HTTP, d.app.ready.SIP.UDP, d.app.ready.SIP.TLS)
	applied, err := d.api.Apply(ctx, fmt.Appendf(nil, demoOffice, service), false, false)
	if err != nil {
		return err
	}
	d.say("apply", "%d changes: one site, a PBX, users 100 and 101, three phones", len(applied.Changes))
	var phones [3]*simphone.Phone
	for n, of := range []struct{ mac, model string }{
		{"805ec0000001", "yealink-t46u"}, {"000413000002", "snom-d785"}, {"c074ad000003", "grandstream-grp2614"},
	} {
		if phones[n], err = d.phone(of.mac, of.model); err != nil {
			return err
		}
	}
	if err := d.story(ctx, phones[0], phones[1], phones[2]); err != nil {
		return err
	}
	dir := d.app.ready.Socket[:len(d.app.ready.Socket)-len(socketFile)-1]
	d.say("done", "in %.1f s. The server goes on until ctrl-C; look around:", time.Since(d.start).Seconds())
	for _, command := range []string{"calls", "session list", "audit", "device list"} {
		fmt.Fprintf(d.out, "    ./bin/hotdeskd %s --data-dir %s\n", command, dir)
	}
	fmt.Fprintf(d.out, "    ./bin/hotdeskd sim phone --provision %s --mac 805ec0000009 --model yealink-t46u\n", d.app.files.EnrolmentURL("demo"))
	<-ctx.Done()
	return nil
}

// story is what happens, in order. Phones hang up once the outcome is committed.
func (d *demo) story(ctx context.Context, first, second, third *simphone.Phone) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"boot", func(ctx context.Context) error { return d.boots(ctx, "HD0001", first) }},
		{"refused", func(ctx context.Context) error { return d.refused(ctx, first) }},
		{"emergency", func(ctx context.Context) error { return d.emergency(ctx, first) }},
		{"login", func(ctx context.Context) error { return d.login(ctx, first, "HD0001", "100", "4071") }},
		{"updated", func(ctx context.Context) error { return d.updated(ctx, first, "HD0001") }},
		{"boot", func(ctx context.Context) error { return d.boots(ctx, "HD0002", second) }},
		{"login", func(ctx context.Context) error { return d.login(ctx, second, "HD0002", "101", "5162") }},
		{"updated", func(ctx context.Context) error { return d.updated(ctx, second, "HD0002") }},
		{"call", func(ctx context.Context) error { return d.call(ctx, first) }},
		{"boot", func(ctx context.Context) error { return d.boots(ctx, "HD0003", third) }},
		{"login", func(ctx context.Context) error { return d.login(ctx, third, "HD0003", "100", "4071") }},
		{"move", func(ctx context.Context) error { return d.moved(ctx, "HD0001") }},
		{"updated", func(ctx context.Context) error { return d.updated(ctx, first, "HD0001") }},
		{"updated", func(ctx context.Context) error { return d.updated(ctx, third, "HD0003") }},
		{"logout", func(ctx context.Context) error { return d.logout(ctx, third, "HD0003") }},
		{"updated", func(ctx context.Context) error { return d.updated(ctx, third, "HD0003") }},
	} {
		limit, cancel := context.WithTimeout(ctx, demoStep)
		err := step.do(limit)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("demo: step %q did not happen: %w", step.name, err)
		}
	}
	return nil
}

// switchOn boots a phone, which stays on until the demo ends.
func (d *demo) switchOn(p *simphone.Phone) {
	d.phones.Go(func() {
		if err := p.Run(d.on); err != nil {
			d.say("phone", "%s", err)
		}
	})
}

// say prints one line of the story.
func (d *demo) say(id, format string, args ...any) {
	_, _ = fmt.Fprintf(d.out, "%6.2fs  [%s] %s\n", time.Since(d.start).Seconds(), id, fmt.Sprintf(format, args...))
}

// follow reads the server's events.
func (d *demo) follow(ctx context.Context) {
	for ev, err := range d.api.Events(ctx) {
		if err != nil {
			return // the step that waits for an event says what is missing
		}
		select {
		case d.events <- ev:
		case <-ctx.Done():
			return
		}
	}
}

// await waits for an event of a name about a device whose data has the given
// members, or finds it among those that have passed.
func (d *demo) await(ctx context.Context, name, device string, members map[string]string) (id string, data map[string]any, err error) {
	for looked := 0; ; {
		for ; looked < len(d.passed); looked++ {
			ev, data := d.passed[looked], map[string]any{}
			if ev.Name == name && json.Unmarshal(ev.Data, &data) == nil && data["device"] == device && has(data, members) {
				d.passed = slices.Delete(d.passed, looked, looked+1)
				return "event " + ev.ID, data, nil
			}
		}
		select {
		case ev := <-d.events:
			d.passed = append(d.passed, ev)
		case <-ctx.Done():
			return "", nil, fmt.Errorf("no event %s of %s: %w", name, device, ctx.Err())
		}
	}
}

func has(data map[string]any, members map[string]string) bool {
	for k, v := range members {
		if fmt.Sprint(data[k]) != v {
			return false
		}
	}
	return true
}
