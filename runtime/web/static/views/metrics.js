// Metrics: charts of the stored windows, on boards or by an expression of your own.

import { highest, LineChart, LINES_MAX, seriesOf, timesOf, WORST } from "../charts.js";
import { button, card, commandButton, element, empty, failure, fill } from "../dom.js";
import { brief, duration, formatAddress, measured, moment } from "../format.js";
import { Choices, setValue, View, viewHead } from "../parts.js";

const EVERY_MS = 2_000;
const POINTS = 400;
const NAMES_MAX = 400;
const SPANS = [["900", "15 min"], ["3600", "1 h"], ["21600", "6 h"], ["86400", "1 d"], ["604800", "7 d"], ["2592000", "30 d"]];
const quantiles = (of) => [0.5, 0.95, 0.99].map((share) => [`p${share * 100}`, `quantile_over_time(${share}, ${of}[$step])`]);
/** Boards: a title, and charts of [title, [[label, expression]…], unit]. See `filled`. */
const BOARDS = {
	system: ["System", [
		["Messages handled, each second", [["", "$hosts (rate(callboard_messages_handled_total[$rate]))"]], ""],
		["Messages that wait", [["", "$hosts (callboard_mailbox_messages)"]], ""],
		["Loop delay, worst", [["", "$worst (callboard_loop_lag_seconds_max)"]], "_seconds"],
		["Asks without an outcome", [["", "$hosts (callboard_pending_asks)"]], ""],
		["Restarts", [["", "$hosts (increase(callboard_restarts_total[$rate]))"]], ""],
		["Actors", [["", "$hosts (callboard_actors)"]], ""],
	]],
	work: ["Executions", [
		["Sub-tasks ended, each second", [["", "sum by (job, outcome) (rate(callboard_subtask_attempts_total[$rate]))"]], ""],
		["Time of a sub-task", quantiles("callboard_subtask_seconds"), "_seconds"],
		["Time of an execution", quantiles("callboard_execution_seconds"), "_seconds"],
		["Time of a handler", [["", "avg by (agent) (avg_over_time(callboard_agent_seconds[$step]))"]], "_seconds"],
		["Durable events, each second", [["", "$hosts (rate(callboard_journal_events_total[$rate]))"]], ""],
		["Sub-tasks, by state", [["", "sum by (status) (callboard_subtasks)"]], ""],
	]],
	nodes: ["Machines", [
		["Load for each processor", [["", "$worst (callboard_node_load{over=\"1m\"}) / $worst (callboard_node_cpus)"]], ""],
		["Memory that is free", [["", "$worst (callboard_node_memory_bytes{state=\"available\"})"]], "_bytes"],
		["Disk that is free", [["", "$worst (callboard_node_disk_bytes{state=\"available\"})"]], "_bytes"],
	]],
};

/** The step of a question in seconds: whole windows of a minute or more, and at most `points` of them. */
export function stepFor(span, points = POINTS) {
	return [60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400].find((step) => span / step <= points) ?? 86_400;
}

export class MetricsView extends View {
	constructor(page) {
		super(page, () => this.read(), EVERY_MS);
		this.charts = [];
		this.board = new Choices({ label: "Board", onChoose: (board) => page.setQuery({ board, q: "" }) });
		this.span = new Choices({ label: "Time", onChoose: (span) => page.setQuery({ span: span === "3600" ? "" : span }) });
		this.names = element("datalist", { id: "metric-names" });
		this.input = element("input.wide-input.mono", { type: "search", list: "metric-names", placeholder: "An expression, such as sum by (instance) (rate(callboard_messages_handled_total[5m]))", "aria-label": "Expression", spellcheck: "false", autocomplete: "off", "data-search": "true" });
		this.form = element("form.toolbar", this.input, element("button", "Draw"));
		this.form.addEventListener("submit", (event) => {
			event.preventDefault();
			page.setQuery({ q: this.input.value.trim() });
		});
		this.place = element("div.columns.charts");
		this.element = element("div.view", viewHead("Metrics", this.span.element), this.board.element, this.form, this.names, this.place);
		this.followed = new Map(); // name → subscription
		this.owned.push({ end: () => this.drop() });
		this.readNames();
	}

	show(_path, query) {
		const isOther = JSON.stringify(query) !== JSON.stringify(this.query) || !this.charts.length;
		this.query = query;
		setValue(this.input, query.q);
		this.board.show(Object.entries(BOARDS).map(([name, [title]]) => [name, title]), query.q ? "" : this.boardName);
		this.span.show(SPANS, this.spanText);
		if (isOther) this.build();
	}

	get boardName() {
		return Object.hasOwn(BOARDS, this.query.board ?? "") ? this.query.board : "system";
	}

	get spanText() {
		return SPANS.some(([value]) => value === this.query.span) ? this.query.span : "3600";
	}

	tick() {} // Closed windows come by themselves.

	settingsChanged() {
		this.refresher.run();
	}

	drop() {
		for (const { chart } of this.charts) chart.end();
		for (const subscription of this.followed.values()) subscription.end();
	}

	async readNames() {
		try {
			const { metrics } = await this.page.api.get("metrics");
			this.known = new Set(metrics.map(([name]) => name));
			this.follow();
			fill(this.names, metrics.slice(0, NAMES_MAX).map(([name, kind]) => element("option", { value: name, label: kind })));
		} catch {
			// Without names an expression can still be typed.
		}
	}

	build() {
		for (const { chart } of this.charts) chart.end();
		const wanted = this.query.q ? [[this.query.q, [["", this.query.q]], unitOf(this.query.q)]] : BOARDS[this.boardName][1];
		this.charts = wanted.map(([title, questions, unit]) => {
			const chart = new LineChart({ label: title, height: this.query.q ? 320 : 170, format: unit ? (value) => measured(value, unit) : brief, onPick: (at) => this.picked(at) });
			return { title, questions, chart, place: element("div") };
		});
		this.follow();
		this.place.classList.toggle("one", Boolean(this.query.q));
		fill(this.place, this.charts.map(({ title, chart, place, questions }) =>
			card(title, chart.element, place, element("p.card-foot", this.tools(questions)))));
		this.refresher.run();
	}

	/** Hear of closed windows of the metrics that the charts show: that is when they are read again. */
	follow() {
		const said = this.charts.flatMap(({ questions }) => questions.flatMap(([, expression]) => expression.match(/[a-zA-Z_:][\w:]*/g) ?? []));
		const wanted = new Set(said.filter((name) => this.known?.has(name)));
		for (const [name, subscription] of this.followed) {
			if (wanted.has(name)) continue;
			subscription.end();
			this.followed.delete(name);
		}
		for (const name of wanted) {
			if (!this.followed.has(name)) this.followed.set(name, this.page.stream.subscribe(`metrics:${name}`, { onPublication: () => this.refresher.touch(), onReset: () => this.refresher.touch() }));
		}
	}

	tools(questions) {
		const said = this.spanText === "900" ? "15m" : duration(Number(this.spanText)).replace(/ 0 .*$/, "").replaceAll(" ", "").replace("min", "m");
		const [, first] = questions[0];
		return [commandButton("metrics", "query", this.filled(first), "--last", said),
			!this.query.q && button("Larger", () => this.page.setQuery({ q: this.filled(first) }), { class: "quiet" })];
	}

	filled(expression) {
		const step = stepFor(Number(this.spanText));
		return expression.replaceAll("$hosts", "sum by (instance)").replaceAll("$worst", "max by (instance)").replaceAll("$rate", `${Math.max(180, step * 2)}s`).replaceAll("$step", `${Math.max(60, step)}s`);
	}

	async read() {
		const span = Number(this.spanText), step = stepFor(span);
		const to = Math.ceil(this.page.now() / step) * step;
		await Promise.all(this.charts.map((one) => this.readOne(one, { from: to - span, to, step })));
	}

	async readOne(one, range) {
		const { chart, place } = one;
		try {
			// More series than a chart or an answer may have come as bands, which the server makes.
			one.isMany ||= !(await this.readLines(one, range));
			if (one.isMany) await this.readBands(one, range);
			chart.element.hidden = !chart.times.length || !chart.series.length;
			fill(place, chart.element.hidden && empty("There are no points in this time", "Choose a longer time, or record with a meter: see the page about metrics in the documentation. A window counts once it has ended."));
		} catch (error) {
			chart.element.hidden = true;
			fill(place, failure(error, () => this.refresher.run()));
		}
	}

	ask(expression, { from, to, step }) {
		return this.page.api.get("metrics/query", { expression, from_at: from, to_at: to, step_s: step });
	}

	async readLines({ questions, chart }, range) {
		try {
			const answers = await Promise.all(questions.map(([, expression]) => this.ask(this.filled(expression), range)));
			const times = timesOf(answers[0]);
			const series = answers.flatMap((answer, number) => seriesOf(answer, questions[number][0]));
			if (series.length > LINES_MAX) return false;
			chart.show(times, series, { range: [range.from, range.to], isUtc: this.page.utc });
			return true;
		} catch (error) {
			if (error.status !== 413) throw error;
			return false;
		}
	}

	async readBands({ questions, chart }, range) {
		const of = this.filled(questions[0][1]);
		const [worst, count, ...bands] = await Promise.all([`topk(${WORST}, ${of})`, `count(${of})`, ...Object.values(BANDS).map((band) => `${band}${of})`)].map((one) => this.ask(one, range)));
		const times = timesOf(worst), named = {};
		Object.keys(BANDS).forEach((name, number) => (named[name] = seriesOf(bands[number])[0]?.values ?? []));
		const most = Math.max(0, ...(seriesOf(count)[0]?.values ?? []).filter(Number.isFinite));
		chart.show(times, highest(seriesOf(worst), WORST), { range: [range.from, range.to], isUtc: this.page.utc, bands: named, count: most });
	}

	picked(at) {
		const step = stepFor(Number(this.spanText));
		location.hash = formatAddress(["executions"], { around: String(Math.round(at)), width: String(Math.max(60, step)), said: moment(at, this.page.utc) });
	}
}

function unitOf(expression) {
	const found = /callboard\w*?(_seconds|_bytes)/.exec(expression);
	return found ? found[1] : "";
}

const BANDS = { low: "min(", p10: "quantile(0.1, ", p50: "quantile(0.5, ", p90: "quantile(0.9, ", high: "max(" };
