package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"hotdeskd/access"
	"hotdeskd/admin"
	"hotdeskd/hotdesk"
	"hotdeskd/internal/certs"
	"hotdeskd/ivr"
	"hotdeskd/journal"
	"hotdeskd/phonetemplates"
	"hotdeskd/provisioning"
	"hotdeskd/resync"
	"hotdeskd/sip"
	"hotdeskd/sounds"
	"hotdeskd/store/bolt"
	"hotdeskd/vault"
)

// Where things are in the data directory.
const (
	databaseFile = "hotdeskd.db"
	keysDir      = "keys"
	journalDir   = "journal"
	locationFile = "locations.json"
	socketFile   = "hotdeskd.sock"
	soundsDir    = "sounds" // an administrator's own recordings
	tlsDir       = "tls"
)

// app is the whole server, wired and listening but not yet running.
type app struct {
	stages  []stage
	certs   *certs.Certificates // nil: no listener needs them
	ready   readyFile
	desk    *hotdesk.Service
	files   *provisioning.Server
	access  *access.Access
	admin   *admin.Server
	closers []func() error
}

// readyFile tells scripts and tests where everything listens.
type readyFile struct {
	Provisioning struct {
		HTTP  string `json:"http,omitempty"`
		HTTPS string `json:"https,omitempty"`
	} `json:"provisioning"`
	SIP struct {
		UDP string `json:"udp,omitempty"`
		TCP string `json:"tcp,omitempty"`
		TLS string `json:"tls,omitempty"`
	} `json:"sip"`
	Console string `json:"console,omitempty"`
	Socket  string `json:"socket"`
}

// listeners are the addresses by name, for status.
func (r readyFile) listeners() map[string]string {
	all := map[string]string{
		"provisioning.http": r.Provisioning.HTTP, "provisioning.https": r.Provisioning.HTTPS,
		"sip.udp": r.SIP.UDP, "sip.tcp": r.SIP.TCP, "sip.tls": r.SIP.TLS, "console": r.Console, "socket": r.Socket,
	}
	maps.DeleteFunc(all, func(_, addr string) bool { return addr == "" })
	return all
}

// world is what a test may put in the place of the real one.
type world struct {
	now   func() time.Time                  // the clock of every decision
	store func(hotdesk.Store) hotdesk.Store // what stands before the database
}

func realWorld() world {
	return world{now: time.Now, store: func(s hotdesk.Store) hotdesk.Store { return s }}
}

// newApp wires the server in the order of the flow: one straight line, each
// step on the shoulders of those before it. It opens files and sockets and
// starts nothing; Serve does.
func newApp(c config, w world, log *slog.Logger) (a *app, err error) {
	a = &app{}
	now := w.now
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return a, fmt.Errorf("data_dir: %w", err)
	}
	in := func(name string) string { return filepath.Join(c.DataDir, name) }

	keys, err := vault.Open(in(keysDir))
	if err != nil {
		return a, err
	}
	db, err := bolt.Open(in(databaseFile), bolt.Options{CheckCommand: []string{"check-store"}})
	if err != nil {
		return a, err
	}
	a.closers = append(a.closers, db.Close)
	store := w.store(db)
	live := hotdesk.NewLive(now)

	templates, err := phonetemplates.Load()
	if err != nil {
		return a, err
	}
	models := hotdeskModels(templates)
	a.desk, err = hotdesk.New(hotdesk.Options{
		Store: store, Vault: keys, Live: live, Models: models, Parameter: templates.CheckParameter,
		Transports: c.SIP.transports(), NoHTTPS: c.Provisioning.HTTPS == "", Realm: c.SIP.Realm, Now: now, Log: log,
	})
	if err != nil {
		return a, err
	}

	phones, err := a.listenSIP(c.SIP)
	if err != nil {
		return a, err
	}
	sipHost, err := hostFor(c.SIP.Advertise, phones.anyAddr())
	if err != nil {
		return a, err
	}
	web, err := a.listenWeb(c.Provisioning)
	if err != nil {
		return a, err
	}
	console, err := a.listenConsole(c.Console.Listen)
	if err != nil {
		return a, err
	}
	if c.needsTLS() || console.secure {
		if a.certs, err = certs.Open(in(tlsDir), certHosts(sipHost, web), now); err != nil {
			return a, err
		}
		phones.Security = a.certs.Config()
	}
	var edge *sip.Edge // built below, before anything runs
	a.files, err = provisioning.New(provisioning.Options{
		Desk: a.desk, Live: live, Templates: templates, URL: web.url(), SecureURL: web.https,
		SIPHost: sipHost, SIPPorts: phones.ports(), Log: log,
		Alive: func(ctx context.Context, id hotdesk.DeviceID) bool { return edge.Alive(ctx, id) },
	})
	if err != nil {
		return a, err
	}

	prompts, unusable, err := sounds.Load(os.DirFS(in(soundsDir)))
	if err != nil {
		return a, err
	}
	for _, bad := range unusable {
		log.Warn("the embedded prompt is used instead", "err", bad)
	}
	ports, err := c.RTP.portRange()
	if err != nil {
		return a, err
	}
	menu, err := ivr.New(a.desk, ivr.Options{Sounds: prompts, Ports: ports, Advertise: advertised(c.RTP.Advertise), Log: log})
	if err != nil {
		return a, err
	}
	book, err := journal.Open(in(journalDir), journal.Options{Now: now, Log: log})
	if err != nil {
		return a, err
	}
	a.closers = append(a.closers, book.Close)
	edge, err = sip.New(sip.Options{
		Desk: a.desk, Live: live, Attendant: attendant{menu}, Realm: c.SIP.Realm, NonceKey: keys.DeriveKey("nonce"),
		Record: book.RecordCall, Audit: book.AppendNow, Advertise: sipHost, LocationFile: in(locationFile), Now: now, Log: log,
		DrainCalls: c.Drain.calls(), DrainEmergency: c.Drain.emergency(), ChallengeUnproven: c.SIP.UnprovenEmergency == "challenge",
	})
	if err != nil {
		return a, err
	}
	syncer, err := resync.New(a.desk, live, a.files, edge, now, log)
	if err != nil {
		return a, err
	}

	socket, err := filepath.Abs(in(socketFile))
	if err != nil {
		return a, err
	}
	a.ready.Provisioning.HTTP, a.ready.Provisioning.HTTPS, a.ready.Socket = web.http, web.https, socket
	a.ready.Console = console.url
	a.ready.SIP.UDP, a.ready.SIP.TCP, a.ready.SIP.TLS = phones.addr("udp"), phones.addr("tcp"), phones.addr("tls")
	a.access, err = access.New(access.Options{Store: store, Hasher: keys, Now: now, Log: log})
	if err != nil {
		return a, err
	}
	a.admin, err = admin.New(admin.Options{
		Desk: a.desk, Live: live, Files: a.files, Journal: history{book, in(journalDir)}, Phones: edge, Ladder: a.files,
		Access: a.access, ConsoleURL: console.url, Models: models, Version: version(), Ready: a.desk.Healthy, Log: log,
		Listeners: a.ready.listeners(), Host: host{config: c, advertised: sipHost, url: web.url(), certs: a.certs, now: now}.examine,
		Backup:  func(w io.Writer, withKeys bool) error { return writeBackup(w, c.DataDir, db, withKeys, now()) },
		PINHash: vault.PINHash(), IVRLines: menu.Lines(),
	})
	if err != nil {
		return a, err
	}
	unix, err := listenSocket(socket)
	if err != nil {
		return a, err
	}
	a.closers = append(a.closers, unix.Close)

	a.stages = []stage{
		{name: "rules", serve: a.desk.Serve, ready: a.desk.Ready()},
		{name: "journal", serve: func(ctx context.Context) error { return book.Serve(ctx, store) }},
		{name: "SIP", serve: func(ctx context.Context) error { return edge.Serve(ctx, phones.Listeners) }, ready: edge.Ready(), drain: draining(c.Drain, edge.Drain)},
		{name: "provisioning", serve: web.serve(a.files.Handler(), a.certs, log)},
		{name: "resync", serve: syncer.Serve},
		{name: "access", serve: a.access.Serve, ready: a.access.Ready()},
		{name: "API", serve: serveHTTP(httpServer(a.admin.Handler(), log), unix)},
	}
	if console.listener != nil {
		a.stages = append(a.stages, stage{name: "console", serve: console.serve(a.admin.Console(), a.certs, log)})
	}
	return a, nil
}

// Serve runs the server until ctx ends; up is called once everything runs.
func (a *app) Serve(ctx context.Context, up func(*app) error) error {
	err := runStages(ctx, a.stages, func() error { return up(a) })
	return errors.Join(err, a.close())
}

// close gives back what newApp opened, in reverse. A socket that its stage has
// closed already is no error.
func (a *app) close() error {
	var all error
	for i := len(a.closers) - 1; i >= 0; i-- {
		if err := a.closers[i](); err != nil && !errors.Is(err, net.ErrClosed) {
			all = errors.Join(all, err)
		}
	}
	a.closers = nil
	return all
}

// hotdeskModels tells the rules what they need to know of the phone models.
func hotdeskModels(t *phonetemplates.Set) []hotdesk.Model {
	var models []hotdesk.Model
	for _, m := range t.Models() {
		models = append(models, hotdesk.Model{ID: m.ID, Vendor: m.Vendor, LineKeys: m.LineKeys, AuthNameAOR: m.AuthNameAOR})
	}
	return models
}

// writeReady puts the ready file in place whole.
func (a *app) writeReady(path string) error {
	b, err := json.MarshalIndent(a.ready, "", " ")
	if err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	return nil
}

// version is the module's version or, of a build from a checkout, its commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return info.Main.Version
}

// newLog makes the server's log; level can be changed while it runs.
func newLog(c logConfig, w io.Writer) (log *slog.Logger, level *slog.LevelVar, err error) {
	level = &slog.LevelVar{}
	now, err := c.level()
	if err != nil {
		return nil, nil, err
	}
	level.Set(now)
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), level, nil
	}
	return slog.New(slog.NewTextHandler(w, options)), level, nil
}
