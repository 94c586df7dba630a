package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/crc64"

	"go.etcd.io/bbolt"

	"hotdeskd/hotdesk"
)

const (
	format    = "1" // of the records; another one is refused as foreign
	headerLen = 16  // of a record: revision and checksum, 8 bytes each
	maxKey    = 1024
)

// The names inside the database.
const (
	bucketData  = "data"
	bucketMeta  = "meta"
	keyFormat   = "format"
	keyInstance = "instance"
	keyState    = "state"
)

// state is what the meta bucket knows of the whole: the revision of the last
// commit, and how many records there are with the sum of their checksums. The two
// find what bbolt's own check cannot: a record that silently went or came back.
type state struct {
	rev   hotdesk.Rev
	count uint64
	sum   uint64
}

func (s state) encode() []byte {
	b := make([]byte, 0, 24)
	b = binary.BigEndian.AppendUint64(b, uint64(s.rev))
	b = binary.BigEndian.AppendUint64(b, s.count)
	return binary.BigEndian.AppendUint64(b, s.sum)
}

// loadState reads the state and with it finds out whether the file is ours.
func loadState(tx *bbolt.Tx) (state, error) {
	meta, data := tx.Bucket([]byte(bucketMeta)), tx.Bucket([]byte(bucketData))
	if meta == nil || data == nil {
		return state{}, fmt.Errorf("%w: it has none of hotdeskd's buckets", ErrForeign)
	}
	if f := meta.Get([]byte(keyFormat)); string(f) != format {
		return state{}, fmt.Errorf("%w: it has format %q and this version reads %q; was it made by a newer hotdeskd?", ErrForeign, f, format)
	}
	b := meta.Get([]byte(keyState))
	if len(b) != 24 {
		return state{}, fmt.Errorf("%w: the revision counter has %d bytes instead of 24", ErrCorrupt, len(b))
	}
	return state{
		rev:   hotdesk.Rev(binary.BigEndian.Uint64(b)),
		count: binary.BigEndian.Uint64(b[8:]),
		sum:   binary.BigEndian.Uint64(b[16:]),
	}, nil
}

// encodeRecord gives the stored form of a value, a new slice, and its checksum.
func encodeRecord(key string, rev hotdesk.Rev, value []byte) ([]byte, uint64) {
	b := make([]byte, headerLen, headerLen+len(value))
	binary.BigEndian.PutUint64(b, uint64(rev))
	b = append(b, value...)
	sum := checksum([]byte(key), b)
	binary.BigEndian.PutUint64(b[8:], sum)
	return b, sum
}

// decodeRecord checks a stored record. The value it returns is bbolt's memory.
func decodeRecord(key, b []byte) (rev hotdesk.Rev, sum uint64, value []byte, err error) {
	if len(b) <= headerLen {
		return 0, 0, nil, fmt.Errorf("%w: record %q has only %d bytes", ErrCorrupt, key, len(b))
	}
	sum = binary.BigEndian.Uint64(b[8:])
	if got := checksum(key, b); got != sum {
		return 0, 0, nil, fmt.Errorf("%w: record %q does not have the checksum it was stored with", ErrCorrupt, key)
	}
	return hotdesk.Rev(binary.BigEndian.Uint64(b)), sum, b[headerLen:], nil
}

// checksum covers the key, the revision and the value. The key's length goes
// first, so that no byte can move between key and value unseen.
func checksum(key, record []byte) uint64 {
	table := crc64.MakeTable(crc64.ECMA) // made once by the library
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(key)))
	sum := crc64.Update(0, table, n[:])
	sum = crc64.Update(sum, table, key)
	sum = crc64.Update(sum, table, record[:8])
	return crc64.Update(sum, table, record[headerLen:])
}
