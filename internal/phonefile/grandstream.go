package phonefile

import "fmt"

// grandstreamReader reads Grandstream's P values.
type grandstreamReader struct{}

func (grandstreamReader) root(e element) error {
	if e.name != "gs_provision" || e.attrs["version"] != "1" {
		return fmt.Errorf("the root is not <gs_provision version=\"1\">")
	}
	return e.only("version")
}

func (grandstreamReader) holds(e element) (bool, error) {
	switch {
	case e.name == "mac":
		return false, e.only()
	case e.name == "config" && e.attrs["version"] == "1":
		return true, e.only("version")
	}
	return false, fmt.Errorf("<%s> is neither <mac> nor <config version=\"1\">", e.name)
}

func (grandstreamReader) take(f *File, section string, e element) error {
	if err := e.only(); err != nil {
		return err
	}
	if section != "" && !ValidKey(GrandstreamXML, e.name) {
		return fmt.Errorf("<%s> is no P value", e.name)
	}
	return f.add(line{key: e.name, value: e.text})
}

func (f *File) grandstreamBytes() []byte {
	var w writer
	w.head(f.lines)
	w.WriteString("<gs_provision version=\"1\">\n")
	if mac, ok := f.Get("mac"); ok {
		w.element("mac", mac)
	}
	w.WriteString("<config version=\"1\">\n")
	for _, l := range f.lines {
		if l.key != "" && l.key != "mac" {
			w.element(l.key, l.value)
		}
	}
	w.WriteString("</config>\n</gs_provision>\n")
	return w.Bytes()
}
