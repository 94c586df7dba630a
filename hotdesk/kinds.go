package hotdesk

import (
	"fmt"
	"strings"
	"time"
)

// edit is one decoded change, to be made under the snapshot's lock.
type edit func(*snapshot)

// kind is one kind of record that memory keeps. All that must be known of a kind is
// in one line of the table kinds, so that none is read and forgotten later.
type kind struct {
	prefix string // of its keys
	// change decodes a change of the store. touched is the device whose derived values
	// must be made anew afterwards; empty when there is none.
	change func(Change) (e edit, touched DeviceID, err error)
	// keys lists the store keys of what memory has of the kind. The caller holds the lock.
	keys func(*snapshot) []string
}

// kinds is every kind of record that memory keeps. What else is in the store stays
// there: counters, the outbox, audit rows, and the wrong PINs of a pair.
var kinds = []kind{
	records("/device/", asID, deviceKey, func(s *snapshot) map[DeviceID]*Device { return s.devices }, whole[Device], itself),
	records("/mac/", ParseMAC, macKey, func(s *snapshot) map[MAC]DeviceID { return s.macs }, small[DeviceID], nil),
	records("/binding/", asID, bindingKey, func(s *snapshot) map[DeviceID]*Session { return s.bindings }, whole[Session], itself),
	records("/fetched/", asID, fetchedKey, func(s *snapshot) map[DeviceID]Fetched { return s.fetched }, small[Fetched], itself),
	records("/hold/", asID, holdKey, func(s *snapshot) map[DeviceID]time.Time { return s.holds }, small[time.Time], nil),
	records("/throttle/d/", asID, deviceThrottleKey, func(s *snapshot) map[DeviceID]time.Time { return s.locks }, lockedUntil, nil),
	records("/throttle/u/", asID, userThrottleKey, func(s *snapshot) map[Extension]time.Time { return s.userLocks }, lockedUntil, nil),
	records("/user/", asID, userKey, func(s *snapshot) map[Extension]*User { return s.users }, whole[User], nil),
	records("/seats/", asID, seatsKey, func(s *snapshot) map[Extension]*Seats { return s.seats }, whole[Seats], nil),
	records("/site/", asID, siteKey, func(s *snapshot) map[string]*Site { return s.sites }, whole[Site], nil),
	records("/pbx/", asID, pbxKey, func(s *snapshot) map[string]*PBX { return s.pbxs }, whole[PBX], nil),
	records("/param/", under("/param/"), asKey, func(s *snapshot) map[string]*Parameter { return s.params }, whole[Parameter], nil),
	records("/uses/", under("/uses/"), asKey, func(s *snapshot) map[string]string { return s.uses }, small[string], nil),
	numberingKind(),
}

// kindOf is the kind of the record at a key; nil when memory does not keep it.
func kindOf(key string) *kind {
	for i := range kinds {
		if strings.HasPrefix(key, kinds[i].prefix) {
			return &kinds[i]
		}
	}
	return nil
}

// keys lists the store keys of everything that is in memory.
func (s *snapshot) keys() (all []string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, k := range kinds {
		all = append(all, k.keys(s)...)
	}
	return all
}

// records is a kind of which there is one record for each id, in a map of memory. id
// reads what follows the prefix, key writes the whole key; keep makes of the stored
// record what memory has of it; touched is the device that an id belongs to, or nil.
func records[K comparable, R, V any](prefix string, id func(string) (K, error), key func(K) string,
	in func(*snapshot) map[K]V, keep func(*R) V, touched func(K) DeviceID,
) kind {
	return kind{
		prefix: prefix,
		change: func(c Change) (edit, DeviceID, error) {
			k, err := id(strings.TrimPrefix(c.Key, prefix))
			if err != nil {
				return nil, "", fmt.Errorf("stored key %s: %w", c.Key, err)
			}
			var whose DeviceID
			if touched != nil {
				whose = touched(k)
			}
			if c.Value == nil {
				return func(s *snapshot) { delete(in(s), k) }, whose, nil
			}
			rec, err := decode[R](c.Key, c.Value)
			if err != nil {
				return nil, "", err
			}
			v := keep(&rec)
			return func(s *snapshot) { in(s)[k] = v }, whose, nil
		},
		keys: func(s *snapshot) []string {
			all := make([]string, 0, len(in(s)))
			for k := range in(s) {
				all = append(all, key(k))
			}
			return all
		},
	}
}

// asID takes what follows the prefix as the id.
func asID[K ~string](rest string) (K, error) { return K(rest), nil }

// under takes the whole key as the id, asKey writes it.
func under(prefix string) func(string) (string, error) {
	return func(rest string) (string, error) { return prefix + rest, nil }
}
func asKey(key string) string { return key }

// itself: the record is the device's own.
func itself(id DeviceID) DeviceID { return id }

// whole keeps the record, small a copy of it, lockedUntil the end of a lock.
func whole[R any](rec *R) *R              { return rec }
func small[R any](rec *R) R               { return *rec }
func lockedUntil(rec *Throttle) time.Time { return rec.Until }

// numberingKind is the one record of the codes and numbers.
func numberingKind() kind {
	return kind{
		prefix: numberingKey,
		change: func(c Change) (edit, DeviceID, error) {
			if c.Value == nil {
				return func(s *snapshot) { s.numbering, s.numbered = Numbering{}, false }, "", nil
			}
			n, err := decode[Numbering](c.Key, c.Value)
			if err != nil {
				return nil, "", err
			}
			codes, err := n.Settings.Codes.table()
			if err != nil {
				return nil, "", err
			}
			return func(s *snapshot) { s.numbering, s.codes, s.numbered = n, codes, true }, "", nil
		},
		keys: func(s *snapshot) []string {
			if !s.numbered {
				return nil
			}
			return []string{numberingKey}
		},
	}
}
