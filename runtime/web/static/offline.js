// The exported file of one execution: the panel of the live page, with the data that the file holds.

import { button, element, showTheme } from "./dom.js";
import { ExecutionPanel } from "./execution_panel.js";

const ORDERS = {
	number: (row) => row.number, id: (row) => row.id, status: (row) => row.status, queue: (row) => row.queue_s,
	run: (row) => row.run_s, attempts: (row) => row.attempts, ended: (row) => row.ended_at ?? 0,
};

/** The rows that a question asks for, as the API would answer. Pure. */
export function answered(rows, { status = [], failed, id = "", sort = "number", order = "asc", limit = 200, after = "" }) {
	const kept = rows.filter((row) => (!status.length || status.includes(row.status))
		&& (!failed || row.error || row.status === "failed") && row.id.includes(id ?? ""));
	const of = ORDERS[sort] ?? ORDERS.number, sign = order === "desc" ? -1 : 1;
	kept.sort((a, b) => sign * (of(a) < of(b) ? -1 : of(a) > of(b) ? 1 : a.number - b.number));
	const from = Number(after) || 0;
	return { items: kept.slice(from, from + limit), next: from + limit < kept.length ? String(from + limit) : "", total: kept.length };
}

export function showExecution(data, body) {
	const page = { utc: false, now: () => data.execution.updated_at, setQuery: (change) => go({ ...query, ...change }), adjust: (change) => go({ ...query, ...change }) };
	const panel = new ExecutionPanel({
		page, hasLinks: false,
		source: {
			execution: async () => data.execution, timeline: async ({ by }) => data.timelines[by] ?? data.timelines.kind,
			subTasks: async (asked) => answered(data.sub_tasks, asked),
		},
	});
	let query = {};
	const go = (next) => {
		query = next;
		panel.show(query);
	};
	const zone = button("Local time", () => {
		page.utc = !page.utc;
		zone.textContent = page.utc ? "UTC" : "Local time";
		panel.redraw();
	}, { class: "quiet" });
	showTheme("", () => "");
	body.replaceChildren(element("p.tools", zone), panel.element,
		element("p.note.view", data.note));
	panel.show(query);
	panel.read();
}

if (typeof document !== "undefined") {
	const data = document.getElementById("execution");
	if (data) showExecution(JSON.parse(data.textContent), document.body);
}
