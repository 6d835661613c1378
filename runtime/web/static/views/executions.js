// Executions: filters and order in the address, failed ones at a click.

import { badge, button, code, copyButton, cut, element, empty, say, soft, wrong } from "../dom.js";
import { command, counted, duration, moment } from "../format.js";
import { Choices, executionLink, Listing, searchBox, setValue, timeOf, View, viewHead } from "../parts.js";

const STATUSES = ["running", "pending", "failed", "interrupted", "completed", "cancelled"];
const ORDERS = ["submitted", "ended", "duration", "job", "status"];
const SPANS = [["", "any time"], ["3600", "last hour"], ["86400", "last day"], ["604800", "last week"]];

export class ExecutionsView extends View {
	constructor(page) {
		super(page, () => this.list.refresh());
		this.statuses = new Choices({ label: "Status", onChoose: (status) => page.setQuery({ status }) });
		this.job = searchBox({ label: "Job", width: 16, isMain: false, onChange: (job) => page.adjust({ job }) });
		this.id = searchBox({ label: "Id begins with…", onChange: (id) => page.adjust({ id }) });
		this.span = element("select", { "aria-label": "Submitted", onchange: () => page.setQuery({ within: this.span.value }) },
			SPANS.map(([value, label]) => element("option", { value }, label)));
		this.around = button("", () => page.setQuery({ around: "", width: "", said: "" }), { hidden: true, title: "Any time" });
		this.list = new Listing({
			label: "Executions", noun: "executions", keyOf: (row) => row.id, load: (query) => page.api.get("executions", query),
			onOpen: (row) => page.go(["executions", row.id]), onSort: (sort) => page.setQuery({ sort }),
			nothing: () => this.nothing(), onDraw: () => this.showCounts(),
			// The durations of what runs grow: their rows are drawn again.
			rowsOf: (rows) => rows.map((row) => (row.status === "running" ? { ...row } : row)),
			more: ({ left_off: left }) => (left ? `; the ${counted(left)} oldest are in no list` : ""),
			columns: [
				["Status", "130", (row) => badge(row.status), "", "status"],
				["Job", "110 1.2", (row) => cut(row.job, 60, "strong"), "", "job"],
				["Id", "130 1.4", (row) => [executionLink(row.id), row.fork_of && element("span.soft", { text: " fork", title: `of ${row.fork_of}` })], "wide"],
				["Submitted", "160", (row) => timeOf(page, row.submitted_at), "wide", "submitted"],
				["Took", "100", (row) => duration((row.ended_at ?? page.now()) - row.submitted_at), "number", "duration"],
				["Sub-tasks", "130", (row) => this.progress(row), "number wide"],
				["Problem", "80 2", (row) => wrong(row.problem, 120), "wide"],
			],
		});
		this.owned.push(this.list);
		this.element = element("div.view.fills", viewHead("Executions", this.around, this.span, this.job, this.id),
			this.statuses.element, this.list.parts);
	}

	show(_path, query) {
		this.query = query;
		setValue(this.job, query.job);
		setValue(this.id, query.id);
		this.span.value = SPANS.some(([value]) => value === query.within) ? query.within : "";
		this.around.hidden = !query.around;
		say(this.around, query.around ? `around ${moment(Number(query.around), this.page.utc)} ✕` : "");
		this.list.ask(this.asked(query), query.sort ?? "-submitted");
		this.showCounts();
	}

	asked({ status, job, id, within, around, width, sort = "-submitted" }) {
		const name = ORDERS.find((one) => one === sort.replace("-", "")) ?? "submitted";
		// A chart leads here with a moment; otherwise the time ends now, in whole minutes.
		const from = Number(around) ? Number(around) - Number(width || 60)
			: Number(within) ? Math.floor(this.page.now() / 60) * 60 - Number(within) : null;
		return {
			status: status ? status.split(",") : [], job, id, submitted_from: from,
			submitted_to: Number(around) ? Number(around) + Number(width || 60) : null,
			sort: name, order: sort.startsWith("-") ? "desc" : "asc",
		};
	}

	said(channel) {
		if (channel === "executions") this.refresher.touch();
	}

	tick() {
		if (this.list.paging.rows.some((row) => row.status === "running")) this.list.draw();
	}

	showCounts() {
		const { counts = {} } = this.list.paging.answer;
		const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
		this.statuses.show([["", "All", all], ...STATUSES.map((status) => [status, status, counts[status] ?? 0])], this.query.status ?? "");
	}

	draw() {
		this.list.draw();
	}

	nothing() {
		const { status, job, id, within, around } = this.query;
		return status || job || id || within || around
			? empty("No execution fits", button("Show all", () => this.page.go(["executions"])))
			: empty("Nothing has been submitted yet", ["A driver submits with ", code("await system.submit(job, request)"), ", the command line with ", copyButton(command("callboard", "run"), "callboard run"), "."]);
	}

	progress({ done, sub_tasks: all, status }) {
		if (all === null || all === undefined) return soft("–");
		if (done === null || done === undefined || status === "completed") return counted(all);
		const meter = element("meter", { min: "0", max: String(Math.max(1, all)), value: String(done), title: `${counted(done)} of ${counted(all)} done` });
		return [meter, ` ${counted(done)} / ${counted(all)}`];
	}
}
