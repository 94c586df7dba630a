package archive

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// Limits are the most that a reader takes: how many files, and how many bytes when
// unpacked, of each file and of all together.
type Limits struct {
	Files       int
	File, Total int64
}

// Archive is a backup that was checked whole. Close closes its file.
type Archive struct {
	Manifest
	path string
	zip  *zip.ReadCloser
}

// Open opens a backup and checks every byte of it, without unpacking anything. It
// fails with ErrDamaged or ErrTooMuch, or as opening a file does.
func Open(path string, l Limits) (*Archive, error) {
	z, err := zip.OpenReader(path)
	var cannot *fs.PathError
	if errors.As(err, &cannot) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	a := &Archive{path: path, zip: z}
	if err := a.check(l); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), z.Close())
	}
	return a, nil
}

// Close closes the backup's file.
func (a *Archive) Close() error { return a.zip.Close() }

func (a *Archive) check(l Limits) (err error) {
	if n := len(a.zip.File) - 1; n > l.Files {
		return fmt.Errorf("%w: %d files, and at most %d may be in it", ErrTooMuch, n, l.Files)
	}
	if a.Manifest, err = readManifest(&a.zip.Reader); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	left := l.Total
	for _, f := range a.Files {
		if f.Size > l.File || f.Size > left {
			return fmt.Errorf("%w: %s has %d bytes; a file may have %d and all together %d", ErrTooMuch, f.Name, f.Size, l.File, l.Total)
		}
		left -= f.Size
	}
	for i, f := range a.Files {
		sum, err := digest(a.zip.File[i], f.Size)
		if err == nil && hex.EncodeToString(sum.sum.Sum(nil)) != f.SHA256 {
			err = errors.New("its content is not what the manifest says")
		}
		if err != nil {
			return fmt.Errorf("%s: %w: %w", f.Name, ErrDamaged, err)
		}
	}
	return nil
}

// readManifest reads the last file; the others must be those it names, each once
// and by the one spelling of its name.
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
	case len(m.Files) != len(z.File)-1:
		return m, errors.New("there is more or less in it than its manifest says")
	}
	names := map[string]bool{}
	for i, f := range m.Files {
		switch {
		case f.Name != z.File[i].Name:
			return m, fmt.Errorf("%q is in it where its manifest says %q", z.File[i].Name, f.Name)
		case !filepath.IsLocal(filepath.FromSlash(f.Name)), path.Clean(f.Name) != f.Name:
			return m, fmt.Errorf("%q is no name of a file", f.Name)
		case names[f.Name]:
			return m, fmt.Errorf("%q is in it twice", f.Name)
		case f.Size < 0:
			return m, fmt.Errorf("%q has %d bytes", f.Name, f.Size)
		}
		names[f.Name] = true
	}
	return m, nil
}

// digest sums up a file that has size bytes. Of one that has more it reads no
// more than shows that.
func digest(f *zip.File, size int64) (*counter, error) {
	sum := &counter{w: io.Discard, sum: sha256.New()}
	in, err := f.Open()
	if err != nil {
		return sum, err
	}
	_, err = io.Copy(sum, io.LimitReader(in, size+1))
	if err = errors.Join(err, in.Close()); err == nil && sum.n != size {
		err = fmt.Errorf("it has not the %d bytes that the manifest says", size)
	}
	return sum, err
}

// Extract unpacks the files whose names keep wants into dir, which must exist, and
// makes them durable. Nobody but the owner can read them.
func (a *Archive) Extract(dir string, keep func(name string) bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	for i, f := range a.Files {
		if !keep(f.Name) {
			continue
		}
		if err := unpack(a.zip.File[i], f, root); err != nil {
			return errors.Join(fmt.Errorf("%s: %s: %w", a.path, f.Name, err), root.Close())
		}
	}
	return root.Close()
}

// unpack writes one file, which must not exist, and makes it durable.
func unpack(f *zip.File, want File, root *os.Root) error {
	name := filepath.FromSlash(want.Name)
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	in, err := f.Open()
	if err != nil {
		return err
	}
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.CopyN(out, in, want.Size)
	return errors.Join(err, out.Sync(), out.Close(), in.Close())
}
