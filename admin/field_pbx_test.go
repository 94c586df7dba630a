package admin

import (
	"fmt"
	"strings"
	"testing"

	"hotdeskd/hotdesk"
)

// What is wrong at a PBX is told in one set of words, with the next step, by status,
// doctor and the PBX's own page; and POST /pbx/{name}/retry tries all that waits there.
func TestField_O2OneDiagnosis(t *testing.T) {
	d := newDesk(t)
	d.pbxWorks = true
	d.want("POST", "/apply", `{pbx: [{name: main, mode: register, proxy: "192.0.2.9:5060"}]}`, 200)
	trouble := hotdesk.PBXTrouble{Who: "account", State: "problem", Words: `the PBX refuses auth_user "emerg" (403)`, Fix: "check account.secret of pbx main"}
	other := hotdesk.PBXTrouble{Who: "user 101", State: "warning", Words: "another phone is registered there as the same user", Fix: "take the account out of that phone"}
	d.live.SetPBX("main", hotdesk.PBXStatus{State: hotdesk.PBXUp, Account: trouble.String(), Failed: []string{other.Line()}, Troubles: []hotdesk.PBXTrouble{trouble, other}})
	for _, x := range []hotdesk.PBXTrouble{trouble, other} {
		if got := fmt.Sprint(d.want("GET", "/status", "", 200)["problems"]); !strings.Contains(got, "pbx main: "+x.Line()) {
			t.Errorf("status says %s", got)
		}
		found := false
		for _, item := range d.want("GET", "/doctor", "", 200)["items"].([]any) {
			f := item.(map[string]any)
			found = found || f["check"] == "pbx" && f["subject"] == "main" && f["state"] == x.State && f["text"] == x.Who+": "+x.Words && f["fix"] == x.Fix
		}
		if !found {
			t.Errorf("doctor does not say %q", x.Line())
		}
	}
	d.want("POST", "/pbx/main/retry", "", 204)
	d.want("POST", "/pbx/other/retry", "", 404)
	if d.retried != 1 {
		t.Errorf("tried %d times", d.retried)
	}
}
