// Parts that several views have: the head of a view, filters, times, links, and a detail at the side.

import { button, commandButton, element, failure, fill, hint, mono, put, say, soft } from "./dom.js";
import { ago, clipped, clock, counted, formatAddress, moment, moments, pretty } from "./format.js";
import { VirtualList } from "./list.js";
import { Paging, Refresher, Tail } from "./model.js";

const FOLLOWED_MAX = 5_000;

/** A view that reads again when it has to. `owned` are the parts that end with it; not each view shows its notice, body and note. */
export class View {
	constructor(page, read, everyMs = 1_000) {
		this.page = page;
		this.query = {};
		this.refresher = new Refresher(read, { everyMs });
		this.owned = [this.refresher];
		this.notice = element("div");
		this.note = element("p.note");
		this.body = element("div.fills");
	}

	tick() {
		this.refresher.touch();
	}

	woke() {
		this.refresher.touch();
	}

	settingsChanged() {
		this.draw?.();
	}

	/** Show these in the body, if they are not there. */
	fillBody(first, ...rest) {
		if (this.body.firstChild !== first) fill(this.body, first, ...rest);
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

export function viewHead(title, ...tools) {
	return element("header.view-head", element("h1", title), element("span.gap"), ...tools);
}

/** A moment, with both times in its tooltip. */
export function timeOf(page, at, { decimals = 0, isShort = false } = {}) {
	return stamp(at, (isShort ? clock : moment)(at, page.utc, decimals));
}

export function exactOf(page, at) {
	return timeOf(page, at, { isShort: true, decimals: 3 });
}

export function ageOf(page, at) {
	return stamp(at, ago(at, page.now()));
}

function stamp(at, said) {
	return at ? element("time", { datetime: new Date(at * 1000).toISOString(), title: moments(at) }, said) : soft("–");
}

export function executionLink(id, said = clipped(id, 40)) {
	return element("a.mono", { href: formatAddress(["executions", id]), title: id }, said);
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

export function setValue(input, value = "") {
	if (document.activeElement !== input && input.value !== value) input.value = value;
}

/** A row of switches, of which one or none is on. `choices` are [value, label, count]. */
export class Choices {
	constructor({ label, onChoose }) {
		this.onChoose = onChoose;
		this.element = element("div.choices", { role: "group", "aria-label": label });
		this.said = "";
	}

	show(choices, chosen) {
		const said = JSON.stringify([choices, chosen]);
		if (said === this.said) return;
		this.said = said;
		fill(this.element, choices.map(([value, label, count]) =>
			button([label, count !== undefined && element("span.count", counted(count))], () => this.onChoose(value), { "aria-pressed": String(value === chosen) })));
	}
}

export class Split {
	constructor(main, onClose) {
		this.onClose = onClose;
		this.detail = element("aside.detail", { hidden: true, "aria-live": "polite" });
		this.element = element("div.split", element("div.split-main", main), this.detail);
	}

	open(title, ...children) {
		this.detail.hidden = false;
		fill(this.detail, element("header", element("h2", { text: title, title }),
			button("✕", () => this.onClose(), { class: "quiet", title: "Close (Esc)", "aria-label": "Close" })), ...children);
	}

	close() {
		this.detail.hidden = true;
		fill(this.detail);
	}

}

/** Names and values; a value that is empty, 0 or false is left out. */
export function facts(pairs) {
	return element("dl.facts", pairs.filter(([, value]) => value)
		.map(([name, value]) => element("div", element("dt", name), put(element("dd"), value))));
}

/** The stream of an execution is this and its id. */
export const EXECUTION = "execution/";

/** What is known of one event, with `more` facts. */
export function eventDetail(page, { recorded_at: at, stream, id, bytes, fields, is_cut: isCut }, more) {
	return [
		facts([["written", timeOf(page, at, { decimals: 3 })], ...more, ["size", bytes == null ? "" : `${counted(bytes)} bytes`], ["id", mono(id)]]),
		fields == null ? hint(isCut ? "Its fields are too large for a list." : "Its data is packed: only its size is known here.") : element("pre", pretty(fields)),
		stream.startsWith(EXECUTION) && commandButton("events", stream.slice(EXECUTION.length)),
	];
}

/**
 * A list of the API in pages, with a notice above and a note below. `nothing()` is the notice of an
 * empty list, `rowsOf(rows)` what is shown of the rows, `more(answer)` what the note adds.
 */
export class Listing {
	constructor({ load, noun, nothing, rowsOf = (rows) => rows, more = () => "", onDraw = () => {}, ...traits }) {
		Object.assign(this, { noun, nothing, rowsOf, more, onDraw });
		this.notice = element("div");
		this.note = element("p.note");
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

	refresh() {
		return this.paging.refresh();
	}

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

	row(key) {
		return this.paging.rows.find((row) => this.list.keyOf(row) === key);
	}

	end() {
		this.list.end();
	}
}

/** Rows that are read on from a cursor, the newest first; `read(cursor)` answers {rows, cursor, note}. */
export class FollowedRows extends Listing {
	constructor({ read, onRows, ...traits }) {
		super({ className: "in-card", ...traits });
		Object.assign(this, { read, onRows, cursor: 0, isReading: false, tail: new Tail(FOLLOWED_MAX) });
	}

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

	draw() {
		const { rows, fallen } = this.tail;
		fill(this.notice, !rows.length && this.nothing());
		this.list.element.hidden = !rows.length;
		this.list.show(rows);
		say(this.note, [`${counted(rows.length)} here`, fallen && `${counted(fallen)} older ones left the list`, this.said].filter(Boolean).join("; "));
	}
}
