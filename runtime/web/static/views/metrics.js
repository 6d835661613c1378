// Metrics: charts of the stored windows. Boards of ready questions, or one of your own.

import { LineChart, numberOf, thinned } from "../charts.js";
import { card, copyButton, element, empty, failure, fill } from "../dom.js";
import { brief, command, duration, measured, moment } from "../format.js";
import { formatAddress } from "../address.js";
import { Refresher } from "../model.js";
import { Choices, searchBox, setValue, viewHead } from "../parts.js";

const EVERY_MS = 15_000;
const POINTS = 400;
const NAMES_MAX = 400;
const SPANS = [["900", "15 min"], ["3600", "1 h"], ["21600", "6 h"], ["86400", "1 d"], ["604800", "7 d"], ["2592000", "30 d"]];
const quantiles = (of) => [0.5, 0.95, 0.99].map((share) => [`p${share * 100}`, `quantile_over_time(${share}, ${of}[$step])`]);
/** Boards: a title, and charts of [title, [[label, expression]…], unit]. `$step` is the step. */
const BOARDS = {
  system: ["System", [
    ["Messages handled, each second", [["", "sum by (host) (rate(callboard_messages_handled[$rate]))"]], ""],
    ["Messages that wait", [["", "sum by (host) (callboard_mailbox_messages)"]], ""],
    ["Loop delay, worst", [["", "max by (host) (callboard_loop_lag_seconds_max)"]], "_seconds"],
    ["Memory of hosts", [["", "max by (host) (callboard_process_memory_bytes)"]], "_bytes"],
    ["Restarts", [["", "sum by (host) (increase(callboard_restarts[$rate]))"]], ""],
    ["Actors", [["", "sum by (host) (callboard_actors)"]], ""],
  ]],
  work: ["Executions", [
    ["Sub-tasks ended, each second", [["", "sum by (job, outcome) (rate(callboard_subtask_attempts[$rate]))"]], ""],
    ["Time of a sub-task", quantiles("callboard_subtask_seconds"), "_seconds"],
    ["Time of an execution", quantiles("callboard_execution_seconds"), "_seconds"],
    ["Time of a handler", [["", "avg by (agent) (avg_over_time(callboard_agent_seconds[$step]))"]], "_seconds"],
    ["Durable events, each second", [["", "sum by (host) (rate(callboard_journal_events[$rate]))"]], ""],
    ["Sub-tasks, by state", [["", "sum by (status) (callboard_subtasks)"]], ""],
  ]],
  nodes: ["Machines", [
    ["Load for each processor", [["", "max by (node) (callboard_node_load) / max by (node) (callboard_node_cpus)"]], ""],
    ["Memory that is free", [["", "max by (node) (callboard_node_memory_bytes{state=\"available\"})"]], "_bytes"],
    ["Disk that is free", [["", "max by (node) (callboard_node_disk_bytes{state=\"available\"})"]], "_bytes"],
    ["Network, received each second", [["", "max by (node) (rate(callboard_node_network_received_bytes[$rate]))"]], "_bytes"],
  ]],
};

/** The step of a question in seconds: whole windows, and at most `points` of them. Pure. */
export function stepFor(span, points = POINTS) {
  return [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400].find((step) => span / step <= points) ?? 86_400;
}

/** A text of a series: its tags, or its name. Pure. */
export function labelOf({ metric, tags }) {
  if (tags.length === 1 && !metric) return tags[0][1];
  const said = tags.map(([name, value]) => `${name}=${value}`).join(", ");
  return said ? (metric ? `${metric} {${said}}` : said) : metric || "all";
}

export class MetricsView {
  constructor(page) {
    this.page = page;
    this.query = {};
    this.charts = [];
    this.board = new Choices({ label: "Board", onChoose: (board) => page.setQuery({ board, q: "" }) });
    this.span = new Choices({ label: "Time", onChoose: (span) => page.setQuery({ span: span === "3600" ? "" : span }) });
    this.names = element("datalist", { id: "metric-names" });
    this.ask = element("input", { type: "search", class: "wide-input mono", list: "metric-names", placeholder: "An expression, such as sum by (host) (rate(callboard_messages_handled[5m]))", "aria-label": "Expression", spellcheck: "false", autocomplete: "off", "data-search": "true" });
    this.form = element("form", { class: "toolbar" }, this.ask, element("button", {}, "Draw"));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      page.setQuery({ q: this.ask.value.trim() });
    });
    this.place = element("div", { class: "columns charts" });
    this.element = element("div", { class: "view" }, viewHead("Metrics", this.span.element), this.board.element, this.form, this.names, this.place);
    this.refresher = new Refresher(() => this.read(), { everyMs: EVERY_MS, isHidden: () => document.hidden });
    this.retheme = () => this.charts.forEach(({ chart }) => chart.show(...chart.shown));
    addEventListener("themechange", this.retheme);
    this.readNames();
  }

  show(_path, query) {
    const isOther = JSON.stringify(query) !== JSON.stringify(this.query) || !this.charts.length;
    this.query = query;
    setValue(this.ask, query.q);
    this.board.show(Object.entries(BOARDS).map(([name, [title]]) => [name, title]), query.q ? "" : this.boardName);
    this.span.show(SPANS, this.spanText);
    if (isOther) this.build();
  }

  get boardName() {
    return this.query.board in BOARDS ? this.query.board : "system";
  }

  get spanText() {
    return SPANS.some(([value]) => value === this.query.span) ? this.query.span : "3600";
  }

  tick() {
    this.refresher.touch();
  }

  woke() {
    this.refresher.touch();
  }

  settingsChanged() {
    this.refresher.run();
  }

  end() {
    this.refresher.end();
    removeEventListener("themechange", this.retheme);
    for (const { chart } of this.charts) chart.end();
  }

  async readNames() {
    try {
      const { metrics } = await this.page.api.metrics();
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
      chart.shown = [[], []];
      return { title, questions, chart, place: element("div") };
    });
    this.place.classList.toggle("one", Boolean(this.query.q));
    fill(this.place, this.charts.map(({ title, chart, place, questions }) =>
      card(title, chart.element, place, element("p", { class: "card-foot" }, this.tools(questions)))));
    this.refresher.run();
  }

  tools(questions) {
    const said = this.spanText === "900" ? "15m" : duration(Number(this.spanText)).replace(/ 0 .*$/, "").replaceAll(" ", "").replace("min", "m");
    const [, first] = questions[0];
    return [copyButton(command("callboard", "metrics", "query", this.filled(first), "--last", said)),
      !this.query.q && element("button", { type: "button", class: "quiet", onclick: () => this.page.setQuery({ q: this.filled(first) }) }, "Larger")];
  }

  filled(expression) {
    const step = stepFor(Number(this.spanText));
    return expression.replaceAll("$rate", `${Math.max(120, step * 2)}s`).replaceAll("$step", `${Math.max(60, step)}s`);
  }

  async read() {
    const span = Number(this.spanText), step = stepFor(span);
    const to = Math.ceil(this.page.now() / step) * step;
    await Promise.all(this.charts.map((one) => this.readOne(one, { from: to - span, to, step })));
  }

  async readOne({ questions, chart, place }, { from, to, step }) {
    try {
      const answers = await Promise.all(questions.map(([, expression]) => this.page.api.queryMetrics({ expression: this.filled(expression), from_at: from, to_at: to, step_s: step })));
      const times = answers[0].times_ns.map((at) => at / 1e9);
      const series = answers.flatMap((answer, number) => answer.series.map((one) => ({ label: [questions[number][0], labelOf(one)].filter((part) => part && part !== "all").join(" ") || "all", values: one.values.map(numberOf) })));
      chart.shown = [times, series.map((one) => ({ ...one, values: thinned(times, one.values)[1] })), { range: [from, to], isUtc: this.page.utc }];
      chart.shown[0] = thinned(times, times)[0];
      chart.show(...chart.shown);
      chart.element.hidden = !series.length;
      fill(place, series.length ? null : empty("There are no points in this time", "Choose a longer time, or record with a meter: see the page about metrics in the documentation."));
    } catch (error) {
      chart.element.hidden = true;
      fill(place, failure(error, () => this.refresher.run()));
    }
  }

  /** The executions that were submitted around a moment of a chart. */
  picked(at) {
    const step = stepFor(Number(this.spanText));
    location.hash = formatAddress(["executions"], { around: String(Math.round(at)), width: String(Math.max(60, step)), said: moment(at, this.page.utc) });
  }
}

function unitOf(expression) {
  const found = /callboard\w*?(_seconds|_bytes)/.exec(expression);
  return found ? found[1] : "";
}
