package phonefile

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// element is one parameter's element with its text.
type element struct {
	name, text string
	attrs      map[string]string
}

// reader is what differs between the XML dialects.
type reader interface {
	// root checks the outermost element.
	root(element) error
	// holds tells whether an element below the root has parameters in it.
	holds(element) (bool, error)
	// take adds the parameters of an element; section is "" directly below the
	// root.
	take(f *File, section string, e element) error
}

// parseXML reads a file of at most three levels: root, sections, parameters.
// Comments are kept when they stand before the root.
func (f *File) parseXML(data []byte, r reader) error {
	p := &parser{Decoder: xml.NewDecoder(bytes.NewReader(data)), file: f, reader: r}
	if err := p.document(); err != nil {
		line, _ := p.InputPos()
		return fmt.Errorf("%w: line %d: %w", ErrSyntax, line, err)
	}
	return nil
}

type parser struct {
	*xml.Decoder
	file   *File
	reader reader
}

// document reads comments and the root, and nothing after it.
func (p *parser) document() error {
	rooted := false
	for {
		token, err := p.Token()
		if errors.Is(err, io.EOF) && rooted {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if rooted {
				return errors.New("a second root element")
			}
			rooted = true
			e, err := open(t)
			if err == nil {
				err = p.reader.root(e)
			}
			if err == nil {
				err = p.sections()
			}
			if err != nil {
				return err
			}
		case xml.Comment:
			if text := strings.TrimSpace(string(t)); !rooted && text != "" && writable(text) {
				p.file.lines = append(p.file.lines, line{text: text})
			}
		case xml.Directive:
			return errors.New("document types are not read")
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return errors.New("text outside of the elements")
			}
		}
	}
}

// sections reads what is below the root, to its end.
func (p *parser) sections() error {
	return p.children(func(t xml.StartElement) error {
		e, err := open(t)
		if err != nil {
			return err
		}
		holds, err := p.reader.holds(e)
		if err != nil {
			return err
		}
		if !holds {
			return p.parameter("", e)
		}
		return p.children(func(t xml.StartElement) error {
			inner, err := open(t)
			if err != nil {
				return err
			}
			return p.parameter(e.name, inner)
		})
	})
}

// children hands every element up to the end of the present one to each.
func (p *parser) children(each func(xml.StartElement) error) error {
	for {
		token, err := p.Token()
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if err := each(t); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return errors.New("text between the parameters")
			}
		case xml.Directive, xml.ProcInst:
			return errors.New("an instruction between the parameters")
		}
	}
}

// parameter reads an element's text to its end and hands it on.
func (p *parser) parameter(section string, e element) error {
	var text strings.Builder
	for {
		token, err := p.Token()
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			return fmt.Errorf("<%s> inside of <%s>", t.Name.Local, e.name)
		case xml.CharData:
			text.Write(t)
		case xml.Directive, xml.ProcInst:
			return fmt.Errorf("an instruction inside of <%s>", e.name)
		case xml.EndElement:
			e.text = strings.TrimSpace(text.String())
			if !writable(e.text) {
				return fmt.Errorf("the value of <%s> has a line break or control character", e.name)
			}
			return p.reader.take(p.file, section, e)
		}
	}
}

// open reads a start tag.
func open(t xml.StartElement) (element, error) {
	e := element{name: t.Name.Local, attrs: map[string]string{}}
	if t.Name.Space != "" {
		return e, fmt.Errorf("<%s> is in a namespace", e.name)
	}
	for _, a := range t.Attr {
		if _, twice := e.attrs[a.Name.Local]; twice || a.Name.Space != "" {
			return e, fmt.Errorf("<%s> has the attribute %s twice or in a namespace", e.name, a.Name.Local)
		}
		if !writable(a.Value) {
			return e, fmt.Errorf("the attribute %s of <%s> has a line break or control character", a.Name.Local, e.name)
		}
		e.attrs[a.Name.Local] = strings.TrimSpace(a.Value)
	}
	return e, nil
}

// only refuses attributes that the grammar does not have.
func (e element) only(names ...string) error {
	for name := range e.attrs {
		known := false
		for _, n := range names {
			known = known || n == name
		}
		if !known {
			return fmt.Errorf("<%s> has the unknown attribute %q", e.name, name)
		}
	}
	return nil
}

// writer writes XML that one can read by eye.
type writer struct{ bytes.Buffer }

// head writes the declaration and the comments.
func (w *writer) head(lines []line) {
	w.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
	for _, l := range lines {
		if l.key == "" {
			w.WriteString("<!-- " + l.text + " -->\n") // as read, so without two hyphens
		}
	}
}

// element writes one parameter; attrs come as names and values in turn.
func (w *writer) element(name, text string, attrs ...string) {
	w.WriteString("<" + name)
	for i := 0; i+1 < len(attrs); i += 2 {
		w.WriteString(" " + attrs[i] + `="`)
		w.escaped(attrs[i+1])
		w.WriteString(`"`)
	}
	w.WriteString(">")
	w.escaped(text)
	w.WriteString("</" + name + ">\n")
}

// escaped writes text as character data or attribute value.
func (w *writer) escaped(text string) {
	_ = xml.EscapeText(&w.Buffer, []byte(text)) // a bytes.Buffer takes everything
}
