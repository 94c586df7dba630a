package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"hotdeskd/hotdesk"
)

// Client is the API as the command line uses it.
type Client struct {
	http  *http.Client
	base  string // without /api/v1
	token string
}

// Local talks to the server on this machine by its command socket, with owner
// rights for root and the server's own account.
func Local(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial}}, base: "http://hotdeskd"}
}

// Remote talks to a server by its URL, with a token.
func Remote(server, token string) *Client {
	return &Client{http: &http.Client{}, base: strings.TrimSuffix(server, "/"), token: token}
}

// do sends one request and decodes the answer into out unless that is nil. An
// error of the server is returned as *Problem.
func (c *Client) do(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	res, err := c.send(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	if raw, ok := out.(*[]byte); ok {
		*raw, err = io.ReadAll(res.Body)
	} else {
		err = json.NewDecoder(res.Body).Decode(out)
	}
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			return nil, fmt.Errorf("the server does not answer (%w); is \"hotdeskd serve\" running?", op.Err)
		}
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	p := &Problem{Status: res.StatusCode, Title: res.Status}
	if err := json.NewDecoder(io.LimitReader(res.Body, 4*maxImport)).Decode(p); err != nil {
		return nil, fmt.Errorf("the server answered %s", res.Status)
	}
	return nil, p
}

// Get reads one object.
func Get[T any](ctx context.Context, c *Client, path string) (out T, err error) {
	err = c.do(ctx, http.MethodGet, path, "", nil, &out)
	return out, err
}

// List reads the items of a list.
func List[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	l, err := Get[list[T]](ctx, c, path)
	return l.Items, err
}

// Post sends body (nil for none) and decodes the answer into out unless nil.
func (c *Client) Post(ctx context.Context, path string, body, out any) error {
	if body == nil {
		return c.do(ctx, http.MethodPost, path, "", nil, out)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	return c.do(ctx, http.MethodPost, path, "application/json", bytes.NewReader(b), out)
}

// Patch changes one object.
func (c *Client) Patch(ctx context.Context, path string, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	return c.do(ctx, http.MethodPatch, path, "application/json", bytes.NewReader(b), nil)
}

// Delete deletes one object.
func (c *Client) Delete(ctx context.Context, path string) error {
	return c.do(ctx, http.MethodDelete, path, "", nil, nil)
}

// Apply sends a file of desired state.
func (c *Client) Apply(ctx context.Context, text []byte, dryRun, prune bool) (res hotdesk.Applied, err error) {
	q := url.Values{"dry_run": {strconv.FormatBool(dryRun)}, "prune": {strconv.FormatBool(prune)}}
	err = c.do(ctx, http.MethodPost, "/apply?"+q.Encode(), "application/yaml", bytes.NewReader(text), &res)
	return res, err
}

// Import sends a table of devices or users. A refused one is returned too, with
// its verdicts, beside the error.
func (c *Client) Import(ctx context.Context, path string, table []byte) (*Imported, error) {
	var res Imported
	err := c.do(ctx, http.MethodPost, path, "text/csv", bytes.NewReader(table), &res)
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p.Import, err
	case err != nil:
		return nil, err
	}
	return &res, nil
}

// Backup copies a backup to w. What was written before an error is no backup.
func (c *Client) Backup(ctx context.Context, keys bool, w io.Writer) error {
	res, err := c.send(ctx, http.MethodGet, "/backup?keys="+strconv.FormatBool(keys), "", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(w, res.Body); err != nil {
		return fmt.Errorf("the backup broke off: %w", err)
	}
	return nil
}

// Export reads the state as a file.
func (c *Client) Export(ctx context.Context) (text []byte, err error) {
	err = c.do(ctx, http.MethodGet, "/export", "", nil, &text)
	return text, err
}

// StreamEvent is one server-sent event as it came.
type StreamEvent struct {
	Name, ID string
	Data     json.RawMessage
}

// Events yields events as they happen, until ctx ends or the server stops.
func (c *Client) Events(ctx context.Context) iter.Seq2[StreamEvent, error] {
	return func(yield func(StreamEvent, error) bool) {
		res, err := c.send(ctx, http.MethodGet, "/events", "", nil)
		if err != nil {
			yield(StreamEvent{}, err)
			return
		}
		defer res.Body.Close()
		var ev StreamEvent
		lines := bufio.NewScanner(res.Body)
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case key == "event":
				ev.Name = value
			case key == "id":
				ev.ID = value
			case key == "data":
				ev.Data = json.RawMessage(value)
			case lines.Text() == "" && ev.Name != "":
				if !yield(ev, nil) {
					return
				}
				ev = StreamEvent{}
			}
		}
		if err := lines.Err(); err != nil && ctx.Err() == nil {
			yield(StreamEvent{}, fmt.Errorf("the event stream broke: %w", err))
		}
	}
}
