package bolt

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
)

// The layout of a bbolt file, as its package internal/common defines it. All
// numbers are in the machine's byte order.
const (
	pageHead    = 16 // id 8, flags 2, count 2, overflow 4
	elementLen  = 16 // branch: position 4, key size 4, page 8; leaf: flags, position, key and value size, 4 each
	bucketHead  = 16 // root page 8, sequence 8
	metaLen     = 64 // magic, version, page size, flags 4 each; root 8, sequence 8, freelist 8, pages 8, txid 8, checksum 8
	metaMagic   = 0xED0CDAED
	flagBranch  = 0x01
	flagLeaf    = 0x02
	leafBucket  = 0x01
	maxOverflow = 1 << 16 // pages; far above the largest value
)

// walker looks at every page that is reachable from the newest meta page, without
// bbolt: bbolt follows the positions in a page wherever they point, which with a
// damaged page is outside of the file, and what it finds there is chance.
type walker struct {
	file     io.ReaderAt
	pageSize int64
	pages    uint64 // in use; ids are below it
	seen     map[uint64]bool
}

// checkBounds proves that no page points outside of itself or of the file, and that
// none is reached twice. What it has passed, bbolt can walk without a fault.
func checkBounds(file io.ReaderAt, size int64, pageSize int) error {
	w := &walker{file: file, pageSize: int64(pageSize), seen: map[uint64]bool{}}
	var root, newest uint64
	for id := range int64(2) {
		m := make([]byte, metaLen)
		if _, err := file.ReadAt(m, id*w.pageSize+pageHead); err != nil {
			continue // bbolt takes the other one as well
		}
		sum := fnv.New64a()
		sum.Write(m[:metaLen-8])
		if u32(m) != metaMagic || u64(m[56:]) != sum.Sum64() || (root != 0 && u64(m[48:]) < newest) {
			continue
		}
		root, w.pages, newest = u64(m[16:]), u64(m[40:]), u64(m[48:])
	}
	if w.pages == 0 || w.pages > uint64(size/w.pageSize) {
		return fmt.Errorf("%w: the file has %d pages and should have at least %d: it was cut off", ErrCorrupt, size/w.pageSize, w.pages)
	}
	return w.page(root)
}

func (w *walker) page(id uint64) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: page %d: %s", ErrCorrupt, id, fmt.Sprintf(format, args...))
	}
	if id < 2 || id >= w.pages {
		return bad("there is no such page")
	}
	if w.seen[id] {
		return bad("it is in the tree twice")
	}
	w.seen[id] = true
	head := make([]byte, pageHead)
	if _, err := w.file.ReadAt(head, int64(id)*w.pageSize); err != nil {
		return bad("read: %v", err)
	}
	overflow := uint64(u32(head[12:]))
	if u64(head) != id || overflow > maxOverflow || id+overflow >= w.pages {
		return bad("its head says page %d with %d more", u64(head), overflow)
	}
	p := make([]byte, int64(overflow+1)*w.pageSize)
	if _, err := w.file.ReadAt(p, int64(id)*w.pageSize); err != nil {
		return bad("read: %v", err)
	}
	return w.elements(p, bad)
}

// elements checks a page, which may be an inline one inside a bucket's record.
func (w *walker) elements(p []byte, bad func(string, ...any) error) error {
	flags, count := binary.NativeEndian.Uint16(p[8:]), int(binary.NativeEndian.Uint16(p[10:]))
	if flags != flagBranch && flags != flagLeaf {
		return bad("it has the type %#x", flags)
	}
	if pageHead+count*elementLen > len(p) {
		return bad("it has no room for %d entries", count)
	}
	if flags == flagBranch && count == 0 {
		return bad("it is a branch without entries")
	}
	for i := range count {
		at := pageHead + i*elementLen
		e := p[at : at+elementLen]
		pos, need := uint64(u32(e)), uint64(u32(e[4:])) // of a branch's key
		if flags == flagLeaf {
			pos, need = uint64(u32(e[4:])), uint64(u32(e[8:]))+uint64(u32(e[12:]))
		}
		start := uint64(at) + pos // positions count from the element
		if start < uint64(pageHead+count*elementLen) || start+need > uint64(len(p)) {
			return bad("entry %d lies outside of it", i)
		}
		var err error
		switch {
		case flags == flagBranch:
			err = w.page(u64(e[8:]))
		case u32(e)&leafBucket != 0:
			value := p[start+uint64(u32(e[8:])) : start+need]
			err = w.bucket(value, bad)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket checks a bucket: its root page, or the page inside its record.
func (w *walker) bucket(value []byte, bad func(string, ...any) error) error {
	if len(value) < bucketHead {
		return bad("a bucket in it has only %d bytes", len(value))
	}
	if root := u64(value); root != 0 {
		return w.page(root)
	}
	if len(value) < bucketHead+pageHead {
		return bad("a bucket in it has only %d bytes", len(value))
	}
	return w.elements(value[bucketHead:], bad)
}

func u32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func u64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }
