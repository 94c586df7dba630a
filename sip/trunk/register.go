package trunk

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"hotdeskd/hotdesk"
	"hotdeskd/sip/dialog"
)

// outcome is what came of one registration.
type outcome struct {
	err        error // nobody answered
	status     int
	reason     string
	why        string        // in the words of the registrar (P-Registrar-Error of Kamailio)
	ours       int           // seconds that our contact is registered for; 0: it is not
	foreign    bool          // another contact is, too
	missing    bool          // a secret is asked for, and there is none
	sent       bool          // it is the answer to credentials
	problem    string        // in an administrator's words, when the status says too little
	routes     []sip.Uri     // Service-Route (RFC 3608)
	retryAfter time.Duration // when the PBX wants to be asked again; 0: it does not say
}

// hurry is how long an address may be silent while there is another one to try: long
// enough for three datagrams.
const hurry = 2500 * time.Millisecond

// register sends a REGISTER to the first address of a PBX that answers (RFC 3263
// section 4.3): silence, a refused connection and 503 move on to the next.
func (r *Registrar) register(ctx context.Context, p hotdesk.PBX, is hotdesk.PBXAccount, a *account, expires int) outcome {
	flows := r.Targets(p)
	if len(flows) == 0 {
		return outcome{err: r.lost(p)}
	}
	secret, err := r.Desk.PBXAccountSecret(is)
	if err != nil {
		return outcome{err: fmt.Errorf("its secret cannot be opened: %w", err)}
	}
	var out outcome
	for i, f := range flows {
		wait := registerWait
		if i < len(flows)-1 {
			wait = hurry
		}
		ctx, cancel := context.WithTimeout(ctx, wait)
		out = r.registerAt(ctx, p, f, is, secret, a, expires)
		cancel()
		if out.why != "" { // it is the account, and not the server
			r.where.heard(f)
			break
		}
		if !r.note(f, out.status, out.retryAfter, out.err) {
			break
		}
	}
	return out
}

// note remembers whether an address answers. It tells whether to try the next one.
func (r *Registrar) note(f dialog.Flow, status int, retryAfter time.Duration, err error) (next bool) {
	if err == nil && status != 503 {
		r.where.heard(f)
		return false
	}
	r.where.fail(f, r.Now().Add(cmp.Or(retryAfter, failedFor)))
	return true
}

// Told notes what came of a call by an account on a flow to its PBX, as a branch is
// told it. A PBX that gave no answer is asked whether it is there; one that lets the
// call through has taken the account's credentials, and one that asks for them again
// has not.
func (r *Registrar) Told(a hotdesk.PBXAccount, f dialog.Flow) func(*sip.Response, error) {
	return func(res *sip.Response, err error) {
		status := 0
		if err == nil {
			status = res.StatusCode
			r.note(f, status, retryAfter(res), nil)
		} else {
			r.note(f, 0, 0, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		p, id := r.peers[a.PBX], accountID{a.PBX, a.User}
		switch {
		case p == nil:
		case err != nil:
			p.next = r.Now()
			r.awake()
		case a.Sealed != "" && (status == 401 || status == 407):
			p.failed = append(p.failed, failure{r.Now(), id, keyOf(a)})
			t := diagnose(p.pbx, id, a, outcome{status: status, sent: true})
			r.Log.Warn("call refused by the PBX", "pbx", a.PBX, "user", string(a.User), "status", status, "problem", t.String())
		case a.Sealed != "" && status > 100 && status < 300:
			acc := r.accounts[id]
			r.trusted(p, acc != nil && acc.failures > 0 || slices.ContainsFunc(p.failed, func(f failure) bool { return f.id == id }))
		}
	}
}

// longestRetry bounds what a Retry-After may ask for.
const longestRetry = time.Hour

// retryAfter reads a Retry-After (RFC 3261 section 20.33); 0 when there is none.
func retryAfter(res *sip.Response) time.Duration {
	text := headerValue(res, "Retry-After")
	digits := text[:len(text)-len(strings.TrimLeft(text, "0123456789"))]
	seconds, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return min(time.Duration(min(seconds, 86400))*time.Second, longestRetry)
}

// maxRedirects is how often one REGISTER is sent on.
const maxRedirects = 5

// registerAt sends a REGISTER to one address, answers one challenge and goes where it
// is sent on to.
func (r *Registrar) registerAt(ctx context.Context, p hotdesk.PBX, f dialog.Flow, is hotdesk.PBXAccount, secret hotdesk.Secret, a *account, expires int) outcome {
	domain := sip.Uri{Scheme: "sip", Host: cmp.Or(p.Domain, host(p.Proxy))}
	target, aor := domain, domain
	aor.User = is.Extension
	line := r.via()
	own := line.Contact(f)
	own.User = a.token
	var answer sip.Header
	challenged, shorter, redirected := 0, 0, 0
	for {
		a.cseq++
		req := request(line, sip.REGISTER, target, aor, aor, a.callID, a.tag, a.cseq)
		contact := &sip.ContactHeader{Address: own, Params: sip.NewParams()}
		contact.Params.Add("expires", strconv.Itoa(expires))
		req.AppendHeader(contact)
		req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(expires)))
		req.AppendHeader(r.mark(p.Name, target))
		if answer != nil {
			req.AppendHeader(answer)
		}
		res, err := line.Net.Do(ctx, req, f)
		if err == nil && r.cameBack(p.Name, res) {
			err = ErrLoop
		}
		if err != nil {
			return outcome{err: err}
		}
		out := outcome{
			status: res.StatusCode, reason: res.Reason, retryAfter: retryAfter(res), why: headerValue(res, "P-Registrar-Error"), sent: answer != nil,
		}
		asked := res.StatusCode == 401 || res.StatusCode == 407
		switch {
		case asked && secret == "":
			out.missing = true // an answer could only be wrong
			return out
		case asked && (challenged == 0 || challenged == 1 && dialog.Stale(res)):
			challenged++
			if answer, err = dialog.Credentials(res, req, is.AuthUser, secret.Reveal()); err != nil {
				out.sent, out.problem = false, "the PBX asks for a password in a way that hotdeskd does not know ("+strings.TrimPrefix(err.Error(), dialog.ErrUnanswerable.Error()+": ")+"): let it ask with MD5 and qop=auth"
				return out
			}
		case res.StatusCode == 423 && shorter < 3:
			shorter++
			min, err := strconv.Atoi(headerValue(res, "Min-Expires"))
			if err != nil || min <= expires || min > 86400 {
				return out
			}
			expires, answer = min, nil
		case res.StatusCode >= 300 && res.StatusCode < 400 && redirected < maxRedirects:
			redirected++
			if target, f, err = r.redirect(p, res); err != nil {
				out.problem = err.Error()
				return out
			}
			answer, challenged = nil, 0
		case res.StatusCode >= 300 && res.StatusCode < 400:
			out.problem = fmt.Sprintf("the PBX sends the registration on more than %d times: look at its redirects", maxRedirects)
			return out
		case res.StatusCode == 200:
			out.ours, out.foreign = contacts(res, own, expires)
			out.routes = serviceRoutes(res)
			return out
		default:
			return out
		}
	}
}

// redirect finds out where a 3xx sends a REGISTER to (RFC 3261 section 8.1.3.4): to the
// first Contact that is an address of the PBX. Nobody else is told whom we register.
func (r *Registrar) redirect(p hotdesk.PBX, res *sip.Response) (target sip.Uri, f dialog.Flow, err error) {
	var names []string
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || c.Address.Host == "" {
			continue
		}
		to := c.Address.Host
		if c.Address.Port != 0 {
			to = net.JoinHostPort(strings.Trim(to, "[]"), strconv.Itoa(c.Address.Port))
		}
		names = append(names, to)
		at := placeOf(to, transport(p))
		all := []netip.AddrPort{}
		if fixed, ok := at.fixed(); ok {
			all = append(all, fixed)
		} else if all, err = r.where.resolve(at); err != nil {
			continue
		}
		for _, one := range all {
			if r.isSource(p, one.Addr()) {
				f = dialog.Flow{Transport: strings.ToUpper(transport(p)), Remote: one.String()}
				r.where.lead(f)
				target = *c.Address.Clone()
				target.Headers = nil
				return target, f, nil
			}
		}
	}
	return target, f, fmt.Errorf("the PBX sends the registration on to %s, which is none of its addresses: if that is right, add it to the sources of the PBX", cmp.Or(strings.Join(names, ", "), "nobody"))
}

// serviceRoutes reads the routes that calls of the account are to take (RFC 3608).
func serviceRoutes(res *sip.Response) (all []sip.Uri) {
	for _, h := range res.GetHeaders("Service-Route") {
		for rest := h.Value(); ; {
			_, after, ok := strings.Cut(rest, "<")
			if !ok {
				break
			}
			text, next, ok := strings.Cut(after, ">")
			var uri sip.Uri
			if !ok || sip.ParseUri(text, &uri) != nil || len(all) == maxRoutes {
				break
			}
			all, rest = append(all, uri), next
		}
	}
	return all
}

// maxRoutes bounds what a registrar may make us send with every call.
const maxRoutes = 10

// Routes are the Route headers of a call by an account: the Service-Route of its
// registration.
func (r *Registrar) Routes(a hotdesk.PBXAccount) (all []sip.Header) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if acc := r.accounts[accountID{a.PBX, a.User}]; acc != nil {
		for _, uri := range acc.routes {
			all = append(all, &sip.RouteHeader{Address: *uri.Clone()})
		}
	}
	return all
}

func headerValue(res *sip.Response, name string) string {
	if h := res.GetHeader(name); h != nil {
		return strings.TrimSpace(h.Value())
	}
	return ""
}

// contacts looks for ours among those that the PBX lists, and for how long it is
// registered: as its own expires says, or Expires, or as we have asked. A 200 is
// success (RFC 3261 section 10.2.4), also when it lists none; one at our address under
// another name is ours, too.
func contacts(res *sip.Response, own sip.Uri, asked int) (ours int, foreign bool) {
	if n, err := strconv.Atoi(headerValue(res, "Expires")); err == nil {
		asked = n
	}
	listed := false
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok {
			continue
		}
		listed = true
		if c.Address.User != own.User && !sameHost(c.Address, own) {
			foreign = true
			continue
		}
		ours = asked
		text, _ := dialog.Param(c.Params, "expires")
		if n, err := strconv.Atoi(text); err == nil {
			ours = n
		}
	}
	if !listed {
		return asked, false
	}
	return ours, foreign
}

// sameHost tells whether two addresses are one host and port.
func sameHost(a, b sip.Uri) bool {
	port := func(u sip.Uri) int { return cmp.Or(u.Port, 5060) }
	return strings.EqualFold(a.Host, b.Host) && port(a) == port(b)
}

// words is what was answered.
func (out outcome) words() string {
	if out.why != "" {
		return fmt.Sprintf("%d, %s", out.status, out.why)
	}
	return fmt.Sprintf("%d %s", out.status, out.reason)
}

// full tells whether the registrar has as many contacts of the account as it keeps.
func (out outcome) full() bool { return strings.Contains(strings.ToLower(out.why), "too many") }
