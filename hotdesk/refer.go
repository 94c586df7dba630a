package hotdesk

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Some records name others: a device its site and default user, a site the PBXs
// of its emergency calls, a user the PBX. A record that is named must not go: a
// device without its site would have no emergency numbers. No transaction can scan
// for who names what, so every one that makes a record name another says so at
// usesKey, and whoever removes the other finds it there.

// refs lists the keys of the records that this one names. nil names none.
func refs(rec any) (keys []string) {
	switch r := rec.(type) {
	case *Device:
		keys = append(keys, siteKey(r.Site))
		if r.DefaultUser != "" {
			keys = append(keys, userKey(r.DefaultUser))
		}
	case *User:
		if r.PBX != nil {
			keys = append(keys, pbxKey(r.PBX.Name))
		}
	case *Site:
		for _, route := range r.Emergency.Routes {
			keys = append(keys, pbxKey(route.PBX))
		}
	case *Parameter:
		switch r.Layer {
		case "site":
			keys = append(keys, siteKey(r.ID))
		case "user":
			keys = append(keys, userKey(Extension(r.ID)))
		case "device":
			if mac, err := ParseMAC(r.ID); err == nil {
				keys = append(keys, macKey(mac))
			} else {
				keys = append(keys, deviceKey(DeviceID(r.ID)))
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// gained lists the references that a record has after a change and not before.
func gained(before, after []string) []string {
	return slices.DeleteFunc(slices.Clone(after), func(key string) bool { return slices.Contains(before, key) })
}

// refer notes, in the transaction that makes a record name those at keys, that it
// does, and refuses when one of them is gone (ErrConflict).
func refer(tx Txn, op string, keys []string) error {
	for _, key := range keys {
		if _, ok, err := tx.Get(key); err != nil || !ok {
			return errors.Join(err, fmt.Errorf("%w: %s was removed meanwhile", ErrConflict, nameOf(key)))
		}
		if err := put(tx, usesKey(key), op); err != nil {
			return err
		}
	}
	return nil
}

// unreferred refuses the removal of the record at key when something has begun to
// name it since uses was read. ErrConflict.
func unreferred(tx Txn, key string, uses map[string]string) error {
	op, _, err := get[string](tx, usesKey(key))
	if err == nil && op != uses[usesKey(key)] {
		err = fmt.Errorf("%w: something was put into %s, or began to use it, meanwhile; look again", ErrConflict, nameOf(key))
	}
	return err
}

// nameOf writes a record's key as people say it: "site roma".
func nameOf(key string) string { return strings.Replace(strings.TrimPrefix(key, "/"), "/", " ", 1) }
