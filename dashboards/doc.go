// Package dashboards is what an operator looks at and is woken by: Grafana's dashboards, and the
// alerts of Prometheus and of Grafana. All of it is written down once, here; the files that
// Prometheus and Grafana read are made from it.
package dashboards

//go:generate go run ./generate

// Files are the generated files: their contents by their names in this folder.
func Files() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, d := range Dashboards() {
		text, err := d.json()
		if err != nil {
			return nil, err
		}
		files[d.Name+".json"] = text
	}
	var err error
	if files["rules/waybill.yml"], err = Rules(Alerts()); err != nil {
		return nil, err
	}
	files["provisioning/alerting/waybill.yml"], err = grafanaAlerts(Alerts())
	return files, err
}
