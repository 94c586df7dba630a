package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"hotdeskd/hotdesk"
)

// Finding is one thing that the doctor looked at.
type Finding struct {
	Check   string `json:"check"`   // store, audit, site, pbx, device, user, phones, ...
	Subject string `json:"subject"` // which one; empty: the server
	State   string `json:"state" enum:"ok,warning,problem"`
	Text    string `json:"text"`
	Fix     string `json:"fix,omitempty"` // what to do
}

// The states of a finding: a problem keeps somebody from calling or logging in, or
// soon will.
const (
	FindingOK      = "ok"
	FindingWarning = "warning"
	FindingProblem = "problem"
)

// Diagnosis is all that the doctor found, problems first.
type Diagnosis struct {
	OK    bool      `json:"ok"`
	Items []Finding `json:"items"`
	Next  *string   `json:"next"`
}

// testTime bounds the test of one PBX.
const testTime = 10 * time.Second

func (s *Server) doctor() {
	route(s, changeWide(), http.MethodGet, "/doctor", "Examine everything and say what to do", 200, func(ctx context.Context, _ *none) (*body[Diagnosis], error) {
		d := Diagnosis{OK: true, Items: []Finding{}}
		all := s.examine(ctx)
		for _, state := range []string{FindingProblem, FindingWarning, FindingOK} {
			for _, f := range all {
				if f.State == state {
					d.Items = append(d.Items, f)
				}
			}
		}
		d.OK = len(d.Items) == 0 || d.Items[0].State != FindingProblem
		return &body[Diagnosis]{d}, nil
	})
}

func (s *Server) examine(ctx context.Context) (all []Finding) {
	all = append(all, s.examineStore()...)
	if s.Host != nil {
		all = append(all, s.Host(ctx)...)
	}
	all = append(all, s.examineSites()...)
	for _, p := range s.Desk.PBXs() {
		if p.Mode != "none" {
			all = append(all, s.examinePBX(ctx, p.Name)...)
		}
	}
	all = append(all, s.examineUsers()...)
	return append(all, s.examinePhones()...)
}

func (s *Server) examineStore() []Finding {
	f := Finding{Check: "store", State: FindingOK, Text: "logins and changes are written"}
	if err := s.Ready(); err != nil {
		f.State, f.Text, f.Fix = FindingProblem, err.Error(), "see to the disk of the data directory; phones keep working, logins wait"
	}
	rows, err := s.Journal.Verify()
	audit := Finding{Check: "audit", State: FindingOK, Text: fmt.Sprintf("%d rows, the chain is whole", rows)}
	if err != nil {
		audit.State, audit.Text, audit.Fix = FindingProblem, err.Error(), "keep a copy of the journal folder and find out who changed it"
	}
	all := []Finding{f, audit}
	if waiting := s.waitingRows(); waiting != "" {
		all = append(all, Finding{Check: "audit", Subject: "emergency", State: FindingProblem, Text: waiting, Fix: "make room on the disk of the data directory, or mend it, before the server is stopped: they are in its memory only"})
	}
	return all
}

// waitingRows says that audit rows of emergency calls are in memory only; empty when
// none is.
func (s *Server) waitingRows() string {
	n, why := s.Journal.Waiting()
	if n == 0 {
		return ""
	}
	rows := "audit rows of emergency calls wait"
	if n == 1 {
		rows = "audit row of an emergency call waits"
	}
	return fmt.Sprintf("%d %s for disk: %s", n, rows, why)
}

// examineSites says what keeps a site from being ready, and what would surprise.
func (s *Server) examineSites() (all []Finding) {
	sites := s.Desk.Sites()
	if len(sites) == 0 {
		return []Finding{{Check: "site", State: FindingProblem, Text: "there is no site; no phone can come", Fix: "describe your office in a file and run: hotdeskd apply -f office.yaml"}}
	}
	for _, site := range sites {
		missing := s.Desk.Missing(site)
		for _, m := range missing {
			all = append(all, Finding{Check: "site", Subject: site.Name, State: FindingProblem, Text: m + " is missing; emergency calls from this site are not ready", Fix: "put it into the site's part of your file and run: hotdeskd apply -f office.yaml"})
		}
		if s.Desk.NoWayOut(site) {
			all = append(all, Finding{Check: "site", Subject: site.Name, State: FindingProblem, Text: noWayOut, Fix: "see to the PBX, or name a second one under emergency.routes"})
		}
		if len(missing) == 0 {
			all = append(all, Finding{Check: "site", Subject: site.Name, State: FindingOK, Text: "emergency calls have numbers, a way out, a caller id and an address"})
		}
		if len(site.Networks) == 0 {
			all = append(all, Finding{Check: "site", Subject: site.Name, State: FindingWarning, Text: "no networks are named: a phone that knows only this server's address gets no file, and one whose device was deleted is not let go", Fix: "add the phones' networks: networks: [\"192.168.10.0/24\"]"})
		}
		if site.Enrolment == "automatic" {
			all = append(all, Finding{Check: "site", Subject: site.Name, State: FindingWarning, Text: "every phone that knows the enrolment URL becomes a device without being asked", Fix: "set enrolment: approve when all phones are in"})
		}
	}
	return all
}

// examinePBX tests a PBX and adds what is known to be wrong with its accounts.
func (s *Server) examinePBX(ctx context.Context, name string) (all []Finding) {
	ctx, cancel := context.WithTimeout(ctx, testTime)
	defer cancel()
	f := Finding{Check: "pbx", Subject: name, State: FindingOK}
	t, err := s.Phones.TestPBX(ctx, name)
	switch {
	case err != nil:
		f.State, f.Text, f.Fix = FindingProblem, err.Error(), "run: hotdeskd pbx test "+name
	case !t.OK:
		f.State, f.Text, f.Fix = FindingProblem, t.Verdict, "its steps: hotdeskd pbx test "+name
		if t.Trouble.Words != "" {
			f.Text, f.Fix = inWords(t.Trouble)
		}
	default:
		f.Text = t.Verdict
	}
	for _, trouble := range s.Live.PBX(name).Troubles {
		if trouble.Who == "" || trouble.Who == t.Trouble.Who && t.Trouble.Words != "" {
			continue // the test has just told it
		}
		found := Finding{Check: "pbx", Subject: name, State: FindingProblem}
		found.Text, found.Fix = inWords(trouble)
		if trouble.State == hotdesk.TroubleWarning {
			found.State = FindingWarning
		}
		all = append(all, found)
	}
	if f.State == FindingOK && len(all) > 0 {
		return all
	}
	return append([]Finding{f}, all...)
}

// inWords is a trouble of a PBX as a finding: whose it is and what, and the next step.
func inWords(t hotdesk.PBXTrouble) (text, fix string) {
	if t.Who == "" {
		return t.Words, t.Fix
	}
	return t.Who + ": " + t.Words, t.Fix
}

func (s *Server) examineUsers() (all []Finding) {
	hotDesk, registers := 0, map[string]bool{}
	for _, p := range s.Desk.PBXs() {
		registers[p.Name] = p.Mode == "register"
	}
	for _, v := range s.Desk.Users() {
		if p := v.User.PBX; p != nil && registers[p.Name] && p.Sealed == "" && v.User.Enabled {
			ext := string(v.User.Extension)
			all = append(all, Finding{Check: "user", Subject: ext, State: FindingWarning, Text: "has no secret for the PBX " + p.Name + ", so " + ext + " will not be registered there", Fix: "give it in the user's part of your file, pbx: {name: " + p.Name + ", secret: ...}, and run: hotdeskd apply -f office.yaml"})
		}
		if v.User.HotDesk && v.User.Enabled {
			hotDesk++
		}
		if !v.LockedUntil.IsZero() {
			ext := string(v.User.Extension)
			all = append(all, Finding{Check: "user", Subject: ext, State: FindingWarning, Text: "locked until " + v.LockedUntil.UTC().Format(time.RFC3339) + " by wrong PINs", Fix: "hotdeskd user unlock " + ext + "; a forgotten PIN: hotdeskd user pin " + ext + " NEWPIN"})
		}
	}
	if hotDesk == 0 {
		return append(all, Finding{Check: "user", State: FindingWarning, Text: "nobody can log in: there is no enabled hot-desk user", Fix: "hotdeskd user add 100 --name \"Mario Rossi\" --pin 4071"})
	}
	return append(all, Finding{Check: "user", State: FindingOK, Text: fmt.Sprintf("%d people may log in", hotDesk)})
}

// examinePhones tells each phone's troubles, in the words of its record.
func (s *Server) examinePhones() (all []Finding) {
	phones := s.Desk.Phones()
	for _, p := range phones {
		id := string(p.Device.ID)
		d := s.device(context.Background(), p)
		fix := "hotdeskd device requests " + id + " tells what it asked for"
		if _, err := s.Desk.Site(p.Device.Site); err != nil {
			all = append(all, Finding{Check: "device", Subject: id, State: FindingProblem, Text: "its site " + p.Device.Site + " does not exist; emergency calls take the ways out of the other sites", Fix: "put it into a site: hotdeskd device move " + id + " --site SITE"})
		}
		switch {
		case !p.Device.Claimed:
			all = append(all, Finding{Check: "device", Subject: id, State: FindingWarning, Text: "its phone " + d.MAC + " has not come yet", Fix: "start the phone in its network; " + fix})
		case !d.Registered:
			all = append(all, Finding{Check: "device", Subject: id, State: FindingProblem, Text: "not registered", Fix: "see that the phone has power and network; " + fix})
		case d.Config.State == "stale":
			all = append(all, Finding{Check: "device", Subject: id, State: FindingProblem, Text: "the phone does not fetch its configuration", Fix: "restart it: hotdeskd device reboot " + id + "; " + fix})
		}
		for _, trouble := range s.troubles(p) {
			all = append(all, Finding{Check: "device", Subject: id, State: FindingWarning, Text: trouble})
		}
		if behindNAT(d) {
			all = append(all, Finding{Check: "device", Subject: id, State: FindingWarning, Text: "the phone is behind a NAT (it says " + d.Contact + ", it comes from " + d.Source + "); audio goes directly between phone and PBX, so calls may be silent on one side", Fix: "let the PBX handle NAT for this account, or route the phones' network without NAT"})
		}
	}
	for _, p := range s.Live.Pending() {
		f := Finding{Check: "device", Subject: p.MAC.String(), State: FindingWarning, Text: "waits for approval at site " + p.Site, Fix: "hotdeskd device approve " + p.MAC.String()}
		if p.Problem != "" {
			f.Text, f.Fix = "cannot be approved: "+p.Words(), ""
		}
		all = append(all, f)
	}
	if len(phones) == 0 && len(s.Live.Requests("", "")) == 0 {
		all = append(all, Finding{Check: "phones", State: FindingWarning, Text: "no phone has asked for its configuration since the start", Fix: "give the phones the option 66 that \"hotdeskd dhcp\" prints, and restart one"})
	}
	if len(all) == 0 {
		all = append(all, Finding{Check: "phones", State: FindingOK, Text: fmt.Sprintf("%d phones, all registered and up to date", len(phones))})
	}
	return all
}

// behindNAT tells whether a phone names another address than it comes from.
func behindNAT(d Device) bool {
	_, source, _ := strings.Cut(d.Source, ":")
	from, err := netip.ParseAddrPort(source)
	if err != nil {
		return false
	}
	_, host, _ := strings.Cut(d.Contact, "@")
	host, _, _ = strings.Cut(strings.TrimSuffix(host, ">"), ";")
	named, err := netip.ParseAddrPort(host)
	return err == nil && named.Addr().Unmap() != from.Addr().Unmap() && named.Addr().Is4() == from.Addr().Unmap().Is4()
}
