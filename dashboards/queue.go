package dashboards

func queues() Dashboard {
	return Dashboard{
		Name: "queues", Title: "Waybill / Queues",
		Description: "Each queue: how deep, how old, how fast, and who works on it.", ByQueue: true,
		Rows: []Row{queueDepth(), queueSpeed(), queueWorkers(), queueRoad()},
	}
}

func queueDepth() Row {
	return Row{"Depth, by the ledger", []Panel{
		{
			Title: "Open jobs by state", Kind: Stack,
			Description: "At least, where waybill_jobs_open_capped is 1: more than a million in one queue are not " +
				"counted.",
			Queries: one(`max by (queue, state) (waybill_jobs_open{queue=~"$queue"})`, "{{queue}} {{state}}"),
		},
		{
			Title:   "Oldest due job",
			Unit:    "s",
			Queries: one(`max by (queue) (waybill_oldest_pending_seconds{queue=~"$queue"})`, "{{queue}}"),
		},
		{
			Title: "Growth of what is pending", Unit: "ops", Description: "Above zero, more comes than goes.",
			Queries: one(
				`deriv((max by (queue) (waybill_jobs_open{queue=~"$queue", state="pending"}))[5m:5s])`,
				"{{queue}}",
			),
		},
		{
			Title:       "Paused",
			Description: "1 while the queue is paused.",
			Queries:     one(`max by (queue) (waybill_queue_paused{queue=~"$queue"})`, "{{queue}}"),
		},
	}}
}

func queueSpeed() Row {
	const done = `sum by (queue) (rate(waybill_jobs_settled_total{queue=~"$queue", outcome=~"completed|archived|canceled"}[$__rate_interval]))`
	return Row{"Speed", []Panel{
		{
			Title: "Submitted",
			Unit:  "ops",
			Queries: one(
				`sum by (queue) (rate(waybill_jobs_created_total{queue=~"$queue"}[$__rate_interval]))`,
				"{{queue}}",
			),
		},
		{Title: "Finished", Unit: "ops", Queries: one(done, "{{queue}}")},
		{
			Title: "Time to drain", Unit: "s",
			Description: "What is pending, at the speed of the moment, if no more came.",
			Queries: one(`max by (queue) (waybill_jobs_open{queue=~"$queue", state="pending"}) / `+done,
				"{{queue}}"),
		},
		{
			Title:   "Wait for a worker",
			Unit:    "s",
			Queries: quantiles("waybill_job_wait_seconds", `{queue=~"$queue"}`, "queue", " {{queue}}")[1:2],
		},
	}}
}

func queueWorkers() Row {
	return Row{"Workers", []Panel{
		{
			Title:   "Worker processes",
			Queries: one(`max by (queue) (waybill_queue_workers{queue=~"$queue"})`, "{{queue}}"),
		},
		{
			Title:       "Slots",
			Description: "A worker shares its slots among its queues.",
			Queries:     one(`max by (queue) (waybill_queue_slots{queue=~"$queue"})`, "{{queue}}"),
		},
		{
			Title:   "Running handlers",
			Kind:    Stack,
			Queries: one(`sum by (queue) (waybill_jobs_active{queue=~"$queue"})`, "{{queue}}"),
		},
		{
			Title: "Slots in use", Unit: "percentunit", Description: "Near 1 the workers are the limit: add some.",
			Queries: one("sum(waybill_jobs_active) / sum(waybill_worker_slots)", "all workers"),
		},
	}}
}

func queueRoad() Row {
	return Row{"Redis", []Panel{
		{
			Title:   "Tasks by state",
			Kind:    Stack,
			Queries: one(`max by (queue, state) (asynq_tasks_enqueued_total{queue=~"$queue"})`, "{{queue}} {{state}}"),
		},
		{Title: "Tasks in all", Queries: one(`max by (queue) (asynq_queue_size{queue=~"$queue"})`, "{{queue}}")},
		{
			Title: "Age of the oldest pending task", Unit: "s",
			Description: "Since it was put there: younger than its job where the reconciler sent it again.",
			Queries:     one(`max by (queue) (asynq_queue_latency_seconds{queue=~"$queue"})`, "{{queue}}"),
		},
		{
			Title: "Processed and failed", Unit: "ops",
			Description: "As asynq counts; the counts begin again when Redis is empty or another process exports them.",
			Queries: []Query{
				{
					`max by (queue) (rate(asynq_tasks_processed_total{queue=~"$queue"}[$__rate_interval]))`,
					"{{queue}} processed",
				},
				{
					`max by (queue) (rate(asynq_tasks_failed_total{queue=~"$queue"}[$__rate_interval]))`,
					"{{queue}} failed",
				},
			},
		},
		{
			Title:       "Memory",
			Unit:        "bytes",
			Description: "Estimated from samples once a minute.",
			Queries:     one(`max by (queue) (asynq_queue_memory_usage_approx_bytes{queue=~"$queue"})`, "{{queue}}"),
		},
	}}
}
