package fleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"hotdeskd/internal/simphone"
)

// Values of Config.Storm.
const (
	// Boot: all phones are switched on at once.
	Boot = "boot"
	// Login: the phones are on, and many people log in at once.
	Login = "login"
)

// MaxPhones is the most that one fleet may have.
const MaxPhones = 9000

// Event is one event of the server as it came.
type Event struct {
	Name string
	Data json.RawMessage
}

// API is what a fleet asks of the server. Paths are those below /api/v1.
type API interface {
	Read(ctx context.Context, path string, out any) error
	Post(ctx context.Context, path string, body, out any) error
	Delete(ctx context.Context, path string) error
	// Apply takes a file of desired state.
	Apply(ctx context.Context, text []byte) error
	// Events yields what happens from now on, until ctx ends.
	Events(ctx context.Context) iter.Seq2[Event, error]
}

// Config describes a fleet and its storm. API, Phones and Storm are required.
type Config struct {
	API    API
	Phones int
	Storm  string // Boot or Login
	// AtOnce is how many people log in at the same time; 100 by default.
	AtOnce int
	// Vendors are those of the phones, in turn; by default all that can be simulated.
	Vendors []string
	// Transport of SIP: udp, tcp, tls; empty for what the server's sites have.
	Transport string
	// Name is the name of the fleet's site; by default fleet- and six hex digits.
	Name string
	// Patience is how long the storm may go on without any phone getting on; 60 s
	// by default.
	Patience time.Duration
	// Say is told how it goes, one line at a time; nil tells nobody.
	Say func(string)
	// Phone may change how the n-th phone behaves before it is switched on.
	Phone func(n int, c *simphone.Config)
}

var (
	// ErrConfig: there can be no such fleet.
	ErrConfig = errors.New("fleet")
	// ErrTaken: the server has something of the fleet's name or numbers already.
	ErrTaken = errors.New("not begun")
	// ErrBehind: not every phone got through the storm; the Report names them.
	ErrBehind = errors.New("not every phone got there")
	// ErrLeft: not everything could be removed again.
	ErrLeft = errors.New("not removed")
	// ErrNotOurs: among what would be removed is something that no fleet made.
	ErrNotOurs = errors.New("that holds what no fleet made")
)

// Fleet is one storm. New builds it, Run runs it once.
type Fleet struct {
	Config
	seats []*seat
	login string // what is dialled before the extension
	url   string // where the phones fetch

	off context.CancelFunc // switches the phones off; nil before they are on
	on  sync.WaitGroup     // the phones

	mu     sync.Mutex
	byID   map[string]*seat // by device id, once the office stands
	broken error            // why events may be missing
}

// New checks the config and builds the fleet. It asks the server nothing.
func New(c Config) (*Fleet, error) {
	if c.API == nil {
		return nil, fmt.Errorf("%w: no server", ErrConfig)
	}
	if c.Phones < 1 || c.Phones > MaxPhones {
		return nil, fmt.Errorf("%w: from 1 to %d phones, not %d", ErrConfig, MaxPhones, c.Phones)
	}
	if c.Storm != Boot && c.Storm != Login {
		return nil, fmt.Errorf("%w: the storm is %q or %q, not %q", ErrConfig, Boot, Login, c.Storm)
	}
	if c.AtOnce == 0 {
		c.AtOnce = 100
	}
	if c.AtOnce < 1 {
		return nil, fmt.Errorf("%w: at least 1 login at once", ErrConfig)
	}
	c.AtOnce = min(c.AtOnce, c.Phones)
	if !slices.Contains([]string{"", "udp", "tcp", "tls"}, c.Transport) {
		return nil, fmt.Errorf("%w: transport %q; use udp, tcp or tls", ErrConfig, c.Transport)
	}
	if c.Name == "" {
		var b [3]byte
		_, _ = rand.Read(b[:]) // never fails
		c.Name = "fleet-" + hex.EncodeToString(b[:])
	}
	if err := checkName(c.Name); err != nil {
		return nil, err
	}
	if c.Patience <= 0 {
		c.Patience = time.Minute
	}
	if c.Say == nil {
		c.Say = func(string) {}
	}
	if c.Phone == nil {
		c.Phone = func(int, *simphone.Config) {}
	}
	models, err := mix(c.Vendors)
	if err != nil {
		return nil, err
	}
	f := &Fleet{Config: c, byID: map[string]*seat{}}
	f.seats = newSeats(c.Name, c.Phones, models)
	return f, nil
}

// mix picks the vendors' models, which the phones have in turn: one of each vendor,
// then another one of each, until all have had their turn.
func mix(vendors []string) ([]string, error) {
	var known []string
	rows := map[string][]string{} // models by vendor
	for _, model := range simphone.Models() {
		vendor := vendorOf(model)
		if len(rows[vendor]) == 0 {
			known = append(known, vendor)
		}
		rows[vendor] = append(rows[vendor], model)
	}
	if len(vendors) == 0 {
		vendors = known
	}
	most := 0
	for _, v := range vendors {
		if len(rows[v]) == 0 {
			return nil, fmt.Errorf("%w: no phone of vendor %q is simulated; there are %s", ErrConfig, v, strings.Join(known, ", "))
		}
		most = max(most, len(rows[v]))
	}
	var models []string
	for i := range most {
		for _, v := range vendors {
			models = append(models, rows[v][i%len(rows[v])])
		}
	}
	return models, nil
}

// vendorOf is the vendor's part of a model id.
func vendorOf(model string) string {
	vendor, _, _ := strings.Cut(model, "-")
	return vendor
}

// names are those that a fleet's site may have: who removes one must not be able
// to name an office of real phones by mistake.
var names = regexp.MustCompile(`^fleet-[a-z0-9-]{1,32}$`)

func checkName(name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("%w: the name %q is not fleet- and up to 32 letters (a to z) and digits", ErrConfig, name)
	}
	return nil
}

// newSeats numbers phones and people. Both kinds of numbers come from the name,
// so that two fleets do not meet: MACs are locally administered (their second bit
// says so, which no vendor's phone has), extensions have five digits and begin with
// 9: the server reads them out to whoever logs in, so they are not longer.
func newSeats(name string, n int, models []string) []*seat {
	begin := firstExtension + int(hash(name)>>40)%(MaxPhones+1-n)
	seats := make([]*seat, n)
	for i := range seats {
		seats[i] = &seat{
			n: i, mac: fmt.Sprintf("%s%04x", macPrefix(name), i+1), model: models[i%len(models)],
			ext: fmt.Sprint(begin + i), pin: newPIN(), commit: make(chan struct{}),
		}
	}
	return seats
}

// firstExtension is the smallest that a fleet may have; there are MaxPhones.
const firstExtension = 90000

// macPrefix is how the MACs of a fleet's phones begin: four digits that count follow.
func macPrefix(name string) string { return fmt.Sprintf("02%06x", hash(name)>>8&0xffffff) }

// userName is what the n-th person of a fleet is called, counted from 1.
func userName(fleet string, n int) string { return fmt.Sprintf("%s %d", fleet, n) }

func hash(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return h.Sum64()
}

// newPIN is six digits at random in a form that no rule against weak PINs refuses:
// they never count, their halves differ, and no extension of a fleet is in them, as
// those begin with 9.
func newPIN() string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("27%d4%d%d", b[0]%10, b[1]%10, b[2]%10)
}

// Run brings the office, runs the storm and takes the office away again. The
// report tells what was seen, also beside an error.
func (f *Fleet) Run(ctx context.Context) (r Report, err error) {
	r = f.newReport()
	if err := f.look(ctx, &r); err != nil {
		return r, err
	}
	defer func() {
		err = errors.Join(err, f.leave(ctx, &r))
	}()
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer stop()
	watch.Go(func() { f.watch(watching) })
	if err := f.settle(ctx); err != nil {
		return r, err
	}
	err = f.boot(ctx, &r)
	if err == nil && f.Storm == Login {
		err = f.logins(ctx, &r)
	}
	if len(r.Behind) > 0 {
		b := r.Behind[0]
		err = fmt.Errorf("%w; first of all %s %s (user %s): %s", err, b.MAC, b.Device, b.User, b.Step)
	}
	return r, err
}
