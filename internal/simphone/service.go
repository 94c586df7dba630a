package simphone

import (
	"errors"
	"fmt"
	"sync"

	"github.com/emiago/sipgo/sip"
)

// Service is an answering service at the other end of a trunk: it takes every
// call at once and sends a tone, as a provider's test number does. The demo
// calls 112 through it.
type Service struct {
	cfg   Config
	agent *agent

	mu    sync.Mutex
	calls map[callKey]*media
}

// Answer starts an answering service on a port of its own at a local IP address.
// Called is told every number that was dialled; it may be nil.
func Answer(local string, called func(number string)) (*Service, error) {
	if called == nil {
		called = func(string) {}
	}
	s := &Service{cfg: Config{Local: local, Speak: true, ListenPacket: listenUDP}, calls: map[callKey]*media{}}
	a, err := openAgent(s.cfg, "answering service", func(req *sip.Request, tx sip.ServerTransaction) {
		s.handle(req, tx, called)
	}, func(error) {})
	if err != nil {
		return nil, fmt.Errorf("answering service: %w", err)
	}
	s.mu.Lock()
	s.agent = a
	s.mu.Unlock()
	return s, nil
}

// Addr is where it listens, "127.0.0.1:40000".
func (s *Service) Addr() string { return s.agent.local.String() }

// Close ends it and all its calls.
func (s *Service) Close() {
	s.agent.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, m := range s.calls {
		m.close()
		delete(s.calls, key)
	}
}

func (s *Service) handle(req *sip.Request, tx sip.ServerTransaction, called func(string)) {
	s.mu.Lock() // not before Answer has the agent
	a := s.agent
	s.mu.Unlock()
	key := callKey{req.CallID().Value(), param(req.From().Params, "tag")}
	switch req.Method {
	case sip.INVITE:
		called(unescape(req.Recipient.User))
		s.take(a, key, req, tx)
	case sip.BYE:
		a.respond(req, tx, 200, "OK", nil)
		s.mu.Lock()
		m := s.calls[key]
		delete(s.calls, key)
		s.mu.Unlock()
		if m != nil {
			m.close()
		}
	case sip.OPTIONS:
		a.respond(req, tx, 200, "OK", nil)
	case sip.ACK, sip.CANCEL:
	default:
		a.respond(req, tx, 405, "Method Not Allowed", nil)
	}
}

// take answers a call, or a re-INVITE of one that is up.
func (s *Service) take(a *agent, key callKey, req *sip.Request, tx sip.ServerTransaction) {
	s.mu.Lock()
	m, up := s.calls[key]
	s.mu.Unlock()
	if !up {
		var err error
		m, err = openMedia(s.cfg, profile{codecs: []uint8{8, 0}, events: 101}, func() {})
		if err != nil {
			a.respond(req, tx, 500, "Server Internal Error", nil)
			return
		}
		req.To().Params.Add("tag", sip.GenerateTagN(12))
	}
	body, err := m.answer(req.Body())
	if err != nil {
		if !up {
			m.close()
		}
		status := 400
		if errors.Is(err, ErrMedia) {
			status = 488
		}
		a.respond(req, tx, status, "Not Acceptable Here", nil)
		return
	}
	s.mu.Lock()
	s.calls[key] = m
	s.mu.Unlock()
	contact := &sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: "service", Host: bracketed(a.local.Addr().String()), Port: int(a.local.Port())}}
	a.respond(req, tx, 200, "OK", body, contact)
	select {
	case <-tx.Acks():
	case <-tx.Done():
	case <-a.ctx.Done():
	}
}
