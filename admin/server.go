package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"hotdeskd/hotdesk"
)

// Files shows what phones are served; provisioning does it.
type Files interface {
	Config(id hotdesk.DeviceID, as hotdesk.Extension) (version uint64, files []hotdesk.File, err error)
	Explain(hotdesk.DeviceID) ([]hotdesk.Provenance, error)
	Secrets(hotdesk.DeviceID) ([]hotdesk.Secret, error)
	DeviceURL(hotdesk.Device) string
	EnrolmentURL(site string) string
}

// Journal reads what happened, newest first.
type Journal interface {
	Calls(user hotdesk.Extension, device hotdesk.DeviceID, limit int) ([]hotdesk.Call, error)
	Audit(limit int) ([]hotdesk.AuditRow, error)
	Verify() (rows int, err error)
}

// Phones reaches phones; sip does it.
type Phones interface {
	CheckSync(context.Context, hotdesk.DeviceID, hotdesk.CheckSync) error
}

// Ladder returns the ways to tell a device's phone to fetch, gentle ones first.
type Ladder interface {
	Prepare(context.Context, hotdesk.DeviceID) (string, []hotdesk.CheckSync, error)
}

// Options of New; all are required but Log.
type Options struct {
	Desk    *hotdesk.Service
	Live    *hotdesk.Live
	Files   Files
	Journal Journal
	Phones  Phones
	Ladder  Ladder
	Models  []hotdesk.Model
	Version string
	// Listeners are the addresses that status shows, by name.
	Listeners map[string]string
	// Ready says what is wrong when the server cannot do its work.
	Ready func() error
	Log   *slog.Logger
}

// Server is the API.
type Server struct {
	Options
	router *gin.Engine
	api    huma.API
}

// New builds the API; it listens nowhere by itself (Handler).
func New(o Options) (*Server, error) {
	if o.Desk == nil || o.Live == nil || o.Files == nil || o.Journal == nil || o.Phones == nil || o.Ladder == nil || o.Ready == nil {
		return nil, errors.New("admin.New: an option is missing")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{Options: o, router: gin.New()}
	config := huma.DefaultConfig("hotdeskd", o.Version)
	config.OpenAPIPath = "/api/v1/openapi"
	config.DocsPath, config.SchemasPath = "", "/api/v1/schemas"
	config.CreateHooks = nil // no $schema members in answers
	config.Transformers = append(config.Transformers, plainProblems)
	s.api = humagin.New(s.router, config)
	s.devices()
	s.users()
	s.places()
	s.history()
	s.router.GET("/api/v1/events", s.events)
	s.router.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	s.router.GET("/readyz", s.readyz)
	s.router.NoRoute(func(c *gin.Context) {
		c.Header("Content-Type", "application/problem+json")
		c.JSON(http.StatusNotFound, &Problem{Title: "Not Found", Status: 404, Code: "not_found", Detail: "no such path; see /api/v1/openapi.json"})
	})
	return s, nil
}

// Handler is the API as net/http needs it. Who may use it is the listener's
// business: on the Unix socket only root and the server's own account get here.
func (s *Server) Handler() http.Handler { return s.router }

func (s *Server) readyz(c *gin.Context) {
	if err := s.Ready(); err != nil {
		c.String(http.StatusServiceUnavailable, "not ready: %s\n", err)
		return
	}
	c.String(http.StatusOK, "ready\n")
}

// list is how every list is told.
type list[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"`
}

func listOf[T any](items []T) *body[list[T]] {
	if items == nil {
		items = []T{}
	}
	return &body[list[T]]{Body: list[T]{Items: items}}
}

// body is a response with content.
type body[T any] struct{ Body T }

// none is a response without content.
type none struct{}

// route registers one operation: its errors go through the table.
func route[I, O any](s *Server, method, path, summary string, status int, do func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		OperationID: method + path, Method: method, Path: "/api/v1" + path, Summary: summary, DefaultStatus: status,
		MaxBodyBytes: 16 << 20,
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, s.problem(err)
		}
		return out, nil
	})
}

// by is who asks, for the audit log.
func by(context.Context) string { return string(hotdesk.ByAdmin) }
