package ivr

import (
	"context"
	"time"

	"hotdeskd/hotdesk"
)

// question is one thing to be typed.
type question struct {
	prompt   string
	show     string // for the phone's display
	min, max int    // digits
}

// The questions of all flows.
func askExtension() question { return question{"enter_ext", "Enter extension and #", minExt, maxExt} }
func askPIN() question       { return question{"enter_pin", "Enter PIN and #", minPIN, maxPIN} }
func askNewPIN() question    { return question{"new_pin", "New PIN and #", minPIN, maxPIN} }
func askRepeat() question    { return question{"repeat_pin", "Repeat new PIN and #", minPIN, maxPIN} }

// end is how one attempt at an entry ended.
type end int

const (
	entered   end = iota
	empty         // '#' without a digit
	erased        // '*' after digits
	cancelled     // '*' without a digit
	silent        // too few digits, or none
)

// ask says what comes first, asks, and returns the digits, which the caller must
// zero. Longer entries come back as max+1 digits, so that they can only be wrong.
// When the person cancels or stays silent, ask tells the end and returns errEnd.
func (d *dialogue) ask(ctx context.Context, q question, first ...word) ([]byte, error) {
	if d.visit.Show != nil {
		d.visit.Show(q.show)
	}
	words := append(first, word{key: q.prompt})
	buf := make([]byte, 0, q.max+1)
	for helped, repeated := false, false; ; {
		how, err := d.entry(ctx, q, &buf, words)
		if err == nil && how == entered {
			return buf, nil
		}
		clear(buf)
		buf = buf[:0]
		if err != nil {
			return nil, err
		}
		words = []word{{key: q.prompt}}
		switch {
		case how == cancelled:
			return nil, d.bye(ctx, "cancelled")
		case how == erased:
		case how == empty && !helped:
			helped = true
			words = []word{{key: "help"}, {key: q.prompt}}
		case repeated:
			return nil, d.bye(ctx, "no_entry")
		default:
			repeated = true
		}
	}
}

// entry collects the keys of one attempt. The first key silences the question,
// which is not heard at all if that key was typed ahead.
func (d *dialogue) entry(ctx context.Context, q question, buf *[]byte, words []word) (end, error) {
	defer d.line.stop()
	said, limit := d.line.say(d.lang, words), time.Duration(0)
	for {
		what, key, err := d.wait(ctx, said, limit, true)
		if err != nil {
			return 0, err
		}
		switch {
		case what == spoken:
			said, limit = nil, firstKey
		case what == expired && len(*buf) >= q.min:
			d.byTime = time.Now()
			return entered, nil
		case what == expired:
			return silent, nil
		case key == '#' && len(*buf) == 0 && time.Since(d.byTime) < trailingHash:
			d.byTime = time.Time{}
		case key == '#' && len(*buf) == 0:
			return empty, nil
		case key == '#':
			return entered, nil
		case key == '*' && len(*buf) == 0:
			return cancelled, nil
		case key == '*':
			return erased, nil
		case key >= '0' && key <= '9':
			d.line.stop()
			said, limit = nil, nextKey
			if len(*buf) <= q.max {
				*buf = append(*buf, key)
			}
		}
	}
}

// secret moves typed digits into the form in which the rules take them.
func secret(digits []byte) hotdesk.Secret {
	defer clear(digits)
	return hotdesk.Secret(digits)
}

// readBack is a number digit by digit, as it stands on the keys: never as "tens",
// in groups of three, or two for five digits, with the voice falling at the end.
func readBack(number string) []word {
	var words []word
	group := 3
	switch n := len(number); {
	case n <= 4:
		group = 4
	case n == 5:
		group = 2
	}
	for i, c := range number {
		key, pause := "d"+string(c), betweenDigits
		switch {
		case i == len(number)-1:
			key, pause = key+"f", 0
		case (i+1)%group == 0 && (group != 2 || i == 1):
			pause = afterGroup
		}
		words = append(words, word{key, pause})
	}
	return words
}
