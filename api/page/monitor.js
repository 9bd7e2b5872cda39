(function () {
	// A session that has ended leads to the sign-in page. asynqmon writes only into the browser's console why an
	// action was refused.
	var open = XMLHttpRequest.prototype.open, send = XMLHttpRequest.prototype.send;
	XMLHttpRequest.prototype.open = function (method) {
		this.waybillActs = method.toUpperCase() !== "GET";
		return open.apply(this, arguments);
	};
	XMLHttpRequest.prototype.send = function () {
		this.addEventListener("load", function () {
			if (this.status === 401) location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search));
			else if (this.status >= 400 && this.waybillActs) tell(this.responseText);
		});
		this.addEventListener("error", function () {
			if (this.waybillActs) tell("Waybill does not answer.");
		});
		return send.apply(this, arguments);
	};
	var told;
	function tell(text) {
		var box = document.querySelector(".waybill-problem");
		box.textContent = text;
		clearTimeout(told);
		told = setTimeout(function () { box.textContent = ""; }, 10000);
	}

	// On the page of a task, a link beside "Sign out" leads to its job.
	var taskPage = /\/queues\/[^/]+\/tasks\/([^/]+)$/;
	// A task's id is the id of its job, a dot and the number of the delivery.
	var ofJob = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(\.\d+)?$/;
	function linkPage() {
		var found = taskPage.exec(location.pathname), job = found && ofJob.exec(found[1]);
		var a = document.querySelector(".waybill-account a");
		a.hidden = !job;
		if (job) a.href = "/monitor/jobs/" + job[1];
	}

	// Lists show the beginning of an id only. The whole is in the properties that React keeps for a row.
	function idOf(row) {
		for (var key in row) {
			if (!key.startsWith("__reactInternalInstance$")) continue;
			for (var fiber = row[key], i = 0; fiber && i < 5; fiber = fiber.return, i++) {
				var task = fiber.memoizedProps && fiber.memoizedProps.task;
				if (task) return task.id;
			}
		}
	}
	function linkCell(cell, id) {
		var job = ofJob.exec(id), a = cell.querySelector(".waybill-job");
		if (!job) {
			if (a) a.remove();
			return;
		}
		if (!a) {
			a = document.createElement("a");
			a.className = "waybill-job";
			a.target = "_blank";
			a.rel = "noopener";
			// A click on the row opens the page of the task.
			a.addEventListener("click", function (event) { event.stopPropagation(); });
			cell.appendChild(a);
		}
		var href = "/monitor/jobs/" + job[1];
		if (a.getAttribute("href") !== href) {
			a.href = href;
			a.title = "Job " + job[1];
			a.textContent = "Job \u2026" + job[1].slice(-8);
		}
	}
	function linkRows() {
		document.querySelectorAll('table[aria-label$=" tasks table"] tbody tr').forEach(function (row) {
			var cell = row.querySelector("th[scope=row]");
			if (cell) linkCell(cell, idOf(row));
		});
		document.querySelectorAll('table[aria-label="scheduler enqueue events table"] tbody td:last-child').forEach(function (cell) {
			linkCell(cell, cell.firstChild && cell.firstChild.nodeValue);
		});
	}

	// Waybill uses no task groups and deletes the tasks of completed jobs: both lists appear only where somebody
	// else's tasks are in them.
	function hideEmpty() {
		document.querySelectorAll("main .MuiChip-root").forEach(function (chip) {
			if (/^(Aggregating|Completed)\b/.test(chip.textContent)) {
				chip.hidden = /\s0$/.test(chip.textContent) && !chip.classList.contains("MuiChip-colorPrimary");
			}
		});
	}

	// A schedule that is paused has no next time, which asynqmon does not know of its own.
	function namePaused() {
		document.querySelectorAll('table[aria-label="scheduler entries table"] td').forEach(function (cell) {
			if (cell.textContent.indexOf("NaN") >= 0 && cell.firstChild.nodeValue) cell.firstChild.nodeValue = "paused";
		});
	}

	var due = false;
	function change() {
		if (due) return;
		due = true;
		requestAnimationFrame(function () {
			due = false;
			linkPage();
			linkRows();
			hideEmpty();
			namePaused();
		});
	}
	addEventListener("DOMContentLoaded", function () {
		change();
		new MutationObserver(change).observe(document.body, { childList: true, characterData: true, subtree: true });
	});
})()
