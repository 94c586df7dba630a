package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"hotdeskd/hotdesk"
)

// Problem is an error as the API tells it (RFC 9457). Code is for programs,
// Detail for people: what, where and how to mend it.
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail,omitempty"`
	// Import tells the verdicts when an import is refused.
	Import *Imported `json:"import,omitempty"`
}

func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// GetStatus makes Problem an error that huma answers with.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is application/problem+json.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// problems is the one table from the rules' errors to the API's.
var problems = []struct {
	err    error
	status int
	code   string
}{
	{hotdesk.ErrUnauthorized, 401, "unauthorized"},
	{hotdesk.ErrForbidden, 403, "forbidden"},
	{hotdesk.ErrWeakPIN, 422, "weak_pin"},
	{hotdesk.ErrUnknownModel, 422, "unknown_model"},
	{hotdesk.ErrNotHotDesk, 422, "not_hot_desk"},
	{hotdesk.ErrFixedDevice, 422, "not_hot_desk"},
	{hotdesk.ErrCodeConflict, 422, "code_conflict"},
	{hotdesk.ErrShadowsEmergency, 422, "shadows_emergency"},
	{hotdesk.ErrInvalid, 422, "invalid"},
	{hotdesk.ErrNotFound, 404, "not_found"},
	{hotdesk.ErrInUse, 409, "in_use"},
	{hotdesk.ErrDeviceInCall, 409, "device_in_call"},
	{hotdesk.ErrSecondPhoneRefused, 409, "second_phone_refused"},
	{hotdesk.ErrEmergencyHold, 409, "emergency_hold"},
	{hotdesk.ErrBlocked, 409, "conflict"},
	{hotdesk.ErrNobody, 409, "conflict"},
	{hotdesk.ErrNoMatch, 409, "conflict"},
	{hotdesk.ErrConflict, 409, "conflict"},
	{hotdesk.ErrLocked, 429, "throttled"},
	{hotdesk.ErrBusy, 429, "throttled"},
	{hotdesk.ErrUnavailable, 503, "store_unavailable"},
	{hotdesk.ErrUnknownOutcome, 503, "store_unavailable"},
}

// statusGone is what a request that its client gave up ends with in logs and
// counters, as others do (nginx's 499); nobody reads the answer.
const statusGone = 499

// problem turns an error into what is sent. What is not in the table is ours to
// mend: it is logged and told as no more than internal.
func (s *Server) problem(err error) error {
	var told *Problem
	if errors.As(err, &told) {
		return told
	}
	for _, p := range problems {
		if errors.Is(err, p.err) {
			return &Problem{Title: http.StatusText(p.status), Status: p.status, Code: p.code, Detail: strings.ReplaceAll(err.Error(), "\n", "; ")}
		}
	}
	if errors.Is(err, context.Canceled) {
		s.Log.Debug("API request given up by its client", "err", err)
		return &Problem{Title: "Client Closed Request", Status: statusGone, Code: "cancelled", Detail: "the request was given up before it was done"}
	}
	s.Log.Error("API request failed", "err", err)
	return &Problem{Title: "Internal Server Error", Status: 500, Code: "internal", Detail: "something went wrong; the server's log says what"}
}

// plainProblems gives the errors that huma makes itself the same form. Values
// are left out of them: one could be a PIN.
func plainProblems(_ huma.Context, _ string, v any) (any, error) {
	model, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := &Problem{Title: model.Title, Status: model.Status, Code: "invalid", Detail: model.Detail}
	if model.Status == 404 {
		p.Code = "not_found"
	}
	for _, e := range model.Errors {
		p.Detail += "; " + e.Location + ": " + e.Message
	}
	return p, nil
}
