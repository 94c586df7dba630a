package sip

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// lines is a log that a test can read.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// count is how many lines hold all of these words.
func (l *lines) count(words ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.SplitSeq(l.text.String(), "\n") {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}

// The password of the emergency account was wrong at the PBX and is mended there: the
// next thing that the PBX takes from us, a test, `pbx retry`, an authenticated call of
// that account or a registration of anybody, ends the wait of all within 5 s. What was
// wrong is told in the same words by the state, the test and the log, names keys that
// exist, and no password.
func TestField_O2MendedAtThePBX(t *testing.T) {
	for name, mend := range map[string]func(o *office, r *pbxRegistrar){
		"pbx test": func(o *office, _ *pbxRegistrar) {
			if got, err := o.edge.TestPBX(context.Background(), "main"); err != nil || !got.OK {
				o.t.Errorf("%+v, %v", got, err)
			}
		},
		"pbx retry": func(o *office, _ *pbxRegistrar) {
			if err := o.edge.RetryPBX(context.Background(), "main"); err != nil {
				o.t.Error(err)
			}
		},
		"a call": func(o *office, _ *pbxRegistrar) {
			a, _ := o.PBXAccountOf("main", "")
			o.edge.pbx.Told(a, dialog.Flow{Transport: "UDP", Remote: pbxAddr})(sip.NewResponse(180, "Ringing"), nil)
		},
		"a registration": func(_ *office, r *pbxRegistrar) {
			for n := len(r.of("100")); len(r.of("100")) == n; {
				sleep(time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inOffice(t, func(o *office) {
				log := &lines{}
				o.log = slog.New(slog.NewTextHandler(log, nil))
				o.closeEdge()
				o.openEdge()
				r := o.openRegistrar()
				o.login("HD0001", "100")
				sleep(2 * time.Second)
				r.with(func() { r.passwords["emergency"] = "other" })
				o.setPBX(hotdesk.PBXSpec{Account: &hotdesk.AccountSpec{AuthUser: ptr("emergency"), Secret: ptr("wrong")}})
				sleep(70 * time.Second) // three refusals: at once, after 5 s, after a minute
				o.login("HD0002", "101")
				sleep(30 * time.Second)
				if len(r.at("101")) != 0 {
					t.Error("101 does not wait")
				}
				got := o.live.PBX("main")
				if len(got.Troubles) != 2 || got.Account != got.Troubles[0].String() || got.Troubles[0].Who != "account" || got.Troubles[1].Who != "user 101" {
					t.Fatalf("told %+v", got)
				}
				words := got.Account
				for _, want := range []string{`"emergency" (403)`, "account.secret of pbx main", "hotdeskd pbx retry main"} {
					if !strings.Contains(words, want) {
						t.Errorf("no %q in %s", want, words)
					}
				}
				if n := log.count("registration refused", `account.secret of pbx main`); n != 3 {
					t.Errorf("%d lines in the log about 3 refusals:\n%s", n, log.text.String())
				}
				if site := o.Sites()[0]; strings.Join(o.Missing(site), " ") != "a working account at pbx main" {
					t.Errorf("the site lacks %q", o.Missing(site))
				}
				r.with(func() { r.passwords["emergency"] = "e" }) // what the mock takes for right
				mend(o, r)
				sleep(5 * time.Second)
				if len(r.at("101")) != 1 || len(r.at("emergency")) != 1 {
					t.Errorf("not back after 5 s: %+v", o.live.PBX("main"))
				}
				if got := o.live.PBX("main"); len(got.Troubles) != 0 || got.Account != "registered" {
					t.Errorf("told %+v", got)
				}
				if log.count("wrong") != 0 || log.count("p100") != 0 {
					t.Error("a password is in the log")
				}
			})
		})
	}
}

// A test that finds the account refused says so in the words of the state.
func TestField_O2TheSameWords(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		r.with(func() { r.passwords["emergency"] = "other" })
		sleep(2 * time.Second)
		got, err := o.edge.TestPBX(context.Background(), "main")
		if err != nil || got.OK || got.Verdict != o.live.PBX("main").Account {
			t.Errorf("the test says\n%s, the state\n%s", got.Verdict, o.live.PBX("main").Account)
		}
		if _, err := o.edge.TestPBX(context.Background(), "none"); err == nil {
			t.Error("a PBX that is not there was tried")
		}
		if err := o.edge.RetryPBX(context.Background(), "none"); err == nil {
			t.Error("a PBX that is not there was tried again")
		}
	})
}

// Refusals stay few, however often the PBX takes somebody else's password meanwhile:
// one more in ten minutes.
func TestField_O2FewRefusals(t *testing.T) {
	inOffice(t, func(o *office) {
		r := o.openRegistrar()
		o.login("HD0001", "100")
		sleep(2 * time.Second)
		r.with(func() {
			for _, user := range []string{"101", "102", "103"} {
				r.passwords[user] = "other"
			}
		})
		o.login("HD0002", "101")
		o.login("HD0003", "102")
		o.login("HD0004", "103")
		sleep(9 * time.Minute) // 100 and the PBX's account are refreshed twice
		if n := len(r.of("101")) + len(r.of("102")) + len(r.of("103")); n > 4 {
			t.Errorf("%d refusals in 9 minutes", n)
		}
	})
}
