package dashboards

func durability() Dashboard {
	return Dashboard{
		Name: "durability", Title: "Waybill / Durability",
		Description: "Does the promise hold? The reconciler, the heartbeats, the ledger and Redis.",
		Rows: []Row{
			durabilityAudit(),
			durabilityDispatch(),
			durabilityWorkers(),
			durabilityRedis(),
			durabilityDatabase(),
			durabilityProcess(),
		},
	}
}

func durabilityAudit() Row {
	return Row{"Reconciler", []Panel{
		{
			Title: "Divergent jobs", Description: "What the last looks found. The reconciler repairs it in seconds; what " +
				"stays is for people: WaybillDivergence.",
			Queries: one("max by (kind) (waybill_divergent_jobs)", "{{kind}}"),
		},
		{
			Title: "Sent again", Unit: "ops",
			Description: "lost: Redis did not know the task. orphaned: its worker died. stuck: no worker would have run " +
				"it.",
			Queries: one("sum by (reason) (rate(waybill_reconciler_resent_total[$__rate_interval]))", "{{reason}}"),
		},
		{
			Title: "Actions adopted", Unit: "ops",
			Description: "Archived, deleted or paused in Redis behind the ledger's back, and written down.",
			Queries:     one("sum(rate(waybill_reconciler_adopted_total[$__rate_interval]))", "adopted"),
		},
		{
			Title: "Since the last whole pass", Unit: "s",
			Queries: []Query{
				{"min(waybill_reconciler_last_pass_age_seconds)", "age"},
				{"max(waybill_reconciler_horizon_seconds)", "left to the fast path"},
			},
		},
		{
			Title:   "Audits",
			Unit:    "ops",
			Queries: one("sum by (instance) (rate(waybill_reconciler_passes_total[$__rate_interval]))", "{{instance}}"),
		},
	}}
}

func durabilityDispatch() Row {
	return Row{"Dispatch: from the ledger to Redis", []Panel{
		{
			Title:   "Sent",
			Unit:    "ops",
			Queries: one("sum by (instance) (rate(waybill_dispatch_sent_total[$__rate_interval]))", "{{instance}}"),
		},
		{
			Title: "Left to the reconciler", Unit: "ops",
			Description: "Redis did not take them at once: down, full, or too slow.",
			Queries: one("sum by (instance) (rate(waybill_dispatch_missed_total[$__rate_interval]))",
				"{{instance}}"),
		},
		{Title: "Lag", Unit: "s", Queries: one("max by (instance) (waybill_dispatch_lag_seconds)", "{{instance}}")},
		{
			Title: "Waiting to be sent",
			Queries: []Query{{"sum by (instance) (waybill_dispatch_waiting_jobs)", "{{instance}}"},
				{"max(waybill_dispatch_stopped)", "stopped: Redis is nearly full"}},
		},
		{
			Title: "Lag of schedules", Unit: "s", Description: "For how long a planned time has waited to be decided.",
			Queries: one("max(waybill_schedule_lag_seconds)", "lag"),
		},
	}}
}

func durabilityWorkers() Row {
	return Row{"Workers", []Panel{
		{
			Title:       "Heartbeats",
			Description: "silent: lost within the last 10 minutes.",
			Queries:     one("max by (state) (waybill_workers)", "{{state}}"),
		},
		{
			Title: "Handed back", Unit: "ops", Description: "By workers that stop. Handed back is not failed.",
			Queries: one(
				`sum by (type) (rate(waybill_jobs_settled_total{outcome="handed_back"}[$__rate_interval]))`,
				"{{type}}",
			),
		},
		{
			Title:       "Late outcomes refused",
			Description: "A worker that was thought dead came back, and another attempt had its job.",
			Queries: one("sum by (type) (increase(waybill_settlements_refused_total[$__rate_interval]))",
				"{{type}}"),
		},
		{
			Title:       "Handlers abandoned",
			Description: "They ignored the end of their context. Their goroutines may still run: repair the handler.",
			Queries: one("sum by (type) (increase(waybill_handlers_abandoned_total[$__rate_interval]))",
				"{{type}}"),
		},
		{
			Title:   "Run again by hand",
			Unit:    "ops",
			Queries: one("sum by (type) (rate(waybill_jobs_reopened_total[$__rate_interval]))", "{{type}}"),
		},
	}}
}

func durabilityRedis() Row {
	return Row{"Redis", []Panel{
		{
			Title:       "Reached by",
			Description: "Processes that reach it.",
			Queries:     one(`sum by (source) (waybill_source_up)`, "{{source}}"),
		},
		{
			Title: "Memory", Unit: "bytes", Description: "At 85 % of the limit sending stops, at 75 % it goes on.",
			Queries: []Query{
				{"max(waybill_redis_memory_used_bytes)", "used"},
				{"max(waybill_redis_memory_limit_bytes)", "limit"},
			},
		},
		{
			Title:   "Connections",
			Queries: one("max by (instance, state) (waybill_redis_pool_connections)", "{{instance}} {{state}}"),
		},
		{
			Title: "Waiting for a connection", Unit: "s",
			Description: "Seconds waited per second: how many wait at any moment.",
			Queries: one(
				"max by (instance) (rate(waybill_redis_pool_wait_seconds_total[$__rate_interval]))",
				"{{instance}}",
			),
		},
		{
			Title: "Given up for want of a connection",
			Unit:  "ops",
			Queries: one(
				"sum by (instance) (rate(waybill_redis_pool_timeouts_total[$__rate_interval]))",
				"{{instance}}",
			),
		},
	}}
}

func durabilityDatabase() Row {
	return Row{"Ledger", []Panel{
		{
			Title: "Connections", Queries: []Query{
				{"max by (instance, state) (waybill_database_pool_connections)", "{{instance}} {{state}}"},
				{"max(waybill_database_pool_max_connections)", "limit of a process"},
			},
		},
		{
			Title: "Waiting for a connection", Unit: "s",
			Description: "Seconds waited per second: how many wait at any moment. WaybillDatabasePoolExhausted " +
				"watches it.",
			Queries: one(
				"max by (instance) (rate(waybill_database_pool_wait_seconds_total[$__rate_interval]))",
				"{{instance}}",
			),
		},
		{
			Title: "Jobs in one commit", Description: "It grows with load: that is how the ledger keeps up.",
			Queries: one(
				"sum by (op) (rate(waybill_batch_size_sum[$__rate_interval])) / sum by (op) "+
					"(rate(waybill_batch_size_count[$__rate_interval]))",
				"{{op}}",
			),
		},
		{
			Title:   "Commits",
			Unit:    "ops",
			Queries: one("sum by (op) (rate(waybill_batch_size_count[$__rate_interval]))", "{{op}}"),
		},
		{
			Title: "Reading the figures", Unit: "s",
			Description: "How long the process that exports the deployment's figures takes to read them.",
			Queries:     one("max by (source) (waybill_figures_read_seconds)", "{{source}}"),
		},
		{
			Title: "Exporters of the figures", Description: "One for each source, two while it changes hands.",
			Queries: []Query{
				{"sum by (source) (waybill_figures_exporter)", "{{source}}"},
				{
					"sum by (source) (increase(waybill_figures_failures_total[$__rate_interval]))",
					"{{source}} failed readings",
				},
			},
		},
	}}
}

func durabilityProcess() Row {
	return Row{"Processes", []Panel{
		{
			Title: "CPU",
			Unit:  "percentunit",
			Queries: one(
				"rate(process_cpu_seconds_total{job=~\"waybill-.*\"}[$__rate_interval])",
				"{{job}} {{instance}}",
			),
		},
		{
			Title:   "Memory",
			Unit:    "bytes",
			Queries: one("process_resident_memory_bytes{job=~\"waybill-.*\"}", "{{job}} {{instance}}"),
		},
		{Title: "Goroutines", Queries: one("go_goroutines{job=~\"waybill-.*\"}", "{{job}} {{instance}}")},
		{
			Title: "Clocks", Unit: "s", Description: "By how much the ledger's clock is ahead of each process's. " +
				"Waybill goes by the ledger's; WaybillClockOff watches it.",
			Queries: one("max by (job, instance) (waybill_clock_offset_seconds)", "{{job}} {{instance}}"),
		},
		{Title: "Versions", Queries: one("count by (version) (waybill_build_info)", "{{version}}")},
	}}
}
