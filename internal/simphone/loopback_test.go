package simphone

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// On real sockets a phone must boot, register, call and be gone afterwards: no
// goroutine and no socket is left.
func TestLoopback(t *testing.T) {
	before := runtime.NumGoroutine()
	func() {
		files := &shelf{files: map[string]string{}}
		web := httptest.NewServer(files)
		defer web.Close()
		o := &office{t: t, password: "secret", granted: 300, counts: map[string]int{}, requests: map[string][]*request{}}
		var err error
		o.mu.Lock() // receive takes it before it looks at anything
		if o.agent, err = openAgent(Config{Local: "127.0.0.1", ListenPacket: listenUDP}, "server", o.receive, func(err error) { t.Error(err) }); err != nil {
			t.Fatal(err)
		}
		defer o.agent.close()
		audio, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer audio.Close()
		answer := strings.NewReplacer("192.0.2.1", "127.0.0.1", "7000", fmt.Sprint(audio.LocalAddr().(*net.UDPAddr).Port)).Replace(string(farSDP()))
		o.onInvite = func(req *sip.Request, tx sip.ServerTransaction) {
			o.agent.respond(req, tx, 200, "OK", []byte(answer), &sip.ContactHeader{Address: sip.Uri{Scheme: "sip", Host: "127.0.0.1", Port: int(o.agent.local.Port())}})
		}
		o.mu.Unlock()
		files.files["805ec0000001.cfg"] = ini("account.1.enable = 1", "account.1.user_name = HD0001", "account.1.password = secret",
			"account.1.sip_server.1.address = 127.0.0.1", fmt.Sprint("account.1.sip_server.1.port = ", o.agent.local.Port()))

		p, err := New(Config{Provision: web.URL + "/p/token/", MAC: "805ec0000001", Model: "yealink-t46u", UnregisterOnExit: true,
			KeyTime: 20 * time.Millisecond, KeyGap: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		if err := p.Registered(ctx); err != nil {
			t.Fatal(err)
		}
		call, err := p.Dial(ctx, "101")
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Press(ctx, "12"); err != nil {
			t.Fatal(err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if n := len(o.came("BYE")); n != 1 {
			t.Errorf("%d BYEs", n)
		}
	}()
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		<-time.NewTimer(10 * time.Millisecond).C
	}
	stacks := make([]byte, 1<<16)
	t.Errorf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
}
