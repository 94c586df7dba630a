package ingress

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Triage is what becomes of messages that the library drops without a word: with a
// start line that is none, a line without its end, a Via or a length that is
// broken. It reads them first. Its methods may be called from any goroutine.
type Triage struct{ parser *sip.Parser }

// NewTriage makes one.
func NewTriage() *Triage { return &Triage{Parser()} }

// Look reads a message as the library will; msg is nil when it cannot; broken says
// that it is known to be not. Then answer is the 400
// to be sent (RFC 3261 section 8.2.6), and port the one of the topmost Via when it
// must go there and not where the message came from (section 18.2.2; 0 otherwise).
// Without an answer the message is to be dropped: it is a response, an ACK, or
// nobody could match an answer to it.
func (t *Triage) Look(data []byte, broken bool) (msg sip.Message, answer []byte, port uint16) {
	msg, err := t.parser.ParseSIP(data)
	if broken {
		err = sip.ErrParseReadBodyIncomplete
	}
	if err == nil {
		return msg, nil, 0
	}
	reason := "Bad Request"
	if errors.Is(err, sip.ErrParseReadBodyIncomplete) {
		reason = "Content-Length does not fit"
	}
	answer, port = Answer(data, 400, reason)
	return nil, answer, port
}

// Read is Look without an answer.
func (t *Triage) Read(data []byte) sip.Message {
	msg, err := t.parser.ParseSIP(data)
	if err != nil {
		return nil
	}
	return msg
}

// Answer writes a response to a request that nobody else reads; nil when there is
// nothing to be answered, or nobody could match an answer to it. port is as in Look.
func Answer(data []byte, status int, reason string) (answer []byte, port uint16) {
	start, rest, _ := bytes.Cut(data, []byte("\r\n"))
	method, _, _ := strings.Cut(strings.ToUpper(string(start)), " ")
	if strings.HasPrefix(method, "SIP/") || method == "ACK" {
		return nil, 0
	}
	var who identity
	who.read(rest)
	if who.via == "" {
		who.via = who.raw // the sender may know its own
	}
	if who.via == "" {
		return nil, 0
	}
	return who.answer(status, reason), who.port
}

// identity is what an answer repeats of a request, as it was written.
type identity struct {
	via                    string // whole lines
	raw                    string // the first one, when none can be read
	from, to, callID, cseq string
	port                   uint16
}

// read takes what it can from the headers.
func (k *identity) read(rest []byte) {
	var name, value string
	take := func() {
		switch strings.ToLower(name) {
		case "via", "v":
			k.addVia(value)
		case "from", "f":
			k.from = value
		case "to", "t":
			k.to = value
		case "call-id", "i":
			k.callID = value
		case "cseq":
			k.cseq = value
		}
		name = ""
	}
	defer take()
	for line := range bytes.Lines(rest) {
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			return
		}
		if text[0] == ' ' || text[0] == '\t' { // the rest of a long line
			value += " " + strings.TrimSpace(text)
			continue
		}
		take()
		n, v, _ := strings.Cut(text, ":")
		name, value = strings.TrimRight(n, " \t"), strings.TrimSpace(v)
	}
}

var viaOnly = sip.HeadersParser{"via": trimmed(sip.DefaultHeadersParser()["via"])}

// addVia keeps a Via that can be read; the first one says where to answer.
func (k *identity) addVia(value string) {
	value = strings.TrimSpace(clean(value))
	all, err := viaOnly.ParseHeader(nil, []byte("Via: "+value))
	if err != nil || len(all) == 0 {
		if k.raw == "" {
			k.raw = "Via: " + value + "\r\n"
		}
		return
	}
	if via, ok := all[0].(*sip.ViaHeader); ok && k.via == "" {
		k.port = 5060
		if via.Port > 0 && via.Port < 1<<16 {
			k.port = uint16(via.Port)
		}
		if _, ok := param(via.Params, "rport"); ok {
			k.port = 0
		}
	}
	k.via += "Via: " + value + "\r\n"
}

// maxAnswer is the longest answer that repeats what somebody sent.
const maxAnswer = 1200

// answer writes the response; nil when it would be too long.
func (k *identity) answer(status int, reason string) []byte {
	var b strings.Builder
	b.WriteString("SIP/2.0 " + strconv.Itoa(status) + " " + reason + "\r\n" + k.via)
	to := k.to
	if to != "" && !strings.Contains(strings.ToLower(to), "tag=") {
		to += ";tag=" + sip.GenerateTagN(10)
	}
	for _, h := range [][2]string{{"From", k.from}, {"To", to}, {"Call-ID", k.callID}, {"CSeq", k.cseq}} {
		if h[1] != "" {
			b.WriteString(h[0] + ": " + clean(h[1]) + "\r\n")
		}
	}
	b.WriteString("Content-Length: 0\r\n\r\n")
	if b.Len() > maxAnswer {
		return nil
	}
	return []byte(b.String())
}
