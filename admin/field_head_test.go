package admin

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// HEAD is answered as GET is, without a body (RFC 9110 section 9.3.2): uptime monitors ask
// so.
func TestField_L8Head(t *testing.T) {
	d := newDesk(t)
	for _, h := range []struct {
		name    string
		handler http.Handler
		paths   []string
	}{
		{"network", d.api.Console(), []string{"/healthz", "/readyz", "/"}},
		{"socket", d.api.Handler(), []string{"/healthz", "/readyz", "/api/v1/status"}},
	} {
		s := httptest.NewServer(h.handler)
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		for _, path := range h.paths {
			get, err := client.Get(s.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			head, err := client.Head(s.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			if head.StatusCode != get.StatusCode || head.StatusCode == http.StatusMethodNotAllowed {
				t.Errorf("%s %s: HEAD gets %d, GET %d", h.name, path, head.StatusCode, get.StatusCode)
			}
			_ = get.Body.Close()
			_ = head.Body.Close()
		}
		s.Close()
	}
}
