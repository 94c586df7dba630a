package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"iter"

	"go.etcd.io/bbolt"

	"hotdeskd/hotdesk"
)

var errOver = errors.New("the transaction is over: its Reader or Txn must not be kept")

// reader is what a View's function sees.
type reader struct {
	data *bbolt.Bucket
	rev  hotdesk.Rev
	over bool
}

// Rev is the revision that is seen.
func (r *reader) Rev() hotdesk.Rev { return r.rev }

// Get returns a copy of the key's value; false when there is none.
func (r *reader) Get(key string) (hotdesk.KV, bool, error) {
	if r.over {
		return hotdesk.KV{}, false, errOver
	}
	return get(r.data, key)
}

// Scan yields copies of all keys that begin with prefix, in byte order.
func (r *reader) Scan(prefix string) iter.Seq2[hotdesk.KV, error] {
	return func(yield func(hotdesk.KV, error) bool) {
		if r.over {
			yield(hotdesk.KV{}, errOver)
			return
		}
		p := []byte(prefix)
		c := r.data.Cursor()
		for first := true; ; first = false {
			kv, ok, err := step(c, p, first)
			if err != nil {
				yield(hotdesk.KV{}, err)
				return
			}
			if !ok || !yield(kv, nil) {
				return
			}
		}
	}
}

// step is one move of a scan. It has a frame of its own so that it recovers from
// bbolt's panics only, never from the caller's.
func step(c *bbolt.Cursor, prefix []byte, first bool) (kv hotdesk.KV, ok bool, err error) {
	defer recovered(&err)
	var k, v []byte
	if first {
		k, v = c.Seek(prefix)
	} else {
		k, v = c.Next()
	}
	if k == nil || !bytes.HasPrefix(k, prefix) {
		return kv, false, nil
	}
	kv, err = copyOut(k, v)
	return kv, err == nil, err
}

func get(data *bbolt.Bucket, key string) (kv hotdesk.KV, ok bool, err error) {
	defer recovered(&err)
	k := []byte(key)
	v := data.Get(k)
	if v == nil {
		return kv, false, nil
	}
	kv, err = copyOut(k, v)
	return kv, err == nil, err
}

func copyOut(k, v []byte) (hotdesk.KV, error) {
	rev, _, value, err := decodeRecord(k, v)
	if err != nil {
		return hotdesk.KV{}, err
	}
	return hotdesk.KV{Key: string(k), Value: bytes.Clone(value), Rev: rev}, nil
}

// recovered turns a panic of bbolt, which is how it reports a damaged page, into
// an error.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: %v", ErrCorrupt, p)
	}
}
