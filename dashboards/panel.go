package dashboards

// Dashboard is one page of Grafana.
type Dashboard struct {
	Name, Title, Description string
	ByQueue                  bool // with a choice of queues, $queue in expressions
	Rows                     []Row
}

// Row is a line of panels under a title. Panels share its width.
type Row struct {
	Title  string
	Panels []Panel
}

// Kind is how a panel shows its samples.
type Kind string

const (
	Lines  Kind = "timeseries"
	Stack  Kind = "stack" // lines on top of each other
	Number Kind = "stat"
)

// Panel shows what queries answer.
type Panel struct {
	Title       string
	Description string // what to make of it
	Kind        Kind   // Lines where empty
	Unit        string // Grafana's name of it; empty: a plain number
	Queries     []Query
	Warn, Bad   float64 // from there on a number is yellow and red; both 0: it has no bad values
	BadBelow    bool    // small values are the bad ones
}

// Query is an expression of PromQL; the legend names what its samples are, in Grafana's {{label}}
// form.
type Query struct{ Expr, Legend string }

func one(expr, legend string) []Query { return []Query{{expr, legend}} }

// quantiles asks for three quantiles of a histogram, by the labels given or over all.
func quantiles(histogram, selector, by, legend string) (all []Query) {
	group := "le"
	if by != "" {
		group = "le, " + by
	}
	for _, q := range []struct{ quantile, name string }{{"0.5", "p50"}, {"0.95", "p95"}, {"0.99", "p99"}} {
		all = append(
			all,
			Query{
				"histogram_quantile(" + q.quantile + ", sum by (" + group + ") (rate(" + histogram + "_bucket" +
					selector + "[$__rate_interval])))",
				q.name + legend,
			},
		)
	}
	return all
}

// Dashboards are all of them.
func Dashboards() []Dashboard { return []Dashboard{overview(), queues(), durability()} }
