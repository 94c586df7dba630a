package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"hotdeskd/hotdesk"
)

// headKey is where the store keeps the head. It is written in the transaction that
// deletes rows which are in the file, so it is never ahead of the file.
const headKey = "/meta/audit"

// cutAction is that of the row which tells that lines were missing at a start.
const cutAction = "audit.cut"

// ErrCut: the chain is whole, but its newest lines are not those that were written.
var ErrCut = errors.New("rows of the audit log were cut off")

// Head is a line that the audit log must have: the newest when the store was told
// last. The zero Head asks for none.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

func headOf(l line) Head { return Head{l.Seq, l.Hash} }

// Head is the one that the store has; the zero Head before Serve has read it.
func (j *Journal) Head() Head {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.head
}

// checkHead looks whether the files have the line that the store knows. If not,
// somebody has cut them while no server ran: a row tells it for good, because the
// next head forgets what was there.
func (j *Journal) checkHead(ctx context.Context, store hotdesk.Store, head Head) error {
	j.mu.Lock()
	sure := j.sure == head // it was there since the start; cut off later, it breaks the chain
	told := j.told == head
	j.head = head
	j.mu.Unlock()
	if sure {
		return nil
	}
	var last, at line
	for l, err := range j.audit.backward("") {
		if err != nil {
			return err
		}
		if last.Seq == 0 {
			last = l
		}
		if at = l; at.Seq <= head.Seq {
			break
		}
	}
	if head == (Head{}) || headOf(at) == head {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.sure = head
		return nil
	}
	if !told { // once, also when the store refuses the new head for a while
		j.log.Error("rows of the audit log were cut off", "store_knows_line", head.Seq, "last_line", last.Seq)
		row := hotdesk.AuditRow{
			Op: fmt.Sprintf("%s-%d-%.12s", cutAction, head.Seq, head.Hash), Time: j.audit.now().UTC(), Action: cutAction, By: "system",
			Detail: map[string]string{"missing_line": fmt.Sprint(head.Seq), "hash": head.Hash, "last_line": fmt.Sprint(last.Seq)},
		}
		// Not AppendNow: what it keeps is lost in a crash, after the store has forgotten.
		if err := j.appendNew([]stored{{row: row}}); err != nil {
			return err
		}
		j.mu.Lock()
		j.told = head
		j.mu.Unlock()
	}
	return j.putHead(ctx, store, func(hotdesk.Txn) {})
}

// putHead makes the newest line, which is durable, the store's head, in one
// transaction with what else is to be written.
func (j *Journal) putHead(ctx context.Context, store hotdesk.Store, with func(hotdesk.Txn)) error {
	head := j.audit.head()
	b, err := json.Marshal(head)
	if err != nil {
		return err
	}
	_, err = store.Update(ctx, func(tx hotdesk.Txn) error {
		with(tx)
		tx.Put(headKey, b)
		return nil
	})
	if err == nil {
		j.mu.Lock()
		j.head, j.sure = head, head
		j.mu.Unlock()
	}
	return err
}

// readHead is the store's head; zero when it has none yet.
func readHead(r hotdesk.Reader) (h Head, err error) {
	kv, ok, err := r.Get(headKey)
	if err != nil || !ok {
		return h, err
	}
	if err := json.Unmarshal(kv.Value, &h); err != nil {
		return Head{}, fmt.Errorf("stored record %s cannot be read: %w", headKey, err)
	}
	return h, nil
}
