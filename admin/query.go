package admin

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"hotdeskd/hotdesk"
)

// queried lets an operation see its query only when all of it is understood: what is
// mistyped must neither be left out, so that a list is told whole or a trial is
// carried out, nor be taken for something else.
func (s *Server) queried(hc huma.Context, next func(huma.Context)) {
	c := humagin.Unwrap(hc)
	query, err := readQuery(c.Request.URL.RawQuery, hc.Operation().Parameters)
	if err != nil {
		s.refuse(c, err)
		return
	}
	c.Request.URL.RawQuery = query // nobody has looked at it before
	next(hc)
}

// readQuery checks a query against an operation's parameters and writes it as huma
// reads it: a flag without a value, or with an empty one, is true.
func readQuery(raw string, params []*huma.Param) (string, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return "", fmt.Errorf("%w: the query cannot be read; parameters are joined by &, and signs in values are written like %%20", hotdesk.ErrInvalid)
	}
	known := map[string]*huma.Param{}
	var names []string
	for _, p := range params {
		if p.In == "query" {
			known[p.Name] = p
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	given := make([]string, 0, len(values))
	for name := range values {
		given = append(given, name)
	}
	slices.Sort(given)
	for _, name := range given {
		p := known[name]
		switch {
		case p == nil:
			return "", unknownParameter(name, names)
		case len(values[name]) > 1 && p.Schema.Type != huma.TypeArray:
			return "", fmt.Errorf("%w: query parameter %s is there more than once", hotdesk.ErrInvalid, name)
		case p.Schema.Type != huma.TypeBoolean:
			continue
		}
		switch values.Get(name) {
		case "", "1", "true":
			values.Set(name, "true")
		case "0", "false":
			values.Set(name, "false")
		default:
			return "", fmt.Errorf("%w: query parameter %s must be true or false; without a value it is true", hotdesk.ErrInvalid, name)
		}
	}
	return values.Encode(), nil
}

func unknownParameter(name string, known []string) error {
	if len(known) == 0 {
		return fmt.Errorf("%w: unknown query parameter %.40q; there are none here", hotdesk.ErrInvalid, name)
	}
	nearest := slices.MinFunc(known, func(a, b string) int { return distance(name, a) - distance(name, b) })
	hint := ""
	if distance(name, nearest) <= max(2, len(nearest)/3) {
		hint = "do you mean " + nearest + "? "
	}
	return fmt.Errorf("%w: unknown query parameter %.40q; %sknown: %s", hotdesk.ErrInvalid, name, hint, strings.Join(known, ", "))
}

// distance is how many letters must be added, left out or changed to come from one
// word to the other. Long words are not looked at whole.
func distance(a, b string) int {
	a, b = strings.ToLower(a[:min(len(a), 40)]), strings.ToLower(b[:min(len(b), 40)])
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
