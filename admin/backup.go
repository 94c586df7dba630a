package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"hotdeskd/hotdesk"
)

// BackupType is the content type of a backup.
const BackupType = "application/zip"

// backup streams a copy of everything while the server goes on. An error in the
// middle breaks the stream off, and a file without its end is no backup.
func (s *Server) backup() {
	route(s, own(), http.MethodGet, "/backup", "A backup, as a zip file; written to the audit log", 200, func(ctx context.Context, in *struct {
		Keys bool `query:"keys" doc:"with the keys and certificates, without which no PIN and no phone is recognised; keep such a file as safe as the server"`
	}) (*huma.StreamResponse, error) {
		if s.Backup == nil {
			return nil, fmt.Errorf("%w: this server makes no backups", hotdesk.ErrNotFound)
		}
		if err := s.Desk.NoteBackup(ctx, in.Keys, by(ctx)); err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			hc.SetHeader("Content-Type", BackupType)
			hc.SetHeader("Content-Disposition", `attachment; filename="hotdeskd-backup.zip"`)
			if err := s.Backup(hc.BodyWriter(), in.Keys); err != nil {
				s.Log.Error("backup broken off", "err", err)
				panic(http.ErrAbortHandler)
			}
		}}, nil
	})
}
