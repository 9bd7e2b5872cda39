package dashboards

func overview() Dashboard {
	return Dashboard{
		Name: "overview", Title: "Waybill / Overview",
		Description: "Is it healthy? What comes in, what comes out, how long it takes.",
		Rows:        []Row{overviewHealth(), overviewFlow(), overviewTime(), overviewAPI()},
	}
}

func overviewHealth() Row {
	return Row{"Health", []Panel{
		{
			Title: "Alerts firing", Kind: Number, Warn: 1, Bad: 1,
			Description: "docs/runbooks.md says what to do about each.",
			Queries:     one(`count(ALERTS{alertname=~"Waybill.*", alertstate="firing"}) or vector(0)`, ""),
		},
		{
			Title: "Oldest due job", Kind: Number, Unit: "s", Warn: 30, Bad: 60,
			Description: "For how long the job that waits longest could have run. The objective is a minute.",
			Queries:     one("max(waybill_oldest_pending_seconds)", ""),
		},
		{
			Title: "Jobs waiting", Kind: Number,
			Description: "Pending, scheduled, retrying and held jobs in the ledger.",
			Queries:     one(`sum(max by (queue, state) (waybill_jobs_open{state!="active"}))`, ""),
		},
		{
			Title: "Jobs running", Kind: Number,
			Queries: one(`sum(max by (queue, state) (waybill_jobs_open{state="active"}))`, ""),
		},
		{
			Title: "Workers", Kind: Number, Bad: 1, BadBelow: true,
			Description: "Worker processes whose heartbeat reaches the ledger.",
			Queries:     one(`max(waybill_workers{state="live"})`, ""),
		},
		{
			Title: "Divergent jobs", Kind: Number, Warn: 1, Bad: 1,
			Description: "Jobs about which ledger and Redis disagree.",
			Queries:     one("sum(max by (kind) (waybill_divergent_jobs))", ""),
		},
	}}
}

func overviewFlow() Row {
	return Row{"Flow", []Panel{
		{
			Title:   "Submitted",
			Unit:    "ops",
			Queries: one("sum by (type) (rate(waybill_jobs_created_total[$__rate_interval]))", "{{type}}"),
		},
		{
			Title: "Outcomes", Unit: "ops",
			Description: "Of attempts: a retry, a snooze and a hand-back are no end of their job.",
			Queries:     one("sum by (outcome) (rate(waybill_jobs_settled_total[$__rate_interval]))", "{{outcome}}"),
		},
		{
			Title: "Failed attempts by type", Unit: "percentunit",
			Description: "Of the attempts that completed or failed. WaybillTaskErrors watches it.",
			Queries: one(
				`sum by (type) (rate(waybill_jobs_settled_total{outcome=~"retry|archived"}[$__rate_interval])) / sum by (type) (rate(waybill_jobs_settled_total{outcome=~"retry|archived|completed"}[$__rate_interval]))`,
				"{{type}}",
			),
		},
	}}
}

func overviewTime() Row {
	return Row{"Time", []Panel{
		{
			Title:       "Wait for a worker",
			Unit:        "s",
			Description: "From the time a job was due until a worker had it.",
			Queries:     quantiles("waybill_job_wait_seconds", "", "", ""),
		},
		{
			Title: "Run, by type", Unit: "s",
			Queries: one(
				"histogram_quantile(0.95, sum by (le, type) (rate(waybill_job_run_seconds_bucket[$__rate_interval])))",
				"p95 {{type}}",
			),
		},
		{Title: "Oldest due job by queue", Unit: "s", Queries: one(oldest, "{{queue}}")},
	}}
}

func overviewAPI() Row {
	return Row{"API", []Panel{
		{
			Title:   "Requests",
			Unit:    "reqps",
			Queries: one("sum by (status) (rate(waybill_http_requests_total[$__rate_interval]))", "{{status}}"),
		},
		{
			Title: "Slowest routes", Unit: "s",
			Queries: one(
				"topk(8, histogram_quantile(0.99, sum by (le, route) "+
					"(rate(waybill_http_request_seconds_bucket[$__rate_interval]))))",
				"p99 {{route}}",
			),
		},
		{
			Title: "Server errors", Unit: "percentunit", Description: "Of all requests. WaybillAPIErrors watches it.",
			Queries: one(
				`(sum(rate(waybill_http_requests_total{status=~"5.."}[$__rate_interval])) or vector(0)) / sum(rate(waybill_http_requests_total[$__rate_interval]))`,
				"5xx",
			),
		},
	}}
}
