package archive

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"
)

// manifestName is the last file of a backup.
const manifestName = "manifest.json"

// format is what this version writes and reads.
const format = "hotdeskd-backup-1"

var (
	// ErrDamaged: the file is no backup, or not a whole and unchanged one.
	ErrDamaged = errors.New("the backup is damaged; use another copy")
	// ErrTooMuch: more is in it than the limits let in.
	ErrTooMuch = errors.New("more is in the backup than can be right")
)

// Manifest says what is in a backup.
type Manifest struct {
	Format  string    `json:"format"`
	Created time.Time `json:"created"`
	Version string    `json:"version"` // of the program that made it
	Keys    bool      `json:"keys"`    // without them no PIN and no phone is recognised
	Files   []File    `json:"files"`
}

// File is one file of a backup.
type File struct {
	Name   string `json:"name"` // with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Part is one file to be put into a backup. Write writes its content.
type Part struct {
	Name  string
	Write func(io.Writer) error
}

// FromFile is a part that is a file on disk, as it is when its turn comes. With
// lines, a last line that is still being written is left out.
func FromFile(name, path string, lines bool) Part {
	return Part{name, func(w io.Writer) error {
		f, err := os.Open(filepath.Clean(path))
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // it was only read
		info, err := f.Stat()
		if err != nil {
			return err
		}
		size := info.Size()
		if lines {
			if size, err = wholeLines(f, size); err != nil {
				return err
			}
		}
		_, err = io.Copy(w, io.NewSectionReader(f, 0, size))
		return err
	}}
}

// wholeLines is where the last line end before size is.
func wholeLines(f io.ReaderAt, size int64) (int64, error) {
	b := make([]byte, 1)
	for ; size > 0; size-- {
		if _, err := f.ReadAt(b, size-1); err != nil {
			return 0, err
		}
		if b[0] == '\n' {
			break
		}
	}
	return size, nil
}

// Write writes a backup. An error leaves a file that no reader accepts.
func Write(w io.Writer, m Manifest, parts []Part) error {
	m.Format, m.Files = format, []File{}
	z := zip.NewWriter(w)
	for _, p := range parts {
		out, err := z.CreateHeader(&zip.FileHeader{Name: p.Name, Method: zip.Deflate, Modified: m.Created})
		if err != nil {
			return fmt.Errorf("backup %s: %w", p.Name, err)
		}
		sum := &counter{w: out, sum: sha256.New()}
		if err := p.Write(sum); err != nil {
			return fmt.Errorf("backup %s: %w", p.Name, err)
		}
		m.Files = append(m.Files, File{p.Name, sum.n, hex.EncodeToString(sum.sum.Sum(nil))})
	}
	out, err := z.Create(manifestName)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", " ")
	return errors.Join(enc.Encode(m), z.Close())
}

// counter counts and sums up what goes through.
type counter struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.sum.Write(b[:n])
	c.n += int64(n)
	return n, err
}
