package hotdesk

import (
	"encoding/json"
	"fmt"
)

// The keys of the store (docs/architecture.md has the table). Every transaction
// touches point keys only.
func deviceKey(id DeviceID) string     { return "/device/" + string(id) }
func macKey(m MAC) string              { return "/mac/" + m.String() }
func bindingKey(id DeviceID) string    { return "/binding/" + string(id) }
func userKey(e Extension) string       { return "/user/" + string(e) }
func seatsKey(e Extension) string      { return "/seats/" + string(e) }
func fetchedKey(id DeviceID) string    { return "/fetched/" + string(id) }
func holdKey(id DeviceID) string       { return "/hold/" + string(id) }
func siteKey(name string) string       { return "/site/" + name }
func pbxKey(name string) string        { return "/pbx/" + name }
func paramKey(layer, id string) string { return "/param/" + layer + "/" + id }
func usesKey(key string) string        { return "/uses" + key } // see refer.go
func auditKey(op string) string        { return AuditPrefix + op }
func pairThrottleKey(e Extension, d DeviceID) string {
	return "/throttle/ud/" + string(e) + "/" + string(d)
}
func deviceThrottleKey(d DeviceID) string { return "/throttle/d/" + string(d) }
func userThrottleKey(e Extension) string  { return "/throttle/u/" + string(e) }

const (
	deviceSeqKey = "/seq/device"
	numberingKey = "/numbering"
	schemaKey    = "/meta/schema"
	keysKey      = "/meta/keys"
	// AuditPrefix is where transactions put their audit rows for journal.
	AuditPrefix = "/audit/"
	// nobody stands for every unknown extension in the throttle's keys.
	nobody Extension = "-"
)

// get decodes the record at key; false when there is none.
func get[T any](tx interface {
	Get(string) (KV, bool, error)
}, key string) (rec T, ok bool, err error) {
	kv, ok, err := tx.Get(key)
	if err != nil || !ok {
		return rec, ok, err
	}
	rec, err = decode[T](key, kv.Value)
	return rec, err == nil, err
}

// put encodes the record at key.
func put(tx Txn, key string, rec any) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	tx.Put(key, b)
	return nil
}

func decode[T any](key string, value []byte) (rec T, err error) {
	if err = json.Unmarshal(value, &rec); err != nil {
		err = fmt.Errorf("stored record %s cannot be read: %w", key, err)
	}
	return rec, err
}
