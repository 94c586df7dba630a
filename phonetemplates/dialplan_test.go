package phonetemplates

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // zones also where the system has none
)

// sent is what a simulated phone does with the keys that a person presses one
// after the other.
type sent int

const (
	atOnce sent = iota // with the last key, not before
	waits              // after the timer, or the send key
	early              // before the last key: something is cut off
	never              // refused by the phone
)

// dialled presses keys on a phone of which complete tells, for what has been
// pressed so far, whether it goes out now; possible whether it does at the timer.
func dialled(keys string, complete, possible func(string) bool) sent {
	for n := 1; n < len(keys); n++ {
		if complete(keys[:n]) {
			return early
		}
	}
	switch {
	case complete(keys):
		return atOnce
	case possible(keys):
		return waits
	}
	return never
}

// yealinkPhone follows the guide's chapter "Dial Plan Defined by Digit Map": x is a
// digit, [] one of several with x for digits, "." any number of the construct
// before it, zero included, T the timer. A number that matches a rule without T is
// placed at once; with no_match_action 0 what matches none is placed by the timer.
func yealinkPhone(t *testing.T, digitMap, keys string) sent {
	t.Helper()
	var now []*regexp.Regexp
	for _, rule := range strings.Split(digitMap, "|") {
		body, wait := strings.CutSuffix(rule, "T")
		var re strings.Builder
		inside := false
		for _, c := range body {
			switch {
			case c == '[' || c == ']':
				inside = c == '['
				re.WriteRune(c)
			case c == 'x' && inside:
				re.WriteString("0-9")
			case c == 'x':
				re.WriteString("[0-9]")
			case c == '.':
				re.WriteString("*")
			case inside:
				re.WriteRune(c)
			default:
				re.WriteString(regexp.QuoteMeta(string(c)))
			}
		}
		compiled, err := regexp.Compile("^" + re.String() + "$")
		if err != nil {
			t.Fatalf("%q: %v", rule, err)
		}
		if !wait { // what waits for the timer goes out whatever it matches
			now = append(now, compiled)
		}
	}
	return dialled(keys, matches(now), func(string) bool { return true })
}

func matches(all []*regexp.Regexp) func(string) bool {
	return func(s string) bool {
		return slices.ContainsFunc(all, func(re *regexp.Regexp) bool { return re.MatchString(s) })
	}
}

// snomPhone follows "Dial Plan - Regular Expressions": patterns are separated by
// spaces, the parts of one by its first character; the first pattern that matches
// is taken, and with the flag d the number is dialled. What matches none is
// dialled as it is.
func snomPhone(t *testing.T, plan, keys string) sent {
	t.Helper()
	return dialled(keys, func(so string) bool {
		for _, pattern := range strings.Fields(plan) {
			parts := strings.Split(pattern[1:], pattern[:1])
			if len(parts) != 3 || parts[1] != `sip:\1@\d` {
				t.Fatalf("%q has not three parts", pattern)
			}
			m := regexp.MustCompile(parts[0]).FindStringSubmatch(so)
			if m == nil {
				continue
			}
			if m[1] != so {
				t.Fatalf("%q would dial %q for %q", pattern, m[1], so)
			}
			return strings.Contains(parts[2], "d")
		}
		return false
	}, func(string) bool { return true })
}

// grandstreamPhone follows the guide's "Dial Plan": rules between braces and bars,
// x a digit, [] one of several with x for digits, "+" one or more of what is before
// it, T waits, a backslash takes the next character as it is. A rule with a fixed
// end is dialled when it is complete; a number that no rule allows is refused.
func grandstreamPhone(t *testing.T, plan, keys string) sent {
	t.Helper()
	body, ok := strings.CutPrefix(plan, "{ ")
	body, closed := strings.CutSuffix(body, " }")
	if !ok || !closed {
		t.Fatalf("%q has no braces", plan)
	}
	var now, all []*regexp.Regexp
	for _, rule := range strings.Split(body, " | ") {
		body, wait := strings.CutSuffix(rule, "T")
		var re strings.Builder
		inside, escaped := false, false
		for _, c := range body {
			switch {
			case escaped:
				re.WriteString(regexp.QuoteMeta(string(c)))
				escaped = false
			case c == '\\':
				escaped = true
			case c == '[' || c == ']':
				inside = c == '['
				re.WriteRune(c)
			case c == 'x' && inside:
				re.WriteString("0-9")
			case c == 'x':
				re.WriteString("[0-9]")
			case c == '+' || inside:
				re.WriteRune(c)
			default:
				re.WriteString(regexp.QuoteMeta(string(c)))
			}
		}
		compiled, err := regexp.Compile("^" + re.String() + "$")
		if err != nil {
			t.Fatalf("%q: %v", rule, err)
		}
		all = append(all, compiled)
		if !wait && !strings.HasSuffix(body, "+") {
			now = append(now, compiled)
		}
	}
	return dialled(keys, matches(now), matches(all))
}

// The simulators do what the vendors' guides say of their own examples.
func TestSimulators(t *testing.T) {
	for _, c := range []struct {
		phone      func(*testing.T, string, string) sent
		plan, keys string
		want       sent
	}{
		{yealinkPhone, "12x", "123", atOnce},
		{yealinkPhone, "91[5-7]1234", "9161234", atOnce},
		{yealinkPhone, "123.T", "1233", waits},
		{yealinkPhone, "123.", "1233", early}, // the guide's note on zero occurrences
		{yealinkPhone, "[x*#+].T", "*8#", waits},
		{snomPhone, `|^([0-9]{5})$|sip:\1@\d|d`, "12345", atOnce},
		{snomPhone, `|^([0-9]{5})$|sip:\1@\d|d`, "1234", waits},
		{grandstreamPhone, "{ [369]11 | 1617xxxxxxx }", "911", atOnce},
		{grandstreamPhone, "{ [369]11 | 1617xxxxxxx }", "211", never},
		{grandstreamPhone, "{ x+ | \\+x+ | *x+ | *xx*x+ }", "*77*100", waits},
		{grandstreamPhone, "{ x+ | \\+x+ | *x+ | *xx*x+ }", "*77*100*", never},
		{grandstreamPhone, "{ 1xxT }", "123", waits},
	} {
		if got := c.phone(t, c.plan, c.keys); got != c.want {
			t.Errorf("%s with %s: %d, want %d", c.plan, c.keys, got, c.want)
		}
	}
}

// On every vendor's phones emergency numbers and complete codes go out at once, no
// emergency number is cut off, and everything else can be dialled.
func TestDialPlan(t *testing.T) {
	codes := DialPlan{Emergency: []string{"112", "113"}, Codes: []string{"*77*5*", "*77*6*", "*12"}, Prefixes: []string{"*77*", "*11"}}
	with := func(change func(*DialPlan)) DialPlan {
		d := codes
		change(&d)
		return d
	}
	office := with(func(d *DialPlan) { d.Extensions, d.OutsidePrefix = "[2-9]XX", "0" })
	for _, c := range []struct {
		name string
		plan DialPlan
		keys map[string]sent
	}{
		{"plain", codes, map[string]sent{
			"112": atOnce, "113": atOnce, "*77*5*": atOnce, "*77*6*": atOnce, "*12": atOnce, "*77*100*": atOnce, "*77*5*5*": early,
			"*77*": waits, "*77": waits, "*77*100": waits, "*11100": waits, "*11": waits, "100": waits, "0612345678": waits, "+390612345678": waits, "11": waits, "118": waits,
			"*8100": waits, "*97": waits,
		}},
		{"extensions behind a prefix", office, map[string]sent{
			"112": atOnce, "0112": atOnce, "200": atOnce, "999": atOnce, "0612345678": waits, "100": waits, "20": waits, "*77*200*": atOnce,
		}},
		{"extensions without a prefix wait: 3331234567 is a number, too", with(func(d *DialPlan) { d.Extensions = "[1-9]XX" }), map[string]sent{
			"333": waits, "3331234567": waits, "112": atOnce,
		}},
		{"short extensions would cut 112 off", with(func(d *DialPlan) { d.Extensions, d.OutsidePrefix = "[1-9]X", "0" }), map[string]sent{
			"112": atOnce, "11": waits, "20": waits,
		}},
		{"extensions that begin like the prefix", with(func(d *DialPlan) { d.Extensions, d.OutsidePrefix = "XXX", "0" }), map[string]sent{
			"061": waits, "200": waits, "0612345": waits,
		}},
		{"one emergency number begins another", with(func(d *DialPlan) { d.Emergency = []string{"11", "112", "1122"} }), map[string]sent{
			"11": waits, "112": waits, "1122": atOnce,
		}},
		{"another login code", with(func(d *DialPlan) { d.Codes, d.Prefixes = []string{"#5#"}, []string{"#7#"} }), map[string]sent{
			"#5#": atOnce, "#7#": waits, "112": atOnce,
		}},
	} {
		for vendor, phone := range map[string]func(string) sent{
			"yealink":     func(keys string) sent { return yealinkPhone(t, c.plan.yealink(), keys) },
			"snom":        func(keys string) sent { return snomPhone(t, c.plan.snom(), keys) },
			"grandstream": func(keys string) sent { return grandstreamPhone(t, c.plan.grandstream(), keys) },
		} {
			for keys, want := range c.keys {
				if got := phone(keys); got != want {
					t.Errorf("%s, %s: %s is %d, want %d", vendor, c.name, keys, got, want)
				}
			}
		}
	}
}

// A pattern of extensions is read as it is written for people.
func TestReadPattern(t *testing.T) {
	for pattern, want := range map[string][]string{
		"[1-9]XX": {"1-9", "0-9", "0-9"}, "1xx": {"1", "0-9", "0-9"}, "ZN[135]": {"1-9", "2-9", "135"}, "[1-35-7]": {"1-35-7"},
		"": nil, "[9-1]X": nil, "[a-z]": nil, "1.": nil, "1+": nil, "[1-9": nil, "[]": nil,
	} {
		got, ok := readPattern(pattern)
		if ok != (want != nil) || ok && !slices.Equal(got, want) {
			t.Errorf("%q: %q %v, want %q", pattern, got, ok, want)
		}
	}
}

// The table of zones agrees with the world's: the offset without summer time, and
// whether there is summer time.
func TestZones(t *testing.T) {
	l, err := loadLocale()
	if err != nil {
		t.Fatal(err)
	}
	posix := regexp.MustCompile(`^(?:<[^>]+>|[A-Z]+)(-?\d+)(?:[A-Z]+,.*)?$`)
	for name, z := range l.Zones {
		place, err := time.LoadLocation(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, january := time.Date(2027, 1, 15, 0, 0, 0, 0, place).Zone()
		_, july := time.Date(2027, 7, 15, 0, 0, 0, 0, place).Zone()
		standard := min(january, july)
		m := posix.FindStringSubmatch(z.POSIX)
		if m == nil {
			t.Errorf("%s: rule %q", name, z.POSIX)
			continue
		}
		offset := (time.Duration(standard) * time.Second).Hours()
		if got := strings.TrimPrefix(z.Yealink, "+"); got != hours(offset) {
			t.Errorf("%s: %q hours, want %v", name, z.Yealink, offset)
		}
		if m[1] != hours(-offset) {
			t.Errorf("%s: %q, want %s hours west", name, z.POSIX, hours(-offset))
		}
		if summer := strings.Contains(z.POSIX, ","); summer != (january != july) {
			t.Errorf("%s: summer time %v", name, summer)
		}
		if z.Snom == "" || (z.YealinkName == "" && name != "UTC") {
			t.Errorf("%s: a vendor's name is missing", name)
		}
	}
}

func hours(h float64) string { return strconv.Itoa(int(h)) }
