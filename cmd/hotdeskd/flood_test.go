package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"hotdeskd/hotdesk"
	"hotdeskd/internal/phonefile"
)

// floodSize is how hard the flood is. HOTDESKD_FLOOD=full is the size that the
// figures in docs/reference/performance.md are of.
type floodSize struct {
	invites, halves, sources int
	within                   time.Duration // for the INVITEs
	limit                    time.Duration // for REGISTER, p99
	registers                int           // more of the phone's, before the flood
	rest                     time.Duration // after them
}

func flood() floodSize {
	if os.Getenv("HOTDESKD_FLOOD") == "full" {
		return floodSize{
			invites: 20_000, halves: 900, sources: 100_000, within: 2 * time.Second, limit: 100 * time.Millisecond,
			// The flood comes to a server that has worked for a day: what it keeps of
			// past events is full, so that this phone's own are not counted, and no
			// transaction is left over (timer J of RFC 3261, 32 s). How much may be more
			// afterwards is a tenth of the server that has just started, which is less.
			registers: hotdesk.KeptEvents, rest: 35 * time.Second,
		}
	}
	return floodSize{
		invites: 4_000, halves: 200, sources: 10_000, within: 400 * time.Millisecond, limit: 500 * time.Millisecond, // few, and with the race detector
	}
}

// While strangers from all over 127.0.0.0/8 flood the server with INVITEs, sent
// half and whole, a registered phone goes on registering in less than 100 ms and its
// emergency call goes through; a minute later the memory is what it was, also after a
// second flood.
func TestFlood(t *testing.T) {
	size := flood()
	peer := startTrunk(t)
	s := startServer(t)
	s.apply(office(peer.addr))
	p := newFlooded(t, s, s.mustFetch(s.enrolment()+phoneMAC(0)+".cfg"))
	for range 50 {
		p.register()
	}
	s.log.mute() // what it keeps would be counted
	more := heapInUse() / 10
	for range size.registers {
		p.register()
	}
	<-time.NewTimer(size.rest).C
	before := heapInUse()
	for nth := range 2 {
		p.flood(s.app.ready.SIP.TCP, s.app.ready.SIP.UDP, size, before, before+more)
		if got, want := peer.dialled(), slices.Repeat([]string{"112"}, nth+1); !slices.Equal(got, want) {
			t.Errorf("the PBX got %q, want %q", got, want)
		}
	}
	c, err := net.Dial("tcp", s.app.ready.SIP.TCP) // a connection is taken again
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// flood is one flood and the minute after it, in which the heap must come down to most.
func (p *flooded) flood(tcp, udp string, size floodSize, before, most uint64) {
	p.t.Helper()
	p.took = nil
	var flood, slow sync.WaitGroup
	slow.Go(func() { halfSent(p.t, tcp, size.halves) })
	flood.Go(func() { strangersCall(p.t, udp, size) })
	flood.Go(func() { manySources(p.t, udp, size.sources) })
	over := make(chan struct{})
	go func() { defer close(over); flood.Wait() }()
	begun := time.Now()
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	var emergency time.Duration
	for flooding := true; flooding; <-pace.C {
		p.register()
		if emergency == 0 && time.Since(begun) > size.within/2 {
			emergency = p.emergency()
		}
		select {
		case <-over:
			flooding = false
		default:
		}
	}
	p99 := percentile(p.took, 99)
	if p99 >= size.limit {
		p.t.Errorf("REGISTER p99 is %v in the flood, of %d; %v is the most", p99, len(p.took), size.limit)
	}
	slow.Wait()
	after := heapInUse()
	for deadline := begun.Add(time.Minute); after > most && time.Now().Before(deadline); after = heapInUse() {
		<-pace.C
	}
	if after > most {
		p.t.Errorf("heap in use was %d KB and is %d KB a minute later; %d KB is the most", before>>10, after>>10, most>>10)
	}
	p.t.Logf("%d INVITEs in %v, %d half-sent, %d sources: REGISTER of a registered phone p50 %v, p99 %v, worst %v (%d); 112 answered in %v; heap %d KB before, %d KB %v later",
		size.invites, size.within, size.halves, size.sources, percentile(p.took, 50), p99, percentile(p.took, 100), len(p.took), emergency,
		before>>10, after>>10, time.Since(begun).Round(time.Second))
	p.register()
}

// heapInUse is what live objects take.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

// stranger is the n-th address of 127.0.0.0/8, the phone's own left out.
func stranger(n int) string {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(1 + n>>16), byte(n >> 8), byte(n)}), 0).String()
}

func send(t *testing.T, from, to string, texts ...string) {
	c, err := net.ListenPacket("udp4", from)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	at, err := netip.ParseAddrPort(to)
	if err != nil {
		t.Error(err)
		return
	}
	for _, text := range texts {
		// A full buffer of the kernel drops, as a network would.
		_, _ = c.WriteTo([]byte(text), net.UDPAddrFromAddrPort(at))
	}
}

func strangersCall(t *testing.T, to string, size floodSize) {
	const each = 20
	begun := time.Now()
	for n := range size.invites / each {
		texts := make([]string, each)
		for i := range texts {
			texts[i] = fmt.Sprintf("INVITE sip:0039061%d@%s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK-%d-%d\r\nMax-Forwards: 70\r\n"+
				"From: <sip:x@y>;tag=%d\r\nTo: <sip:z@y>\r\nCall-ID: flood-%d-%d\r\nCSeq: 1 INVITE\r\nContact: <sip:x@127.0.0.1>\r\nContent-Length: 0\r\n\r\n", i, to, n, i, n, n, i)
		}
		send(t, stranger(n), to, texts...)
		if due := time.Duration(n) * size.within * each / time.Duration(size.invites); time.Since(begun) < due {
			timer := time.NewTimer(due - time.Since(begun))
			<-timer.C
		}
	}
}

func manySources(t *testing.T, to string, n int) {
	for i := range n {
		send(t, stranger(100_000+i), to, "OPTIONS sip:x SIP/2.0\r\n\r\n")
	}
}

// halfSent begins requests on many connections and leaves them until the server
// ends them, which must be within some seconds.
func halfSent(t *testing.T, to string, n int) {
	var open []net.Conn
	for range n {
		c, err := net.Dial("tcp", to)
		if err != nil {
			t.Error(err)
			break
		}
		open = append(open, c)
		if _, err := c.Write([]byte("OPTIONS sip")); err != nil {
			t.Error(err)
		}
	}
	for _, c := range open {
		if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Error(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("a request that is never finished: %v", err)
		}
		_ = c.Close()
	}
}

// flooded is a registered phone in the flood.
type flooded struct {
	t                    *testing.T
	conn                 net.Conn
	user, secret, server string
	chal                 *digest.Challenge
	nc, cseq             int
	took                 []time.Duration
}

func newFlooded(t *testing.T, s *server, f *phonefile.File) *flooded {
	t.Helper()
	conn, err := net.Dial("udp4", s.app.ready.SIP.UDP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &flooded{t: t, conn: conn, user: f.Value("account.1.auth_name"), secret: f.Value("account.1.password"), server: s.app.ready.SIP.UDP}
}

// do sends a request as a phone does, again after 500 ms without an answer, and
// returns its first final answer.
func (p *flooded) do(method, uri, callID string) *sip.Response {
	p.t.Helper()
	p.cseq++
	auth := ""
	if p.chal != nil {
		p.nc++
		cred, err := digest.Digest(p.chal, digest.Options{Method: method, URI: uri, Username: p.user, Password: p.secret, Count: p.nc})
		if err != nil {
			p.t.Fatal(err)
		}
		auth = "Authorization: " + cred.String() + "\r\n"
	}
	local := p.conn.LocalAddr().String()
	text := fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;rport;branch=z9hG4bK%s%d\r\nMax-Forwards: 70\r\nFrom: <sip:%s@%s>;tag=p\r\nTo: <%s>\r\nCall-ID: %s\r\nCSeq: %d %s\r\n"+
		"Contact: <sip:%s@%s>\r\nExpires: 300\r\n%sContent-Length: 0\r\n\r\n",
		method, uri, local, callID, p.cseq, p.user, p.server, uri, callID, p.cseq, method, p.user, local, auth)
	buf := make([]byte, 1<<16)
	for range 20 {
		if _, err := p.conn.Write([]byte(text)); err != nil {
			p.t.Fatal(err)
		}
		until := time.Now().Add(500 * time.Millisecond)
		for {
			if err := p.conn.SetReadDeadline(until); err != nil {
				p.t.Fatal(err)
			}
			n, err := p.conn.Read(buf)
			if err != nil {
				break
			}
			msg, err := sip.ParseMessage(slices.Clone(buf[:n]))
			if err != nil {
				p.t.Fatal(err)
			}
			if res, ok := msg.(*sip.Response); ok && res.CSeq().SeqNo == uint32(p.cseq) && !res.IsProvisional() {
				return res
			}
		}
	}
	p.t.Fatalf("%s is not answered in ten seconds", method)
	return nil
}

// register registers once more and notes how long it took.
func (p *flooded) register() {
	p.t.Helper()
	begun := time.Now()
	res := p.do("REGISTER", "sip:"+p.server, "reg")
	if res.StatusCode == 401 {
		chal, err := digest.ParseChallenge(res.GetHeader("WWW-Authenticate").Value())
		if err != nil {
			p.t.Fatal(err)
		}
		p.chal, p.nc = chal, 0
		res = p.do("REGISTER", "sip:"+p.server, "reg")
	}
	if res.StatusCode != 200 {
		p.t.Fatalf("REGISTER: %d", res.StatusCode)
	}
	p.took = append(p.took, time.Since(begun))
}

// emergency calls 112, without credentials, and hangs up when it is answered.
func (p *flooded) emergency() time.Duration {
	p.t.Helper()
	chal := p.chal
	p.chal = nil
	defer func() { p.chal = chal }()
	begun, callID := time.Now(), fmt.Sprint("sos", p.cseq)
	res := p.do("INVITE", "sip:112@"+p.server, callID)
	took := time.Since(begun)
	if res.StatusCode != 200 {
		p.t.Errorf("112 got %d", res.StatusCode)
		return took
	}
	ack := fmt.Sprintf("ACK %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;rport;branch=z9hG4bKack\r\nMax-Forwards: 70\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d ACK\r\nContent-Length: 0\r\n\r\n",
		res.Contact().Address.String(), p.conn.LocalAddr(), res.From().Value(), res.To().Value(), callID, p.cseq)
	bye := strings.ReplaceAll(strings.Replace(ack, "bKack", "bKbye", 1), "ACK", "BYE")
	bye = strings.Replace(bye, fmt.Sprintf("CSeq: %d ", p.cseq), fmt.Sprintf("CSeq: %d ", p.cseq+1), 1)
	for _, text := range []string{ack, bye} {
		if _, err := p.conn.Write([]byte(text)); err != nil {
			p.t.Fatal(err)
		}
	}
	p.cseq++
	return took
}
