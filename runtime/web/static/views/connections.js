// Connections: who listens to what, and who is slow. Pipelines, which feed the same hub, as well.

import { badge, code, element, empty, heading, hint, mono, strong, wrong } from "../dom.js";
import { bytes, clipped, counted, duration, nouns, pretty } from "../format.js";
import { ageOf, Choices, facts, Listing, Split, View, viewHead } from "../parts.js";

const SLOW_S = 1;

export class ConnectionsView extends View {
	constructor(page) {
		super(page, () => this.shown.refresh(), 2_000);
		this.tabs = new Choices({ label: "What", onChoose: (tab) => page.setQuery({ tab, id: "" }) });
		this.split = new Split([this.body], () => page.adjust({ id: "" }));
		this.clients = this.listOf("Clients", (row) => row.client, (query) => page.api.get("connections", query), () => empty("Nobody listens", "This page is in this list once it is live."), [
			["State", "100", (row) => badge(row.queue_age_s > SLOW_S ? "slow" : "connected", row.queue_age_s > SLOW_S ? "slow" : "listens")],
			["Who", "110 1", (row) => element("strong", { title: row.client }, clipped(row.user, 40))],
			["By", "130", (row) => row.way, "wide"],
			["From", "130", (row) => element("span.mono.soft", row.address), "wide"],
			["Channels", "120 2", (row) => element("span.mono", { title: row.channels.join(", "), text: clipped(row.channels.join(", "), 90) + (row.channels_left_off ? ` +${row.channels_left_off}` : "") })],
			["Waits", "85", (row) => (row.queue_bytes ? bytes(row.queue_bytes) : "–"), "number wide"],
			["For", "75", (row) => (row.queue_bytes ? duration(row.queue_age_s) : "–"), "number wide"],
			["Sent", "85", (row) => counted(row.sent), "number wide"],
			["Dropped", "85", (row) => (row.dropped ? wrong(counted(row.dropped)) : "0"), "number wide"],
			["Since", "110", (row) => ageOf(page, row.since), "number wide"],
		]);
		this.pipelines = this.listOf("Pipelines", (row) => row.name, (query) => page.api.get("pipelines", query), () => empty("No pipeline runs", ["A pipeline is built in a driver, or read from a file: see ", code("callboard pipelines"), "."]), [
			["State", "120", (row) => badge(row.state)],
			["Pipeline", "110 1", (row) => strong(row.name)],
			["From", "90 1", (row) => row.source, "wide"],
			["To", "90 1", (row) => row.sink, "wide"],
			["Batches", "90", (row) => counted(row.batches), "number wide"],
			["Behind", "100", (row) => (row.behind === null ? "–" : nouns(row.behind, "row")), "number"],
			["Committed", "120", (row) => ageOf(page, row.committed_at), "number wide"],
			["Problem", "90 1.5", (row) => wrong(row.reason || row.problems.join("; "), 120), "wide"],
		]);
		this.element = element("div.view.fills", viewHead("Connections"), this.tabs.element, this.split.element);
		const subscriptions = ["connections", "pipelines"].map((channel) => page.stream.subscribe(channel, { onPublication: () => this.refresher.touch() }));
		this.owned.push(this.clients, this.pipelines, ...subscriptions);
	}

	listOf(label, keyOf, load, nothing, columns) {
		return new Listing({
			label, keyOf, load, nothing, columns, noun: label.toLowerCase(), onDraw: () => this.draw(),
			onOpen: (row) => this.page.adjust({ id: keyOf(row) }),
		});
	}

	get shown() {
		return this.query.tab === "pipelines" ? this.pipelines : this.clients;
	}

	show(_path, query) {
		const isOther = query.tab !== this.query.tab || !this.hasRead;
		this.query = query;
		this.hasRead = true;
		this.draw();
		if (isOther) this.refresher.run();
	}

	draw() {
		const { tab = "", id } = this.query;
		this.tabs.show([["", "Clients", this.clients.paging.answer.total], ["pipelines", "Pipelines"]], tab);
		this.fillBody(...this.shown.parts);
		const row = id && this.shown.row(id);
		if (!row) this.split.close();
		else if (tab === "pipelines") this.showPipeline(row);
		else this.showClient(row);
	}

	showPipeline({ name, state, reason, source, sink, problems, account, position }) {
		this.split.open(name, facts([["state", badge(state)], ["reason", reason], ["from", source], ["to", sink]]),
			problems.map((one) => element("p.bad-text", one)),
			heading("Account"), element("pre", pretty(account)), heading("Position"), element("pre", pretty(position)));
	}

	showClient(row) {
		this.split.open(row.user, facts([
			["client", mono(row.client)], ["by", row.way], ["from", row.address], ["sent", counted(row.sent)],
			["dropped", counted(row.dropped)], ["waits", `${bytes(row.queue_bytes)} for ${duration(row.queue_age_s)}`],
		]), heading("Channels"), element("ul.mono", row.channels.map((one) => element("li", one))),
		row.channels_left_off && hint(`and ${counted(row.channels_left_off)} more`));
	}
}
