package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hotdeskd/admin"
	"hotdeskd/internal/simphone"
)

// chromium is a real browser with an empty profile.
func chromium(t *testing.T) context.Context {
	t.Helper()
	needPeer(t, "chromium")
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 800),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// picture keeps a screenshot where HOTDESKD_PICTURES says, for those who want to
// see the console.
func picture(name string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		dir := os.Getenv("HOTDESKD_PICTURES")
		if dir == "" {
			return nil
		}
		png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600)
	})
}

// see waits until an element of the page has a text, also while another page is
// being loaded.
func see(selector, text string) chromedp.Action[chromedp.Void] {
	condition := fmt.Sprintf("!!document.querySelector(%q)?.textContent.includes(%q)", selector, text)
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		ctx, cancel := context.WithTimeout(ctx, 2*patience)
		defer cancel()
		look := time.NewTicker(50 * time.Millisecond)
		defer look.Stop()
		for {
			seen, err := chromedp.Run(ctx, chromedp.Evaluate[bool](condition))
			if seen {
				return nil
			}
			select {
			case <-look.C:
			case <-ctx.Done():
				return fmt.Errorf("no %q in %s: %w", text, selector, errors.Join(err, ctx.Err()))
			}
		}
	})
}

// fits refuses a page that is wider than its screen.
func fits() chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		wide, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("document.documentElement.scrollWidth > window.innerWidth"))
		if err == nil && wide {
			err = errors.New("the page is wider than the screen")
		}
		return err
	})
}

// An administrator opens the one-time link in a real browser, sees a phone come
// into use without loading the page again, logs its user out from there, and the
// phone's display follows; a phone that waits is approved from a small screen.
func TestPeerChromiumRemoteLogout(t *testing.T) {
	t.Parallel()
	ctx := chromium(t)
	s := startServer(t)
	s.apply(office("127.0.0.1:9"))
	phone := s.phone(0, nil)
	s.awaitDevice("HD0001", "current", current)
	var link admin.ConsoleLink
	s.must("one-time link", s.api.Post(s.context(), "/console/link", nil, &link))

	s.must("choose a password", chromedp.Do(ctx,
		chromedp.Navigate(link.URL),
		chromedp.SendKeys("input[name=password]", "correct horse"),
		chromedp.SendKeys("input[name=again]", "correct horse"),
		chromedp.Click("main button"),
		see("#d-HD0001", "idle"), see("#live", "live"), fits(), picture("idle"),
	))

	call := s.dial(phone, "*77*100*")
	s.must("press", call.Press(s.context(), "4071#"))
	s.must("see the login", chromedp.Do(ctx, see("#d-HD0001", "100 User 100")))
	s.must("hang up", call.HangUp(s.context()))
	s.await("display of user 100", func() bool { return strings.Contains(phone.State().Label, "100") })
	s.must("log out", chromedp.Do(ctx,
		see("#d-HD0001", "✔ current"), picture("in-use"),
		chromedp.Click("#d-HD0001 summary"),
		chromedp.SendKeys("#d-HD0001 input[name=reason]", "forgot"),
		chromedp.Click("#d-HD0001 form button"),
		see("#message", "HD0001 is logged out"),
		see("#d-HD0001", "idle"),
	))
	s.await("display of the idle phone", func() bool { return phone.State().Label == "HD0001" })
	s.must("see it current", chromedp.Do(ctx, see("#d-HD0001", "✔ current"), picture("logged-out")))
	rows, err := admin.List[struct {
		Action, By string
		Detail     map[string]string
	}](s.context(), s.api, "/audit")
	s.must("audit", err)
	if len(rows) == 0 || rows[0].Action != "session.ended" || rows[0].By != "admin" || rows[0].Detail["reason"] != "forgot" {
		t.Errorf("the newest audit row is %+v", rows[:min(len(rows), 1)])
	}

	stranger := s.phone(7, func(c *simphone.Config) { c.HoldPoll = 200 * time.Millisecond })
	s.must("approve on a small screen", chromedp.Do(ctx,
		chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile),
		see("#p-"+phoneMAC(7), "yealink-t46u"), picture("small"),
		chromedp.Click("#p-"+phoneMAC(7)+" summary"),
		chromedp.SendKeys("#p-"+phoneMAC(7)+" input[name=desk]", "3-1"),
		chromedp.Click("#p-"+phoneMAC(7)+" form button"),
		see("#d-HD0005", "3-1"),
		fits(),
	))
	s.await("approved phone's display", func() bool { return stranger.State().Label == "HD0005" })
}
