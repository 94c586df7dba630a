package simphone

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
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
	clients map[trust]*http.Client
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
	perms    map[string]string // who may change which, where the vendor knows that
	digest   string            // of all files, hex
	note     string            // first comment of the last file: the server's version line
}

func newLoader(cfg Config, d dialect, m model, step func(string, map[string]string)) *loader {
	l := &loader{
		dialect: d, model: m, mac: cfg.MAC, step: step, kept: map[string]keptFile{},
		clients: map[trust]*http.Client{}, close: func() {},
	}
	for _, t := range []trust{trustAny, trustKnown, trustNamed} {
		transport := cfg.HTTP
		if transport == nil {
			// A phone opens a connection for each file; nothing is left open after Run.
			own := &http.Transport{DisableKeepAlives: true, TLSHandshakeTimeout: 10 * time.Second, TLSClientConfig: t.config(cfg.Roots, "")}
			before := l.close
			transport, l.close = own, func() { before(); own.CloseIdleConnections() }
		}
		l.clients[t] = &http.Client{Transport: transport, Timeout: 15 * time.Second}
	}
	return l
}

// load runs through the file sequence at a server and lays what it says over the
// settings the phone has. A file that the server has and does not give is passed
// over like one that it does not have; with no file at all it is the reason.
func (l *loader) load(ctx context.Context, from server, old settings) (loaded, error) {
	names, first, err := l.sequence(ctx, from, old)
	if err != nil {
		return loaded{}, err
	}
	out := loaded{settings: settings{}, perms: map[string]string{}}
	maps.Copy(out.settings, old)
	hash, found := sha256.New(), false
	var kept error
	for _, name := range names {
		body, ok, err := l.file(ctx, from, name)
		switch {
		case errors.Is(err, errNotGiven):
			kept = err
			continue
		case err != nil:
			return loaded{}, err
		case !ok:
			continue
		}
		note, err := l.dialect.parse(body, l.mac, out.settings)
		if err != nil {
			return loaded{}, fmt.Errorf("%w: %s: %w", ErrProvision, name, err)
		}
		if l.dialect.perms != nil {
			maps.Copy(out.perms, l.dialect.perms(body))
		}
		hash.Write(body)
		found, out.note = true, note
		if first {
			break
		}
	}
	switch {
	case !found && kept != nil:
		return loaded{}, kept
	case !found:
		return loaded{}, fmt.Errorf("%w: the server has none of the files that this phone asks for", ErrProvision)
	}
	out.digest = hex.EncodeToString(hash.Sum(nil))
	return out, nil
}

// errNotGiven: the server has the file, or may have it, and does not give it.
var errNotGiven = errors.New("not given")

// sequence finds out which files to load: those of a boot file, or the fixed ones.
// first tells that one of them is enough.
func (l *loader) sequence(ctx context.Context, from server, old settings) (names []string, first bool, err error) {
	for _, pattern := range l.dialect.boot {
		name := l.model.fill(pattern, l.mac)
		body, ok, err := l.file(ctx, from, name)
		if err != nil && !errors.Is(err, errNotGiven) {
			return nil, false, err
		}
		if ok {
			return l.dialect.includes(body), false, nil
		}
	}
	for _, pattern := range l.dialect.files {
		names = append(names, l.model.fill(pattern, l.mac))
	}
	if l.dialect.first && l.dialect.all(old) {
		slices.Reverse(names)
		return names, false, nil
	}
	return names, l.dialect.first, nil
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
	status, body, err := l.get(ctx, at.String(), server{trust: from.trust})
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
		return nil, false, fmt.Errorf("%w: %s asks for a user name and password that this phone does not have: %w", ErrProvision, at.Host, errNotGiven)
	}
	return nil, false, fmt.Errorf("%w: %s from %s: status %d: %w", ErrProvision, name, at.Host, status, errNotGiven)
}

// get sends one request, with Basic credentials when as has a user. The body of
// a 304 is the one that was kept.
func (l *loader) get(ctx context.Context, at string, as server) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("User-Agent", l.model.fill(l.dialect.webAgent, l.mac))
	if as.user != "" {
		req.SetBasicAuth(as.user, as.password)
	}
	kept, have := l.kept[at]
	if have {
		req.Header.Set("If-None-Match", kept.etag)
	}
	res, err := l.clients[as.trust].Do(req)
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
