package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"hotdeskd/internal/simphone"
)

// Of 1,000 dial strings that an idle phone sends as INVITEs, spelled as phones
// and attackers do, only emergency numbers arrive anywhere: not at the PBX, not
// at a phone in use.
func TestIdlePhoneReachesOnlyEmergency(t *testing.T) {
	t.Parallel()
	peer := startTrunk(t)
	s := startServer(t)
	s.apply(office(peer.addr))
	p := s.phone(0, nil)
	s.must("registration", p.Registered(s.context()))
	inUse := s.phone(1, nil)
	s.must("registration", inUse.Registered(s.context()))
	s.must("login by API", s.api.Post(s.context(), "/devices/HD0002/login", map[string]string{"user": "101"}, nil))
	s.awaitDevice("HD0002", "current", current)

	rng := rand.New(rand.NewPCG(4, 4))
	sent, emergencies := 0, 0
	for sent < 1000 {
		uri := dialURI(rng, s.app.ready.SIP.UDP)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		c, err := p.DialURI(ctx, uri)
		var refused *simphone.Refused
		switch {
		case err == nil:
			if err := c.HangUp(ctx); err != nil {
				t.Errorf("%s: hang up: %v", uri, err)
			}
			sent++
		case errors.As(err, &refused):
			sent++
		case ctx.Err() != nil:
			t.Fatalf("%s was never answered", uri)
		}
		cancel()
		select {
		case c := <-inUse.Incoming():
			t.Fatalf("%s rang at the phone of 101, from %v", uri, c.Caller())
		default:
		}
	}
	for _, n := range peer.dialled() {
		emergencies++
		if n != "112" && n != "113" {
			t.Errorf("%q arrived at the PBX", n)
		}
	}
	if emergencies < 50 {
		t.Errorf("only %d emergency calls among %d; the strings are not what they should be", emergencies, sent)
	}
}

// dialURI spells a Request-URI.
func dialURI(rng *rand.Rand, host string) string {
	seeds := []string{"112", "113", "1120", "0039061234567", "101", "102", "*77*100*", "*77*5*", "00112", "911", "9112", "+112", "+390612345", "*72101"}
	n := []byte(seeds[rng.IntN(len(seeds))])
	switch rng.IntN(5) {
	case 0:
		at := rng.IntN(len(n))
		n = slices.Replace(n, at, at+1, []byte(fmt.Sprintf("%%%02x", n[at]))...)
	case 1:
		n = append(n, "%23"...)
	case 2:
		n = slices.Insert(n, rng.IntN(len(n)+1), "0123456789*"[rng.IntN(11)])
	}
	number := string(n)
	switch rng.IntN(6) {
	case 0:
		return "tel:" + number
	case 1:
		return "tel:" + strings.TrimPrefix(number, "+") + ";phone-context=+39"
	case 2:
		return "sip:" + number + ";phone-context=+39@" + host + ";user=phone"
	case 3:
		return "urn:service:sos" + []string{"", ".police", ".fire"}[rng.IntN(3)]
	}
	return "sip:" + number + "@" + host
}
