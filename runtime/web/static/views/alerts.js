// Alerts: what fires, is pending or silenced; the rules with their health; silences.

import { badge, button, code, commandButton, confirm, cut, element, empty, failure, fill, heading, hint, mono, say, soft, strong, table, wrong } from "../dom.js";
import { brief, clipped, command, counted, nouns } from "../format.js";
import { VirtualList } from "../list.js";
import { ageOf, Choices, facts, Split, timeOf, View, viewHead } from "../parts.js";

const RANKS = { firing: 0, pending: 1, silenced: 2, inhibited: 3, resolved: 4 };
const TABS = [["", "All"], ["firing", "Firing"], ["pending", "Pending"], ["silenced", "Silenced"], ["resolved", "Resolved"], ["rules", "Rules"], ["silences", "Silences"]];

/** The state of an alert as a person sees it: one that is silenced reaches nobody. Pure. */
export function stateOfAlert(alert) {
	if (alert.state !== "resolved" && alert.silenced_by) return "silenced";
	return alert.state !== "resolved" && alert.is_inhibited ? "inhibited" : alert.state;
}

/** Alerts in the order in which they need a person. Pure. */
export function sortedAlerts(alerts) {
	return [...alerts].sort((a, b) => RANKS[stateOfAlert(a)] - RANKS[stateOfAlert(b)]
		|| (b.severity === "critical") - (a.severity === "critical") || b.active_since - a.active_since);
}

export class AlertsView extends View {
	constructor(page) {
		super(page, () => this.read());
		this.view = null;
		this.tabs = new Choices({ label: "Which", onChoose: (tab) => page.setQuery({ tab, id: "" }) });
		this.split = new Split([this.body], () => page.adjust({ id: "" }));
		this.alerts = new VirtualList({
			label: "Alerts", keyOf: (row) => row.id, onOpen: (row) => page.adjust({ id: row.id }),
			columns: [
				["State", "120", (row) => badge(stateOfAlert(row))],
				["Alert", "110 1.3", (row) => strong(clipped(row.name, 60))],
				["Severity", "90", (row) => (row.severity ? badge(row.severity) : ""), "wide"],
				["Summary", "100 2.5", (row) => element("span", { title: row.annotations.summary, text: clipped(row.annotations.summary ?? labelsOf(row), 160) })],
				["Value", "80", (row) => brief(row.value), "number wide"],
				["Since", "120", (row) => ageOf(page, row.resolved_at || row.fired_at || row.active_since), "number wide"],
			],
		});
		this.rules = new VirtualList({
			label: "Rules", keyOf: (row) => `${row.group}/${row.name}`, onOpen: (row) => page.adjust({ id: `rule/${row.group}/${row.name}` }),
			columns: [
				["State", "120", (row) => badge(row.state)],
				["Rule", "130 1", (row) => [strong(row.name), soft(` ${row.group}`)]],
				["Expression", "80 2", (row) => cut(row.expression, 160, "code")],
				["Problem", "100 1", (row) => wrong(row.problem || (row.missing.length ? `no such metric: ${row.missing.join(", ")}` : ""), 120), "wide"],
				["Since", "120", (row) => ageOf(page, row.since), "number wide"],
			],
		});
		this.element = element("div.view.fills", viewHead("Alerts", page.may("alerts") && button("Silence…", () => this.silence())),
			this.tabs.element, this.notice, this.split.element, this.note);
		this.owned.push(this.alerts, this.rules);
	}

	show(_path, query) {
		this.query = query;
		if (!this.view) this.refresher.run();
		else this.draw();
	}

	said(channel) {
		if (channel === "alerts") this.refresher.touch();
	}

	tick() {
		if (this.page.now() % 15 < 1) this.refresher.touch();
	}

	async read() {
		try {
			this.view = await this.page.api.get("alerts");
			fill(this.notice);
		} catch (error) {
			fill(this.notice, failure(error, () => this.refresher.run()));
			return;
		}
		this.draw();
	}

	draw() {
		if (!this.view) return;
		const { alerts, rules, silences, left_off: left, undelivered } = this.view;
		const { tab = "", id } = this.query;
		const of = (wanted) => sortedAlerts(alerts).filter((alert) => !wanted || stateOfAlert(alert).replace("inhibited", "silenced") === wanted);
		const counts = { rules: rules.length, silences: silences.filter((one) => one.is_active).length };
		this.tabs.show(TABS.map(([name, title]) => [name, title, counts[name] ?? of(name).length]), tab);
		const isList = tab !== "silences" && tab !== "rules";
		const place = tab === "rules" ? this.rules.element : tab === "silences" ? this.silenceTable() : this.alerts.element;
		this.fillBody(place);
		fill(this.notice);
		if (isList) {
			const rows = of(tab);
			this.alerts.show(rows);
			if (!rows.length) fill(this.notice, rules.length ? empty(tab ? `No alert is ${tab}` : "Nothing fires, and nothing has lately", `${nouns(rules.length, "rule")} ${rules.length === 1 ? "is" : "are"} watched.`)
				: empty("There are no rules", ["Start the system with rules: ", code("callboard alerts"), " and the page about alerts in the documentation say how."]));
		} else if (tab === "rules") {
			this.rules.show([...rules].sort((a, b) => (a.state === "ok") - (b.state === "ok")));
		}
		say(this.note, [left ? `${nouns(left, "alert")} had no room in this answer` : "", undelivered ? `${nouns(undelivered, "notification")} not delivered yet` : ""].filter(Boolean).join("; "));
		this.showDetail(id);
	}

	showDetail(id) {
		const alert = id && this.view.alerts.find((one) => one.id === id);
		const rule = id && this.view.rules.find((one) => `rule/${one.group}/${one.name}` === id);
		if (alert) this.split.open(alert.name, this.alertDetail(alert));
		else if (rule) this.split.open(rule.name, this.ruleDetail(rule));
		else this.split.close();
	}

	alertDetail(alert) {
		const { page } = this;
		const rule = this.view.rules.find((one) => one.name === alert.name && one.group === alert.group);
		return [facts([
			["state", badge(stateOfAlert(alert))], ["severity", alert.severity], ["value", brief(alert.value)], ["active", timeOf(page, alert.active_since)],
			["fired", alert.fired_at && timeOf(page, alert.fired_at)], ["resolved", alert.resolved_at && timeOf(page, alert.resolved_at)], ["silenced by", alert.silenced_by],
			["inhibited", alert.is_inhibited && "another alert keeps it from its receivers"],
		]), heading("Texts"), facts(Object.entries(alert.annotations)), heading("Labels"), facts(Object.entries(alert.labels)),
		rule && [heading("Rule"), element("pre", rule.expression)],
		page.may("alerts") && !alert.silenced_by && element("p.actions.start", button("Silence it…", () => this.silence(labelsOf(alert, " "))))];
	}

	ruleDetail(rule) {
		const alerts = this.view.alerts.filter((one) => one.name === rule.name && one.group === rule.group);
		return [facts([["state", badge(rule.state)], ["group", rule.group], ["since", timeOf(this.page, rule.since)], ["alerts now", counted(alerts.filter((one) => one.state !== "resolved").length)]]),
			element("pre", rule.expression), rule.problem && element("p.bad-text", rule.problem),
			rule.missing.length && hint(`These metrics have no points: ${rule.missing.join(", ")}`),
			commandButton("metrics", "query", rule.expression)];
	}

	silenceTable() {
		const { silences } = this.view;
		if (!silences.length) return empty("There are no silences", "A silence keeps alerts from their receivers for a time; the alerts stay visible here.");
		return table(["State", "Matches", "From", "To", "By", "Why", ""], silences.map((one) => [
			badge(one.is_active ? "active" : "ended"), mono(one.matchers.join(", ")), timeOf(this.page, one.begins_at), timeOf(this.page, one.ends_at), one.author, one.comment,
			one.is_active && this.page.may("alerts") && button("End…", () => this.endSilence(one)),
		]));
	}

	async silence(matchers = "") {
		const given = await confirm({ title: "Silence alerts", action: "Silence them", text: "Alerts that fulfil all conditions reach nobody until the silence ends.",
			fields: [["matchers", "Conditions, such as severity=warning host=~host-1.*", matchers, true], ["hours", "Hours", "2"], ["comment", "Why", ""]] });
		if (!given) return;
		const hours = Number(given.hours);
		await this.act(() => this.page.api.addSilence({
			matchers: given.matchers.split(/\s+/).filter(Boolean), for_s: (hours > 0 ? hours : 2) * 3600, comment: given.comment,
		}));
	}

	async endSilence({ id, matchers }) {
		const given = await confirm({ title: "End this silence?", text: matchers.join(", "), action: "End it", line: command("callboard", "alerts", "unsilence", id) });
		if (given) await this.act(() => this.page.api.endSilence(id));
	}

	async act(ask) {
		try {
			await ask();
			await this.refresher.run();
		} catch (error) {
			fill(this.notice, failure(error));
		}
	}
}

function labelsOf(alert, between = ", ") {
	return Object.entries(alert.labels).map(([name, value]) => `${name}=${value}`).join(between);
}
