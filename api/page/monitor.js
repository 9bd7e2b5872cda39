(function () {
	// A session that has ended leads to the sign-in page.
	var send = XMLHttpRequest.prototype.send;
	XMLHttpRequest.prototype.send = function () {
		this.addEventListener("load", function () {
			if (this.status === 401) location.assign("/login?next=" + encodeURIComponent(location.pathname + location.search));
		});
		return send.apply(this, arguments);
	};
	// On the page of a task, a link leads to its job.
	var task = /\/queues\/[^/]+\/tasks\/([0-9a-f-]{36})\.\d+$/;
	function link() {
		var found = task.exec(location.pathname), a = document.querySelector(".waybill-account a");
		if (!a) return;
		a.hidden = !found;
		if (found) a.href = "/monitor/jobs/" + found[1];
	}
	["pushState", "replaceState"].forEach(function (name) {
		var change = history[name];
		history[name] = function () {
			var result = change.apply(this, arguments);
			link();
			return result;
		};
	});
	addEventListener("popstate", link);
	addEventListener("DOMContentLoaded", link);
})()
