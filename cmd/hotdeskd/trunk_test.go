package main

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// trunk is a SIP peer that records what it is called with, and answers.
type trunk struct {
	addr   string
	client *sipgo.Client
	mu     sync.Mutex
	got    []*sip.Request
	status int // how INVITEs are answered
}

// startTrunk listens on loopback until the test ends.
func startTrunk(t *testing.T) *trunk {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ua, err := sipgo.NewUA(sipgo.WithUserAgent("trunk"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := sipgo.NewServer(ua)
	if err != nil {
		t.Fatal(err)
	}
	port := conn.LocalAddr().(*net.UDPAddr).Port
	p := &trunk{addr: conn.LocalAddr().String(), status: 200}
	p.client, err = sipgo.NewClient(ua, sipgo.WithClientHostname("127.0.0.1"), sipgo.WithClientPort(port), sipgo.WithClientNAT(),
		sipgo.WithClientConnectionAddr(p.addr))
	if err != nil {
		t.Fatal(err)
	}
	contact := sip.NewHeader("Contact", "<sip:trunk@"+p.addr+">")
	server.OnInvite(func(req *sip.Request, tx sip.ServerTransaction) {
		p.mu.Lock()
		p.got = append(p.got, req.Clone())
		status := p.status
		p.mu.Unlock()
		req.To().Params.Add("tag", sip.GenerateTagN(8))
		var res *sip.Response
		if status == 200 {
			ring := sip.NewResponseFromRequest(req, 180, "Ringing", nil)
			_ = tx.Respond(ring)
			res = sip.NewSDPResponseFromRequest(req, []byte("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9000 RTP/AVP 8\r\n"))
		} else {
			res = sip.NewResponseFromRequest(req, status, "No", nil)
		}
		res.AppendHeader(contact)
		_ = tx.Respond(res)
		select {
		case <-tx.Acks():
		case <-tx.Done():
		}
	})
	server.OnAck(func(*sip.Request, sip.ServerTransaction) {})
	server.OnBye(func(req *sip.Request, tx sip.ServerTransaction) {
		p.mu.Lock()
		p.got = append(p.got, req.Clone())
		p.mu.Unlock()
		_ = tx.Respond(sip.NewResponseFromRequest(req, 200, "OK", nil))
	})
	done := make(chan struct{})
	go func() { defer close(done); _ = server.ServeUDP(conn) }()
	t.Cleanup(func() {
		_ = conn.Close()
		_ = ua.Close()
		<-done
	})
	return p
}

// answer sets how the next INVITEs are answered.
func (p *trunk) answer(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = status
}

// dialled lists the numbers that arrived, in order.
func (p *trunk) dialled() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, req := range p.got {
		if req.IsInvite() {
			all = append(all, req.Recipient.User)
		}
	}
	return all
}

// last returns the newest request of a method, nil when there is none.
func (p *trunk) last(method sip.RequestMethod) *sip.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, req := range slices.Backward(p.got) {
		if req.Method == method {
			return req
		}
	}
	return nil
}

// options asks a server whether it is alive.
func (p *trunk) options(ctx context.Context, server string) (int, error) {
	var to sip.Uri
	if err := sip.ParseUri("sip:"+server, &to); err != nil {
		return 0, err
	}
	res, err := p.client.Do(ctx, sip.NewRequest(sip.OPTIONS, to))
	if err != nil {
		return 0, err
	}
	return res.StatusCode, nil
}
