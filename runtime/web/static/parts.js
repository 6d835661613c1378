// Parts that several views have: the head of a view, filters, times, links, and a detail at the side.

import { formatAddress } from "./address.js";
import { button, element, failure, fill, put, say, soft } from "./dom.js";
import { ago, clipped, clock, counted, moment, moments, nouns } from "./format.js";
import { VirtualList } from "./list.js";
import { Paging, Refresher, Tail } from "./model.js";

const FOLLOWED_MAX = 5_000;

/** A view that reads again when it has to. `owned` are the parts that end with it. */
export class View {
	constructor(page, read, everyMs = 1_000) {
		this.page = page;
		this.query = {};
		this.refresher = new Refresher(read, { everyMs });
		this.owned = [this.refresher];
	}

	/** A second has passed. */
	tick() {
		this.refresher.touch();
	}

	/** The page is in sight again. */
	woke() {
		this.refresher.touch();
	}

	/** Times are shown in another zone. */
	settingsChanged() {
		this.draw?.();
	}

	/** Close the detail. */
	escape() {
		this.page.adjust({ id: "", at: "" });
	}

	/** Forget it: another view is shown. */
	end() {
		for (const part of this.owned) part.end();
	}
}

/** The head of a view: its title, a line about it, and its tools. */
export function viewHead(title, ...tools) {
	return element("header", { class: "view-head" }, element("h1", {}, title), element("span", { class: "gap" }), ...tools);
}

/** A moment, with both times in its tooltip. */
export function timeOf(page, at, { decimals = 0, isShort = false } = {}) {
	if (!at) return soft("–");
	const said = isShort ? clock(at, page.utc, decimals) : moment(at, page.utc, decimals);
	return element("time", { datetime: new Date(at * 1000).toISOString(), title: moments(at) }, said);
}

/** How long ago a moment was, with both times in its tooltip. */
export function ageOf(page, at) {
	if (!at) return soft("–");
	return element("time", { datetime: new Date(at * 1000).toISOString(), title: moments(at) }, ago(at, page.now()));
}

/** A link to an execution. */
export function executionLink(id, said = clipped(id, 40)) {
	return element("a", { href: formatAddress(["executions", id]), class: "mono", title: id }, said);
}

/** An input that answers some time after the last key; `value` is what it has now. */
export function searchBox({ label, value = "", onChange, width = 24, isMain = true }) {
	let timer = 0;
	const input = element("input", { type: "search", placeholder: label, "aria-label": label, value, size: String(width),
		spellcheck: "false", autocomplete: "off", "data-search": isMain });
	input.addEventListener("input", () => {
		clearTimeout(timer);
		timer = setTimeout(() => onChange(input.value.trim()), 250);
	});
	input.addEventListener("keydown", (event) => event.key === "Escape" && input.blur());
	return input;
}

/** Set the value of an input, unless a person is at it. */
export function setValue(input, value = "") {
	if (document.activeElement !== input && input.value !== value) input.value = value;
}

/** A row of switches, of which one or none is on. `choices` are [value, label, count]. */
export class Choices {
	constructor({ label, onChoose }) {
		this.onChoose = onChoose;
		this.element = element("div", { class: "choices", role: "group", "aria-label": label });
		this.said = "";
	}

	show(choices, chosen) {
		const said = JSON.stringify([choices, chosen]);
		if (said === this.said) return;
		this.said = said;
		fill(this.element, choices.map(([value, label, count]) =>
			button({ "aria-pressed": String(value === chosen),
				onclick: () => this.onChoose(value) },
			label, count !== undefined && element("span", { class: "count", text: counted(count) }))));
	}
}

/** A place with a detail at its side, which is closed at first. */
export class Split {
	constructor(main, { onClose = () => {} } = {}) {
		this.onClose = onClose;
		this.detail = element("aside", { class: "detail", hidden: true, "aria-live": "polite" });
		this.element = element("div", { class: "split" }, element("div", { class: "split-main" }, main), this.detail);
	}

	/** Open it with these parts. */
	open(title, ...children) {
		this.detail.hidden = false;
		fill(this.detail, element("header", {}, element("h2", { text: title, title }),
			button({ class: "quiet", title: "Close (Esc)", "aria-label": "Close",
				onclick: () => this.onClose() }, "✕")), ...children);
	}

	close() {
		this.detail.hidden = true;
		fill(this.detail);
	}

	get isOpen() {
		return !this.detail.hidden;
	}
}

/** Rows that are read on from a cursor, the newest first; `read(cursor)` answers {rows, cursor, note}. */
export class FollowedRows {
	constructor({ read, nothing, onRows = () => {}, ...traits }) {
		Object.assign(this, { read, nothing, onRows, cursor: 0, isReading: false, said: "" });
		this.tail = new Tail(FOLLOWED_MAX);
		this.notice = element("div");
		this.note = element("p", { class: "note" });
		this.list = new VirtualList({ className: "in-card", ...traits });
		this.parts = [this.notice, this.list.element, this.note];
	}

	/** Read what is new. */
	async refresh() {
		if (this.isReading) return;
		this.isReading = true;
		try {
			const { rows, cursor, note = "" } = await this.read(this.cursor);
			this.tail.add(rows);
			Object.assign(this, { cursor, said: note });
			this.draw();
			if (rows.length) this.onRows();
		} catch (error) {
			fill(this.notice, failure(error, () => this.refresh()));
		} finally {
			this.isReading = false;
		}
	}

	/** Draw what is known. */
	draw() {
		const { rows, fallen } = this.tail;
		fill(this.notice, !rows.length && this.nothing());
		this.list.show(rows);
		const left = fallen ? `; ${nouns(fallen, "older one")} left the list` : "";
		say(this.note, `${counted(rows.length)} here${left}${this.said && `; ${this.said}`}`);
	}

	/** Forget it: it is no longer in the page. */
	end() {
		this.list.end();
	}
}

/** Names and values. */
export function facts(pairs) {
	return element("dl", { class: "facts" }, pairs.filter(([, value]) => value !== "" && value != null && value !== false)
		.map(([name, value]) => element("div", {}, element("dt", { text: name }), put(element("dd"), value))));
}

/**
 * A list of the API in pages, with a notice above and a note below. `nothing()` is the notice of an
 * empty list, `rowsOf(rows)` what is shown of the rows, `more(answer)` what the note adds.
 */
export class Listing {
	constructor({ load, noun, nothing, rowsOf = (rows) => rows, more = () => "", onDraw = () => {}, ...traits }) {
		Object.assign(this, { noun, nothing, rowsOf, more, onDraw });
		this.notice = element("div");
		this.note = element("p", { class: "note" });
		this.list = new VirtualList({ onNeed: () => this.paging.next && this.paging.more(), ...traits });
		this.paging = new Paging({
			load, keyOf: traits.keyOf, onChange: () => this.draw(),
			onError: (error) => fill(this.notice, failure(error, () => this.paging.refresh())),
		});
		this.parts = [this.notice, this.list.element, this.note];
		this.asked = "";
		this.sorted = "";
	}

	/** Ask a question, if it is another one; `sorted` is its order, for the head. */
	ask(query, sorted = "") {
		this.sorted = sorted;
		const asked = JSON.stringify(query);
		if (asked === this.asked) return;
		this.asked = asked;
		this.isNew = true;
		this.paging.reset(query);
		this.paging.more();
	}

	/** Read it again. */
	refresh() {
		return this.paging.refresh();
	}

	/** Draw what is known. */
	draw() {
		const { rows, next, answer } = this.paging;
		fill(this.notice, !rows.length && next !== null && this.nothing());
		this.list.show(this.rowsOf(rows), { sorted: this.sorted, keepsPlace: !this.isNew });
		this.isNew = false;
		const all = answer.total ? ` of ${counted(answer.total)}` : "";
		const here = `${counted(rows.length)} ${this.noun}`;
		say(this.note, (next ? `the first ${here}${all}; scroll for more` : here) + this.more(answer));
		this.onDraw(this);
	}

	/** The row of a key, if it is here. */
	row(key) {
		return this.paging.rows.find((row) => this.list.keyOf(row) === key);
	}

	/** Forget it: it is no longer in the page. */
	end() {
		this.list.end();
	}
}
