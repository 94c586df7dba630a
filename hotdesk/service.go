package hotdesk

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Vault hashes PINs, derives device secrets and seals what must be stored.
type Vault interface {
	HashPIN(ctx context.Context, pin Secret) (string, error)
	// VerifyPIN compares; an empty hash costs the same time and never matches.
	VerifyPIN(ctx context.Context, pin Secret, hash string) (bool, error)
	// Derive returns the n-th secret of an id for one purpose: letters and digits.
	Derive(purpose, id string, n uint64) Secret
	Seal(label string, plain Secret) (string, error)
	Unseal(label, sealed string) (Secret, error)
	// Fingerprint tells one set of keys from another, and nothing of them.
	Fingerprint() string
}

// Options of New; all are required but Log.
type Options struct {
	Store  Store
	Vault  Vault
	Live   *Live
	Models []Model
	// Parameter refuses a phone parameter that administrators may not override;
	// nil refuses none.
	Parameter func(key string) error
	// Transports are those of udp, tcp and tls that the server listens on; nil
	// stands for all.
	Transports []string
	// NoHTTPS: the server has no HTTPS listener for phones.
	NoHTTPS bool
	Realm   string           // digest realm, for the HA1 of device secrets
	Now     func() time.Time // wall clock of every decision
	Log     *slog.Logger
}

// Service is the rules at work. Its methods may be called from any goroutine
// once Serve has loaded the store (Ready).
type Service struct {
	store      Store
	vault      Vault
	live       *Live
	models     map[string]Model
	realm      string
	parameter  func(key string) error
	now        func() time.Time
	log        *slog.Logger
	snap       *snapshot
	transports []string
	noHTTPS    bool
	holds      *holds
	ready      chan struct{}
	broken     atomic.Pointer[error] // why the last transaction could not be written; nil when it was
	committed  atomic.Uint64         // the highest revision that a transaction of ours has written
}

// New builds the service; nothing runs until Serve.
func New(o Options) (*Service, error) {
	if o.Store == nil || o.Vault == nil || o.Live == nil || o.Now == nil || o.Realm == "" {
		return nil, fmt.Errorf("%w: hotdesk.New needs Store, Vault, Live, Realm and Now", ErrInvalid)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Parameter == nil {
		o.Parameter = func(string) error { return nil }
	}
	if o.Transports == nil {
		o.Transports = []string{"udp", "tcp", "tls"}
	}
	models := make(map[string]Model, len(o.Models))
	for _, m := range o.Models {
		models[m.ID] = m
	}
	return &Service{
		store: o.Store, vault: o.Vault, live: o.Live, models: models, realm: o.Realm, parameter: o.Parameter,
		now: o.Now, log: o.Log, snap: newSnapshot(), holds: newHolds(), ready: make(chan struct{}), transports: o.Transports, noHTTPS: o.NoHTTPS,
	}, nil
}

// Now is the wall clock of every decision.
func (s *Service) Now() time.Time { return s.now() }

// Ready is closed when the store has been loaded and questions are answered.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Serve loads the store into memory and follows its commits until ctx ends.
func (s *Service) Serve(ctx context.Context) error {
	if err := s.seed(ctx); err != nil {
		return err
	}
	rev, err := s.load(ctx)
	if err != nil {
		return err
	}
	close(s.ready)
	var holding sync.WaitGroup
	holding.Go(func() { s.storeHolds(ctx) })
	defer holding.Wait()
	for {
		err = s.follow(ctx, rev)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, ErrCompacted) {
			return fmt.Errorf("follow the store: %w", err)
		}
		if rev, err = s.load(ctx); err != nil {
			return err
		}
	}
}

// schemaVersion is what this version writes and reads.
const schemaVersion = 1

// seed writes the first records of an empty store. A store of a later version is
// refused before anything is written.
func (s *Service) seed(ctx context.Context) error {
	_, err := s.store.Update(ctx, func(tx Txn) error {
		version, ok, err := get[int](tx, schemaKey)
		if err == nil && ok && version != schemaVersion {
			err = fmt.Errorf("%w: the data is of version %d and this program reads version %d; run the newer program, or restore a backup", ErrInvalid, version, schemaVersion)
		}
		if err != nil {
			return err
		}
		if err := s.sameKeys(tx); err != nil || ok {
			return err
		}
		if err := put(tx, schemaKey, schemaVersion); err != nil {
			return err
		}
		return put(tx, numberingKey, Numbering{Settings: defaultSettings(), Sites: map[string][]string{}})
	})
	if err != nil {
		return fmt.Errorf("prepare the store: %w", err)
	}
	return nil
}

// sameKeys refuses data that was made with other key files: every PIN would be
// wrong and every phone a stranger, without a word.
func (s *Service) sameKeys(tx Txn) error {
	now := s.vault.Fingerprint()
	stored, ok, err := get[string](tx, keysKey)
	switch {
	case err != nil:
		return err
	case !ok, stored == s.vault.Derive("fingerprint", "", 1).Reveal(): // as it was written before, of the device key alone
		return put(tx, keysKey, now)
	case stored != now:
		return fmt.Errorf("%w: the files in keys/ are not those that this data was made with; put the old ones back from your backup (without them no PIN and no phone would be recognised)", ErrInvalid)
	}
	return nil
}

// load reads the whole store as one commit: keys that are in memory but not in
// the store any more are taken out by it too.
func (s *Service) load(ctx context.Context) (Rev, error) {
	var all Commit
	err := s.store.View(ctx, func(r Reader) error {
		all.Rev = r.Rev()
		for kv, err := range r.Scan("/") {
			if err != nil {
				return err
			}
			all.Changes = append(all.Changes, Change{kv.Key, kv.Value})
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read the store: %w", err)
	}
	stored := make(map[string]bool, len(all.Changes))
	for _, c := range all.Changes {
		stored[c.Key] = true
	}
	for _, key := range s.snap.keys() {
		if !stored[key] {
			all.Changes = append(all.Changes, Change{Key: key})
		}
	}
	return all.Rev, s.take(all, false)
}

// follow applies commits as they come, until ctx ends or the feed breaks.
func (s *Service) follow(ctx context.Context, after Rev) error {
	for c, err := range s.store.Watch(ctx, after) {
		if err != nil {
			return err
		}
		if err := s.take(c, true); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// take brings one commit into the snapshot and then tells its events.
func (s *Service) take(c Commit, tell bool) error {
	edits := make([]edit, 0, len(c.Changes))
	var touched []DeviceID
	once := map[DeviceID]bool{} // a load touches every device
	var rows []AuditRow
	for _, change := range c.Changes {
		if strings.HasPrefix(change.Key, AuditPrefix) {
			if change.Value != nil && tell {
				row, err := decode[AuditRow](change.Key, change.Value)
				if err != nil {
					return err
				}
				rows = append(rows, row)
			}
			continue
		}
		k := kindOf(change.Key)
		if k == nil {
			continue
		}
		e, id, err := k.change(change)
		if err != nil {
			return err
		}
		edits = append(edits, e)
		if id != "" && !once[id] {
			once[id] = true
			touched = append(touched, id)
		}
	}
	s.snap.apply(c.Rev, edits, touched, s.credentials)
	for _, row := range rows {
		s.live.publishRow(row)
	}
	return nil
}

// Credential is one accepted secret of a device, ready for digest.
type Credential struct {
	Generation uint64
	HA1        string // lower-case hex MD5(device id:realm:secret), RFC 2617 section 3.2.2.2
}

// credentials derives every accepted generation: from the proven one (or the
// floor) up to the current one, newest first.
func (s *Service) credentials(d *Device, f Fetched) []Credential {
	if !d.Claimed || d.Generation == 0 {
		return nil
	}
	lowest := max(d.Floor, f.Proven, 1)
	creds := make([]Credential, 0, d.Generation-lowest+1)
	for n := d.Generation; n >= lowest; n-- {
		creds = append(creds, Credential{n, s.ha1(d.ID, n)})
	}
	return creds
}

func (s *Service) ha1(id DeviceID, generation uint64) string {
	sum := md5.Sum([]byte(string(id) + ":" + s.realm + ":" + s.Secret(id, generation).Reveal()))
	return hex.EncodeToString(sum[:])
}

// Secret is the device's SIP secret of one generation.
func (s *Service) Secret(id DeviceID, generation uint64) Secret {
	return s.vault.Derive("sip", string(id), generation)
}

// Credentials returns the secrets a device may register and call with, newest
// first; ok is false for an unknown device. The slice must not be changed.
func (s *Service) Credentials(id DeviceID) (creds []Credential, blocked, ok bool) {
	s.snap.mu.RLock()
	defer s.snap.mu.RUnlock()
	d := s.snap.devices[id]
	if d == nil {
		return nil, false, false
	}
	return s.snap.creds[id], d.Blocked, true
}

// row begins the audit row of one operation.
func (s *Service) row(action, by string) AuditRow {
	return AuditRow{Op: newOp(), Time: s.now().UTC(), Action: action, By: by}
}

// audit puts the row into the transaction it describes.
func audit(tx Txn, row AuditRow) error { return put(tx, auditKey(row.Op), row) }

// newOp makes an operation id. Ids of one process sort in the order they were
// made, so that rows of one commit are written in that order too.
func newOp() string { return uuid.Must(uuid.NewV7()).String() }
