package main

import (
	"fmt"
	"math"
	"strings"
)

// The plot: two panels side by side, both axes logarithmic, but for 0 at the left.
const (
	panelWidth, panelHeight = 330, 240
	marginLeft, marginTop   = 60, 40
	panelGap                = 90
)

type curve struct {
	title, colour string
	points        [][2]float64
}

func (r report) plot() string {
	services := []struct{ service, title, colour string }{
		{noinit, "pam_namespace noinit", "#c33"}, {shipped, "pam_namespace as shipped", "#e93"},
		{worker, "gotmpns, worker", "#39c"}, {broker, "gotmpns, broker", "#063"}, {floor, "floor", "#999"},
	}
	var mounts []curve
	for _, s := range services {
		c := curve{title: s.title, colour: s.colour}
		for _, column := range r.columns {
			c.points = append(c.points, [2]float64{float64(column.mounts), column.median(s.service)})
		}
		mounts = append(mounts, c)
	}
	second := curve{title: "broker, second login", colour: "#0c6"}
	for _, column := range r.columns {
		second.points = append(second.points, [2]float64{float64(column.mounts), quantile(column.second[broker], 0.5)})
	}
	var sessions []curve
	colours := []string{"#999", "#c33", "#063", "#0c6", "#639", "#39c"}
	for i, row := range populatedRows {
		c := curve{title: row.title, colour: colours[i]}
		for _, p := range r.populated {
			c.points = append(c.points, [2]float64{float64(max(p.sessions, 100)), quantile(p.times[row.title], 0.5)})
		}
		sessions = append(sessions, c)
	}
	const width, height = 2*(marginLeft+panelWidth) + panelGap, marginTop + panelHeight + 170
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n"+
		`<rect width="100%%" height="100%%" fill="white"/>`+"\n", width, height)
	panel(&b, marginLeft, "µs of open_session over mounts on the host", append(mounts, second), []string{"20", "1000", "5000"})
	panel(&b, 2*marginLeft+panelWidth+panelGap, "… over sessions of other users (left: none)", sessions, []string{"0", "1000", "10000"})
	b.WriteString("</svg>\n")
	return b.String()
}

// panel draws curves, the labels of their points and a legend.
func panel(b *strings.Builder, left int, title string, curves []curve, labels []string) {
	lowX, highX, lowY, highY := math.Inf(1), 0.0, math.Inf(1), 0.0
	for _, c := range curves {
		for _, p := range c.points {
			lowX, highX, lowY, highY = min(lowX, p[0]), max(highX, p[0]), min(lowY, p[1]), max(highY, p[1])
		}
	}
	lowY, highY = math.Pow(10, math.Floor(math.Log10(lowY))), math.Pow(10, math.Ceil(math.Log10(highY)))
	x := func(v float64) float64 { return float64(left) + panelWidth*math.Log(v/lowX)/math.Log(highX/lowX) }
	y := func(v float64) float64 { return marginTop + panelHeight*(1-math.Log(v/lowY)/math.Log(highY/lowY)) }
	fmt.Fprintf(b, `<text x="%d" y="%d" font-size="13">%s</text>`+"\n", left, marginTop-16, title)
	for v := lowY; v <= highY*1.01; v *= 10 {
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.0f</text>`+"\n",
			left, left+panelWidth, y(v), y(v), left-6, y(v)+4, v)
	}
	for i, p := range curves[0].points {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(p[0]), marginTop+panelHeight+16, labels[i])
	}
	for i, c := range curves {
		var points []string
		for _, p := range c.points {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(p[0]), y(p[1])))
		}
		at := marginTop + panelHeight + 36 + 18*i
		fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), c.colour)
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="2"/><text x="%d" y="%d">%s</text>`+"\n",
			left, left+24, at, at, c.colour, left+30, at+4, strings.ReplaceAll(strings.ReplaceAll(c.title, "`", ""), `"`, "&quot;"))
	}
}
