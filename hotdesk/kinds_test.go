package hotdesk

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// mapStore is a store that can only be read.
type mapStore struct {
	Store
	rev Rev
	all map[string]string
}

func (m *mapStore) View(_ context.Context, fn func(Reader) error) error { return fn(m) }
func (m *mapStore) Rev() Rev                                            { return m.rev }
func (m *mapStore) Get(string) (KV, bool, error)                        { return KV{}, false, nil }
func (m *mapStore) Scan(prefix string) iter.Seq2[KV, error] {
	return func(yield func(KV, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(m.all)) {
			if strings.HasPrefix(key, prefix) && !yield(KV{Key: key, Value: []byte(m.all[key])}, nil) {
				return
			}
		}
	}
}

// samples is one record of every kind that memory keeps.
var samples = map[string]string{
	"/device/HD0001":     `{"id":"HD0001","mac":"805ec0000001","site":"roma"}`,
	"/mac/805ec0000001":  `"HD0001"`,
	"/binding/HD0001":    `{"id":"x","device":"HD0001","user":"100"}`,
	"/fetched/HD0001":    `{"version":3,"proven":2}`,
	"/hold/HD0001":       `"2026-11-28T10:00:00Z"`,
	"/throttle/d/HD0001": `{"until":"2026-11-28T10:00:00Z"}`,
	"/throttle/u/100":    `{"until":"2026-11-28T10:00:00Z"}`,
	"/user/100":          `{"extension":"100","name":"Mario"}`,
	"/seats/100":         `{"bound":["HD0001"]}`,
	"/site/roma":         `{"name":"roma"}`,
	"/pbx/main":          `{"name":"main"}`,
	"/param/site/roma":   `{"layer":"site","id":"roma","values":{"a.b":"c"}}`,
	"/param/default/":    `{"layer":"default","values":{"a.b":"c"}}`,
	"/uses/site/roma":    `"op"`,
	numberingKey:         `{"settings":{"codes":{"login":"*77*","logout":"*77*5*","logout_all":"*77*6*"},"refusal":"speak"}}`,
}

// kept by the store alone
var unkept = []string{AuditPrefix + "x", "/throttle/ud/100/HD0001", deviceSeqKey, schemaKey, keysKey, "/outbox/x/1"}

// Every kind of record is kept in memory, listed by its own key, and gone after a
// relist of a store that does not have it any more.
func TestField_F4EveryKindIsForgottenWhenItIsGone(t *testing.T) {
	for _, k := range kinds {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(samples)), func(key string) bool { return strings.HasPrefix(key, k.prefix) }) {
			t.Errorf("there is no sample of kind %s", k.prefix)
		}
	}
	for gone := range samples {
		store := &mapStore{rev: 1, all: maps.Clone(samples)}
		s := &Service{store: store, snap: newSnapshot(), live: NewLive(time.Now), vault: plainVault{}}
		if _, err := s.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := slices.Sorted(slices.Values(s.snap.keys())), slices.Sorted(maps.Keys(samples)); !slices.Equal(got, want) {
			t.Fatalf("memory has\n%q\nwant\n%q", got, want)
		}
		store.rev = 2
		delete(store.all, gone)
		if _, err := s.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		// A phone's fetches go with its device: they are read again when it comes back.
		want := maps.Clone(store.all)
		if gone == "/device/HD0001" {
			delete(want, "/fetched/HD0001")
		}
		if got, want := slices.Sorted(slices.Values(s.snap.keys())), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
			t.Errorf("%s went and memory has\n%q\nwant\n%q", gone, got, want)
		}
	}
	for _, key := range unkept {
		if k := kindOf(key); k != nil {
			t.Errorf("%s is taken for kind %s", key, k.prefix)
		}
	}
}

type plainVault struct{ Vault }

func (plainVault) Derive(purpose, id string, _ uint64) Secret { return Secret(purpose + id) }

// A load of 50,000 devices costs the same per device as one of 500.
func TestField_F4LoadIsLinear(t *testing.T) {
	cost := func(n int) time.Duration {
		c := Commit{Rev: 1}
		for i := range n {
			id := string(deviceID(uint64(i + 1)))
			c.Changes = append(c.Changes, Change{"/device/" + id, []byte(`{"id":"` + id + `"}`)})
		}
		s := &Service{snap: newSnapshot(), live: NewLive(time.Now), vault: plainVault{}}
		start := time.Now()
		if err := s.take(c, false); err != nil {
			t.Fatal(err)
		}
		return time.Since(start) / time.Duration(n)
	}
	few := min(cost(2000), cost(2000), cost(2000))
	if many := min(cost(50_000), cost(50_000)); many > 8*few {
		t.Errorf("%v for a device of 50,000, %v of 2,000", many, few)
	}
}
