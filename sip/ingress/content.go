package ingress

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// sdp is the one kind of session description that is spoken here.
const sdp = "application/sdp"

// content refuses an offer that is in no language of ours, or whose answer the
// caller would not take (RFC 3261 sections 8.2.3 and 21.4.7).
func content(req *sip.Request) *Refusal {
	if req.Method != sip.INVITE && req.Method != sip.UPDATE {
		return nil
	}
	if kind := mediaType(req); len(req.Body()) > 0 && kind != sdp && !strings.HasPrefix(kind, "multipart/") {
		return &Refusal{415, "Unsupported Media Type", []sip.Header{sip.NewHeader("Accept", sdp+", multipart/mixed")}}
	}
	accepted := ""
	for _, h := range req.GetHeaders("Accept") {
		accepted += strings.ToLower(h.Value()) + ","
	}
	if accepted == "" {
		return nil
	}
	for _, kind := range []string{sdp, "application/*", "*/*"} {
		if strings.Contains(accepted, kind) {
			return nil
		}
	}
	return &Refusal{406, "Not Acceptable", nil}
}

// mediaType is the lower-case content type without parameters; a body without
// one is taken for a session description.
func mediaType(req *sip.Request) string {
	h := req.ContentType()
	if h == nil {
		return sdp
	}
	kind, _, _ := strings.Cut(h.Value(), ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

// SDP returns the session description of a request: its body, or that part of a
// body of several parts; nil when there is none.
func SDP(req *sip.Request) []byte {
	if len(req.Body()) == 0 || mediaType(req) == sdp {
		return req.Body()
	}
	kind, params, err := mime.ParseMediaType(req.ContentType().Value())
	if err != nil || !strings.HasPrefix(kind, "multipart/") || params["boundary"] == "" {
		return nil
	}
	parts := multipart.NewReader(bytes.NewReader(req.Body()), params["boundary"])
	for {
		part, err := parts.NextPart()
		if err != nil {
			return nil
		}
		if kind, _, _ := strings.Cut(part.Header.Get("Content-Type"), ";"); strings.EqualFold(strings.TrimSpace(kind), sdp) {
			body, err := io.ReadAll(part)
			if err != nil {
				return nil
			}
			return body
		}
	}
}
