// Now: is it alive, and does anything need a person?

import { LineChart, seriesOf, spark, timesOf } from "../charts.js";
import { badge, button, card, confirm, cut, element, empty, failure, fill, Frame, kindOf, put, shapeOf, soft } from "../dom.js";
import { brief, bytes, clipped, clock, command, counted, duration, formatAddress, nouns, pretty } from "../format.js";
import { Rate, Refresher } from "../model.js";
import { ageOf, executionLink, View, viewHead } from "../parts.js";

const HOUR_S = 3600;
const ROWS_MAX = 8;
const CHARTS = [
	["Messages handled, each second", "sum(rate(callboard_messages_handled_total[3m]))", "all hosts"],
	["Sub-tasks ended, each second", "sum by (outcome) (rate(callboard_subtask_attempts_total[3m]))", ""],
];

export class NowView extends View {
	constructor(page) {
		super(page, () => this.readDetails(), 2_000);
		this.frame = new Frame(() => this.showHosts(page.model.hosts()));
		this.handled = new Rate();
		this.verdict = element("p.verdict", { role: "status" });
		this.tiles = element("div.tiles");
		this.hosts = element("div.host-grid");
		this.hostsCard = card("Hosts", this.hosts);
		this.failures = element("div");
		this.decisions = element("ul.rows");
		this.decisionsCard = card("Decisions that wait for a person", this.decisions);
		this.alerts = element("div");
		this.charts = CHARTS.map(([title, expression, label]) => ({ title, expression, label, chart: new LineChart({ label: title, height: 150, format: brief }) }));
		this.chartsCard = element("div.columns", this.charts.map(({ title, chart }) => card(title, chart.element)));
		this.element = element("div.view", viewHead("Now"), this.verdict, this.tiles, this.decisionsCard, this.hostsCard,
			this.chartsCard,
			element("div.columns", card("Last failures", this.failures), card("Alerts", this.alerts)));
		fill(this.verdict, badge("unknown", "reading"));
		this.past = new Refresher(() => this.readPast(), { everyMs: 15_000 });
		this.owned.push(this.past, { end: page.onSystem((system) => this.showSystem(system)) }, this.frame, ...this.charts.map(({ chart }) => chart));
	}

	show() {
		this.showDecisions();
		this.refresher.run();
		this.past.run();
	}

	said(channel) {
		if (channel === "approvals") this.showDecisions();
		if (channel === "system" && this.page.model.isKnown) {
			if (!document.hidden) this.frame.soon();
		} else this.refresher.touch();
	}

	showDecisions() {
		const { page } = this, open = page.asked, may = page.may("approve");
		this.decisionsCard.hidden = !open.length;
		fill(this.decisions, open.slice(0, ROWS_MAX).map((one) => element("li", badge("asked"),
			element("strong.grow", { title: JSON.stringify(one.details), text: clipped(one.subject, 200) }), soft(`by ${clipped(one.asked_by, 40)}`),
			ageOf(page, one.asked_at), one.ends_at && soft(`until ${clock(one.ends_at, page.utc)}`),
			may && button("Give…", () => this.decide(one, true)), may && button("Refuse…", () => this.decide(one, false)))));
	}

	async decide({ id, subject, details }, gives) {
		const given = await confirm({
			title: gives ? "Give this approval?" : "Refuse this approval?", text: `${subject} ${pretty(details, 500)}`, action: gives ? "Give it" : "Refuse it",
			danger: !gives, line: command("callboard", "approve", id, ...(gives ? [] : ["--refuse"])), fields: [["reason", "Why"]],
		});
		if (!given) return;
		try {
			await this.page.api.decide(id, { gives, ...given });
		} catch (error) {
			fill(this.verdict, failure(error));
		}
	}

	tick() {
		this.past.touch();
	}

	woke() {
		super.woke();
		this.past.touch();
	}

	settingsChanged() {
		this.past.run();
	}

	systemFailed(error) {
		fill(this.verdict, failure(error));
	}

	showSystem(system) {
		const { hosts, executions, alerts } = system;
		const letters = Object.values(system.dead_letters).reduce((all, count) => all + count, 0);
		const rate = this.handled.note(system.at, system.handled);
		if (Number.isFinite(rate)) this.rate = rate;
		this.tell(system);
		const tile = (name, value, note, href, state = "") => element(href ? "a" : "div",
			{ class: `tile ${state}`, href }, element("span.tile-name", name),
			put(element("span.tile-value"), value), element("span.tile-note", note));
		const line = element("canvas.tile-spark", { "aria-hidden": "true" });
		const running = executions?.running ?? 0;
		fill(this.tiles,
			tile("Hosts up", counted(hosts.up ?? 0), [
				hosts.down && badge("down", `${hosts.down} down`), hosts.silent && badge("silent", `${hosts.silent} silent`),
				!hosts.down && !hosts.silent && nouns(system.standbys, "standby", "standbys")], "#/tree", hosts.down ? "bad" : ""),
			tile("Executions running", executions ? counted(running) : "–",
				executions ? [executions.failed ? badge("failed", `${counted(executions.failed)} failed`) : "none failed",
					executions.interrupted && badge("interrupted", `${executions.interrupted} interrupted`)] : "there is no journal", "#/executions"),
			tile("Messages a second", Number.isFinite(this.rate) ? brief(this.rate) : "–", line, "#/metrics"),
			tile("Actors", counted(system.actors), nouns(system.restarts, "host replaced", "hosts replaced"), "#/tree"),
			tile("Loop delay, worst", system.lag_max_s === null ? "–" : duration(system.lag_max_s), "over the last seconds", "#/tree", system.lag_max_s > 1 ? "warn" : ""),
			tile("Alerts firing", alerts ? counted(alerts.firing ?? 0) : "–", alerts ? `${counted(alerts.pending ?? 0)} pending` : "there is no alert manager", "#/alerts", alerts?.firing ? "bad" : ""),
			tile("Dead letters", counted(letters), "since the hosts began", formatAddress(["events"], { tab: "letters" }), ""),
			tile("Memory", bytes(system.memory_bytes), `up for ${duration(system.uptime_s)}`, ""));
		spark(line, this.handled.past, { width: 110, height: 22 });
		this.showFailures(system.failures);
		this.refresher.touch();
	}

	tell(system) {
		const { hosts, executions, alerts, problems } = system;
		const needs = [
			[hosts.down, "down", (count) => `${nouns(count, "host")} down`, "#/tree"],
			[hosts.silent, "silent", (count) => `${nouns(count, "host")} silent`, "#/tree"],
			[alerts?.firing, "firing", (count) => `${nouns(count, "alert")} firing`, "#/alerts"],
			[this.page.asked.length, "asked", (count) => `${nouns(count, "decision")} waiting`, "#/now"],
			[executions?.interrupted, "interrupted", (count) => `${nouns(count, "execution")} interrupted`, formatAddress(["executions"], { status: "interrupted" })],
		].filter(([count]) => count);
		fill(this.verdict, needs.length || problems.length
			? [needs.map(([count, state, said, href]) => element("a", { href }, badge(state, said(count)))),
				problems.map((problem) => badge("warning", problem))]
			: [badge("ok", "All is well"), element("span.soft",
				`${nouns(hosts.up ?? 0, "host")} up, ${nouns(executions?.running ?? 0, "execution")} running, no alert fires`)]);
	}

	showFailures(rows) {
		fill(this.failures, rows.length
			? element("ul.rows", rows.slice(0, ROWS_MAX).map((row) => element("li",
				badge(row.status), executionLink(row.id, clipped(row.job, 30)), element("span.soft.mono", clipped(row.id, 12)),
				cut(row.problem, 160, "span.grow.bad-text"), ageOf(this.page, row.ended_at ?? row.submitted_at))))
			: empty("No execution has failed", "Failures appear here by themselves."));
	}

	async readDetails() {
		try {
			const { api, model, system } = this.page;
			const [hosts, alerts] = await Promise.all([model.isKnown ? model.hosts() : this.page.hosts(), !system ? undefined : system.alerts ? api.get("alerts") : null]);
			this.showHosts(hosts);
			this.showAlerts(alerts);
		} catch (error) {
			fill(this.hosts, failure(error, () => this.refresher.run()));
		}
	}

	showHosts(hosts) {
		const said = JSON.stringify(hosts.map(({ slot, state, is_stopping, lag_max_s }) => [slot, state, is_stopping, lag_max_s > 1]));
		if (said === this.saidHosts) return;
		this.saidHosts = said;
		const isMany = hosts.length > 60;
		this.hosts.classList.toggle("dense", isMany);
		fill(this.hosts, hosts.length ? hosts.map((host) => {
			const state = host.state !== "up" ? host.state : host.is_stopping ? "stopping" : host.lag_max_s > 1 ? "slow" : "up";
			const words = `${host.name}: ${state}${host.problem ? `, ${host.problem}` : ""}; ${nouns(host.actors, "actor")}, on ${host.node}`;
			return element("a", { class: `host ${kindOf(state)}`, href: formatAddress(["tree"], { open: host.slot }), title: words, "aria-label": words },
				element("span.shape", shapeOf(state)), !isMany && [element("span.grow", host.name), soft(counted(host.actors))]);
		}) : empty("No host answers yet", "`callboard top` in a terminal says more."));
	}

	/** `view` is null without an alert manager, and undefined while nobody knows. */
	showAlerts(view) {
		if (view === undefined) return;
		const rows = view?.alerts.filter((alert) => alert.state !== "resolved") ?? [];
		fill(this.alerts, !view ? empty("There is no alert manager", "Start the system with alert rules: see the page about alerts in the documentation.")
			: rows.length ? element("ul.rows", rows.slice(0, ROWS_MAX).map((alert) => element("li",
				badge(alert.silenced_by ? "silenced" : alert.state), element("a", { href: formatAddress(["alerts"], { id: alert.id }), text: clipped(alert.name, 40) }),
				alert.severity && soft(alert.severity),
				element("span.grow", clipped(alert.annotations.summary ?? "", 80)), ageOf(this.page, alert.fired_at || alert.active_since))))
			: empty("Nothing fires", `${nouns(view.rules.length, "rule")} ${view.rules.length === 1 ? "is" : "are"} watched.`));
	}

	async readPast() {
		const now = Math.floor(this.page.now());
		let isThere = false;
		await Promise.all(this.charts.map(async ({ expression, label, chart }) => {
			try {
				const answer = await this.page.api.get("metrics/query", { expression, from_at: now - HOUR_S, to_at: now, step_s: 60 });
				const series = seriesOf(answer, label);
				chart.show(timesOf(answer), series, { range: [now - HOUR_S, now], isUtc: this.page.utc });
				isThere ||= series.length > 0;
			} catch {
				// Without stored metrics the tiles say what is known of now.
			}
		}));
		this.chartsCard.hidden = !isThere;
	}
}
