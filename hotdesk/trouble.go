package hotdesk

// PBXTrouble is one thing that is wrong at a PBX. Whoever tells it, status, doctor, the
// console, the log or a test of the PBX, tells it in these words.
type PBXTrouble struct {
	Who   string `json:"who,omitempty"` // whose it is: "account" or "user 100"; empty: the PBX itself
	State string `json:"state" enum:"warning,problem"`
	Words string `json:"words"`         // what is wrong
	Fix   string `json:"fix,omitempty"` // the next step
}

// The states of a trouble: a problem keeps somebody from being called or from calling.
const (
	TroubleWarning = "warning"
	TroubleProblem = "problem"
)

// String is the trouble in one sentence, without whose it is.
func (t PBXTrouble) String() string {
	if t.Fix == "" || t.Words == "" {
		return t.Words
	}
	return t.Words + ": " + t.Fix
}

// Line is the trouble in one sentence.
func (t PBXTrouble) Line() string {
	if t.Who == "" {
		return t.String()
	}
	return t.Who + ": " + t.String()
}

// accountWorks tells whether nothing is known to be wrong with the account of a PBX.
func (s PBXStatus) accountWorks() bool {
	for _, t := range s.Troubles {
		if t.Who == "account" && t.State == TroubleProblem {
			return false
		}
	}
	return true
}
