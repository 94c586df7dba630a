package yamlguard

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml/scanner"
	"github.com/goccy/go-yaml/token"
)

// What a file may have. An office of ten thousand users stays below all of it.
const (
	MaxSize     = 16 << 20 // bytes
	MaxDepth    = 32       // levels; ours has eight
	MaxKeys     = 1000     // of one mapping
	MaxValues   = 500_000  // texts, numbers, list entries and brackets
	MaxText     = 64 << 10 // bytes of one text; the store takes no more
	MaxRepeated = 100_000  // values that aliases (*name) stand for, in all
)

// Check returns the first limit that the text passes, with its line.
func Check(text []byte) error {
	if err := rough(text); err != nil {
		return err
	}
	var s scanner.Scanner
	s.Init(string(text))
	c := counter{weights: map[string]int{}}
	for {
		tokens, err := s.Scan()
		if errors.Is(err, io.EOF) {
			return nil
		}
		for _, t := range tokens { // also those before an error: the parser goes on behind it
			if err := c.count(t); err != nil {
				return fmt.Errorf("line %d: %w", t.Position.Line, err)
			}
		}
	}
}

// container is a list or mapping that has begun and not ended.
type container struct {
	flow   bool // in brackets; else by its column
	list   bool
	column int
	keys   int
	anchor string // its name
	start  int    // values before it
}

// counter follows the tokens.
type counter struct {
	open     []container
	values   int
	repeated int
	weights  map[string]int // values under each anchor

	props   int    // tags and anchors in a row
	naming  string // "&" or "*": its name comes next
	anchor  string // of the value that comes next
	scalar  string // anchor of the scalar that has just come, which may be a key
	keyLine int    // where the key, if it is one, began
	keyCol  int
}

func (c *counter) count(t *token.Token) error {
	if len(t.Value) > MaxText {
		return fmt.Errorf("a text of more than %d bytes", MaxText)
	}
	if c.naming != "" {
		kind := c.naming
		c.naming = ""
		if kind == "&" {
			c.anchor = t.Value
			return nil
		}
		return c.alias(t.Value)
	}
	switch t.Type {
	case token.CommentType, token.SpaceType, token.CollectEntryType:
		return nil
	case token.AnchorType, token.TagType, token.AliasType:
		return c.property(t)
	}
	c.props = 0
	switch t.Type {
	case token.DocumentHeaderType, token.DocumentEndType:
		c.popTo(0)
		return nil
	case token.SequenceStartType, token.MappingStartType:
		c.begin(t)
		return c.push(container{flow: true, list: t.Type == token.SequenceStartType})
	case token.SequenceEndType, token.MappingEndType:
		// One that closes nothing is left to the parser, and lowers no depth here.
		if c.inFlow() && c.top().list == (t.Type == token.SequenceEndType) {
			c.popTo(len(c.open) - 1)
		}
		return nil
	case token.SequenceEntryType:
		c.keyCol = 0
		if c.inFlow() {
			return c.value()
		}
		return c.entry(t.Position.Column)
	case token.MappingKeyType:
		c.keyCol = 0
		return c.key(t.Position.Column)
	case token.MappingValueType:
		column := t.Position.Column
		if c.keyCol != 0 && c.keyLine == t.Position.Line {
			column = c.keyCol
		}
		c.keyCol = 0
		return c.key(column)
	}
	c.begin(t)
	c.scalar, c.anchor = c.anchor, ""
	if c.scalar != "" {
		c.weights[c.scalar] = 1
	}
	return c.value()
}

// property notes a tag or what begins an anchor or alias.
func (c *counter) property(t *token.Token) error {
	c.begin(t)
	if t.Type != token.TagType {
		c.naming = strings.TrimSpace(t.Value)[:1]
	}
	if t.Type == token.AliasType {
		c.props = 0
		return c.value()
	}
	if c.props++; c.props > 2 {
		return errors.New("more than one tag or anchor for one value")
	}
	return nil
}

// alias counts what the name stands for once more.
func (c *counter) alias(name string) error {
	for _, o := range c.open {
		if o.anchor == name {
			return fmt.Errorf("the alias *%.40s stands inside of what it names", name)
		}
	}
	if c.repeated += c.weights[name]; c.repeated > MaxRepeated {
		return fmt.Errorf("aliases stand for more than %d values", MaxRepeated)
	}
	c.values += c.weights[name]
	return c.value()
}

// begin notes where something begins that may turn out to be a key.
func (c *counter) begin(t *token.Token) {
	if !c.inFlow() && (c.keyCol == 0 || c.keyLine != t.Position.Line) {
		c.keyLine, c.keyCol = t.Position.Line, t.Position.Column
	}
}

// key counts a key: of the mapping in brackets, or of the one at its column.
func (c *counter) key(column int) error {
	anchor := c.scalar
	c.scalar = ""
	if !c.inFlow() {
		c.leave(column)
		if top := c.top(); top != nil && top.list && top.column == column {
			c.popTo(len(c.open) - 1)
		}
		if top := c.top(); top == nil || top.list || top.column != column {
			if c.anchor == "" {
				c.anchor = anchor // of the first key, or of the whole
			}
			if err := c.push(container{column: column}); err != nil {
				return err
			}
		}
	}
	if top := c.top(); top != nil {
		if top.keys++; top.keys > MaxKeys {
			return fmt.Errorf("a mapping with more than %d keys", MaxKeys)
		}
	}
	return nil
}

// entry counts a list's entry that begins with a dash.
func (c *counter) entry(column int) error {
	c.leave(column)
	if top := c.top(); top == nil || !top.list || top.column != column {
		if err := c.push(container{list: true, column: column}); err != nil {
			return err
		}
	}
	return c.value()
}

func (c *counter) value() error {
	if c.values++; c.values > MaxValues {
		return fmt.Errorf("more than %d values; split the file", MaxValues)
	}
	return nil
}

func (c *counter) top() *container {
	if len(c.open) == 0 {
		return nil
	}
	return &c.open[len(c.open)-1]
}

func (c *counter) inFlow() bool { return len(c.open) > 0 && c.top().flow }

// push begins a container, which has the anchor that waits for one.
func (c *counter) push(o container) error {
	if len(c.open) == MaxDepth {
		return fmt.Errorf("nested deeper than %d levels", MaxDepth)
	}
	o.anchor, o.start = c.anchor, c.values
	c.anchor, c.scalar = "", ""
	c.open = append(c.open, o)
	return c.value()
}

// leave ends the containers without brackets that are further right.
func (c *counter) leave(column int) {
	n := len(c.open)
	for n > 0 && !c.open[n-1].flow && c.open[n-1].column > column {
		n--
	}
	c.popTo(n)
}

// popTo ends all but the outermost n containers.
func (c *counter) popTo(n int) {
	for _, o := range c.open[n:] {
		if o.anchor != "" {
			c.weights[o.anchor] = c.values - o.start
		}
	}
	c.open = c.open[:n]
}
