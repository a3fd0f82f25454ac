package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"gotmpns/internal/check"
	"gotmpns/internal/errtext"
)

// screen is where results for people go. What is not a terminal gets plain lines.
type screen struct {
	out   io.Writer
	width int  // in columns; 0: lines are not wrapped
	color bool // never where NO_COLOR is set
}

func screenOf(out io.Writer) screen {
	s := screen{out: out}
	f, ok := out.(*os.File)
	if !ok || !isTerminal(int(f.Fd())) {
		return s
	}
	if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
		s.width = int(size.Col)
	}
	s.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return s
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// paragraph prints a text after a head, wrapped, with later lines below the text.
// The head's own width does not count colors.
func (s screen) paragraph(head string, indent int, text string) {
	for i, line := range wrap(errtext.Harmless(text), s.width-indent) {
		if i > 0 {
			head = strings.Repeat(" ", indent)
		}
		fmt.Fprintln(s.out, head+line)
	}
}

// levelHead is the column in which a finding's level stands.
func (s screen) levelHead(level check.Level) string {
	const column = 9
	text, code := string(level), ""
	switch level {
	case check.Problem:
		text, code = "PROBLEM", "1;31"
	case check.Notice:
		code = "33"
	}
	pad := strings.Repeat(" ", column-len(text))
	if !s.color || code == "" {
		return text + pad
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m" + pad
}

// wrap breaks a text at spaces. A word that is longer than a line, such as a path,
// stays whole.
func wrap(text string, width int) []string {
	const narrowest = 20
	if width < narrowest {
		return []string{text}
	}
	var lines []string
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), word
			continue
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// columns are lines of cells, aligned when they are printed; a line without cells
// is text that does not take part.
type columns []columnLine

type columnLine struct {
	cells []string
	text  string
}

func (c *columns) add(cells ...string) { *c = append(*c, columnLine{cells: cells}) }
func (c *columns) line(text string)    { *c = append(*c, columnLine{text: text}) }

func (c columns) print(w io.Writer) error {
	out := bufio.NewWriter(w) // one system call for many lines
	const gap = 2
	widths := map[int]int{}
	for _, l := range c {
		for i, cell := range l.cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell)+gap)
		}
	}
	for _, l := range c {
		text := l.text
		for i, cell := range l.cells {
			text += cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		}
		fmt.Fprintln(out, strings.TrimRight(text, " "))
	}
	return out.Flush()
}
