package hotdesk

import (
	"context"
	"errors"
	"iter"
)

// Rev counts committed Updates of one store. It only grows; 0 is the empty store.
type Rev uint64

// KV is one key with its value and the revision that last wrote it.
// Value is the caller's own copy.
type KV struct {
	Key   string
	Value []byte
	Rev   Rev
}

// Change is one key written (Value set) or deleted (Value nil) by a commit.
type Change struct {
	Key   string
	Value []byte
}

// Commit is exactly one Update: all its changes, at one revision.
type Commit struct {
	Rev     Rev
	Changes []Change
}

// Limits of the store contract. They are etcd's, and every store keeps them, so
// that what runs on one file also runs on several nodes.
const (
	MaxTxnKeys   = 100      // keys read, and keys written, by one Update
	MaxValueSize = 64 << 10 // bytes of one value; the smallest is 1
)

// Errors of the store contract.
var (
	// ErrTooLarge: an Update read or wrote more than MaxTxnKeys keys, or a
	// value is empty or longer than MaxValueSize. Nothing was written.
	ErrTooLarge = errors.New("transaction too large")
	// ErrUnavailable: the store cannot commit now. The Update was not done.
	ErrUnavailable = errors.New("store unavailable")
	// ErrUnknownOutcome: the Update may or may not be done; repeat it with the
	// same operation id.
	ErrUnknownOutcome = errors.New("outcome of the transaction is unknown")
	// ErrCompacted: the changes after the asked revision are gone; read all
	// again with View and watch from that revision.
	ErrCompacted = errors.New("revision compacted")
	// ErrNested: Update or View was called from inside an Update of the same store.
	ErrNested = errors.New("transactions cannot be nested")
)

// Reader sees the store at one revision.
type Reader interface {
	// Get returns the key's value; false when there is none.
	Get(key string) (KV, bool, error)
	// Scan yields all keys that begin with prefix, in byte order.
	Scan(prefix string) iter.Seq2[KV, error]
	// Rev is the revision that is seen.
	Rev() Rev
}

// Txn is what an Update's function works on: one revision plus its own writes.
// It has no Scan, so there are no phantoms.
type Txn interface {
	Get(key string) (KV, bool, error)
	Put(key string, value []byte)
	Delete(key string)
}

// Store keeps the desired and committed state. store/bolt is the default; the
// conformance suite in store/storetest says what every store must do.
type Store interface {
	// View runs fn on one consistent snapshot. It reads the engine: for start,
	// relist, backup and export, never on a hot path.
	View(ctx context.Context, fn func(Reader) error) error
	// Update runs fn, maybe more than once; one run sees one revision plus its
	// own writes. It commits only if nothing that fn read (absence included) has
	// changed, and returns only after the commit is durable. fn must be pure: no
	// clock, no hashing, no I/O. An error of fn discards the writes and is
	// returned as it is. The revision is the commit's own or, when fn wrote
	// nothing, the highest that it read.
	Update(ctx context.Context, fn func(Txn) error) (Rev, error)
	// Watch yields whole commits in order after the given revision, and ends
	// with ErrCompacted or with the context's error.
	Watch(ctx context.Context, after Rev) iter.Seq2[Commit, error]
	Close() error
}
