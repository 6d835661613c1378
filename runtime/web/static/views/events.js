// Events as they are written, with a pause; and dead letters.

import { badge, button, card, commandButton, element, empty, failure, fieldsOf, fill, Frame, heading, hint, mono, say, strong, wrong } from "../dom.js";
import { clipped, counted, nouns, pretty } from "../format.js";
import { VirtualList } from "../list.js";
import { Tail } from "../model.js";
import { Choices, eventDetail, exactOf, EXECUTION, executionLink, facts, Listing, searchBox, setValue, Split, timeOf, View, viewHead } from "../parts.js";

const ROWS_MAX = 5_000;
const UNHANDLED_MAX = 50;
const STRETCH = 200;

/** A row of the list, from an event of the stream or of the API. Pure. */
export function rowOfEvent(event, publication = {}) {
	if (event.position !== undefined) return event;
	const payload = event.payload ?? {};
	return {
		position: publication.offset ?? payload.position ?? 0, stream: payload.stream ?? event.source, version: payload.version ?? 0,
		id: event.event_id, kind: payload.kind ?? event.event_type, bytes: payload.bytes ?? null, recorded_at: event.timestamp ?? payload.recorded_at,
		fields: "fields" in payload ? payload.fields : payload, is_cut: payload.is_cut ?? false,
	};
}

/** Whether a row has a text in its stream or its kind. Pure. */
export function fits(row, text) {
	return !text || row.stream.toLowerCase().includes(text) || row.kind.toLowerCase().includes(text);
}

/** Events before a position, read backwards by stretches of the log; `read(since, limit)` reads forwards. */
export class OlderEvents {
	constructor({ read, onChange, onError }) {
		Object.assign(this, { read, onChange, onError, rows: [], lowest: null, isLoading: false });
	}

	begin(top) {
		this.turn = {};
		Object.assign(this, { rows: [], lowest: top + 1, isLoading: false });
		return this.more();
	}

	/** The stretch before, unless it is on its way, or there is none. */
	async more() {
		if (this.isLoading || this.lowest === null || this.lowest <= 1 || this.rows.length >= ROWS_MAX) return;
		this.isLoading = true;
		const mine = this.turn, end = this.lowest, from = Math.max(0, end - 1 - STRETCH), found = [];
		try {
			// An answer may be shorter than asked, where its events are large.
			for (let since = from; since < end - 1; ) {
				const { publications } = await this.read(since, STRETCH);
				found.push(...publications.filter(({ offset }) => offset < end));
				if (!publications.length) break;
				since = publications.at(-1).offset;
			}
		} catch (error) {
			if (mine === this.turn) this.fail(error);
			return;
		}
		if (mine !== this.turn) return;
		this.isLoading = false;
		this.lowest = from + 1;
		this.rows = this.rows.concat(found.reverse().map((publication) => rowOfEvent(publication.data, publication)));
		this.onChange();
	}

	fail(error) {
		this.isLoading = false;
		this.onError(error);
	}
}

export class EventsView extends View {
	constructor(page) {
		super(page, () => this.letters.refresh());
		this.tail = new Tail(ROWS_MAX);
		this.older = new OlderEvents({
			read: (offset, limit) => page.stream.history("events", { since: { offset, epoch: this.subscription.epoch }, limit }),
			onChange: () => this.draw(), onError: (error) => fill(this.notice, failure({ title: "Older events could not be read", message: error.message }, () => this.older.more())),
		});
		this.waiting = []; // What came while the list stands still.
		this.isPaused = false;
		this.gaps = 0;
		this.frame = new Frame(() => this.draw());
		this.tabs = new Choices({ label: "What", onChoose: (tab) => page.setQuery({ tab, at: "" }) });
		this.pause = button("Pause", () => this.setPause(!this.isPaused), { "aria-pressed": "false" });
		this.search = searchBox({ label: "Stream or kind contains…", onChange: (find) => page.adjust({ find }) });
		this.note.setAttribute("role", "status");
		this.split = new Split([this.body], () => this.split.close());
		this.element = element("div.view.fills", viewHead("Events", this.pause, this.search), this.tabs.element, this.notice, this.split.element, this.note);
		this.list = new VirtualList({
			label: "Events, the newest first", keyOf: (row) => String(row.position), onOpen: (row) => this.opened(row), onNeed: () => this.query.tab !== "letters" && this.older.more(),
			columns: [
				["Position", "90", (row) => counted(row.position), "number wide"],
				["Time", "120", (row) => exactOf(page, row.recorded_at)],
				["Event", "110", (row) => element("strong", { title: row.kind, text: clipped(row.kind.split(".").at(-1), 40) })],
				["Stream", "100 1", (row) => (row.stream.startsWith(EXECUTION) ? executionLink(row.stream.slice(EXECUTION.length)) : mono(clipped(row.stream, 60)))],
				["Fields", "100 2", (row) => fieldsOf(row, 200), "wide"],
			],
		});
		this.letters = new Listing({
			label: "Dead letters", noun: "dead letters", keyOf: (row) => `${row.pipeline}/${row.number}`, load: (query) => page.api.get("letters", query),
			onOpen: (row) => this.openLetter(row), onDraw: () => this.draw(),
			nothing: () => empty("No pipeline has dead letters", "What a stage refuses by its error policy is kept here, with the reason."),
			columns: [
				["Pipeline", "100 1", (row) => strong(row.pipeline)],
				["#", "80", (row) => counted(row.number), "number"],
				["Stage", "80 1", (row) => row.stage, "wide"],
				["Time", "160", (row) => timeOf(page, row.at), "wide"],
				["Reasons", "140 3", (row) => wrong(row.reasons.join("; "), 200)],
			],
		});
		this.messages = element("div");
		this.subscription = page.stream.subscribe("events", {
			onSubscribed: (_data, { recovered, offset = 0 }) => !recovered && this.older.begin(offset),
			onPublication: (data, publication) => this.came(rowOfEvent(data, publication)),
			onReset: () => (this.gaps += 1),
			onRefused: ({ message }) => {
				this.refusal = message;
				this.draw();
			},
		});
		this.unhandled = new Tail(UNHANDLED_MAX);
		this.letterStream = page.stream.subscribe("letters", {
			onPublication: (event) => {
				this.unhandled.add([event]);
				this.refresher.touch();
			},
		});
		this.owned.push(this.subscription, this.letterStream, this.list, this.letters, this.frame);
	}

	show(_path, query) {
		const isOther = query.tab !== this.query.tab;
		this.query = query;
		setValue(this.search, query.find);
		this.pause.hidden = query.tab === "letters";
		if (isOther) this.split.close();
		if (query.tab === "letters" && isOther) this.refresher.run();
		this.draw();
	}

	/** An event came. Hidden tabs note it, and draw when they are seen again. */
	came(row) {
		this.waiting.push(row);
		if (this.waiting.length > ROWS_MAX) {
			this.waiting.splice(0, this.waiting.length - ROWS_MAX);
			this.gaps += 1;
		}
		if (this.isPaused) this.tell();
		else if (!document.hidden) this.frame.soon();
	}

	setPause(isPaused) {
		this.isPaused = isPaused;
		this.pause.setAttribute("aria-pressed", String(isPaused));
		say(this.pause, isPaused ? "Go on" : "Pause");
		this.draw();
	}

	tick() {} // Events come by themselves.

	woke() {
		this.draw();
	}

	escape() {
		this.split.close();
	}

	draw() {
		const { tab = "", find } = this.query;
		this.tabs.show([["", "Events"], ["letters", "Dead letters"]], tab);
		if (tab === "letters") {
			this.drawLetters();
			return;
		}
		this.fillBody(this.list.element);
		if (!this.isPaused && this.waiting.length) {
			this.tail.add(this.waiting);
			this.waiting = [];
		}
		const known = new Set(this.tail.rows.map((row) => row.position));
		const text = (find ?? "").toLowerCase();
		const rows = this.tail.rows.concat(this.older.rows.filter((row) => !known.has(row.position))).filter((row) => fits(row, text));
		this.list.show(rows);
		fill(this.notice, this.refusal && !rows.length ? empty("There are no events here", this.refusal) : !rows.length && !this.older.isLoading && this.older.lowest !== null && (text ? empty("No event that is here fits", "Scroll back reads older ones.") : empty("No event has been written yet", "Events of executions and aggregates appear here by themselves; a system without a journal has none.")));
		this.tell(rows.length);
	}

	tell(shown = this.list.rows.length) {
		const said = [`${nouns(shown, "event")} here`];
		if (this.isPaused) said.push(`paused: ${counted(this.waiting.length)} wait`);
		if (this.tail.fallen) said.push(`${counted(this.tail.fallen)} older ones left the list: scroll back reads them`);
		if (this.gaps) said.push(`${nouns(this.gaps, "gap")} in this list: scroll back, or load the page again`);
		if (this.refusal) said.push(`not live: ${this.refusal}`);
		say(this.note, said.join("; "));
	}

	drawLetters() {
		this.fillBody(this.messages, this.letters.parts);
		fill(this.notice);
		say(this.note, "");
		const entries = Object.entries(this.letters.paging.answer.messages ?? {});
		const last = this.unhandled.rows.slice(0, 5);
		fill(this.messages, entries.length || last.length ? card("Messages that no handler got",
			facts(entries.map(([reason, count]) => [reason.replaceAll("_", " "), counted(count)])),
			element("ul.rows", last.map(({ payload, timestamp }) => element("li",
				badge("failed", payload.reason), mono(payload.contract),
				element("span.grow", payload.target ?? payload.host), timeOf(this.page, timestamp, { isShort: true }))))) : null);
	}

	opened(row) {
		this.split.open(`Event ${counted(row.position)}: ${row.kind}`,
			eventDetail(this.page, row, [["stream", row.stream], ["version", counted(row.version)]]));
	}

	openLetter(row) {
		this.split.open(`Letter ${row.number} of ${row.pipeline}`,
			facts([["stage", row.stage], ["written", timeOf(this.page, row.at)], ["attempt", counted(row.attempt)], ["place", row.place]]),
			heading("Reasons"), element("ul", row.reasons.map((reason) => element("li.bad-text", reason))),
			heading("Original"), row.is_cut ? hint("Too large for a list.") : element("pre", pretty(row.original)),
			commandButton("letters", "replay", row.pipeline, row.number));
	}
}
