// The tree: hosts, their actors, and what happened to each, also to those that have ended.

import { badge, button, commandButton, element, empty, failure, fill, Frame, heading, hint, put, say, soft, strong, wrong } from "../dom.js";
import { bytes, clipped, counted, duration, nouns } from "../format.js";
import { VirtualList } from "../list.js";
import { facts, searchBox, setValue, Split, View, viewHead } from "../parts.js";

const ACTORS_MAX = 500;
const OPEN_MAX = 20;
const EVERY_MS = 5_000;

/** The state of a host or an actor, in one word. */
export function stateOfHost(host) {
	return host.state !== "up" ? host.state : host.is_stopping ? "stopping" : "up";
}

/**
 * Hosts, each followed by its actors where it is open: those with failures first where asked, else by
 * path, so that children come after their parents. Pure.
 */
export function treeRows(hosts, actors, open, { failedFirst = false } = {}) {
	const rows = [];
	const rank = (host) => (host.state === "down" ? 0 : host.state === "silent" ? 1 : 2);
	const sorted = failedFirst ? [...hosts].sort((a, b) => rank(a) - rank(b) || b.deaths - a.deaths || a.slot - b.slot) : hosts;
	for (const host of sorted) {
		rows.push({ key: `host/${host.slot}`, host, isOpen: open.has(host.slot) });
		if (open.has(host.slot)) rows.push(...actorRows(actors.get(host.slot) ?? [], { failedFirst }));
	}
	return rows;
}

/** Actors as rows, by path or by the age of their failures. Pure. */
export function actorRows(actors, { failedFirst = false, isFlat = false } = {}) {
	const age = (actor) => actor.failed_ago_s ?? Infinity;
	const byPath = (a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : a.cell - b.cell);
	const sorted = [...actors].sort((a, b) => (failedFirst && age(a) !== age(b) ? age(a) - age(b) : byPath(a, b)));
	return sorted.map((actor) => ({
		key: `actor/${actor.slot}/${actor.cell}`, actor,
		depth: isFlat || failedFirst ? 0 : actor.path.split("/").filter(Boolean).length - 1,
	}));
}

export class TreeView extends View {
	constructor(page) {
		super(page, () => this.read(), EVERY_MS);
		this.frame = new Frame(() => this.draw());
		this.known = [];
		this.actors = new Map();
		this.found = null;
		this.search = searchBox({ label: "Path contains…", onChange: (path) => page.adjust({ path, at: "" }) });
		this.search.addEventListener("keydown", (event) => event.key === "Enter" && this.search.value.trim() && page.setQuery({ at: this.search.value.trim() }));
		this.failedOnly = element("input", { type: "checkbox", onchange: () => page.setQuery({ failed: this.failedOnly.checked ? "first" : "" }) });
		this.list = new VirtualList({
			label: "Hosts and actors", keyOf: (row) => row.key, onOpen: (row) => this.opened(row),
			columns: [
				["Name", "120 3", (row) => this.nameOf(row)],
				["State", "115", ({ host, actor }) => badge(host ? stateOfHost(host) : actor.lifecycle)],
				["What", "120 1.4", ({ host, actor }) => soft(host ? `on ${host.node}` : actor.kind), "wide"],
				["Waiting", "80", ({ host, actor }) => counted(host ? host.mailbox ?? 0 : actor.mailbox), "number wide"],
				["Restarts", "80", ({ host, actor }) => host ? counted(host.restarts) : "", "number wide"],
				["Memory", "90", ({ host }) => (host ? bytes(host.memory_bytes) : ""), "number wide"],
				["Failed", "90", ({ host, actor }) => (host ? (host.deaths ? `${counted(host.deaths)} ×` : "") : actor.failed_ago_s == null ? "" : wrong(`✕ ${duration(actor.failed_ago_s)}`)), "number"],
			],
		});
		this.split = new Split([this.list.element], () => page.setQuery({ at: "" }));
		this.element = element("div.view.fills",
			viewHead("Tree", element("label.check", this.failedOnly, "failed first"), this.search),
			this.notice, this.split.element, this.note);
		this.owned.push(this.list, this.frame);
	}

	show(_path, query) {
		const before = this.query;
		this.query = query;
		setValue(this.search, query.path);
		this.failedOnly.checked = query.failed === "first";
		this.draw();
		if (before.at !== query.at) this.showHistory(query.at);
		if (!this.hasRead || before.path !== query.path || before.open !== query.open || before.failed !== query.failed) this.refresher.run();
		this.hasRead = true;
	}

	get open() {
		return new Set((this.query.open ?? "").split(",").filter(Boolean).map(Number));
	}

	/** The state of hosts is that of the stream; figures are those of the last reading. */
	get hosts() {
		const { model } = this.page;
		if (!model.isKnown) return this.known;
		const figures = new Map(this.known.map((host) => [host.slot, host]));
		return model.hosts().map((host) => ({ ...figures.get(host.slot), ...host }));
	}

	said(channel) {
		if (channel === "system" && !document.hidden) this.frame.soon();
	}

	woke() {
		this.draw();
		this.refresher.touch();
	}

	async read() {
		const { path, failed } = this.query;
		try {
			if (path) {
				this.found = await this.page.api.get("actors", { path, failed: failed === "first" && "true", limit: ACTORS_MAX });
			} else {
				this.found = null;
				this.known = await this.page.hosts();
				const open = [...this.open].slice(0, OPEN_MAX);
				const pages = await Promise.all(open.map((slot) => this.page.api.get("actors", { slot, limit: ACTORS_MAX })));
				this.actors = new Map(open.map((slot, index) => [slot, pages[index].items.filter((actor) => actor.slot === slot)]));
				this.isMore = pages.some((one) => one.next);
			}
			fill(this.notice);
		} catch (error) {
			fill(this.notice, failure(error, () => this.refresher.run()));
		}
		this.draw();
	}

	draw() {
		const failedFirst = this.query.failed === "first";
		const { hosts } = this;
		const rows = this.found && this.query.path ? actorRows(this.found.items, { failedFirst, isFlat: true }) : treeRows(hosts, this.actors, this.open, { failedFirst });
		this.list.show(rows);
		if (this.query.path) {
			const items = this.found?.items ?? [];
			say(this.note, items.length ? `${counted(items.length)}${this.found.next ? " and more" : ""} actors contain “${this.query.path}”` : `No actor that runs contains “${this.query.path}”. Enter shows what is known of one that has ended.`);
		} else {
			const bad = hosts.filter((host) => host.state !== "up").length;
			say(this.note, `${nouns(hosts.length, "host")}, ${bad ? `${bad} not up` : "all up"}. Enter or a click opens a host${this.isMore ? `; the first ${ACTORS_MAX} actors of each are shown: search for others` : ""}.`);
		}
	}

	nameOf({ host, actor, depth, isOpen }) {
		if (host) return [element("span.twist", isOpen ? "▾" : "▸"), strong(host.name), soft(` ${nouns(host.actors, "actor")}`)];
		const name = depth ? actor.path.split("/").filter(Boolean).at(-1) : actor.path;
		const said = element("span.tree-name", { title: actor.path, text: clipped(name, 80) });
		said.style.paddingInlineStart = `${(this.query.path ? 0 : 1 + depth) * 16}px`;
		return [said, this.query.path && soft(` on ${actor.host}`)];
	}

	opened({ host, actor }) {
		if (!host) {
			this.page.setQuery({ at: `${actor.host}${actor.path.startsWith("/") ? "" : "/"}${actor.path}` });
			return;
		}
		const open = this.open;
		if (open.has(host.slot)) open.delete(host.slot);
		else open.add(host.slot);
		this.page.adjust({ open: [...open].join(","), at: host.state === "up" ? this.query.at : host.name });
	}

	async showHistory(path) {
		if (!path) {
			this.split.close();
			return;
		}
		this.split.open(path, hint("reading…"));
		try {
			const found = await this.page.api.story(path);
			if (this.query.at === path) this.split.open(path, this.history(found, path), commandButton("why", path));
		} catch (error) {
			if (this.query.at === path) this.split.open(path, failure(error, () => this.showHistory(path)));
		}
	}

	history({ matches, near, silent, matches_left_off: left }, path) {
		if (!matches.length) {
			return [empty(`Nothing is known of ${path}`, near.length ? "Similar paths:" : "Its host may not answer, or it never ran."),
				near.length ? element("ul", near.map((one) => element("li", button(one, () => this.page.setQuery({ at: one }), { class: "link mono" })))) : null,
				silent.map(([host, why]) => element("p", badge("silent", host), ` ${why}`))];
		}
		return [matches.slice(0, 5).map((one) => this.one(one)), left && hint(`${nouns(left, "more match", "more matches")}`)];
	}

	one(actor) {
		const isOver = actor.ended_ago_s !== null;
		return element("div",
			facts([
				["state", badge(isOver ? "ended" : actor.lifecycle)], ["host", actor.host], ["kind", actor.kind],
				["ended", isOver && `${duration(actor.ended_ago_s)} ago: ${actor.ended}`],
				["restarts", `${actor.restarts} own, ${actor.group_restarts} with its group, ${actor.parent_restarts} with its parent`],
				["host replaced", actor.host_restarts && `${actor.host_restarts} ×`], ["waiting", counted(actor.mailbox)],
				["supervision", actor.supervision], ["note", actor.note],
			]),
			heading("What happened"),
			actor.entries.length ? element("ol.story", [...actor.entries].reverse().map((entry) => element("li",
				element("p", badge("failed", entry.reason || "failed"), ` ${duration(entry.ago_s)} ago, start ${entry.incarnation}`,
					entry.relation && ` (its ${entry.relation} ${entry.origin})`),
				element("p.bad-text", entry.message),
				entry.decision && hint(`decision: ${entry.decision}${entry.delay_s ? `, after ${duration(entry.delay_s)}` : ""}`),
				entry.traceback && put(element("details"), element("summary", "Traceback"), element("pre", entry.traceback)))))
				: hint("It has not failed."));
	}
}
