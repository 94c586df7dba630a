package simphone

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// others are phones of the other vendors in the office: how each one's file is
// called and what it says.
var others = []struct {
	model, file string
	last        string // asked for by a boot or fetch that finds nothing new
	text        func(user string, more ...string) string
}{
	{"snom-d785", "snomD785-000413000002.htm", "snomD785-000413000002.htm", func(user string, more ...string) string {
		return "<settings><phone-settings><user_name idx='1'>" + user + "</user_name><user_pname idx='1'>HD0001</user_pname>" +
			"<user_pass idx='1'>secret</user_pass><user_host idx='1'>192.0.2.1:5060</user_host><user_idle_text idx='1'>Desk " + user + "</user_idle_text>" +
			"<setting_server>http://192.0.2.1:8080/p/token/</setting_server>" + strings.Join(more, "") + "</phone-settings></settings>"
	}},
	{"grandstream-grp2614", "cfgc074ad000003.xml", "cfgc074ad000003.xml", func(user string, more ...string) string {
		return "<gs_provision version='1'><mac>c074ad000003</mac><config version='1'><P271>1</P271><P35>" + user + "</P35><P36>HD0001</P36><P34>secret</P34>" +
			"<P47>192.0.2.1</P47><P270>Desk " + user + "</P270><P212>1</P212><P237>192.0.2.1:8080/p/token/</P237>" + strings.Join(more, "") + "</config></gs_provision>"
	}},
}

// Each vendor's phone must boot from its own file, obey its own check-syncs in its
// own way, and challenge those that its file says.
func TestVendorsObey(t *testing.T) {
	const fetches, reboots, ignores = "fetches", "reboots", "ignores"
	right, wrong := func() *credentials { return &credentials{user: "HD0001", password: "secret"} }, func() *credentials { return &credentials{user: "HD0001", password: "old"} }
	for _, c := range []struct {
		vendor int
		more   string
		event  string
		own    func() *credentials
		status int
		does   string
	}{
		{0, "", "check-sync;reboot=false", nil, 200, fetches},
		{0, "", "check-sync", nil, 200, fetches},
		{0, "", "check-sync;reboot=true", nil, 200, reboots},
		{0, "", "resync", nil, 489, ignores},
		{0, "<challenge_checksync>on</challenge_checksync>", "check-sync;reboot=false", right, 200, fetches},
		{0, "<challenge_checksync>on</challenge_checksync>", "check-sync;reboot=false", wrong, 401, ignores},
		{1, "<P4428>1</P4428>", "resync", nil, 200, fetches},
		{1, "<P4428>1</P4428>", "check-sync;reboot=true", nil, 200, reboots},
		{1, "<P4428>1</P4428>", "check-sync;reboot=false", nil, 200, reboots},
		{1, "<P4428>1</P4428>", "sys-control", nil, 489, ignores},
		{1, "", "resync", right, 200, fetches},
		{1, "", "resync", wrong, 401, ignores},
	} {
		v := others[c.vendor]
		t.Run(fmt.Sprint(v.model, " ", c.event, " ", c.more, " ", c.status), func(t *testing.T) {
			inOffice(t, func(t *testing.T, o *office) {
				put := func(user string) {
					o.shelf.mu.Lock()
					defer o.shelf.mu.Unlock()
					o.files[v.file] = v.text(user, c.more)
				}
				d, m, _ := findModel(v.model)
				o.shelf.agent = m.fill(d.webAgent, macs[v.model])
				put("HD0001")
				p, _ := o.phone(func(cfg *Config) { cfg.Model, cfg.MAC = v.model, macs[v.model] })
				if err := p.Registered(o.soon()); err != nil {
					t.Fatal(err)
				}
				o.take(t)
				put("100")
				var own *credentials
				if c.own != nil {
					own = c.own()
				}
				if status := o.notify(p, c.event, own); status != c.status {
					t.Errorf("status %d, want %d", status, c.status)
				}
				o.pass(2 * time.Second)
				asked, want := o.take(t), "Desk 100"
				if c.does == ignores {
					want = "Desk HD0001"
				}
				if fetched := len(asked) > 0 && asked[len(asked)-1] == v.last+" 200"; fetched != (c.does != ignores) {
					t.Errorf("it asked for %q", asked)
				}
				if st := p.State(); st.Label != want || !st.Registered {
					t.Errorf("the phone shows %+v, want %s", st, want)
				}
				o.mu.Lock()
				rebooted := slices.Contains(o.steps, "rebooting")
				o.mu.Unlock()
				if rebooted != (c.does == reboots) {
					t.Errorf("rebooted: %v", rebooted)
				}
			})
		})
	}
}

// What a Snom file locks must not be changed at the phone; of the rest, the next
// file has the last word, but where it leaves it to the user.
func TestChangeAtThePhone(t *testing.T) {
	inOffice(t, func(t *testing.T, o *office) {
		v := others[0]
		d, m, _ := findModel(v.model)
		o.shelf.agent = m.fill(d.webAgent, macs[v.model])
		o.files[v.file] = v.text("HD0001", "<user_realname idx='1' perm='R'>Mario</user_realname><language perm='RW'>English</language><ntp_server perm='!'>ntp</ntp_server>")
		p, _ := o.phone(func(cfg *Config) { cfg.Model, cfg.MAC = v.model, macs[v.model] })
		if err := p.Registered(o.soon()); err != nil {
			t.Fatal(err)
		}
		if err := p.Change("user_realname.1", "Luca"); !errors.Is(err, ErrLocked) {
			t.Errorf("a locked setting: %v", err)
		}
		for _, setting := range []string{"language", "ntp_server", "ring_sound"} {
			if err := p.Change(setting, "mine"); err != nil {
				t.Error(err)
			}
		}
		o.pass(time.Second)
		for range 2 {
			o.notify(p, "check-sync;reboot=false", nil)
			o.pass(time.Second)
			for setting, want := range map[string]string{"user_realname.1": "Mario", "language": "English", "ntp_server": "mine", "ring_sound": "mine"} {
				if got := p.Setting(setting); got != want {
					t.Errorf("%s is %q, want %q", setting, got, want)
				}
			}
		}
		p.FactoryReset()
		o.pass(time.Second)
		if got := p.Setting("ntp_server"); got != "ntp" {
			t.Errorf("after a reset ntp_server is %q", got)
		}
	})
}

// Whatever differs between an idle phone and one in use is the user's, and nobody
// may change it at the phone.
func TestSnomLocksWhatIsTheUsers(t *testing.T) {
	idle, used := read(t, "snom-d785", "idle.htm"), read(t, "snom-d785", "in-use.htm")
	body, err := os.ReadFile(golden + "snom-d785-in-use.htm")
	if err != nil {
		t.Fatal(err)
	}
	perms, theirs := snomPerms(body), 0
	for setting, value := range used {
		key := strings.HasPrefix(setting, "fkey.")
		if idle[setting] == value || key && strings.Count(setting, ".") > 1 { // the label goes with its key
			continue
		}
		theirs++
		if perms[setting] != "R" {
			t.Errorf("%s may be changed at the phone", setting)
		}
	}
	if theirs < 6 {
		t.Errorf("only %d settings differ", theirs)
	}
}
