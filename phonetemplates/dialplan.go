package phonetemplates

import (
	"regexp"
	"slices"
	"strings"

	"hotdeskd/internal/phonefile"
)

// rule is one line of the neutral dial plan: what a number is made of, and whether
// it goes out as soon as it is complete or waits for more digits.
type rule struct {
	begin  string   // literal
	places []string // one class of digits for each: "0-9", "1-9", "5"
	more   bool     // one or more digits follow
	end    string   // literal
	wait   bool
}

// rules puts the dial plan in order, what is dialled at once first. A complete
// number that is the beginning of another one waits: 112 is not cut off by 11.
// Extensions go out at once only where they cannot be the beginning of anything
// else; everything that no rule names is sent after the inter-digit timer.
func (d DialPlan) rules() []rule {
	var exact []string
	for _, n := range d.Emergency {
		exact = append(exact, n)
		if d.OutsidePrefix != "" {
			exact = append(exact, d.OutsidePrefix+n)
		}
	}
	exact = append(exact, d.Codes...)
	var all []rule
	for _, n := range exact {
		all = append(all, rule{begin: n, wait: d.begins(n, exact)})
	}
	for _, p := range d.Prefixes {
		if strings.HasSuffix(p, "*") {
			all = append(all, rule{begin: p, more: true, end: "*"})
		}
		all = append(all, rule{begin: p, more: true, wait: true})
	}
	if places, ok := d.extensions(exact); ok {
		all = append(all, rule{places: places})
	}
	return all
}

// begins tells whether a number is the beginning of a longer one of the plan.
func (d DialPlan) begins(number string, exact []string) bool {
	return slices.ContainsFunc(slices.Concat(exact, d.Prefixes), func(other string) bool {
		return len(other) > len(number) && strings.HasPrefix(other, number)
	})
}

// extensions reads the pattern of the internal numbers. ok is false when they have
// to wait: there is no pattern, outside numbers need no prefix, or an extension
// could be the beginning of a listed number or of one with the prefix.
func (d DialPlan) extensions(exact []string) (places []string, ok bool) {
	places, ok = readPattern(d.Extensions)
	if !ok || d.OutsidePrefix == "" {
		return nil, false
	}
	for _, other := range slices.Concat(exact, d.Prefixes, []string{d.OutsidePrefix}) {
		if overlaps(places, other) {
			return nil, false
		}
	}
	return places, true
}

// overlaps tells whether dialling a number of these places goes through another
// number's first digits, or the other way round.
func overlaps(places []string, other string) bool {
	if len(other) == len(places) {
		return false // both are complete: there is nothing to cut off
	}
	for i, class := range places {
		if i == len(other) {
			break
		}
		if !regexp.MustCompile("^[" + class + "]$").MatchString(other[i : i+1]) {
			return false
		}
	}
	return true
}

var patternPlace = regexp.MustCompile(`^(?:\[([0-9](?:-?[0-9])*)\]|([0-9])|([XxZN]))`)

// readPattern reads a pattern such as "[1-9]XX": digits, classes of digits, X (any),
// Z (1 to 9), N (2 to 9).
func readPattern(pattern string) (places []string, ok bool) {
	for pattern != "" {
		m := patternPlace.FindStringSubmatch(pattern)
		if m == nil {
			return nil, false
		}
		class := m[1] + m[2]
		switch m[3] {
		case "X", "x":
			class = "0-9"
		case "Z":
			class = "1-9"
		case "N":
			class = "2-9"
		}
		if _, err := regexp.Compile("[" + class + "]"); err != nil {
			return nil, false // a range that runs backwards
		}
		places, pattern = append(places, class), pattern[len(m[0]):]
	}
	return places, len(places) > 0
}

// compile writes the dial plan in a vendor's words.
func (d DialPlan) compile(to phonefile.Dialect) string {
	switch to {
	case phonefile.SnomXML:
		return d.snom()
	case phonefile.GrandstreamXML:
		return d.grandstream()
	}
	return d.yealink()
}

// yealink writes a digit map: x is a digit, "." repeats what is before it any
// number of times, zero included, "T" waits for the inter-digit timer (Yealink SIP
// phones administrator guide, "Dial Plan Defined by Digit Map").
func (d DialPlan) yealink() string {
	var all []string
	for _, r := range d.rules() {
		text := r.begin + classes(r.places, "x")
		if r.more {
			text += "xx."
		}
		text += r.end
		if r.wait {
			text += "T"
		}
		all = append(all, text)
	}
	return strings.Join(append(all, "[x*#+].T"), "|")
}

// snom writes dial plan regular expressions, of which the first that matches is
// taken; the flag d dials at once, \d is the registrar (Snom service hub, "Dial
// Plan - Regular Expressions"). What no expression matches is sent as it is when
// the user or the timer says so, and needs none.
func (d DialPlan) snom() string {
	var all []string
	for _, r := range d.rules() {
		if r.wait {
			continue
		}
		text := regexp.QuoteMeta(r.begin) + classes(r.places, "[0-9]")
		if r.more {
			text += "[0-9]+"
		}
		all = append(all, "!^("+text+regexp.QuoteMeta(r.end)+`)$!sip:\1@\d!d`)
	}
	return strings.Join(all, " ")
}

// grandstream writes a dial plan in braces: x is a digit, "+" one or more of what
// is before it. A rule that ends in T, or open in "+", waits; every other is sent
// as soon as it is complete; a number of no rule is refused, so the last two take
// all (Grandstream GRP261x administration guide, "Dial Plan").
func (d DialPlan) grandstream() string {
	var all []string
	for _, r := range d.rules() {
		text := r.begin + classes(r.places, "x")
		if r.more {
			text += "x+"
		}
		text += r.end
		if r.wait && !r.more {
			text += "T"
		}
		all = append(all, text)
	}
	all = append(all, `[x*#]+`, `\+x+`)
	return "{ " + strings.Join(all, " | ") + " }"
}

// classes writes places: any digit in the dialect's own word, others as digits or
// brackets.
func classes(places []string, anyDigit string) string {
	var b strings.Builder
	for _, class := range places {
		switch {
		case class == "0-9":
			b.WriteString(anyDigit)
		case len(class) == 1:
			b.WriteString(class)
		default:
			b.WriteString("[" + class + "]")
		}
	}
	return b.String()
}
