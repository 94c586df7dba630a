package simphone

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxFile bounds what a phone loads.
const maxFile = 1 << 20

// loader fetches the phone's files.
type loader struct {
	dialect dialect
	model   model
	mac     string
	client  *http.Client
	close   func()
	step    func(name string, detail map[string]string)
	// kept are the files as last seen, by URL, for If-None-Match.
	kept map[string]keptFile
}

type keptFile struct {
	etag string
	body []byte
}

// loaded is the outcome of one run through the vendor's file sequence.
type loaded struct {
	settings settings
	digest   string // of all files, hex
	note     string // first comment of the last file: the server's version line
}

func newLoader(cfg Config, d dialect, m model, step func(string, map[string]string)) *loader {
	l := &loader{dialect: d, model: m, mac: cfg.MAC, step: step, kept: map[string]keptFile{}, close: func() {}}
	transport := cfg.HTTP
	if transport == nil {
		// A phone opens a connection for each file; nothing is left open after Run.
		own := &http.Transport{DisableKeepAlives: true, TLSHandshakeTimeout: 10 * time.Second}
		transport, l.close = own, own.CloseIdleConnections
	}
	l.client = &http.Client{Transport: transport, Timeout: 15 * time.Second}
	return l
}

// load runs through the file sequence at a server and lays what it says over the
// settings the phone has.
func (l *loader) load(ctx context.Context, from server, old settings) (loaded, error) {
	names, err := l.sequence(ctx, from)
	if err != nil {
		return loaded{}, err
	}
	out := loaded{settings: maps.Clone(old)}
	hash, found := sha256.New(), false
	for _, name := range names {
		body, ok, err := l.file(ctx, from, name)
		if err != nil {
			return loaded{}, err
		}
		if !ok {
			continue
		}
		if err := l.dialect.parse(body, out.settings); err != nil {
			return loaded{}, fmt.Errorf("%w: %s: %w", ErrProvision, name, err)
		}
		hash.Write(body)
		found, out.note = true, firstComment(body)
	}
	if !found {
		return loaded{}, fmt.Errorf("%w: the server has none of the files that this phone asks for", ErrProvision)
	}
	out.digest = hex.EncodeToString(hash.Sum(nil))
	return out, nil
}

// sequence finds out which files to load: those of a boot file, or the fixed ones.
func (l *loader) sequence(ctx context.Context, from server) ([]string, error) {
	for _, pattern := range l.dialect.boot {
		name := l.model.fill(pattern, l.mac)
		body, ok, err := l.file(ctx, from, name)
		if err != nil {
			return nil, err
		}
		if ok {
			return l.dialect.includes(body), nil
		}
	}
	var names []string
	for _, pattern := range l.dialect.files {
		names = append(names, l.model.fill(pattern, l.mac))
	}
	return names, nil
}

// file loads one file; ok is false when the server has none by this name.
func (l *loader) file(ctx context.Context, from server, name string) (body []byte, ok bool, err error) {
	base, err := url.Parse(from.url)
	if err != nil {
		return nil, false, fmt.Errorf("%w: the provisioning URL cannot be read", ErrProvision)
	}
	at, err := base.Parse(strings.ReplaceAll(name, "$MAC", l.mac))
	if err != nil {
		return nil, false, fmt.Errorf("%w: file name %q", ErrProvision, name)
	}
	status, body, err := l.get(ctx, at.String(), server{})
	if err == nil && status == http.StatusUnauthorized && from.user != "" {
		status, body, err = l.get(ctx, at.String(), from)
	}
	if err != nil {
		// The URL holds the phone's token, so it is not repeated.
		return nil, false, fmt.Errorf("%w: %s from %s: %w", ErrProvision, name, at.Host, withoutURL(err))
	}
	switch status {
	case http.StatusOK, http.StatusNotModified:
		l.step("fetched", map[string]string{"file": name, "status": strconv.Itoa(status), "bytes": strconv.Itoa(len(body))})
		return body, true, nil
	case http.StatusNotFound:
		return nil, false, nil
	case http.StatusUnauthorized:
		return nil, false, fmt.Errorf("%w: %s asks for a user name and password that this phone does not have", ErrProvision, at.Host)
	}
	return nil, false, fmt.Errorf("%w: %s from %s: status %d", ErrProvision, name, at.Host, status)
}

// get sends one request, with Basic credentials when as has a user. The body of
// a 304 is the one that was kept.
func (l *loader) get(ctx context.Context, at string, as server) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("User-Agent", l.model.fill(l.dialect.userAgent, l.mac))
	if as.user != "" {
		req.SetBasicAuth(as.user, as.password)
	}
	kept, have := l.kept[at]
	if have {
		req.Header.Set("If-None-Match", kept.etag)
	}
	res, err := l.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxFile))
	switch {
	case err != nil:
		return 0, nil, err
	case res.StatusCode == http.StatusNotModified && have:
		return res.StatusCode, kept.body, nil
	case res.StatusCode == http.StatusOK && res.Header.Get("ETag") != "":
		l.kept[at] = keptFile{res.Header.Get("ETag"), body}
	}
	return res.StatusCode, body, nil
}

// forget drops what was kept, as a restart does.
func (l *loader) forget() { clear(l.kept) }

// withoutURL takes the URL, and with it the token, out of net/http's error.
func withoutURL(err error) error {
	if e, ok := err.(*url.Error); ok {
		return e.Err
	}
	return err
}

// firstComment is the first "#" line that is no "#!" line. A phone does not read
// it; it is shown to people.
func firstComment(body []byte) string {
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(text, "!") {
			return strings.TrimSpace(text)
		}
	}
	return ""
}
