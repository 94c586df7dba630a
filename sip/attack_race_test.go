package sip

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
)

// actor is a phone or PBX that does what it may, and what it may not, at times drawn by
// lot.
type actor struct {
	*peer
	rnd *rand.Rand

	mu     sync.Mutex
	n      int
	legs   map[string]*fate // by Call-ID, as the called one
	finals map[string]bool  // of its own INVITE, as the caller
	mine   *leg
	up     bool // it has had the 200
	over   bool // somebody has hung up
	log    []string
	wrong  []string
}

// fate is what became of a call that came.
type fate struct {
	inv             *sip.Request
	tag             string
	final, ended    bool
	answered, acked bool
	cseq            int
}

func (a *actor) note(format string, args ...any) {
	a.log = append(a.log, time.Now().Format("05.000 ")+a.at+" "+fmt.Sprintf(format, args...))
}

func (a *actor) write(text string) {
	a.note("> %s", firstLine(text))
	_, _ = a.conn.WriteTo([]byte(text), net.UDPAddrFromAddrPort(server))
}

// soon does something in some milliseconds.
func (a *actor) soon(most int, do func()) {
	time.AfterFunc(time.Duration(a.rnd.IntN(most*4+1))*time.Millisecond/4, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		do()
	})
}

func (a *actor) lot(of int) bool { return a.rnd.IntN(of) == 0 }

func (a *actor) answer(req *sip.Request, status int, tag, body, headers string) {
	to := req.To().Value()
	if tag != "" {
		to += ";tag=" + tag
	}
	text := fmt.Sprintf("SIP/2.0 %d X\r\n", status)
	for _, via := range req.GetHeaders("Via") {
		text += "Via: " + via.Value() + "\r\n"
	}
	if body != "" {
		headers += sdp
	}
	a.write(text + fmt.Sprintf("From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\nContact: <%s>\r\n%s%sContent-Length: %d\r\n\r\n%s",
		req.From().Value(), to, req.CallID().Value(), req.CSeq().Value(), a.contact(), all, headers, len(body), body))
}

// inside sends a request in a call that came.
func (a *actor) inside(f *fate, method, body string) {
	a.n++
	f.cseq++
	kind := ""
	if body != "" {
		kind = sdp
	}
	a.write(fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;rport;branch=z9hG4bKf%s%d\r\nMax-Forwards: 70\r\nFrom: %s;tag=%s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContact: <%s>\r\n%sContent-Length: %d\r\n\r\n%s",
		method, f.inv.Contact().Address.String(), a.at, f.tag, a.n, f.inv.To().Value(), f.tag, f.inv.From().Value(), f.inv.CallID().Value(), f.cseq, method, a.contact(), kind, len(body), body))
}

// run reads until the deadline that the test sets.
func (a *actor) run() {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := a.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		msg, err := sip.ParseMessage(append([]byte(nil), buf[:n]...))
		a.mu.Lock()
		if err != nil {
			a.wrong = append(a.wrong, "unreadable: "+string(buf[:n]))
		} else if req, ok := msg.(*sip.Request); ok {
			a.note("< %s", firstLine(string(buf[:n])))
			a.asked(req)
		} else if res, ok := msg.(*sip.Response); ok {
			a.note("< %s", name(res))
			a.told(res)
		}
		a.mu.Unlock()
	}
}

func (a *actor) asked(req *sip.Request) {
	id := req.CallID().Value()
	f := a.legs[id]
	_, inside := req.To().Params.Get("tag")
	switch req.Method {
	case sip.INVITE:
		if inside {
			switch a.rnd.IntN(4) {
			case 0:
				a.answer(req, 491, "", "", "")
			case 1: // nothing
			default:
				a.answer(req, 200, "", "v=0 re", "")
			}
			return
		}
		a.called(req)
	case sip.CANCEL:
		a.answer(req, 200, "x", "", "")
		if f != nil && !f.final {
			f.final = true
			a.answer(f.inv, 487, f.tag, "", "")
		}
	case sip.ACK:
		if f != nil && f.answered && !f.acked {
			f.acked = true
			switch a.rnd.IntN(6) {
			case 0:
				a.soon(5, func() { a.inside(f, "BYE", ""); f.ended = true })
			case 1:
				a.soon(5, func() { a.inside(f, "INVITE", "v=0 hold") })
			case 2:
				a.soon(5, func() { a.inside(f, "UPDATE", "") })
				a.soon(5, func() { a.inside(f, "INVITE", "") })
			}
		}
	case sip.BYE:
		a.answer(req, 200, "", "", "")
		if f != nil {
			f.ended = true
		} else {
			a.over = true
		}
	case sip.OPTIONS:
		a.answer(req, 200, "", "", "")
	case sip.PRACK, sip.INFO, sip.UPDATE:
		if !a.lot(8) {
			a.answer(req, 200, "", "", "")
		}
	}
}

// called draws what becomes of a new call.
func (a *actor) called(req *sip.Request) {
	a.n++
	f := &fate{inv: req, tag: fmt.Sprint("c", a.n, "x", a.rnd.Uint32())}
	a.legs[req.CallID().Value()] = f
	for range a.rnd.IntN(3) {
		tag := f.tag
		if a.lot(4) {
			tag += "fork"
		}
		headers := ""
		if a.lot(3) {
			a.n++
			headers = fmt.Sprint("Require: 100rel\r\nRSeq: ", a.n, "\r\n")
		}
		a.soon(4, func() {
			if !f.final {
				a.answer(req, 180+3*a.rnd.IntN(2), tag, "v=0 early", headers)
			}
		})
	}
	if a.lot(8) {
		a.soon(5, func() {
			if !f.final {
				a.inside(f, "BYE", "")
				f.ended = true // and may answer all the same
			}
		})
	}
	if a.lot(10) {
		return // never answers
	}
	a.soon(6, func() {
		if f.final {
			return
		}
		f.final = true
		switch a.rnd.IntN(8) {
		case 0:
			a.answer(req, 486, f.tag, "", "")
		case 1:
			a.answer(req, 603, f.tag, "", "")
		case 2:
			a.answer(req, 302, f.tag, "", "Contact: <sip:102@192.0.2.1>\r\n")
		case 3:
			a.answer(req, 503, f.tag, "", "")
		default:
			f.answered = true
			session := ""
			if a.lot(4) {
				session = "Session-Expires: 90;refresher=" + []string{"uac", "uas"}[a.rnd.IntN(2)] + "\r\nRequire: timer\r\n"
			}
			a.answer(req, 200, f.tag, "v=0 yes", session)
			if a.lot(6) {
				a.soon(2, func() { a.answer(req, 200, f.tag, "v=0 yes", session) }) // our ACK is late
			}
			if a.lot(8) {
				a.soon(2, func() { a.inside(f, "BYE", ""); f.ended = true }) // before the ACK, maybe
			}
			if a.lot(8) {
				a.answer(req, 200, f.tag+"fork", "v=0 fork", "")
			}
		}
	})
}

// told takes the responses to what the caller has sent.
func (a *actor) told(res *sip.Response) {
	d := a.mine
	if d == nil || res.CallID().Value() != d.callID || res.CSeq().MethodName != sip.INVITE {
		return
	}
	switch {
	case res.StatusCode < 200:
		if rseq := res.GetHeader("RSeq"); rseq != nil && !a.lot(4) {
			in := *d
			in.remote, in.target = res.To().Value(), res.Contact().Address.String()
			a.n++
			a.write(in.text("PRACK", fmt.Sprint("z9hG4bKp", a.n, d.callID), d.cseq+a.n, in.target, fmt.Sprintf("RAck: %s %d INVITE\r\n", rseq.Value(), res.CSeq().SeqNo), ""))
		}
		if res.StatusCode > 100 && a.lot(8) { // a BYE in the early dialog, or an UPDATE
			in := *d
			in.remote, in.target = res.To().Value(), res.Contact().Address.String()
			method := []string{"BYE", "UPDATE", "INFO"}[a.rnd.IntN(3)]
			a.soon(4, func() {
				a.n++
				a.write(in.text(method, fmt.Sprint("z9hG4bKe", a.n, d.callID), d.cseq+a.n, in.target, "", ""))
			})
		}
	case res.StatusCode == 401 && d.cseq == 1:
		a.write(d.text("ACK", d.branch, d.cseq, d.uri, "", ""))
		d.cseq++
		d.branch += "b"
		headers := a.sign(res.GetHeader("WWW-Authenticate").Value(), "INVITE", d.uri) + d.headers
		a.write(d.text("INVITE", d.branch, d.cseq, d.uri, headers+sdp, d.offer))
		if a.lot(3) {
			branch, cseq := d.branch, d.cseq
			a.soon(10, func() { a.write(d.text("CANCEL", branch, cseq, d.uri, "", "")) })
		}
	case int(res.CSeq().SeqNo) != d.cseq:
		if res.StatusCode < 300 { // of a re-INVITE
			in := *d
			a.n++
			a.write(in.text("ACK", fmt.Sprint("z9hG4bKr", a.n, d.callID), int(res.CSeq().SeqNo), in.target, "", ""))
		}
	default:
		tag, _ := res.To().Params.Get("tag")
		a.finals[fmt.Sprint(res.StatusCode, tag)] = true
		if res.StatusCode >= 300 {
			keep := *d
			keep.remote = res.To().Value()
			a.write(keep.text("ACK", d.branch, d.cseq, d.uri, "", ""))
			return
		}
		first := !a.up
		a.up = true
		d.remote, d.target = res.To().Value(), res.Contact().Address.String()
		if !first || !a.lot(12) {
			a.soon(2, func() {
				a.n++
				a.write(d.text("ACK", fmt.Sprint("z9hG4bKa", a.n, d.callID), d.cseq, d.target, "", ""))
			})
		}
		if first {
			switch a.rnd.IntN(4) {
			case 0:
				a.soon(5, a.bye)
			case 1:
				a.soon(5, func() {
					a.n++
					a.write(d.text("INVITE", fmt.Sprint("z9hG4bKr", a.n, d.callID), d.cseq+100+a.n, d.target, sdp, "v=0 again"))
				})
			}
		}
	}
}

func (a *actor) bye() {
	if d := a.mine; d != nil {
		a.n++
		a.over = true
		a.write(d.text("BYE", fmt.Sprint("z9hG4bKz", a.n, d.callID), d.cseq+10000+a.n, d.target, "", ""))
	}
}

func (o *office) actor(p *peer, seed uint64) *actor {
	a := &actor{peer: p, rnd: rand.New(rand.NewPCG(seed, uint64(len(p.at)))), legs: map[string]*fate{}, finals: map[string]bool{}}
	return a
}

// Whatever phones and PBXes do at the same time: one answer to the caller, one finished
// record, both ends of whatever was answered are told, and nothing is left.
func TestAttack_Races(t *testing.T) {
	rounds, seed := 25, uint64(1)
	if n, err := strconv.Atoi(os.Getenv("ATTACK_ROUNDS")); err == nil {
		rounds = n
	}
	if n, err := strconv.Atoi(os.Getenv("ATTACK_SEED")); err == nil {
		seed = uint64(n)
	}
	inOffice(t, func(o *office) {
		o.twoRoutes()
		peers := []*peer{o.desk(1, "100"), o.desk(2, "101"), o.desk(3, "101"), o.desk(4, "102"), o.trunk(), o.plug(spareAddr)}
		peers[5].user = "spare"
		wrong := 0
		for round := range rounds {
			for _, p := range peers[:4] {
				p.drop()
				p.register()
			}
			o.mu.Lock()
			before := len(o.calls)
			o.mu.Unlock()
			lot := rand.New(rand.NewPCG(seed, uint64(round)))
			var all []*actor
			var wg sync.WaitGroup
			for i, p := range peers {
				a := o.actor(p, seed*1_000_000+uint64(round*10+i))
				_ = p.conn.SetReadDeadline(time.Time{})
				all = append(all, a)
				wg.Go(a.run)
			}
			number := []string{"101", "101", "112"}[lot.IntN(3)]
			headers := []string{"", "Require: 100rel\r\n", "Supported: timer\r\nSession-Expires: 90\r\n"}[lot.IntN(3)]
			c := all[0]
			c.mu.Lock()
			c.mine = &leg{p: c.peer, callID: fmt.Sprint("race", round), local: "<sip:100@192.0.2.1>;tag=r", remote: "<sip:" + number + "@192.0.2.1>", cseq: 1, uri: "sip:" + number + "@192.0.2.1", offer: "v=0 offer", headers: headers, branch: fmt.Sprint("z9hG4bKrace", round)}
			c.write(c.mine.text("INVITE", c.mine.branch, 1, c.mine.uri, headers+sdp, "v=0 offer"))
			c.mu.Unlock()
			sleep(4 * time.Minute)
			c.mu.Lock()
			if c.up && !c.over {
				c.bye()
			}
			c.mu.Unlock()
			sleep(70 * time.Second)
			for _, a := range all {
				_ = a.conn.SetReadDeadline(time.Now())
			}
			wg.Wait()
			var faults []string
			if len(c.finals) != 1 {
				faults = append(faults, fmt.Sprint("finals: ", c.finals))
			}
			o.mu.Lock()
			if n := len(o.calls) - before; n != 1 {
				faults = append(faults, fmt.Sprint(n, " records"))
			}
			o.mu.Unlock()
			if n := o.edge.table.Len(); n != 0 {
				faults = append(faults, fmt.Sprint(n, " dialogs left"))
			}
			for n := range 4 {
				if busy, _ := o.live.InCall(hotdesk.DeviceID(fmt.Sprint("HD000", n+1)), ""); busy {
					faults = append(faults, fmt.Sprint("a leg left at ", n+1))
				}
			}
			for _, a := range all {
				faults = append(faults, a.wrong...)
				for id, f := range a.legs {
					if f.answered && !f.ended {
						faults = append(faults, a.at+" was never told the end of "+id)
					}
					if !f.final {
						faults = append(faults, a.at+" still rings: "+id)
					}
				}
			}
			if n := running("sip/call.") + running("dialog.(*Branch)"); n > 0 {
				faults = append(faults, fmt.Sprint(n, " goroutines"))
			}
			if len(faults) > 0 {
				var log []string
				for _, a := range all {
					for _, line := range a.log {
						if !strings.Contains(line, "OPTIONS") && !strings.Contains(line, "> SIP/2.0 200") {
							log = append(log, line)
						}
					}
				}
				slices.Sort(log)
				t.Errorf("round %d to %s with %q:\n%s\n%s", round, number, headers, strings.Join(faults, "\n"), strings.Join(log, "\n"))
				if wrong++; wrong > 3 {
					return
				}
			}
		}
	})
}
