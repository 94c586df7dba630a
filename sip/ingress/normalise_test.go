package ingress

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

var phoneAt = netip.MustParseAddrPort("192.0.2.7:5060")

// What the grammar of SIP allows is read as what it means (RFC 3261 sections 7.3.1, 7.5
// and 25.1): white space in a Via, folded lines, line breaks before the message, a comma
// in a quoted parameter. A request from behind a NAT is answered at its source.
func TestField_S19WhatTheGrammarAllows(t *testing.T) {
	const line = "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK776asdhds"
	for _, c := range []struct {
		name         string
		changes      []string
		host, branch string
		port         int
		rport        bool
	}{
		{"as it is", nil, "192.0.2.7", "z9hG4bK776asdhds", 5060, false},
		{"blank before the parameters", []string{line, "Via: SIP/2.0/UDP 192.0.2.7:5060 ;branch=z9hG4bK776asdhds"}, "192.0.2.7", "z9hG4bK776asdhds", 5060, false},
		{"blanks everywhere", []string{line, "Via: SIP / 2.0 / UDP  192.0.2.7 : 5060 ; branch = z9hG4bK776asdhds ; rport"}, "192.0.2.7", "z9hG4bK776asdhds", 5060, true},
		{"tab", []string{line, "Via: SIP/2.0/UDP\t192.0.2.7:5060\t;\tbranch=z9hG4bK776asdhds"}, "192.0.2.7", "z9hG4bK776asdhds", 5060, false},
		{"folded", []string{line, "Via: SIP/2.0/UDP\n 192.0.2.7:5060\n\t;branch=z9hG4bK776asdhds"}, "192.0.2.7", "z9hG4bK776asdhds", 5060, false},
		{"no port", []string{line, "Via: SIP/2.0/UDP 192.0.2.7 ;branch=z9hG4bK776asdhds"}, "192.0.2.7", "z9hG4bK776asdhds", 0, false},
		{"behind a NAT", []string{line, "Via: SIP/2.0/UDP 10.0.0.7:5060;branch=z9hG4bK776asdhds"}, "10.0.0.7", "z9hG4bK776asdhds", 5060, true},
		{"a name", []string{line, "Via: SIP/2.0/UDP phone.local;branch=z9hG4bK776asdhds"}, "phone.local", "z9hG4bK776asdhds", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := "\r\n\r\n" + message("INVITE", c.changes...)
			msg, err := Parser().ParseSIP(Normalise("UDP", phoneAt, []byte(text)))
			if err != nil {
				t.Fatal(err)
			}
			v := msg.Via()
			branch, _ := v.Params.Get("branch")
			if _, rport := v.Params.Get("rport"); v.Host != c.host || v.Port != c.port || branch != c.branch || rport != c.rport {
				t.Errorf("read as %q %d %q, rport %v", v.Host, v.Port, branch, rport)
			}
		})
	}
}

// A comma in a quoted parameter of a Contact does not begin another Contact, and a folded
// Content-Length is one (RFC 3261 section 7.3.1).
func TestField_S20QuotedCommasAndFoldedLengths(t *testing.T) {
	const contact = "Contact: <sip:HD0001@192.0.2.7:5060>"
	for _, c := range []struct {
		name, old, with string
		contacts        int
	}{
		{"comma in a parameter", contact, contact + `;+sip.instance="<urn:uuid:a>";+x="a,b,c";expires=60`, 1},
		{"two, with commas", contact, contact + `;x="a,b", <sip:c@d>;y="e,f"`, 2},
		{"comma in a name", contact, `Contact: "Anna, Desk" <sip:HD0001@192.0.2.7:5060>;x="a,b"`, 1},
		{"folded length", "Content-Length: 0", "Content-Length:\n  0", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			msg, err := Parser().ParseSIP(Normalise("TCP", phoneAt, []byte(message("REGISTER", c.old, c.with))))
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, h := range msg.GetHeaders("Contact") {
				if got, ok := h.(*sip.ContactHeader); ok && (got.Address.User == "HD0001" || got.Address.User == "c") {
					n++
				}
			}
			if n != c.contacts {
				t.Errorf("%d Contacts in\n%s", n, msg)
			}
		})
	}
}

// FuzzNormalise: a message that is normal stays as it is, whatever came before, and its
// body is never touched.
func FuzzNormalise(f *testing.F) {
	f.Add(message("INVITE"), true)
	f.Add(message("REGISTER", "Via: SIP/2.0/UDP 192.0.2.7:5060;", "Via: SIP / 2.0/UDP a\n ;"), true)
	f.Add("\r\n\r\nX\r\nm:<>;\"a,\\\"b\r\n\r\nbody", false)
	f.Fuzz(func(t *testing.T, text string, udp bool) {
		network := "TCP"
		if udp {
			network = "UDP"
		}
		in := []byte(text)
		once := Normalise(network, phoneAt, bytes.Clone(in))
		if again := Normalise(network, phoneAt, bytes.Clone(once)); !bytes.Equal(once, again) {
			t.Errorf("%q\n%q", once, again)
		}
		trimmed := text
		if udp {
			trimmed = strings.TrimLeft(text, "\r\n")
		}
		if _, body, ok := strings.Cut(trimmed, "\r\n\r\n"); ok && !strings.HasSuffix(string(once), "\r\n\r\n"+body) {
			t.Errorf("the body of %q is changed: %q", text, once)
		}
	})
}
