package phonefile

import (
	"errors"
	"fmt"
	"strings"
)

// snomReader reads Snom's settings.
type snomReader struct{}

const fkey = "fkey."

func (snomReader) root(e element) error {
	if e.name != "settings" {
		return fmt.Errorf("the root is <%s>, not <settings>", e.name)
	}
	return nil
}

func (snomReader) holds(e element) (bool, error) {
	if e.name != "phone-settings" && e.name != "functionKeys" {
		return false, fmt.Errorf("<%s> is neither <phone-settings> nor <functionKeys>", e.name)
	}
	return true, e.only("e")
}

func (snomReader) take(f *File, section string, e element) error {
	if err := e.only("idx", "perm", "context", "label"); err != nil {
		return err
	}
	perm := e.attrs["perm"]
	if perm != "" && perm != "R" && perm != "RW" && perm != "!" {
		return fmt.Errorf("<%s> has the unknown perm %q", e.name, perm)
	}
	idx, indexed := e.attrs["idx"]
	if section == "functionKeys" {
		if e.name != "fkey" || !indexed || !ValidKey(SnomXML, fkey+idx) {
			return errors.New("<functionKeys> holds <fkey idx=\"…\"> only")
		}
		for _, l := range []line{
			{key: fkey + idx, value: e.text, perm: perm},
			{key: fkey + idx + ".context", value: e.attrs["context"]},
			{key: fkey + idx + ".label", value: e.attrs["label"]},
		} {
			if err := f.add(l); err != nil {
				return err
			}
		}
		return nil
	}
	key := e.name
	if indexed {
		key += "." + idx
	}
	if _, ok := e.attrs["context"]; ok || e.attrs["label"] != "" || e.name == "fkey" || !ValidKey(SnomXML, key) {
		return fmt.Errorf("<%s> is no parameter", e.name)
	}
	return f.add(line{key: key, value: e.text, perm: perm})
}

// snomBytes writes the settings first and the keys after them, each in order. A
// key of which only the label or context was set is written whole.
func (f *File) snomBytes() []byte {
	var w writer
	w.head(f.lines)
	w.WriteString("<settings>\n<phone-settings e=\"2\">\n")
	var keys []string
	seen := map[string]bool{}
	for _, l := range f.lines {
		if rest, ok := strings.CutPrefix(l.key, fkey); ok {
			idx, _, _ := strings.Cut(rest, ".")
			if !seen[idx] {
				keys = append(keys, idx)
			}
			seen[idx] = true
			continue
		}
		name, idx, indexed := strings.Cut(l.key, ".")
		switch {
		case l.key == "":
		case indexed:
			w.element(name, l.value, "idx", idx, "perm", l.perm)
		default:
			w.element(name, l.value, "perm", l.perm)
		}
	}
	w.WriteString("</phone-settings>\n<functionKeys e=\"2\">\n")
	for _, idx := range keys {
		perm := "RW"
		if i, ok := f.index[fkey+idx]; ok {
			perm = f.lines[i].perm
		}
		w.element("fkey", f.Value(fkey+idx), "idx", idx, "context", f.Value(fkey+idx+".context"), "label", f.Value(fkey+idx+".label"), "perm", perm)
	}
	w.WriteString("</functionKeys>\n</settings>\n")
	return w.Bytes()
}
