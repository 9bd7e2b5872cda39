package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Grafana's grid has 24 columns.
const (
	columns    = 24
	statHeight = 4
	lineHeight = 8
)

type object = map[string]any

// json is the dashboard as Grafana stores it.
func (d Dashboard) json() ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(object{
		"uid": "waybill-" + d.Name, "title": d.Title, "description": d.Description, "tags": []string{"waybill"},
		"schemaVersion": 41, "editable": false,
		"timezone": "browser", "refresh": "10s", "time": object{"from": "now-1h", "to": "now"}, "graphTooltip": 1,
		"templating": object{"list": d.variables()}, "annotations": object{"list": []object{}}, "panels": d.panels(),
		"links": []object{
			{
				"type":        "dashboards",
				"title":       "Waybill",
				"tooltip":     "",
				"icon":        "external link",
				"tags":        []string{"waybill"},
				"asDropdown":  false,
				"targetBlank": false,
				"includeVars": true,
				"keepTime":    true,
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("write dashboard %s: %w", d.Name, err)
	}
	return buf.Bytes(), nil
}

func (d Dashboard) variables() []object {
	if !d.ByQueue {
		return []object{}
	}
	const values = "label_values(waybill_jobs_open, queue)"
	return []object{{
		"name": "queue", "label": "Queue", "type": "query", "datasource": source(), "definition": values,
		"query":   object{"query": values, "refId": "queue"},
		"refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*",
		"current": object{"text": []string{"All"}, "value": []string{"$__all"}},
	}}
}

func source() object { return object{"type": "prometheus", "uid": datasource} }

// panels lays the rows out, one below the other, each as wide as the grid.
func (d Dashboard) panels() (all []object) {
	id, y := 0, 0
	for _, row := range d.Rows {
		id++
		all = append(
			all,
			object{
				"id":        id,
				"type":      "row",
				"title":     row.Title,
				"collapsed": false,
				"panels":    []object{},
				"gridPos":   grid(0, y, columns, 1),
			},
		)
		y++
		height, x := row.height(), 0
		for i, p := range row.Panels {
			id++
			end := columns * (i + 1) / len(row.Panels)
			all = append(all, p.json(id, grid(x, y, end-x, height)))
			x = end
		}
		y += height
	}
	return all
}

func grid(x, y, w, h int) object { return object{"x": x, "y": y, "w": w, "h": h} }

func (r Row) height() int {
	for _, p := range r.Panels {
		if p.Kind != Number {
			return lineHeight
		}
	}
	return statHeight
}

func (p Panel) json(id int, pos object) object {
	targets := make([]object, len(p.Queries))
	for i, q := range p.Queries {
		targets[i] = object{
			"refId":        string(rune('A' + i)),
			"datasource":   source(),
			"expr":         q.Expr,
			"legendFormat": q.Legend,
			"range":        p.Kind != Number,
			"instant":      p.Kind == Number,
		}
	}
	panel := object{
		"id": id, "title": p.Title, "description": p.Description, "datasource": source(), "gridPos": pos,
		"targets":     targets,
		"fieldConfig": object{"defaults": p.defaults(), "overrides": []object{}},
	}
	if p.Kind == Number {
		panel["type"] = "stat"
		panel["options"] = object{
			"reduceOptions":          object{"calcs": []string{"lastNotNull"}},
			"colorMode":              "value",
			"graphMode":              "none",
			"textMode":               "auto",
			"justifyMode":            "auto",
			"orientation":            "auto",
			"wideLayout":             true,
			"showPercentChange":      false,
			"percentChangeColorMode": "standard",
		}
	} else {
		panel["type"] = "timeseries"
		panel["options"] = object{"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true,
			"calcs": []string{}}, "tooltip": object{"mode": "multi", "sort": "desc"}}
	}
	return panel
}

func (p Panel) defaults() object {
	d := object{
		"unit":       p.unit(),
		"thresholds": object{"mode": "absolute", "steps": p.steps()},
		"color":      object{"mode": "palette-classic"},
	}
	if p.Kind == Number {
		d["color"] = object{"mode": "thresholds"}
		return d
	}
	d["min"] = 0
	custom := object{"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
	if p.Kind == Stack {
		custom["stacking"] = object{"mode": "normal", "group": "A"}
		custom["fillOpacity"] = 40
	}
	d["custom"] = custom
	return d
}

func (p Panel) unit() string {
	if p.Unit == "" {
		return "short"
	}
	return p.Unit
}

// steps color a number from its least value up.
func (p Panel) steps() []object {
	switch {
	case p.BadBelow:
		return []object{{"color": "red", "value": nil}, {"color": "green", "value": p.Bad}}
	case p.Bad == 0:
		return []object{{"color": "green", "value": nil}}
	default:
		return []object{
			{"color": "green", "value": nil},
			{"color": "yellow", "value": p.Warn},
			{"color": "red", "value": p.Bad},
		}
	}
}
