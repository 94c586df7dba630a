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
	"slices"
	"time"
)

// manifestName is the last file of a backup.
const manifestName = "manifest.json"

// format is what this version writes and reads.
const format = "hotdeskd-backup-1"

// ErrDamaged: the file is no backup, or not a whole and unchanged one.
var ErrDamaged = errors.New("the backup is damaged; use another copy")

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

// Extract checks a backup whole and unpacks it into dir, which must exist.
func Extract(path, dir string) (Manifest, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return Manifest{}, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	defer func() { _ = z.Close() }() // it was only read
	m, err := readManifest(&z.Reader)
	if err != nil {
		return m, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	for _, pass := range []func(*zip.File, File) error{check, func(f *zip.File, _ File) error { return unpack(f, dir) }} {
		for i, f := range m.Files {
			if err := pass(z.File[i], f); err != nil {
				return m, fmt.Errorf("%s: %s: %w", path, f.Name, err)
			}
		}
	}
	return m, nil
}

// readManifest reads the last file; the others must be those it names.
func readManifest(z *zip.Reader) (m Manifest, err error) {
	if len(z.File) == 0 || z.File[len(z.File)-1].Name != manifestName {
		return m, errors.New("it has no manifest")
	}
	f, err := z.File[len(z.File)-1].Open()
	if err != nil {
		return m, err
	}
	err = errors.Join(json.NewDecoder(io.LimitReader(f, 16<<20)).Decode(&m), f.Close())
	switch {
	case err != nil:
		return m, err
	case m.Format != format:
		return m, fmt.Errorf("its format is %q and this program reads %q", m.Format, format)
	case !slices.EqualFunc(m.Files, z.File[:len(z.File)-1], func(f File, in *zip.File) bool { return f.Name == in.Name }):
		return m, errors.New("there is more or less in it than its manifest says")
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Name)) {
			return m, fmt.Errorf("%q is no name of a file", f.Name)
		}
	}
	return m, nil
}

func check(f *zip.File, want File) error {
	in, err := f.Open()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	sum := &counter{w: io.Discard, sum: sha256.New()}
	_, err = io.Copy(sum, in)
	if err = errors.Join(err, in.Close()); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if sum.n != want.Size || hex.EncodeToString(sum.sum.Sum(nil)) != want.SHA256 {
		return fmt.Errorf("%w: its content is not what the manifest says", ErrDamaged)
	}
	return nil
}

// unpack writes one file and makes it durable.
func unpack(f *zip.File, dir string) error {
	to := filepath.Join(dir, filepath.FromSlash(f.Name))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	in, err := f.Open()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close(), in.Close())
}
