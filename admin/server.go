package admin

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"time"

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
	// Audit returns rows older than that of the operation before; empty: the newest.
	Audit(limit int, before string) ([]hotdesk.AuditRow, error)
	Verify() (rows int, err error)
	// Waiting is how many audit rows of emergency calls the disk does not take, and why.
	Waiting() (rows int, why error)
}

// Phones reaches phones, and PBXes; sip does it.
type Phones interface {
	CheckSync(context.Context, hotdesk.DeviceID, hotdesk.CheckSync) error
	TestPBX(ctx context.Context, name string) (hotdesk.PBXTest, error)
	// RetryPBX tries at once all that waits at a PBX.
	RetryPBX(ctx context.Context, name string) error
	// Alive tells whether the phone that registered as the device still answers.
	Alive(context.Context, hotdesk.DeviceID) bool
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
	Access  Access
	Models  []hotdesk.Model
	Version string
	// ConsoleURL is where the console is reached, without a slash at the end; empty
	// when it is switched off.
	ConsoleURL string
	// Listeners are the addresses that status shows, by name.
	Listeners map[string]string
	// Host examines what only the wiring knows: disk, clock, ports, certificates.
	Host func(context.Context) []Finding
	// PINHash and IVRLines are what status says of them.
	PINHash  string
	IVRLines int
	// Backup writes a backup; nil: there are none.
	Backup func(w io.Writer, keys bool) error
	// Ready says what is wrong when the server cannot do its work.
	Ready func() error
	Log   *slog.Logger
}

// Server is the API.
type Server struct {
	Options
	router *gin.Engine // API
	pages  *gin.Engine // console
	api    huma.API
	// templates are the console's pages.
	templates *template.Template
	streams   streams
	backups   chan struct{} // one at a time
	// recheck and patience are the constants of these names; tests hurry.
	recheck, patience time.Duration
}

// New builds the API; it listens nowhere by itself (Handler).
func New(o Options) (*Server, error) {
	if o.Desk == nil || o.Live == nil || o.Files == nil || o.Journal == nil || o.Phones == nil || o.Ladder == nil || o.Access == nil || o.Ready == nil {
		return nil, errors.New("admin.New: an option is missing")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		Options: o, router: gin.New(), streams: streams{of: map[hotdesk.Principal]int{}}, backups: make(chan struct{}, 1),
		recheck: recheck, patience: patience,
	}
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
	s.tokens()
	s.imports()
	s.doctor()
	s.backup()
	s.router.GET("/api/v1/events", s.events)
	s.router.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	s.router.GET("/readyz", s.readyz)
	s.router.GET("/metrics", s.metrics())
	s.router.HandleMethodNotAllowed = true
	s.router.NoRoute(func(c *gin.Context) {
		told(c, &Problem{Title: "Not Found", Status: 404, Code: "not_found", Detail: "no such path; see /api/v1/openapi.json"})
	})
	s.router.NoMethod(func(c *gin.Context) {
		told(c, &Problem{Title: "Method Not Allowed", Status: 405, Code: "method_not_allowed", Detail: "this path takes " + c.Writer.Header().Get("Allow")})
	})
	if err := s.console(); err != nil {
		return nil, fmt.Errorf("admin.New: %w", err)
	}
	return s, nil
}

// told sends a problem outside of the operations.
func told(c *gin.Context, p *Problem) {
	c.Header("Content-Type", p.ContentType(""))
	c.JSON(p.Status, p)
}

// readyz gives the reason to those who may see it only.
func (s *Server) readyz(c *gin.Context) {
	if err := s.Ready(); err != nil {
		why := ""
		if lookWide().check(who(c.Request.Context())) == nil {
			why = ": " + err.Error()
		}
		c.String(http.StatusServiceUnavailable, "not ready%s\n", why)
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

// route registers one operation for those who have the right: its errors go
// through the table.
func route[I, O any](s *Server, r right, method, path, summary string, status int, do func(context.Context, *I) (*O, error)) {
	size, within := limits(path)
	op := huma.Operation{
		OperationID: method + path, Method: method, Path: "/api/v1" + path, Summary: summary, DefaultStatus: status,
		MaxBodyBytes: size, BodyReadTimeout: within, Middlewares: huma.Middlewares{s.admit(r), s.queried},
		Description: "Needs the role " + string(r.role) + ".",
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		clockOf(ctx).give(answerTime)
		if err != nil {
			return nil, s.problem(err)
		}
		return out, nil
	})
}
