package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"hotdeskd/hotdesk"
)

// BackupType is the content type of a backup.
const BackupType = "application/zip"

// backup sends a copy of everything while the server goes on. It is made whole
// before its first byte goes out, so that a slow reader never keeps the database
// from reusing its pages. One that breaks off in the middle is shorter than was
// said, and no backup.
func (s *Server) backup() {
	route(s, own(), http.MethodGet, "/backup", "A backup, as a zip file; written to the audit log", 200, func(ctx context.Context, in *struct {
		Keys bool `query:"keys" doc:"with the keys and certificates, without which no PIN and no phone is recognised; keep such a file as safe as the server"`
	}) (*huma.StreamResponse, error) {
		if s.Backup == nil {
			return nil, fmt.Errorf("%w: this server makes no backups", hotdesk.ErrNotFound)
		}
		select {
		case s.backups <- struct{}{}:
		default:
			return nil, fmt.Errorf("%w: another backup is being made; wait until it is done", hotdesk.ErrBusy)
		}
		made, err := s.makeBackup(ctx, in.Keys)
		if err != nil {
			<-s.backups
			return nil, err
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			defer func() { <-s.backups }()
			s.sendBackup(hc, made)
		}}, nil
	})
}

// makeBackup writes a backup into a file that is nobody's but ours and is gone when
// it is closed. It ends early when the client does.
func (s *Server) makeBackup(ctx context.Context, keys bool) (*os.File, error) {
	if err := s.Desk.NoteBackup(ctx, keys, by(ctx)); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "hotdeskd-backup-")
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	err = os.Remove(file.Name())
	if err == nil {
		err = s.Backup(whileWanted{ctx, file}, keys)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("backup: %w (it is put together in %s: is there room?)", err, os.TempDir()), file.Close())
	}
	return file, nil
}

// whileWanted writes as long as the client is there.
type whileWanted struct {
	ctx context.Context
	w   io.Writer
}

func (w whileWanted) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(b)
}

// backupChunk is what a reader must take within the patience.
const backupChunk = 256 << 10

func (s *Server) sendBackup(hc huma.Context, file *os.File) {
	defer func() { _ = file.Close() }() // it has no name any more
	size, err := file.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		s.Log.Error("backup cannot be read again", "err", err)
		panic(http.ErrAbortHandler)
	}
	hc.SetHeader("Content-Type", BackupType)
	hc.SetHeader("Content-Length", strconv.FormatInt(size, 10))
	hc.SetHeader("Content-Disposition", `attachment; filename="hotdeskd-backup.zip"`)
	out := steady{humagin.Unwrap(hc).Writer, clockOf(hc.Context()), s.patience}
	// Neither end may take the copying into its own hands: then no write would have
	// an end in time.
	if _, err := io.CopyBuffer(out, struct{ io.Reader }{file}, make([]byte, backupChunk)); err != nil {
		s.Log.Info("backup broken off by its reader", "err", err)
		panic(http.ErrAbortHandler)
	}
}
