package admin

import (
	"fmt"
	"slices"

	"hotdeskd/hotdesk"
)

// Paging says which part of a list is wanted. A list of things is told whole when
// there is no limit, of what happened the newest 500.
type Paging struct {
	Limit int    `query:"limit" minimum:"0" maximum:"10000" doc:"how many items at most"`
	After string `query:"after" doc:"the \"next\" of the page before"`
}

// keptHistory is how many rows of what happened are shown when no limit is given.
const keptHistory = 500

// rows is the limit of a list of what happened.
func (p Paging) rows() int {
	if p.Limit == 0 {
		return keptHistory
	}
	return p.Limit
}

// page cuts a list; id is what an item is found again by. next is null on the last
// page.
func page[T any](all []T, p Paging, limit int, id func(T) string) (*body[list[T]], error) {
	if p.After != "" {
		at := slices.IndexFunc(all, func(item T) bool { return id(item) == p.After })
		if at < 0 {
			return nil, fmt.Errorf("%w: after: there is no %q in this list any more; begin again without it", hotdesk.ErrInvalid, p.After)
		}
		all = all[at+1:]
	}
	out := listOf(all)
	if limit > 0 && len(all) > limit {
		next := id(all[limit-1])
		out.Body.Items, out.Body.Next = all[:limit], &next
	}
	return out, nil
}
