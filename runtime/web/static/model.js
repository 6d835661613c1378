// What the page knows, and how it stays true: pages of lists, and readings that are asked again when
// the stream says that something has changed.

const PAGE_ROWS = 200;
const ROWS_MAX = 20_000;

/**
 * Reads again when it is told to, at most once in `everyMs`, one reading at a time; the last call is
 * always followed by a reading. While `isHidden()` it only notes that it has to.
 */
export class Refresher {
	constructor(read, { everyMs = 1000, isHidden = () => Boolean(globalThis.document?.hidden), shell = browserShell() } = {}) {
		Object.assign(this, { read, everyMs, isHidden, shell });
		this.timer = null;
		this.isReading = false;
		this.isDue = false;
		this.isUrgent = false;
		this.readAt = -Infinity;
		this.hasEnded = false;
	}

	touch() {
		this.isDue = true;
		if (this.timer !== null || this.isReading || this.hasEnded || this.isHidden()) return;
		const wait = Math.max(0, this.readAt + this.everyMs - this.shell.now());
		this.timer = this.shell.after(wait, () => this.run());
	}

	/** Read at once, or as soon as the reading that is under way has ended. */
	async run() {
		this.shell.cancel(this.timer);
		this.timer = null;
		this.isUrgent = this.isReading;
		if (this.hasEnded || this.isReading) return;
		this.isDue = false;
		this.isReading = true;
		this.readAt = this.shell.now();
		try {
			await this.read();
		} finally {
			this.isReading = false;
			if (this.isUrgent) this.run();
			else if (this.isDue) this.touch();
		}
	}

	wake() {
		if (this.isDue) this.touch();
	}

	end() {
		this.hasEnded = true;
		this.shell.cancel(this.timer);
	}
}

/** A list that the server gives in pages. `load(query)` answers {items, next}. */
export class Paging {
	constructor({ load, keyOf, onChange, onError = () => {} }) {
		Object.assign(this, { load, keyOf, onChange, onError });
		this.reset({});
	}

	reset(query) {
		this.query = query;
		this.rows = [];
		this.next = null; // null: nothing is known yet; "": there is no more
		this.answer = {};
		this.turn = {};
		this.isLoading = false;
	}

	async more() {
		if (this.isLoading || this.next === "" || this.rows.length >= ROWS_MAX) return;
		await this.fetch({ after: this.next ?? "" }, (items) => {
			const known = new Set(this.rows.map(this.keyOf));
			this.rows = this.rows.concat(items.filter((row) => !known.has(this.keyOf(row))));
		});
	}

	/** The first page again; what was read behind it stays, until it is read again. */
	async refresh() {
		if (this.next === null) {
			await this.more();
			return;
		}
		const wasOnePage = this.rows.length <= PAGE_ROWS;
		await this.fetch({}, (items, next) => {
			const fresh = new Set(items.map(this.keyOf));
			// What follows the last row that both have; with no such row the list begins again.
			const last = this.rows.findLastIndex((row) => fresh.has(this.keyOf(row)));
			const keepsRest = !wasOnePage && next && last >= 0;
			const rest = keepsRest ? this.rows.slice(last + 1) : [];
			this.rows = items.concat(rest);
			return keepsRest ? this.next : next;
		});
	}

	async fetch(place, take) {
		const mine = (this.turn = {});
		this.isLoading = true;
		try {
			const answer = await this.load({ limit: PAGE_ROWS, ...this.query, ...place });
			if (this.turn !== mine) return;
			this.answer = answer;
			this.next = take(answer.items, answer.next) ?? answer.next;
			this.isLoading = false;
			this.onChange(this);
		} catch (error) {
			if (this.turn !== mine) return;
			this.isLoading = false;
			this.onError(error);
		}
	}
}

/** A hash of what hosts are: equal for equal lists in any order. Pure. */
export function digestOf(hosts) {
	let sum = 0;
	for (const { slot, epoch, state } of hosts) {
		let hash = 0x811c9dc5;
		for (const letter of `${slot}:${epoch}:${state}`) hash = Math.imul(hash ^ letter.codePointAt(0), 0x01000193) >>> 0;
		sum = (sum + hash) >>> 0;
	}
	return sum;
}

/** The values of a channel by their keys: its snapshot, and the changes after it. */
export class ValuesModel {
	constructor() {
		this.values = new Map();
		this.isKnown = false;
	}

	/** Begin with a snapshot; one that was too large for a message leaves it unknown. */
	take(data) {
		this.values = new Map(Object.entries(data?.values ?? {}));
		this.isKnown = Boolean(data) && !data.is_cut;
	}

	change({ key, value } = {}) {
		if (typeof key !== "string") return;
		if (value === null || value === undefined) this.values.delete(key);
		else this.values.set(key, value);
	}

	hosts() {
		const found = [...this.values].filter(([key]) => key.startsWith("host/")).map(([, value]) => value);
		return found.sort((a, b) => a.slot - b.slot);
	}
}

/** A line of at most `most` rows, the newest first, with a count of those that fell off. */
export class Tail {
	constructor(most) {
		this.most = most;
		this.rows = [];
		this.fallen = 0;
	}

	add(rows) {
		const all = [...rows].reverse().concat(this.rows);
		this.fallen += Math.max(0, all.length - this.most);
		this.rows = all.slice(0, this.most);
	}
}

/** The rate of a growing count: what is added in a second, between two readings. */
export class Rate {
	constructor(most = 120) {
		this.most = most;
		this.past = [];
		this.last = null;
	}

	/** Note a count; the answer is the rate since the reading before, NaN for the first. */
	note(at, count) {
		const before = this.last;
		// A second reading at one moment, or a smaller count (it began again), gives no rate.
		const rate = before && at > before.at && count >= before.count ? (count - before.count) / (at - before.at) : NaN;
		if (!before || at > before.at) this.last = { at, count };
		if (Number.isFinite(rate)) this.past = [...this.past, rate].slice(-this.most);
		return rate;
	}
}

export function browserShell() {
	return {
		WebSocket: globalThis.WebSocket,
		now: () => Date.now(),
		random: () => Math.random(),
		after: (ms, act) => setTimeout(act, ms),
		cancel: (timer) => clearTimeout(timer),
	};
}
