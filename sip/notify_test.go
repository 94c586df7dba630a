package sip

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/icholy/digest"

	"hotdeskd/hotdesk"
)

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// digestOf computes the response that credentials for a NOTIFY should have.
func digestOf(credentials, ha1, nonce, uri string) string {
	cred, err := digest.ParseCredentials(credentials)
	if err != nil {
		return "none: " + err.Error()
	}
	return md5hex(ha1 + ":" + nonce + ":00000001:" + cred.Cnonce + ":auth:" + md5hex("NOTIFY:"+uri))
}

// A check-sync goes to the Contact that the phone registered, with the AOR that
// it registered, and says what the vendor wants to hear.
func TestCheckSync(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		if err := o.edge.CheckSync(context.Background(), "HD0001", hotdesk.CheckSync{Event: "check-sync"}); !errors.Is(err, ErrNotRegistered) {
			t.Errorf("unregistered: %v", err)
		}
		p.register()
		done := make(chan error, 1)
		go func() {
			done <- o.edge.CheckSync(context.Background(), "HD0001", hotdesk.CheckSync{Event: "check-sync;reboot=false", ContentType: "text/plain", Body: []byte("x")})
		}()
		req := p.ok("NOTIFY")
		if req.Recipient.String() != "sip:HD0001@192.0.2.11:5060" || req.To().Address.String() != "sip:HD0001@192.0.2.1" ||
			req.GetHeader("Event").Value() != "check-sync;reboot=false" || req.GetHeader("Subscription-State") == nil || string(req.Body()) != "x" || req.ContentType().Value() != "text/plain" {
			t.Errorf("sent\n%s", req)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A phone that challenges the check-sync is answered with the secret it has
// proven, then with each newer one, and not without end.
func TestCheckSyncChallenged(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		p.register()
		first := p.gen
		for range 2 {
			if err := o.Rotate(context.Background(), "HD0001", false, "test"); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error, 1)
		go func() {
			done <- o.edge.CheckSync(context.Background(), "HD0001", hotdesk.CheckSync{Event: "check-sync"})
		}()
		for n := range 4 {
			req := p.request("NOTIFY")
			got := ""
			if h := req.GetHeader("Authorization"); h != nil {
				got = h.Value()
			}
			if n > 0 {
				want := sum("sip", "HD0001", fmt.Sprint(first+uint64(n)-1))[:26]
				ha1 := md5hex("HD0001:phone:" + want)
				nonce := fmt.Sprint("n", n-1)
				if response := digestOf(got, ha1, nonce, req.Recipient.String()); !strings.Contains(got, response) {
					t.Errorf("try %d does not use generation %d: %s", n, first+uint64(n)-1, got)
				}
			}
			if req.CSeq().SeqNo != uint32(n+1) {
				t.Errorf("CSeq %d", req.CSeq().SeqNo)
			}
			p.reply(req, 401, "Unauthorized", "", "", fmt.Sprintf("WWW-Authenticate: Digest realm=\"phone\", nonce=\"n%d\", qop=\"auth\"\r\n", n))
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		p.silent(time.Minute)
	})
}

// A phone that says nothing to a check-sync is an error when the time is over.
func TestCheckSyncUnanswered(t *testing.T) {
	inOffice(t, func(o *office) {
		p := o.phone(1)
		p.register()
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		if err := o.edge.CheckSync(ctx, "HD0001", hotdesk.CheckSync{Event: "check-sync"}); err == nil {
			t.Error("no error")
		}
	})
}
