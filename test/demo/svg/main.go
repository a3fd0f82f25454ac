// Command svg draws what "make demo" has printed as a picture of a terminal:
//
//	make -s demo | go run ./test/demo/svg > docs/demo.svg
//
// Nothing in the picture is written by hand: it is the output of a run, line by
// line, with prompts and remarks in colours of their own.
package main

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Sizes in units of the picture; an advance of 8.4 is that of common monospaced
// fonts at 14.
const (
	fontSize   = 14
	advance    = 8.4
	lineHeight = 20
	margin     = 18
)

func main() {
	if err := draw(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "svg: cannot draw the terminal:", err)
		os.Exit(1)
	}
}

// draw reads a transcript to its end and writes the whole picture.
func draw(in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	columns := 0
	for _, line := range lines {
		columns = max(columns, utf8.RuneCountInString(line))
	}
	width := int(float64(columns)*advance) + 2*margin
	height := len(lines)*lineHeight + 2*margin
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">
<style>
  text { font: %dpx "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #d0d4da; white-space: pre }
  .remark { fill: #8fbf7f } .host { fill: #e0a458 } .user { fill: #6cb6ff } .command { fill: #ffffff }
</style>
<rect width="%d" height="%d" rx="8" fill="#1b1f24"/>
`, width, height, width, height, html.EscapeString(lines[0]), fontSize, width, height)
	for i, line := range lines {
		if line != "" {
			fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" xml:space=\"preserve\">%s</text>\n",
				margin, margin+i*lineHeight+fontSize, spans(line))
		}
	}
	fmt.Fprintln(w, "</svg>")
	return w.Flush()
}

// prompt is how the demo prints a command: who, a sign, what.
var prompt = regexp.MustCompile(`^  (\w+) *([#$]) (.*)$`)

// spans marks the parts of a line up.
func spans(line string) string {
	if !strings.HasPrefix(line, " ") {
		return span("remark", line)
	}
	match := prompt.FindStringSubmatchIndex(line)
	if match == nil {
		return html.EscapeString(line)
	}
	class := "user"
	if line[match[4]:match[5]] == "#" {
		class = "host"
	}
	return span(class, line[:match[6]]) + span("command", line[match[6]:])
}

func span(class, text string) string {
	return fmt.Sprintf(`<tspan class="%s">%s</tspan>`, class, html.EscapeString(text))
}
