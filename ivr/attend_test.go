package ivr

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hotdeskd/hotdesk"
	"hotdeskd/sounds"
)

// The version of our description rises only when it changes; a bad re-INVITE
// changes nothing; a later offer of ours keeps the places of all streams.
func TestDescribeAgain(t *testing.T) {
	o := newOffice(t, Options{})
	c := o.attend(t, "*77")
	describe := func(offer []byte) string {
		t.Helper()
		body, err := c.Describe(offer)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	origin := func(body string) string { return strings.Fields(strings.Split(body, "\r\n")[1])[2] }
	video := "m=video 5000 RTP/AVP 99"
	first := describe(offerOf(video, plainAudio, plainEvents))
	if again := describe(offerOf(video, plainAudio, plainEvents)); again != first {
		t.Errorf("the same offer got another answer:\n%s\nafter\n%s", again, first)
	}
	held := describe(offerOf(video, plainAudio, plainEvents, "a=sendonly"))
	if got := origin(first) + origin(held); got != "12" {
		t.Errorf("versions are %s, want 12", got)
	}
	if _, err := c.Describe(offerOf("m=audio 4000 RTP/SAVP 0")); !errors.Is(err, ErrNotAcceptable) {
		t.Errorf("an offer of SRTP only: %v, want ErrNotAcceptable", err)
	}
	if !c.session.held() {
		t.Error("a refused re-INVITE ended the hold")
	}
	ours := describe(nil)
	if d, err := readSDP([]byte(ours)); err != nil || len(d.streams) != 2 || d.streams[0].media != "video" || d.streams[1].media != "audio" {
		t.Errorf("our own offer does not keep the streams in place: %v\n%s", err, ours)
	}
}

// The phone is told the address that the settings say, of either family.
func TestAdvertise(t *testing.T) {
	for _, test := range []struct{ local, advertise, want string }{
		{"192.0.2.1", "", "c=IN IP4 192.0.2.1"},
		{"192.0.2.1", "198.51.100.1", "c=IN IP4 198.51.100.1"},
		{"0.0.0.0", "198.51.100.1", "c=IN IP4 198.51.100.1"},
		{"2001:db8::1", "", "c=IN IP6 2001:db8::1"},
		{"::ffff:192.0.2.1", "", "c=IN IP4 192.0.2.1"},
		{"0.0.0.0", "", ""},
		{"", "", ""},
		{"", "2001:db8::9", "c=IN IP6 2001:db8::9"},
		{"2001:db8::1", "198.51.100.1", "c=IN IP6 2001:db8::1"}, // audio follows the signalling
	} {
		advertise := func(netip.Addr) netip.Addr { a, _ := netip.ParseAddr(test.advertise); return a }
		o := newOffice(t, Options{Advertise: advertise})
		v := visit("*77")
		v.Local, _ = netip.ParseAddr(test.local)
		c, err := o.menu.Attend(t.Context(), v)
		if err != nil {
			if test.want != "" {
				t.Errorf("%+v: %v", test, err)
			}
			continue
		}
		offer := offerOf(plainAudio)
		if strings.Contains(test.want, "IP6") {
			offer = offerOf(plainAudio, "c=IN IP6 2001:db8::20")
		}
		body, err := c.Describe(offer)
		if err != nil || !strings.Contains(string(body), test.want+"\r\n") || test.want == "" {
			t.Errorf("%+v: %v\n%s", test, err, body)
		}
		_ = c.Close()
	}
}

// Ports are even pairs out of the range; busy ones are skipped, all busy is
// ErrBusy, and a freed one rests for ten seconds, also when Run never ran.
func TestPorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Options{Ports: PortRange{First: 29999, Last: 30005}}) // pairs 30000, 30002, 30004
		o.net.mustBind(t, "192.0.2.1:30003")                                    // somebody else's
		first, second := o.attend(t, "*77"), o.attend(t, "*77")
		got := []uint16{first.port, second.port}
		slices.Sort(got)
		if !slices.Equal(got, []uint16{30000, 30004}) {
			t.Errorf("ports are %d, want 30000 and 30004", got)
		}
		if _, err := o.menu.Attend(t.Context(), visit("*77")); !errors.Is(err, ErrBusy) {
			t.Errorf("all ports in use: %v, want ErrBusy", err)
		}
		for range 2 {
			if err := first.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		time.Sleep(quarantine - time.Second)
		if _, err := o.menu.Attend(t.Context(), visit("*77")); !errors.Is(err, ErrBusy) {
			t.Errorf("a port that was just freed: %v, want ErrBusy", err)
		}
		time.Sleep(time.Second)
		if third := o.attend(t, "*77"); third.port != first.port {
			t.Errorf("got port %d, want %d", third.port, first.port)
		}
		if err := first.Run(t.Context()); err == nil {
			t.Error("a closed conversation runs")
		}
		for _, addr := range []string{"192.0.2.1:30002"} {
			if c, err := o.net.bind(netip.MustParseAddrPort(addr)); err != nil {
				t.Errorf("%s stayed open although its neighbour was busy: %v", addr, err)
			} else {
				_ = c.Close()
			}
		}
	})
}

// No more conversations than allowed, and each that ends makes room.
func TestMaxCalls(t *testing.T) {
	o := newOffice(t, Options{MaxCalls: 2})
	first := o.attend(t, "*77")
	o.attend(t, "*77")
	if _, err := o.menu.Attend(t.Context(), visit("*77")); !errors.Is(err, ErrBusy) {
		t.Errorf("a third call: %v, want ErrBusy", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	o.attend(t, "*77")
}

// Close ends a conversation that runs.
func TestCloseWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Options{})
		c := o.attend(t, "*77")
		if _, err := c.Describe(offerOf(plainAudio)); err != nil {
			t.Fatal(err)
		}
		_, wait := run(t, c)
		time.Sleep(time.Second)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := wait(); !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v, want context.Canceled", err)
		}
	})
}

// A prompt that is missing is a tone and a line in the log, and the login goes on.
func TestMissingPrompts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Options{Sounds: &sounds.Set{}})
		p := newPhone(t, o.net, phoneAt)
		c := o.attend(t, "*77*100*")
		p.offer(t, c, plainAudio, plainEvents)
		_, wait := run(t, c)
		time.Sleep(time.Second)
		p.press(t, "4071#")
		if err := wait(); err != nil {
			t.Fatal(err)
		}
		if len(o.desk.calls) != 1 || !strings.Contains(o.log.String(), "prompt=logged_in") {
			t.Errorf("the rules were asked for %q; log: %s", o.desk.calls, o.log)
		}
	})
}

// Every prompt that a flow can name exists, so that the tone is for damaged
// overlays only.
func TestPromptsExist(t *testing.T) {
	set, _, err := sounds.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{
		"enter_ext", "enter_pin", "new_pin", "repeat_pin", "help", "no_match", "try_again", "no_entry", "cancelled", "locked",
		"logged_in", "already_here", "moved", "wait_update", "logged_out", "pin_changed", "pin_weak", "pin_mismatch",
		"this_phone_is", "hd", "ext_is", "idle_blocked", "not_allowed", "goodbye", "error",
	}
	for _, err := range []error{hotdesk.ErrNotHotDesk, hotdesk.ErrFixedDevice, hotdesk.ErrDeviceInCall, hotdesk.ErrSecondPhoneRefused, hotdesk.ErrNobody, hotdesk.ErrBlocked} {
		keys = append(keys, prompt(err))
	}
	for _, reason := range []string{hotdesk.ReasonBlocked, hotdesk.ReasonNoPBX, hotdesk.ReasonUnknown, hotdesk.ReasonOffDesk} {
		if key := refusal(reason); key == "not_allowed" {
			t.Errorf("refusal %s has no words of its own", reason)
		} else {
			keys = append(keys, key)
		}
	}
	for _, w := range append(readBack("0123456789"), readBack("01")...) {
		keys = append(keys, w.key)
	}
	for d := range 10 {
		keys = append(keys, readBack(string(rune('0' + d)))[0].key)
	}
	for _, key := range keys {
		if _, ok := set.Lookup("en", key); !ok {
			t.Errorf("%s is not in the table", key)
		}
	}
}

// Options that cannot work are refused when the menu is built.
func TestNew(t *testing.T) {
	for name, opts := range map[string]Options{
		"no sounds":           {},
		"an empty port range": {Sounds: &sounds.Set{}, Ports: PortRange{First: 20001, Last: 20002}},
		"a reversed range":    {Sounds: &sounds.Set{}, Ports: PortRange{First: 20100, Last: 20000}},
	} {
		if _, err := New(newFakeDesk(), opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(nil, Options{Sounds: &sounds.Set{}}); err == nil {
		t.Error("no rules: no error")
	}
}

// On the sockets of the operating system audio arrives as well. Real time: it
// ends with the first packets.
func TestRealSockets(t *testing.T) {
	far, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = far.Close() }()
	set, _, err := sounds.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	menu, err := New(newFakeDesk(), Options{Sounds: set, Ports: PortRange{First: 24000, Last: 24999}})
	if err != nil {
		t.Fatal(err)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	c, err := menu.Attend(t.Context(), Visit{Device: "HD0012", Dialed: "*77", Source: loopback, Local: loopback})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	m := media{remote: far.LocalAddr().(*net.UDPAddr).AddrPort()}
	mustNegotiate(c.session.negotiated(m))
	hangUp, wait := run(t, c)
	if err := far.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	for range 3 {
		n, from, err := far.ReadFromUDPAddrPort(buf)
		if err != nil || n != 12+frameSize || from.Port() != c.port {
			t.Fatalf("got %d bytes from %s, error %v", n, from, err)
		}
	}
	hangUp()
	if err := wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v, want context.Canceled", err)
	}
}
