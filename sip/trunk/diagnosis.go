package trunk

import (
	"fmt"
	"strings"

	"hotdeskd/hotdesk"
)

// diagnose says what is wrong when an account could not be registered, or is beside
// others, in an administrator's words, and what to do. It is the one place where that
// is said: status, doctor, console, log and test of a PBX take it from here.
func diagnose(p hotdesk.PBX, id accountID, is hotdesk.PBXAccount, out outcome) hotdesk.PBXTrouble {
	t := hotdesk.PBXTrouble{Who: "account", State: hotdesk.TroubleProblem}
	authUser, secret, whose := "account.auth_user", "account.secret", "pbx "+p.Name
	if id.user != "" {
		authUser, secret = "pbx.auth_user", "pbx.secret"
		whose = "user " + string(id.user)
		t.Who = whose
	}
	retry := "; when it was mended at the PBX: hotdeskd pbx retry " + p.Name
	asked := out.status == 401 || out.status == 407
	switch {
	case out.err != nil:
		t.Words, t.Fix, _ = strings.Cut(trouble(p, out.err), ": ")
	case out.missing:
		t.Words, t.Fix = "the PBX asks for a password and "+id.owner()+" has none", "give "+secret
	case out.problem != "":
		t.Words, t.Fix, _ = strings.Cut(out.problem, ": ")
	case out.sent && (asked || out.status == 403):
		t.Words = fmt.Sprintf("the PBX refuses auth_user %q (%d)", is.AuthUser, out.status)
		t.Fix = fmt.Sprintf("check %s and %s of %s", authUser, secret, whose) + retry
	case out.status == 403:
		t.Words = fmt.Sprintf("the PBX forbids %q to register (403) without asking for a password", is.Extension)
		t.Fix = "see whether it lets this server's address in" + retry
	case out.status == 404:
		t.Words = fmt.Sprintf("the PBX does not know %q (404)", is.Extension)
		t.Fix = fmt.Sprintf("check domain of pbx %s and %s of %s", p.Name, authUser, whose)
		if id.user != "" {
			t.Fix = fmt.Sprintf("check domain of pbx %s and pbx.extension of %s", p.Name, whose)
		}
		t.Fix += retry
	case out.full():
		t.Words = fmt.Sprintf("the PBX keeps no further contact of %s (%s)", id.owner(), out.words())
		t.Fix = "raise its max contacts, or take the account out of the other phone"
	case out.status != 200:
		t.Words, t.Fix = "the PBX answers "+out.words(), "see its log; whether domain and proxy of pbx "+p.Name+" are a registrar's"
	case out.ours == 0 && out.foreign:
		t.Words, t.Fix = "the PBX does not keep our contact", "raise its max contacts, or take the account out of the other phone"
	case out.ours == 0:
		t.Words, t.Fix = "the PBX does not keep the registration", "see its log"
	case out.foreign:
		t.State = hotdesk.TroubleWarning
		t.Words, t.Fix = "another phone is registered there as the same user", "take the account out of that phone, or let the PBX allow several contacts"
	default:
		return hotdesk.PBXTrouble{}
	}
	return t
}

// waits says until when, and for whom, a secret that was never used is not tried.
func (p *peer) waits(id accountID) hotdesk.PBXTrouble {
	t := hotdesk.PBXTrouble{Who: "account", State: hotdesk.TroubleProblem}
	if id.user != "" {
		t.Who = "user " + string(id.user)
	}
	t.Words, t.Fix = "waits: this PBX has just refused a password", "mend that and it is tried at once"
	if len(p.failed) >= authFailures {
		t.Words = fmt.Sprintf("waits until %s: this PBX has refused passwords (%s), and one refusal more could make it ban this server",
			p.failed[len(p.failed)-authFailures].at.Add(authWindow).UTC().Format("15:04 UTC"), p.refusedWho())
		t.Fix = "mend those and it is tried at once; when that was at the PBX: hotdeskd pbx retry " + p.pbx.Name
	}
	return t
}
