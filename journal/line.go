package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// ErrDamaged: a line of a file is not what was written there.
var ErrDamaged = errors.New("the journal is damaged")

// line is one line of a file. Call records have no hashes, and for a revision the
// number of the line that they replace.
type line struct {
	Seq  uint64          `json:"seq"`            // counts the lines of all files
	Rev  uint64          `json:"rev,omitempty"`  // of the commit; 0 came past the store
	Prev string          `json:"prev,omitempty"` // the hash of the line before, hex
	Hash string          `json:"hash,omitempty"`
	Row  json.RawMessage `json:"row"`
}

// chain fills in the hashes: this line comes after the one whose hash is prev.
func (l *line) chain(prev string) {
	l.Prev = prev
	l.Hash = l.sum()
}

// sum is SHA-256 over the previous hash, the numbers and the row, in hex.
func (l *line) sum() string {
	h := sha256.New()
	h.Write([]byte(l.Prev)) // always 64 digits: checked by decodeLine
	var n [16]byte
	binary.BigEndian.PutUint64(n[:], l.Seq)
	binary.BigEndian.PutUint64(n[8:], l.Rev)
	h.Write(n[:])
	h.Write(l.Row)
	return hex.EncodeToString(h.Sum(nil))
}

// encode spells the line, with its newline. There is one spelling of each line.
func (l *line) encode() ([]byte, error) {
	b, err := json.Marshal(l)
	return append(b, '\n'), err
}

// decodeLine reads a line without its newline. It accepts only what encode writes,
// byte for byte, and of a chained line only one that has its own hash: every change
// of a single byte makes it fail.
func decodeLine(b []byte, chained bool) (l line, err error) {
	if err := json.Unmarshal(b, &l); err != nil {
		return line{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	switch again, err := l.encode(); {
	case err != nil:
		return line{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	case !bytes.Equal(again[:len(again)-1], b):
		return line{}, fmt.Errorf("%w: the line is not spelt as it was written", ErrDamaged)
	case !chained && (l.Prev != "" || l.Hash != ""), chained && len(l.Prev) != 2*sha256.Size:
		return line{}, fmt.Errorf("%w: the line has no place in a chain, or should have none", ErrDamaged)
	case chained && l.Hash != l.sum():
		return line{}, fmt.Errorf("%w: the line does not have the hash it was written with", ErrDamaged)
	}
	return l, nil
}

// follows tells whether l comes right after the line before.
func (l *line) follows(before line) error {
	if l.Seq != before.Seq+1 {
		return fmt.Errorf("%w: line number %d comes after %d", ErrDamaged, l.Seq, before.Seq)
	}
	if l.Prev != before.Hash {
		return fmt.Errorf("%w: the line does not continue the one before", ErrDamaged)
	}
	return nil
}
