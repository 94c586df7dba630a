package simphone

import (
	"maps"
	"slices"
)

// Models lists the model ids that can be simulated, in order.
func Models() []string {
	var ids []string
	for _, d := range dialects() {
		ids = slices.AppendSeq(ids, maps.Keys(d.models))
	}
	slices.Sort(ids)
	return ids
}
