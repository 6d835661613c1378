// One execution: header, failures, timeline, sub-tasks, events, plan. The same parts draw the live
// page and the exported file; `source` answers as the API does.

import { badge, button, card, commandButton, cut, element, empty, failure, fieldsOf, fill, heading, hint, say, soft, strong, table, wrong } from "./dom.js";
import { clipped, counted, duration, nouns, pretty } from "./format.js";
import { graphOf, NODES_MAX, nodesOfEach, nodesOfKinds } from "./graph.js";
import { Choices, eventDetail, exactOf, executionLink, facts, FollowedRows, Listing, searchBox, setValue, Split, timeOf } from "./parts.js";
import { Timeline } from "./timeline.js";

const PLAN_MAX = 500;
const FAILURES_SHOWN = 3;
const ZOOM_MS = 250;
const STATUSES = ["running", "ready", "waiting", "in_doubt", "failed", "cancelled", "skipped", "done"];
const TABS = [["tasks", "Sub-tasks"], ["logs", "Log"], ["partials", "Partial results"], ["events", "Events"], ["failures", "Failures"], ["plan", "Plan"], ["history", "History"]];
/** Parts that a file does not have: what `source` reads for them. */
const LIVE = ["logs", "partials", "events"];
const TIMELINE_EVERY_S = 2, LONG_TIMELINE_EVERY_S = 10, LONG = 20_000;
const LINES_SHOWN = 50;

/** The parts of an execution; `actions(view)` gives the buttons of its header. */
export class ExecutionPanel {
	constructor({ page, source, actions = () => [], doubtActions = () => [], hasLinks = true }) {
		Object.assign(this, { page, source, actions, doubtActions, hasLinks });
		this.parts = TABS.filter(([name]) => !LIVE.includes(name) || source[name]);
		this.runs = new Set(); // The sub-tasks of which an attempt is under way.
		this.drawnAt = 0;
		this.query = {};
		this.view = null;
		this.open = new Set();
		this.zoomed = [0, 0];
		this.head = element("header.execution-head", hint("reading…"));
		this.notice = element("div");
		this.timeline = new Timeline({
			onSelect: (bar) => page.adjust({ task: bar.id }),
			onOpen: (key) => this.toggleGroup(key), onZoom: (from, to) => this.zoom(from, to),
		});
		this.by = element("select", { "aria-label": "Rows by", onchange: () => page.adjust({ by: this.by.value }) },
			element("option", { value: "kind" }, "by kind"), element("option", { value: "executor" }, "by executor"));
		this.timelineNote = element("p.note");
		this.timelineCard = card("Attempts over time", element("div.card-tools", this.by), this.timeline.element, this.timelineNote);
		this.tabs = new Choices({ label: "Parts", onChoose: (tab) => page.setQuery({ tab: tab === "tasks" ? "" : tab }) });
		this.body = element("div.tab-body");
		this.split = new Split([this.timelineCard, this.tabs.element, this.body], () => page.adjust({ task: "", event: "" }));
		this.split.element.classList.add("scrolls");
		this.element = element("div.view", this.head, this.notice, this.split.element);
		this.tasks = this.taskList();
		this.events = this.eventList();
		this.logs = this.logList();
		this.partials = this.partialList();
		this.said = element("div");
		this.attempts = element("div");
	}

	show(query) {
		const before = this.query;
		this.hasBegun = true;
		this.query = query;
		this.by.value = query.by === "executor" ? "executor" : "kind";
		if (before.by !== query.by && this.view) this.readTimeline();
		const tab = query.tab ?? "tasks";
		this.tabs.show(this.parts.map(([name, title]) => [name, title, name === "tasks" ? this.view?.sub_tasks : name === "failures" ? this.failureCount() : undefined]), tab);
		if (tab !== this.tab) this.openTab(tab);
		if (tab === "tasks") this.tasks.follow(query);
		this.showDetail(before);
	}

	/** A second has passed while it runs: durations grow, and attempts begin without an event. */
	tick() {
		this.showHead();
		this.follow();
		const every = this.view.attempts > LONG ? LONG_TIMELINE_EVERY_S : TIMELINE_EVERY_S;
		if (this.page.now() - this.drawnAt < every || !this.hasBegun) return;
		this.drawnAt = this.page.now();
		this.readTimeline();
	}

	/** Read on in the log and the partial results, where they are in sight. */
	follow() {
		const { task } = this.query;
		for (const name of ["logs", "partials"]) if (this.source[name] && (task || this.tab === name)) this[name].refresh();
	}

	partialsCame() {
		if (this.tab === "partials" || this.query.task) this.partials.refresh();
	}

	failureCount() {
		return this.view ? this.view.failures.length + this.view.failures_left_off : undefined;
	}

	async read() {
		try {
			const view = await this.source.execution();
			const isNew = !this.view || view.version !== this.view.version || view.status !== this.view.status;
			this.view = view;
			fill(this.notice);
			this.showHead();
			this.show(this.query);
			if (!isNew) return;
		} catch (error) {
			fill(this.notice, failure(error, () => this.read()));
			return;
		}
		await Promise.all([this.readTimeline(), this.refreshTab()]);
	}

	/** Show what its row in the list says, until the rest is here: a long history takes time to read. */
	preview(row) {
		if (this.view) return;
		fill(this.head, element("div.view-head", element("h1", clipped(row.job, 80)), badge(row.status)), element("p.mono.soft", row.id),
			facts([["submitted", timeOf(this.page, row.submitted_at)], ["took", row.ended_at && duration(row.ended_at - row.submitted_at)], ["sub-tasks", row.sub_tasks && counted(row.sub_tasks)], ["rest", "reading…"]]));
	}

	get lists() {
		return [this.tasks, this.events, this.logs, this.partials];
	}

	refreshTab() {
		if (this.tab === "tasks") return this.tasks.refresh();
		if (LIVE.includes(this.tab)) return this[this.tab].refresh();
		if (this.tab === "failures" || this.tab === "history") this.openTab(this.tab);
		return null;
	}

	redraw() {
		if (this.view) this.showHead();
		for (const list of this.lists) list.draw();
		if (this.tab === "history" || this.tab === "failures") this.openTab(this.tab);
		this.timeline.draw();
	}

	end() {
		clearTimeout(this.zoomTimer);
		this.timeline.end();
		for (const list of this.lists) list.end();
	}

	showHead() {
		const { view, page } = this;
		const end = view.is_over ? view.ended_at ?? view.updated_at : page.now();
		const counts = STATUSES.filter((status) => view.counts[status]).map((status) => badge(status, `${counted(view.counts[status])} ${status}`));
		fill(this.head,
			element("div.view-head", cut(view.job, 80, "h1"), badge(view.status), element("span.gap"), this.actions(view)),
			element("p.mono.soft", view.id),
			view.waits_for && element("p.callout", { role: "status" }, badge("waiting", "waits"), ` ${view.waits_for}`),
			facts([
				["submitted", timeOf(page, view.submitted_at)], [view.is_over ? "took" : "runs for", duration(end - view.submitted_at)],
				["sub-tasks", counts.length ? counts : "no plan yet"], ["attempts", `${counted(view.attempts)}${this.timeline.timeline.running ? `, and ${counted(this.timeline.timeline.running)} under way` : ""}`],
				["failed attempts", view.retries && counted(view.retries)],
				["owner", view.owners.length ? element("span", { title: view.owners.map(({ name }) => name).join(", "), text: clipped(view.owners.at(-1).name, 40) }) : ""],
				["fork of", view.fork_of && [this.hasLinks ? executionLink(view.fork_of) : clipped(view.fork_of, 40), view.fork_from && ` from ${view.fork_from}`]],
			]),
			view.failures.length && element("ul.rows.failures", view.failures.slice(0, FAILURES_SHOWN).map((one) => this.failureRow(one))),
			view.in_doubt.map((doubt) => this.doubt(doubt)),
			view.in_doubt_left_off && hint(`${nouns(view.in_doubt_left_off, "more step")} wait for a decision`));
	}

	failureRow({ at, code, message, sub_task: task, attempt, is_final: isFinal }) {
		return element("li", badge(isFinal ? "failed" : "backing_off", isFinal ? "failed" : "retried"),
			task && this.toTask(task),
			attempt && soft(`attempt ${attempt}`),
			element("span.grow.bad-text", { title: message, text: `${code ? `${code}: ` : ""}${clipped(message, 400)}` }), timeOf(this.page, at, { isShort: true }));
	}

	doubt({ step, attempt, message }) {
		return element("div.callout", element("p", badge("in_doubt", "in doubt"), " ", strong(step), ` may have run (attempt ${attempt}): ${clipped(message, 300)}`),
			element("p.actions.start", this.doubtActions(this.view, step), commandButton("approve", this.view.id, step)));
	}

	async readTimeline() {
		const mine = (this.timelineTurn = {});
		const [from, to] = this.zoomed;
		try {
			const timeline = await this.source.timeline({ by: this.by.value, open: [...this.open], from_at: from || null, to_at: to || null });
			if (mine !== this.timelineTurn) return;
			this.timeline.show(timeline);
			if (this.view) this.showHead();
			const { task } = this.query;
			if (task && !this.timeline.selected) this.timeline.select(task);
			if (task) fill(this.attempts, this.attemptsOf(task));
			const runs = timeline.groups.flatMap((group) => group.bars.filter(({ outcome }) => outcome === "running").map(({ id }) => id));
			if (runs.length || this.runs.size) {
				this.runs = new Set(runs);
				this.tasks.draw();
			}
			this.isFolded = timeline.groups.some((group) => !group.bars.length || group.bars_left_off);
			const left = timeline.groups_left_off ? `; ${nouns(timeline.groups_left_off, "group")} not drawn` : "";
			say(this.timelineNote, timeline.attempts || timeline.running ? `${nouns(timeline.attempts, "ended attempt")}${timeline.running ? `, ${counted(timeline.running)} under way` : ""}${left}${this.isFolded ? ". A click opens a folded group; zooming in shows its bars." : ""}` : "No attempt has begun yet.");
		} catch (error) {
			if (mine === this.timelineTurn) say(this.timelineNote, `${error.title ?? "The timeline failed"}: ${error.message}`);
		}
	}

	toggleGroup(key) {
		if (this.open.has(key)) this.open.delete(key);
		else this.open.add(key);
		this.readTimeline();
	}

	zoom(from, to) {
		this.zoomed = [from, to];
		clearTimeout(this.zoomTimer);
		// All bars are here: there is nothing finer to ask for.
		if (this.isFolded || from === 0) this.zoomTimer = setTimeout(() => this.readTimeline(), ZOOM_MS);
	}

	openTab(tab) {
		this.tab = tab;
		const isPart = TABS.some(([name]) => name === tab);
		fill(this.body, !isPart ? empty("There is no such part") : this[tab].parts ?? this[tab]());
		if (tab === "events") this.events.ask({ order: "desc" });
		this.follow();
	}

	taskList() {
		const statuses = new Choices({ label: "Status", onChoose: (status) => this.page.setQuery({ status }) });
		const search = searchBox({ label: "Id contains…", onChange: (find) => this.page.adjust({ find }) });
		const made = new Listing({
			label: "Sub-tasks", noun: "sub-tasks", keyOf: (row) => String(row.number), className: "in-card", load: (query) => this.source.subTasks(query),
			onOpen: (row) => this.page.adjust({ task: row.id }), onSort: (sort) => this.page.setQuery({ sort }),
			nothing: () => empty(this.view?.sub_tasks ? "No sub-task fits" : "There is no plan yet"),
			rowsOf: (rows) => (this.runs.size ? rows.map((row) => ({ ...row })) : rows), // Rows are drawn again where attempts begin.
			columns: [
				["Status", "110", (row) => badge(this.runs.has(row.id) ? "running" : row.status), "", "status"],
				["Sub-task", "130 2", (row) => cut(row.id, 80), "", "id"],
				["Kind", "90 1", (row) => element("span.soft", { title: row.kind, text: row.kind.split(".").at(-1) }), "wide"],
				["Tries", "60", (row) => counted(row.attempts), "number wide", "attempts"],
				["Waited", "85", (row) => (row.attempts ? duration(row.queue_s) : ""), "number wide", "queue"],
				["Ran", "85", (row) => (row.attempts ? duration(row.run_s) : ""), "number", "run"],
				["Critical", "65", (row) => (row.is_critical ? element("span", { title: "on the critical path", text: "◆" }) : ""), "wide"],
				["Error", "90 1.5", (row) => wrong(row.error, 160), "wide"],
			],
		});
		made.parts.unshift(element("div.toolbar", statuses.element, search));
		made.follow = (query) => {
			setValue(search, query.find);
			const { sort = "number", status = "", find } = query, counts = this.view?.counts ?? {};
			const isTroubled = status === "troubled";
			const there = STATUSES.filter((one) => counts[one] || one === status).map((one) => [one, one.replace("_", " "), counts[one] ?? 0]);
			statuses.show([["", "All", this.view?.sub_tasks], ["troubled", "failed at least once"], ...there], status);
			made.ask({ status: status && !isTroubled ? [status] : [], failed: isTroubled && "true", id: find, sort: sort.replace("-", ""), order: sort.startsWith("-") ? "desc" : "asc" }, sort);
		};
		return made;
	}

	eventList() {
		return new Listing({
			label: "Events", noun: "events", keyOf: (row) => String(row.version), className: "in-card", load: (query) => this.source.events(query),
			onOpen: (row) => this.openEvent(row), nothing: () => empty("There are no events"), more: () => ", the newest first",
			columns: [
				["#", "70", (row) => counted(row.version), "number"],
				["Time", "120", (row) => exactOf(this.page, row.recorded_at)],
				["Event", "110", (row) => strong(row.kind)],
				["Fields", "120 1", (row) => fieldsOf(row, 220)],
			],
		});
	}

	logList() {
		return new FollowedRows({
			label: "Log", keyOf: (row) => row.key, read: (after) => this.source.logs(after), onRows: () => this.sayMore(),
			onOpen: (row) => this.openLine(row), nothing: () => empty("Its handlers have logged nothing", "Lines of Python's `logging` in a handler are here, the newest ones of each host."),
			columns: [
				["Time", "100", (row) => exactOf(this.page, row.time)], ["Level", "100", (row) => badge(row.level)],
				["Sub-task", "90 1", (row) => this.toTask(row.step)], ["On", "90 1", (row) => soft(row.host + row.path), "wide"],
				["Line", "130 4", (row) => cut(row.text, 300)],
			],
		});
	}

	partialList() {
		return new FollowedRows({
			label: "Partial results", keyOf: (row) => `${row.task_id}/${row.attempt}/${row.number}`, read: (after) => this.source.partials(after), onRows: () => this.sayMore(),
			onOpen: (row) => this.page.adjust({ task: row.task_id }), nothing: () => empty("No sub-task has yielded anything", "A handler that yields gives partial results while it works."),
			columns: [
				["Sub-task", "90 1", (row) => this.toTask(row.task_id)], ["Attempt", "70", (row) => counted(row.attempt), "number wide"], ["#", "70", (row) => counted(row.number), "number"],
				["Value", "130 4", (row) => fieldsOf({ fields: row.value }, 300)],
			],
		});
	}

	toTask(task) {
		return task ? button(clipped(task, 60), () => this.page.adjust({ task }), { class: "link" }) : soft("–");
	}

	openLine(row) {
		if (row.step) this.page.adjust({ task: row.step }); // Its bar is selected, and its lines are in the detail.
		else this.split.open("Line", element("pre", row.text));
	}

	openEvent(row) {
		this.split.open(`Event ${counted(row.version)}: ${row.kind}`,
			eventDetail(this.page, row, [["position", counted(row.position)]]));
	}

	failures() {
		const { failures = [], failures_left_off: left = 0 } = this.view ?? {};
		if (!failures.length) return empty("Nothing has failed");
		return [element("ul.rows.failures", failures.map((one) => this.failureRow(one))), left ? element("p.note", `${counted(left)} older ones are left off`) : null];
	}

	plan() {
		const count = this.view?.sub_tasks ?? 0;
		if (!count) return empty("There is no plan yet");
		const place = element("div", hint("reading…"));
		if (count <= PLAN_MAX) this.drawPlan(place);
		else fill(place, element("p", `The plan has ${counted(count)} sub-tasks: the first ${PLAN_MAX} are drawn, by kind.`), button("Draw the plan", () => this.drawPlan(place)));
		return place;
	}

	async drawPlan(place) {
		try {
			const { items } = await this.source.subTasks({ limit: PLAN_MAX, sort: "number", order: "asc" });
			const isLarge = items.length > NODES_MAX;
			fill(place, hint(isLarge ? "One box for each kind; lines lead to the kinds that need it." : "Lines lead from each sub-task to those that need it."),
				graphOf(isLarge ? nodesOfKinds(items) : nodesOfEach(items), { onSelect: (id) => !isLarge && this.page.adjust({ task: id }) }));
		} catch (error) {
			fill(place, failure(error, () => this.drawPlan(place)));
		}
	}

	history() {
		const { phases = [], owners = [], transitions = [], submitted_at: begin = 0, kinds = {} } = this.view ?? {};
		const rows = [...phases.map(({ name, at }) => [at, name, "phase"]), ...owners.map(({ name, at }) => [at, name, "owner"]),
			...transitions.map((one) => [one.at, `${one.from} → ${one.to}`, [one.trigger, one.by && `by ${one.by}`].filter(Boolean).join(", ")])];
		rows.sort((a, b) => a[0] - b[0]);
		return [table(["When", "After", "What", "Why"], rows.map(([at, what, why]) => [timeOf(this.page, at, { decimals: 3 }), duration(at - begin), what, soft(why)])),
			heading("Kinds of sub-tasks"), facts(Object.entries(kinds).map(([kind, count]) => [kind, counted(count)]))];
	}

	async showDetail(before) {
		const { task } = this.query;
		if (!task) {
			if (before.task) this.split.close();
			return;
		}
		if (before.task === task && this.detailVersion === this.view?.version) return;
		this.detailVersion = this.view?.version;
		this.timeline.select(task);
		try {
			const { items } = await this.source.subTasks({ id: task, limit: 50 });
			const row = items.find((one) => one.id === task);
			if (this.query.task !== task) return;
			if (!row) {
				this.split.open(task, empty("This execution has no such sub-task"));
				return;
			}
			this.tasks.list.select(String(row.number));
			this.split.open(task, this.detail(row));
			this.sayMore();
			this.follow();
		} catch (error) {
			if (this.query.task === task) this.split.open(task, failure(error, () => this.showDetail({})));
		}
	}

	detail(row) {
		const to = (id) => this.toTask(id);
		fill(this.said);
		fill(this.attempts, this.attemptsOf(row.id));
		return [
			facts([
				["status", badge(this.runs.has(row.id) ? "running" : row.status)], ["kind", row.kind], ["attempts", counted(row.attempts)], ["waited", row.attempts && duration(row.queue_s)], ["ran", row.attempts && duration(row.run_s)],
				["on", row.executor], ["ready", row.ready_at && exactOf(this.page, row.ready_at)], ["began", row.began_at && exactOf(this.page, row.began_at)],
				["ended", row.ended_at && exactOf(this.page, row.ended_at)], ["critical path", row.is_critical ? "yes: it set the end" : ""],
				["added by", row.parent && to(row.parent)],
				["needs", row.needs.length ? [row.needs.map((id) => [to(id), " "]), row.needs_left_off ? `and ${counted(row.needs_left_off)} more` : ""] : ""],
			]),
			row.error && [heading("Newest error"), element("pre.bad-text", `${row.error_code ? `${row.error_code}: ` : ""}${row.error}`)],
			heading("Attempts"), this.attempts, this.said,
		];
	}

	/** What the log and the partial results have of the sub-task in the detail, in step with its bar. */
	sayMore() {
		const { task } = this.query;
		const lines = this.logs.tail.rows.filter(({ step }) => step === task), values = this.partials.tail.rows.filter((row) => row.task_id === task);
		if (!task) return;
		const line = lines[0]?.key ?? "";
		if (this.tab === "logs" && this.logs.list.selected !== line) this.logs.list.select(line);
		fill(this.said,
			lines.length ? [heading("Log"), element("ol.story", lines.slice(0, LINES_SHOWN).map((one) => element("li",
				element("p", badge(one.level), exactOf(this.page, one.time)), element("pre", one.text))))] : null,
			values.length ? [heading("Partial results"), values.slice(0, LINES_SHOWN).map((one) => element("pre", `${one.number}: ${pretty(one.value, 2_000)}`))] : null);
	}

	attemptsOf(id) {
		const bars = this.timeline.barsOf(id);
		if (!bars.length) return hint("The timeline shows none of them now: none has ended, or its group is folded.");
		return element("ol.story", bars.map((bar) => element("li",
			element("p", badge(bar.outcome), ` attempt ${bar.attempt} on ${bar.executor}, ${duration(bar.ended_at - bar.began_at)}`),
			bar.error && element("p.bad-text", bar.error))));
	}
}
