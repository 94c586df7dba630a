package main

// mutant is one mistake.
type mutant struct {
	name string // what is wrong then
	file string // from the root of the tree
	old  string // stands there exactly once
	new  string
	pkg  string // whose test must fail
	run  string // -run pattern of the test
}

// mutants is the table. Add a row for every mistake that a test was written against.
var mutants = []mutant{
	{
		name: "stages stop in the order in which they started", file: "cmd/hotdeskd/stages.go",
		old: "for i := len(stops) - 1; i >= 0; i-- {", new: "for i := range stops {",
		pkg: "./cmd/hotdeskd", run: "^TestField_F9StopOrder$",
	},
	{
		name: "audit rows of emergency calls are forgotten when the disk refuses", file: "journal/kept.go",
		old: "if k.why = err; err == nil {", new: "if k.why = err; true {",
		pkg: "./journal", run: "^TestField_E11AuditRowsOutliveAFullDisk$",
	},
	{
		name: "rows that a stop cannot write are not logged", file: "journal/kept.go",
		old: "for _, r := range left {", new: "for _, r := range left[:0] {",
		pkg: "./journal", run: "^TestField_E11RowsThatWaitAtTheStop$",
	},
	{
		name: "a call's end does not replace its beginning", file: "journal/calls.go",
		old: "pending{rev: hotdesk.Rev(before), row: row}", new: "pending{rev: hotdesk.Rev(0 * before), row: row}",
		pkg: "./journal", run: "^TestField_ThCallRecordsSurviveAKill$",
	},
	{
		name: "no record of a call that is up", file: "sip/call/record.go",
		old: "	if !r.ended {\n		r.b.Record(call)\n	}\n", new: "",
		pkg: "./sip", run: "^TestField_ThRecordAtAnswer$",
	},
	{
		name: "no record of an emergency call that nobody has answered", file: "sip/call/record.go",
		old: "if kind == hotdesk.CallEmergency {", new: "if kind == hotdesk.CallHotDesk {",
		pkg: "./sip", run: "^TestField_ThEmergencyRecordAtStart$",
	},
	{
		name: "?dry_run is carried out", file: "admin/query.go",
		old: `case "", "1", "true":`, new: `case "1", "true":`,
		pkg: "./admin", run: "^TestField_L6BareFlags$",
	},
	{
		name: "operations do not look at their query", file: "admin/server.go",
		old: "huma.Middlewares{s.admit(r), s.queried}", new: "huma.Middlewares{s.admit(r)}",
		pkg: "./admin", run: "^TestField_L6EveryQueryIsUnderstoodOrRefused$",
	},
	{
		name: "apply parses before it counts", file: "admin/places.go",
		old: "if err := yamlguard.Check(text); err != nil {", new: "if err := yamlguard.Check(nil); err != nil {",
		pkg: "./admin", run: "^TestField_TeHostileUploads$",
	},
	{
		name: "a failure of every second is logged every second", file: "internal/paced/paced.go",
		old: "now.Sub(f.told) < every", new: "now.Sub(f.told) < 0",
		pkg: "./internal/paced", run: "^TestField_TlFailuresArePaced$",
	},
	{
		name: "a PBX's dialog is anybody's", file: "sip/dialogs.go",
		old: "return !dialog.HostOf(was.Remote).IsValid() || e.pbx.IsSource(pbx, dialog.HostOf(flow.Remote))", new: "return true || pbx != \"\"",
		pkg: "./sip", run: "^TestField_F9AnotherHostInAPBXsDialog$",
	},
	{
		name: "one phone takes all lines of the attendant", file: "sip/call/visit.go",
		old: "MaxVisits = 4", new: "MaxVisits = 40",
		pkg: "./sip", run: "^TestField_F9FourVisits$",
	},
	{
		name: "a phone that declines is not busy", file: "sip/call/setup.go",
		old: " || r.StatusCode == 603 }", new: " }",
		pkg: "./sip", run: "^TestField_F9DeclinedIsBusy$",
	},
	{
		name: "registrations at a PBX are not paced", file: "sip/trunk/registrar.go",
		old: "perTick = 10", new: "perTick = 1000",
		pkg: "./sip", run: "^TestField_F9RegistrationsArePaced$",
	},
	{
		name: "a user may have 25 seats", file: "hotdesk/records.go",
		old: "const MaxSeats = 24", new: "const MaxSeats = 25",
		pkg: "./hotdesk", run: "^TestField_F9AtMost24Seats$",
	},
	{
		name: "bulk check-syncs are not paced", file: "resync/send.go",
		old: "r.nextBulk = now.Add(bulkGap)", new: "r.nextBulk = now",
		pkg: "./resync", run: "^TestField_F9BulkPace$",
	},
	{
		name: "a CANCEL is taken from anywhere", file: "sip/admit.go",
		old: "return known && sent != from.Unmap()", new: "return known && false && sent != from.Unmap()",
		pkg: "./sip", run: "^TestField_TgCancelFromElsewhere$",
	},
	{
		name: "a nonce count is good for every spelling of its user", file: "sip/ingress/digest.go",
		old: "!a.count(id, use{", new: "!a.count(cred.username+id[:0], use{",
		pkg: "./sip/ingress", run: "^TestField_TaRecordedCredentialsAreGoodOnce$",
	},
	{
		name: "a stop hangs up emergency calls", file: "sip/call/call.go",
		old: "if c.rec.Kind() != hotdesk.CallEmergency {\n		c.end(nil, Stopped)", new: "if true {\n		c.end(nil, Stopped)",
		pkg: "./sip", run: "^TestField_E1StopLeavesEmergencyCallsAlone$",
	},
	{
		name: "audio is promised to an address of the other family", file: "ivr/sdpread.go",
		old: "!ours.IsValid() || h.Is4() == ours.Is4()", new: "true",
		pkg: "./ivr", run: "^TestField_S23Families$",
	},
	{
		name: "a line without an equals sign costs the call", file: "ivr/sdpread.go",
		old: "		if !ok {\n			continue\n		}\n		var last", new: "		if !ok {\n			return d, badOffer(\"x\")\n		}\n		var last",
		pkg: "./ivr", run: "^TestField_S23OddDescriptions$",
	},
	{
		name: "an end of a press is no end", file: "ivr/digits.go",
		old: "case !end && p.ended, !end", new: "case !end",
		pkg: "./ivr", run: "^TestField_S21Timestamps$",
	},
	{
		name: "packets in the wrong order begin presses", file: "ivr/digits.go",
		old: "	case !newer:\n		return false\n", new: "",
		pkg: "./ivr", run: "^TestField_S21BadNetworks$",
	},
	{
		name: "any host may be learnt", file: "ivr/latch.go",
		old: "case from.Addr() != l.source && from.Addr() != l.expected.Addr():", new: "case false:",
		pkg: "./ivr", run: "^TestField_S22OtherHost$",
	},
	{
		name: "a null address makes the phone unknown", file: "ivr/latch.go",
		old: " || addr.Addr().IsUnspecified() && l.expected.IsValid()", new: "",
		pkg: "./ivr", run: "^TestField_HoldKeepsTheLatch$",
	},
	{
		name: "a key of SRTP is given over signalling in the clear", file: "ivr/sdp.go",
		old: "case secure && !t.secure:", new: "case false:",
		pkg: "./ivr", run: "^TestField_SRTPAnswer$",
	},
	{
		name: "a packet of SRTP counts twice", file: "ivr/secure.go",
		old: "		srtp.SRTPReplayProtection(64), ", new: "		",
		pkg: "./ivr", run: "^TestField_SRTPForged$",
	},
	{
		name: "the first word after a silence is older than the return", file: "sip/trunk/account.go",
		old: "r.alive(p, now)", new: "r.alive(p, r.Now())",
		pkg: "./sip/trunk", run: "^TestFirstWordAfterASilence$",
	},
	{
		name: "a new key of the phone leaves ours", file: "ivr/conversation.go",
		old: "if m.own = c.settled.own; m.theirs != c.settled.theirs {", new: "if m.own = c.settled.own; m.own == (sdes{}) {",
		pkg: "./ivr", run: "^TestField_SRTPRekey$",
	},
	{
		name: "any two tones are a key", file: "ivr/inband.go",
		old: "if key != t.key && t.share < toneShare {", new: "if false {",
		pkg: "./ivr", run: "^TestField_S34(Speech|Refused)$",
	},
}
