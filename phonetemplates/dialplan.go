package phonetemplates

import "strings"

// yealinkDigitMap compiles the dial plan into a Yealink digit map ("." repeats
// the element before it, "T" waits for the inter-digit timer; Yealink
// administrator guide, "Digit Map"). Emergency numbers and complete codes come
// first and without a timer: they go out at once.
func yealinkDigitMap(d DialPlan) string {
	rules := append([]string(nil), d.Emergency...)
	rules = append(rules, d.Codes...)
	for _, prefix := range d.Prefixes {
		if strings.HasSuffix(prefix, "*") {
			rules = append(rules, prefix+"x.*")
		}
		rules = append(rules, prefix+"x.T")
	}
	return strings.Join(append(rules, "[*#0-9]x.T"), "|")
}
