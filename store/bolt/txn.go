package bolt

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	"hotdeskd/hotdesk"
)

// txn is what an Update's function works on: the group's transaction as the
// Updates before have left it, under this one's own buffered writes.
type txn struct {
	data   *bbolt.Bucket
	reads  map[string]struct{}
	writes map[string][]byte // nil: deleted
	seen   hotdesk.Rev       // the highest revision read
	err    error             // the first broken limit; it stands even if fn ignores it
	over   bool
}

func newTxn(data *bbolt.Bucket) *txn {
	return &txn{data: data, reads: map[string]struct{}{}, writes: map[string][]byte{}}
}

// Get returns a copy of the key's value as this transaction sees it. A key that
// the transaction itself has written has revision 0: it has none yet.
func (t *txn) Get(key string) (hotdesk.KV, bool, error) {
	switch {
	case t.over:
		return hotdesk.KV{}, false, errOver
	case t.err != nil:
		return hotdesk.KV{}, false, t.err
	}
	if v, ok := t.writes[key]; ok {
		return hotdesk.KV{Key: key, Value: bytes.Clone(v)}, v != nil, nil
	}
	if !t.checkKey(key) {
		return hotdesk.KV{}, false, t.err
	}
	if t.reads[key] = struct{}{}; len(t.reads) > hotdesk.MaxTxnKeys {
		t.err = fmt.Errorf("%w: more than %d keys read", hotdesk.ErrTooLarge, hotdesk.MaxTxnKeys)
		return hotdesk.KV{}, false, t.err
	}
	kv, ok, err := get(t.data, key)
	if err != nil {
		t.err = err // a damaged record read must not lead to a write
		return hotdesk.KV{}, false, err
	}
	t.seen = max(t.seen, kv.Rev)
	return kv, ok, nil
}

// Put writes a copy of value. A broken limit fails the whole Update.
func (t *txn) Put(key string, value []byte) {
	if n := len(value); n == 0 || n > hotdesk.MaxValueSize {
		t.fail(fmt.Errorf("%w: value of %q has %d bytes, 1 to %d are allowed", hotdesk.ErrTooLarge, key, n, hotdesk.MaxValueSize))
		return
	}
	t.write(key, bytes.Clone(value))
}

// Delete removes the key; when there is none, it changes nothing.
func (t *txn) Delete(key string) { t.write(key, nil) }

func (t *txn) write(key string, value []byte) {
	if t.over || t.err != nil || !t.checkKey(key) {
		return
	}
	if t.writes[key] = value; len(t.writes) > hotdesk.MaxTxnKeys {
		t.fail(fmt.Errorf("%w: more than %d keys written", hotdesk.ErrTooLarge, hotdesk.MaxTxnKeys))
	}
}

func (t *txn) checkKey(key string) bool {
	if n := len(key); n == 0 || n > maxKey {
		t.fail(fmt.Errorf("%w: a key has %d bytes, 1 to %d are allowed", hotdesk.ErrTooLarge, n, maxKey))
		return false
	}
	return true
}

func (t *txn) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}
