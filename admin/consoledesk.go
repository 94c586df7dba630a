package admin

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"hotdeskd/hotdesk"
)

// deskPage is what the page of phones shows.
type deskPage struct {
	Who         hotdesk.Principal
	Message     string
	Failed      bool
	Problems    []string
	Counts      []count
	Pending     []pendingRow
	Phones      []phoneRow
	Find, State string
	Here, Query string
	Filtered    bool
	NoSite      bool
	MayManage   bool
	Options66   []option66
	zones       map[string]*time.Location
}

// count is one number above the list, which filters it when it is followed.
type count struct {
	Number int
	Word   string
	Link   string
	Chosen bool
}

type pendingRow struct {
	Device
	Seen   string
	Models []string // to choose from when the phone does not tell its own
}

type phoneRow struct {
	ID, MAC, Model, Site, Desk string
	State, Word, Icon, User    string
	Session, Reclaim           bool
	Since                      *stay
	Registered, InCall         bool
	Source                     string
	Config, ConfigIcon         string
	Problems                   []string
}

// stay is since when somebody sits at a desk, and where that is.
type stay struct {
	at   time.Time
	site string
}

type option66 struct{ Site, URL string }

// Local is the time as the site's clock shows it.
func (p deskPage) Local(s *stay) string {
	zone := p.zones[s.site]
	if zone == nil {
		zone = time.UTC
	}
	return s.at.In(zone).Format("Mon 15:04")
}

// UTC is the same for those who compare logs.
func (p deskPage) UTC(s *stay) string { return s.at.UTC().Format("2006-01-02 15:04:05 UTC") }

// words and icons: no state is told by its colour alone.
func words(state string) (word, icon string) {
	switch state {
	case "in-use":
		return "in use", "●"
	case "blocked":
		return "blocked", "✖"
	case "pending":
		return "pending", "…"
	}
	return state, "○"
}

func configIcon(state string) string {
	switch state {
	case "current":
		return "✔"
	case "stale":
		return "✖"
	}
	return "…"
}

// desk shows the phones, with what came of an action above them. A form without
// script gets a page, htmx gets the part that changes.
func (s *Server) desk(c *gin.Context, said string, err error) {
	ctx := c.Request.Context()
	p := s.deskPage(ctx, c.Request.URL.Query())
	status := http.StatusOK
	if err != nil {
		p.Message, p.Failed = s.say(err), true
		status = http.StatusConflict
	} else if c.Request.Method == http.MethodPost {
		p.Message = said
	}
	name := "phones"
	if c.GetHeader("HX-Request") != "" {
		name = "part"
	}
	s.page(c, status, name, p)
}

func (s *Server) deskPage(ctx context.Context, query url.Values) deskPage {
	p := deskPage{Who: who(ctx), Find: strings.TrimSpace(query.Get("q")), State: query.Get("state"), zones: map[string]*time.Location{}}
	p.MayManage = seat().check(p.Who) == nil
	kept := url.Values{}
	for key, value := range map[string]string{"q": p.Find, "state": p.State} {
		if value != "" {
			kept.Set(key, value)
			p.Filtered = true
		}
	}
	p.Here = "/"
	if len(kept) > 0 {
		p.Query = "?" + kept.Encode()
		p.Here += p.Query
	}
	p.NoSite = true
	for _, site := range s.Desk.Sites() {
		if !p.Who.Sees(site.Name) {
			continue
		}
		p.NoSite = false
		shown := s.site(ctx, site)
		if shown.EnrolmentURL != "" {
			p.Options66 = append(p.Options66, option66{site.Name, shown.EnrolmentURL})
		}
		if len(shown.Missing) > 0 {
			p.Problems = append(p.Problems, "Site "+site.Name+" cannot make emergency calls yet: "+strings.Join(shown.Missing, ", ")+" missing.")
		}
		if s.Desk.NoWayOut(site) {
			p.Problems = append(p.Problems, "Site "+site.Name+": "+noWayOut+".")
		}
		if zone, err := time.LoadLocation(site.TimeZone); err == nil {
			p.zones[site.Name] = zone
		}
	}
	if p.Who.Site == "" {
		for _, x := range s.Desk.PBXs() {
			p.Problems = append(p.Problems, s.pbxProblems(x.Name)...)
		}
	}
	if err := s.Ready(); err != nil && p.Who.Site == "" {
		p.Problems = append(p.Problems, "The server cannot store changes: "+err.Error()+". Calls and emergency calls go on.")
	}
	s.fill(ctx, &p)
	return p
}

// fill adds the phones that the filter lets through, and counts all of them.
func (s *Server) fill(ctx context.Context, p *deskPage) {
	names := map[string]string{}
	for _, v := range s.Desk.Users() {
		names[string(v.User.Extension)] = strings.TrimSpace(string(v.User.Extension) + " " + v.User.Name)
	}
	number := map[string]int{}
	for _, phone := range s.Desk.Phones() {
		if !p.Who.Sees(phone.Device.Site) {
			continue
		}
		d := s.device(ctx, phone)
		row := phoneRow{
			ID: *d.ID, MAC: d.MAC, Model: d.Model, Site: d.Site, Desk: d.Desk, State: d.State, Session: phone.Session != nil,
			Registered: d.Registered, InCall: d.InCall, Source: d.Source, Config: d.Config.State, ConfigIcon: configIcon(d.Config.State),
		}
		_, row.Reclaim = s.Desk.Reclaimable(phone.Device.ID)
		row.Word, row.Icon = words(d.State)
		if d.InCall {
			row.Word = row.Word + ", in a call"
		}
		if d.User != nil {
			row.User = cmp.Or(names[*d.User], *d.User)
		}
		if d.Since != nil {
			row.Since = &stay{*d.Since, d.Site}
		}
		for _, problem := range d.Problems {
			switch {
			case problem == notRegistered: // said by the column of its own, without what to do
				row.Problems = append(row.Problems, "see that the phone has power and network")
			case !strings.HasPrefix(problem, "site not ready"): // which the head of the page says
				row.Problems = append(row.Problems, problem)
			}
		}
		groups := []string{d.State}
		if !d.Registered && phone.Device.Claimed {
			groups = append(groups, "unregistered")
		}
		if len(row.Problems) > 0 || d.Config.State == "stale" {
			groups = append(groups, "attention")
		}
		shown := p.State == ""
		for _, g := range groups {
			number[g]++
			shown = shown || g == p.State
		}
		if shown && matches(p.Find, row.ID, row.MAC, row.Model, row.Site, row.Desk, row.User) {
			p.Phones = append(p.Phones, row)
		}
	}
	now := s.Desk.Now()
	for _, waiting := range s.Live.Pending() {
		if !p.Who.Sees(waiting.Site) {
			continue
		}
		number["pending"]++
		row := pendingRow{Device: pending(waiting), Seen: now.Sub(waiting.Seen).Round(time.Second).String() + " ago"}
		if row.Model == "" {
			for _, m := range s.Models {
				row.Models = append(row.Models, m.ID)
			}
		}
		if (p.State == "" || p.State == "pending") && matches(p.Find, row.MAC, row.Model, row.Site, row.Source) {
			p.Pending = append(p.Pending, row)
		}
	}
	for _, group := range []struct{ state, word string }{
		{"in-use", "in use"}, {"idle", "idle"}, {"blocked", "blocked"}, {"unregistered", "not registered"}, {"attention", "need attention"}, {"pending", "waiting for approval"},
	} {
		if number[group.state] > 0 || group.state == "in-use" || group.state == "idle" || group.state == p.State {
			p.Counts = append(p.Counts, count{number[group.state], group.word, "/?state=" + group.state, p.State == group.state})
		}
	}
}

// matches tells whether one of the fields has the text, in any case.
func matches(text string, fields ...string) bool {
	for _, f := range fields {
		if strings.Contains(strings.ToLower(f), strings.ToLower(text)) {
			return true
		}
	}
	return text == ""
}
