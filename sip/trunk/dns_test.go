package trunk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// zone is a DNS: SRV records by "_sip._udp.name", and addresses by name.
type zone struct {
	srv   map[string][]*net.SRV
	hosts map[string][]string
	asked []string
}

func (z *zone) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	key := "_" + service + "._" + proto + "." + name
	z.asked = append(z.asked, key)
	if z.srv[key] == nil {
		return "", nil, &net.DNSError{Err: "no such host", Name: key, IsNotFound: true}
	}
	return key, z.srv[key], nil
}

func (z *zone) LookupNetIP(_ context.Context, _, name string) (all []netip.Addr, err error) {
	z.asked = append(z.asked, name)
	for _, text := range z.hosts[name] {
		all = append(all, netip.MustParseAddr(text))
	}
	if all == nil {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return all, nil
}

// Where a PBX is follows RFC 3263 section 4.2: without a port by the SRV records of
// its transport, in their order, and each name by all its addresses; with a port, and
// without such records, by the addresses of the name itself.
func TestField_S9DNSWhereThePBXIs(t *testing.T) {
	z := &zone{
		srv: map[string][]*net.SRV{
			"_sip._udp.pbx.example":  {{Target: "b.pbx.example.", Port: 5070}, {Target: "gone.pbx.example.", Port: 5070}, {Target: "a.pbx.example.", Port: 5060}},
			"_sips._tcp.pbx.example": {{Target: "a.pbx.example.", Port: 5071}},
		},
		hosts: map[string][]string{
			"a.pbx.example": {"2001:db8::1", "192.0.2.1", "192.0.2.2"}, "b.pbx.example": {"192.0.2.3"}, "pbx.example": {"192.0.2.9"},
		},
	}
	for _, c := range []struct{ to, transport, want, asked string }{
		{"pbx.example", "udp", "192.0.2.3:5070 192.0.2.1:5060 192.0.2.2:5060 [2001:db8::1]:5060", "_sip._udp.pbx.example b.pbx.example gone.pbx.example a.pbx.example"},
		{"pbx.example", "tls", "192.0.2.1:5071 192.0.2.2:5071 [2001:db8::1]:5071", "_sips._tcp.pbx.example a.pbx.example"},
		{"pbx.example", "tcp", "192.0.2.9:5060", "_sip._tcp.pbx.example pbx.example"},
		{"pbx.example:5080", "udp", "192.0.2.9:5080", "pbx.example"},
		{"a.pbx.example:5080", "tcp", "192.0.2.1:5080 192.0.2.2:5080 [2001:db8::1]:5080", "a.pbx.example"},
	} {
		z.asked = nil
		where := addresses{resolver: z}
		all, err := where.resolve(placeOf(c.to, c.transport))
		if got := strings.Trim(fmt.Sprint(all), "[]"); err != nil && got == "" || fmt.Sprint(all) != "["+c.want+"]" {
			t.Errorf("%s over %s is %v, %v, want %s", c.to, c.transport, all, err, c.want)
		}
		if got := strings.Join(z.asked, " "); got != c.asked {
			t.Errorf("%s over %s asks for %s, want %s", c.to, c.transport, got, c.asked)
		}
	}
	where := addresses{resolver: z}
	for _, c := range []struct{ to, transport, want string }{
		{"192.0.2.7", "udp", "192.0.2.7:5060"}, {"192.0.2.7", "tls", "192.0.2.7:5061"}, {"[2001:db8::7]:5080", "tcp", "[2001:db8::7]:5080"},
	} {
		if at, ok := placeOf(c.to, c.transport).fixed(); !ok || at.String() != c.want {
			t.Errorf("%s over %s is %s, want %s", c.to, c.transport, at, c.want)
		}
	}
	if _, err := where.resolve(placeOf("nowhere.example", "udp")); err == nil {
		t.Error("a name that is not there has an address")
	}
}

// The order of a PBX's addresses stays while DNS tells the same ones; an address that
// gave no answer, or 503, is tried after the others for 30 s, or as long as the
// Retry-After says (RFC 3261 section 21.5.4), and first again when it is heard.
func TestField_S9DNSFailedAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{hosts: map[string][]string{"pbx.example": {"192.0.2.1", "192.0.2.2", "192.0.2.3"}}}
		p := hotdesk.PBX{Name: "main", Mode: "trunk", Transport: "udp", Proxy: "pbx.example"}
		r := New(Options{Desk: desk{pbxs: []hotdesk.PBX{p}}, Now: time.Now, Resolver: z})
		order := func() string {
			r.Targets(p)
			synctest.Wait()
			var last []string
			for _, f := range r.Targets(p) {
				host, _, _ := net.SplitHostPort(f.Remote)
				last = append(last, host[len(host)-1:])
			}
			return strings.Join(last, "")
		}
		expect := func(want, when string) {
			t.Helper()
			if got := order(); got != want {
				t.Errorf("%s: the order is %s, want %s", when, got, want)
			}
		}
		expect("123", "at first")
		slices.Reverse(z.hosts["pbx.example"])
		time.Sleep(2 * time.Minute)
		expect("123", "dealt anew")
		flow := func(n int) dialog.Flow {
			return dialog.Flow{Transport: "UDP", Remote: fmt.Sprintf("192.0.2.%d:5060", n)}
		}
		answer := func(status int, after string) *sip.Response {
			res := sip.NewResponse(status, "")
			if after != "" {
				res.AppendHeader(sip.NewHeader("Retry-After", after))
			}
			return res
		}
		r.Told(hotdesk.PBXAccount{}, flow(1))(nil, errors.New("no answer"))
		expect("231", "no answer from 1")
		time.Sleep(29 * time.Second)
		expect("231", "after 29 s")
		time.Sleep(2 * time.Second)
		expect("123", "after 31 s")
		r.Told(hotdesk.PBXAccount{}, flow(2))(answer(503, "120 (in a minute or two)"), nil)
		time.Sleep(119 * time.Second)
		expect("132", "119 s after a 503 with Retry-After: 120")
		r.Told(hotdesk.PBXAccount{}, flow(2))(answer(486, ""), nil)
		expect("123", "2 has said busy")
		for n := range 3 {
			r.Told(hotdesk.PBXAccount{}, flow(n+1))(answer(503, ""), nil)
		}
		expect("123", "all have failed")
		z.hosts["pbx.example"] = []string{"192.0.2.4"}
		time.Sleep(2 * time.Minute)
		order()
		expect("4", "DNS tells another one")
		z.hosts["pbx.example"] = nil
		time.Sleep(2 * time.Minute)
		order()
		expect("4", "the name server is away")
	})
}
