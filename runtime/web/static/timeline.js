// The timeline of an execution on canvas: queue and run apart, attempts in rows, the critical path,
// zoom, and the keyboard. The server has laid out the rows; `layoutOf` is pure.

import { clip, firstOf, segment, sized, tickText, timeTicks } from "./charts.js";
import { button, element, fill, kindOf, Redrawing, say, shapeOf, strong, wrong } from "./dom.js";
import { clipped, counted, duration } from "./format.js";

const ROW_PX = 18;
const GROUP_PX = 20;
const CELLS_PX = 32;
const AXIS_PX = 24;
const HEIGHT_MAX_PX = 400;
const LEFT_PX = 8;
const SPAN_MIN_S = 1e-5;

/**
 * What is drawn, from top to bottom, of the groups of a timeline: a head for each group, then its
 * rows of bars, or the count of its attempts at once where it is folded. Pure.
 */
export function layoutOf(timeline, { showsQueue = false } = {}) {
	const lines = [];
	let y = 0;
	const add = (line, height) => {
		lines.push({ ...line, y, height });
		y += height;
	};
	for (const group of timeline.groups) {
		add({ group }, GROUP_PX);
		const rows = [];
		for (const bar of group.bars) (rows[bar.row] ??= []).push(bar);
		for (const bars of rows) {
			bars?.sort((one, other) => one.began_at - other.began_at);
			add({ bars: bars ?? [] }, ROW_PX);
		}
		if (!group.bars.length && group.cells.length) add({ cells: group }, CELLS_PX);
	}
	// Waiting may be far longer than work: it begins the axis only if it is drawn.
	const from = showsQueue ? timeline.began_at : timeline.first_run_at || timeline.began_at;
	return { lines, from, to: Math.max(timeline.ended_at, from + SPAN_MIN_S), height: y };
}

const NOTHING = { groups: [], began_at: 0, first_run_at: 0, ended_at: 1, from_at: 0, to_at: 1 };

/** Whether the bars of a group are left out, because there are so many. Pure. */
export function isFolded(group) {
	return !group.bars.length && group.attempts > 0;
}

/** The first bar of a row that ends after a moment. Pure. */
export function firstAfter(row, at) {
	return firstOf(row, (bar) => bar.ended_at > at);
}

const OUTCOMES = { running: "under way", done: "succeeded", retried: "failed, and ran again", failed: "failed for good" };

/**
 * A timeline. `onSelect(bar)` follows a click, Enter and the arrows; `onOpen(key)` the head of a
 * group; `onZoom(from, to)` each change of the view, in seconds since 1970.
 */
export class Timeline {
	constructor({ onSelect = () => {}, onOpen = () => {}, onZoom = () => {} } = {}) {
		Object.assign(this, { onSelect, onOpen, onZoom });
		this.timeline = NOTHING;
		this.showsQueue = false;
		this.showsCritical = true;
		this.selected = null;
		this.top = 0;
		this.canvas = element("canvas.timeline-canvas", { tabindex: "0", role: "img" });
		this.note = element("p.reading", { "aria-live": "polite" });
		this.tip = element("div.tip", { hidden: true });
		this.queueSwitch = button("Waiting", () => this.foldQueue(), { title: "The time between ready and begun, as a thin line before each bar (f)" });
		this.pathSwitch = button("Critical path", () => this.markPath(), { title: "The chain of sub-tasks that set the end (c)" });
		this.bar = element("p.toolbar", this.queueSwitch, this.pathSwitch,
			button("−", () => this.zoom(2), { title: "Zoom out (-)" }), button("+", () => this.zoom(0.5), { title: "Zoom in (+)" }),
			button("All", () => this.fit(), { title: "Show all of it (0)" }));
		this.element = element("div.timeline", this.bar,
			element("div.timeline-place", this.canvas, this.tip), this.note, keyOf());
		this.place();
		this.listen();
		this.redrawing = new Redrawing(this.element, () => this.draw());
	}

	/** Show what `/v1/executions/{id}/timeline` answers. The view stays, unless it was of everything. */
	show(timeline) {
		const wasAll = this.timeline === NOTHING || this.isAll();
		const id = this.selected && `${this.selected.number}/${this.selected.attempt}`;
		this.timeline = timeline;
		this.place();
		this.selected = id ? this.find((bar) => `${bar.number}/${bar.attempt}` === id)?.bar ?? null : null;
		say(this.note, this.selected ? this.words(this.selected) : "");
		if (wasAll) this.fit({ isQuiet: true });
		else this.draw();
	}

	end() {
		this.redrawing.end();
	}

	/** Select the newest bar of a sub-task, and bring it into sight. */
	select(id) {
		this.choose(this.find((bar) => bar.id === id, { last: true }));
	}

	/** The bars of a sub-task that are here, by attempt. */
	barsOf(id) {
		const found = this.timeline.groups.flatMap((group) => group.bars.filter((bar) => bar.id === id));
		return found.sort((a, b) => a.attempt - b.attempt);
	}

	find(isIt, { last = false } = {}) {
		let found = null;
		for (const line of this.layout.lines) {
			for (const bar of line.bars ?? []) {
				if (!isIt(bar) || (found && found.bar.attempt > bar.attempt)) continue;
				found = { line, bar };
				if (!last) return found;
			}
		}
		return found;
	}

	choose(found, { tells = false } = {}) {
		this.selected = found?.bar ?? null;
		say(this.note, found ? this.words(found.bar) : "");
		if (found) this.reveal(found);
		if (found && tells) this.onSelect(found.bar);
		this.draw();
	}

	place() {
		this.layout = layoutOf(this.timeline, { showsQueue: this.showsQueue });
		this.height = Math.max(70, Math.min(HEIGHT_MAX_PX, this.layout.height + AXIS_PX + 6));
		this.top = Math.max(0, Math.min(this.top, this.layout.height - this.height + AXIS_PX));
		this.view ??= [this.layout.from, this.layout.to];
		const sum = (name) => this.timeline.groups.reduce((all, group) => all + group[name], 0);
		this.canvas.setAttribute("aria-label",
			`${counted(sum("attempts"))} attempts over ${duration(this.span)}, ` +
			`${counted(sum("failures"))} failed; the table of sub-tasks says the same in words.`);
	}

	isAll() {
		const slack = this.span * 0.02;
		return this.view[0] <= this.layout.from + slack && this.view[1] >= this.layout.to - slack;
	}

	fit({ isQuiet = false } = {}) {
		const margin = this.span * 0.01;
		this.view = [this.layout.from - margin, this.layout.to + margin];
		if (!isQuiet) this.onZoom(0, 0);
		this.draw();
	}

	foldQueue() {
		this.showsQueue = !this.showsQueue;
		this.place();
		this.fit({ isQuiet: true });
	}

	markPath() {
		this.showsCritical = !this.showsCritical;
		this.draw();
	}

	get span() {
		return this.layout.to - this.layout.from;
	}

	get width() {
		return this.canvas.clientWidth;
	}

	xOf(at) {
		const [from, to] = this.view;
		return LEFT_PX + ((at - from) / (to - from)) * (this.width - LEFT_PX - 8);
	}

	atX(x) {
		const [from, to] = this.view;
		return from + ((x - LEFT_PX) / (this.width - LEFT_PX - 8)) * (to - from);
	}

	zoom(factor, around = (this.view[0] + this.view[1]) / 2) {
		const [from, to] = this.view;
		const all = this.span * 1.02;
		const span = Math.min(all, Math.max(SPAN_MIN_S, (to - from) * factor));
		this.move(around - span * ((around - from) / (to - from)), span);
	}

	move(from, span = this.view[1] - this.view[0]) {
		const margin = this.span * 0.01;
		const kept = Math.max(this.layout.from - margin, Math.min(this.layout.to + margin - span, from));
		this.view = [kept, kept + span];
		this.onZoom(...this.view);
		this.redrawing.soon();
	}

	scroll(pixels) {
		const before = this.top;
		this.top = Math.max(0, Math.min(this.layout.height - (this.height - AXIS_PX), this.top + pixels));
		this.redrawing.soon();
		return this.top !== before;
	}

	reveal({ line, bar }) {
		const [from, to] = this.view;
		if (bar.ended_at < from || bar.began_at > to) this.move((bar.began_at + bar.ended_at - to + from) / 2);
		const view = this.height - AXIS_PX;
		if (line.y < this.top + GROUP_PX) this.top = Math.max(0, line.y - GROUP_PX);
		else if (line.y + ROW_PX > this.top + view) this.top = line.y + ROW_PX - view;
	}

	draw() {
		this.queueSwitch.setAttribute("aria-pressed", String(this.showsQueue));
		this.pathSwitch.setAttribute("aria-pressed", String(this.showsCritical));
		if (!this.width) return;
		const [draw, colors] = sized(this.canvas, this.width, this.height);
		this.drawAxis(draw, colors);
		draw.save();
		clip(draw, 0, AXIS_PX, this.width, this.height - AXIS_PX);
		draw.translate(0, AXIS_PX - this.top);
		const bottom = this.top + this.height - AXIS_PX;
		const shown = this.layout.lines.filter(({ y, height }) => y + height > this.top && y < bottom);
		for (const line of shown) if (line.group) this.drawHead(draw, colors, line);
		clip(draw, LEFT_PX, this.top, this.width - LEFT_PX, this.height);
		for (const line of shown) {
			if (line.bars) this.drawRow(draw, colors, line);
			else if (line.cells) this.drawCells(draw, colors, line);
		}
		draw.restore();
	}

	drawAxis(draw, colors) {
		const begin = this.layout.from;
		draw.fillStyle = colors.soft;
		draw.strokeStyle = colors.line;
		draw.textBaseline = "middle";
		const most = Math.max(2, Math.floor((this.width - LEFT_PX) / 90));
		for (const tick of timeTicks(this.view[0] - begin, this.view[1] - begin, most)) {
			const x = Math.round(this.xOf(begin + tick)) + 0.5;
			if (x < LEFT_PX) continue;
			segment(draw, x, AXIS_PX - 4, x, this.height);
			tickText(draw, tick < 0 ? `-${duration(-tick)}` : duration(tick), x, 9, this.width);
		}
	}

	drawHead(draw, colors, { group, y }) {
		draw.strokeStyle = colors.line;
		segment(draw, 0, Math.round(y) + 0.5, this.width, Math.round(y) + 0.5);
		draw.textAlign = "left";
		draw.fillStyle = colors.ink;
		const mark = isFolded(group) ? "▸" : "▾";
		const said = `${mark} ${clipped(group.label, 40)}`;
		draw.fillText(said, 2, y + GROUP_PX / 2 + 1);
		draw.fillStyle = colors.soft;
		const failed = group.failures ? `, ${counted(group.failures)} failed` : "";
		const left = group.bars_left_off ? `, ${counted(group.bars_left_off)} shortest not drawn` : "";
		const most = isFolded(group) ? `, up to ${counted(Math.max(0, ...group.cells))} at once` : "";
		draw.fillText(`${counted(group.attempts)} attempts${failed}${most}${left}`, 16 + draw.measureText(said).width, y + GROUP_PX / 2 + 1);
	}

	drawRow(draw, colors, { bars, y }) {
		let last = -2, lastOutcome = "";
		for (let index = firstAfter(bars, this.view[0]); index < bars.length; index += 1) {
			const bar = bars[index];
			const waits = this.showsQueue && bar.ready_at && bar.ready_at < bar.began_at;
			if ((waits ? bar.ready_at : bar.began_at) > this.view[1]) break;
			const x = this.xOf(bar.began_at);
			const wide = Math.max(1.5, this.xOf(bar.ended_at) - x - 0.5);
			const isMarked = bar === this.selected || (this.showsCritical && bar.is_critical);
			// Bars within one pixel look alike: one of them is drawn.
			if (!isMarked && x + wide < last + 0.75 && bar.outcome === lastOutcome) continue;
			if (waits) {
				draw.fillStyle = colors.idle;
				draw.globalAlpha = 0.55;
				draw.fillRect(this.xOf(bar.ready_at), y + ROW_PX / 2 - 1, x - this.xOf(bar.ready_at), 2);
				draw.globalAlpha = 1;
			}
			this.drawBar(draw, colors, { bar, x, y, wide });
			[last, lastOutcome] = [x + wide, bar.outcome];
		}
	}

	drawBar(draw, colors, { bar, x, y, wide }) {
		draw.fillStyle = colors[kindOf(bar.outcome)];
		draw.fillRect(x, y + 3, wide, ROW_PX - 6);
		const seen = Math.max(x, LEFT_PX);
		const isPlain = bar.outcome === "done" || bar.outcome === "running";
		if (!isPlain && wide > 8) {
			draw.strokeStyle = colors.card;
			draw.lineWidth = 1.5;
			const middle = seen + Math.min(wide, 14) / 2;
			segment(draw, middle - 3, y + 6, middle + 3, y + ROW_PX - 6);
			if (bar.outcome === "failed") segment(draw, middle + 3, y + 6, middle - 3, y + ROW_PX - 6);
			draw.lineWidth = 1;
		}
		const room = x + wide - seen - (isPlain ? 10 : 24);
		if (room > 45) {
			draw.fillStyle = colors.card;
			draw.textAlign = "left";
			draw.fillText(clipped(bar.id, Math.floor(room / 6.2)), x + wide - room - 5, y + ROW_PX / 2 + 0.5);
		}
		if (this.showsCritical && bar.is_critical) {
			draw.fillStyle = colors.ink;
			draw.fillRect(x, y + ROW_PX - 3, wide, 2);
		}
		if (bar === this.selected) {
			draw.strokeStyle = colors.ink;
			draw.lineWidth = 2;
			draw.strokeRect(x - 1, y + 2, wide + 2, ROW_PX - 4);
			draw.lineWidth = 1;
		}
	}

	drawCells(draw, colors, { cells: group, y }) {
		const most = Math.max(1, ...group.cells);
		const from = this.timeline.from_at;
		const span = (this.timeline.to_at - from) / group.cells.length;
		const room = CELLS_PX - 8;
		for (const [counts, color] of [[group.cells, colors.good], [group.failed_cells, colors.bad]]) {
			draw.fillStyle = color;
			draw.globalAlpha = color === colors.good ? 0.7 : 1;
			counts.forEach((count, index) => {
				const x = this.xOf(from + index * span);
				const high = count ? Math.max(1.5, (count / most) * room) : 0;
				draw.fillRect(x, y + CELLS_PX - 4 - high, this.xOf(from + (index + 1) * span) - x + 0.3, high);
			});
		}
		draw.globalAlpha = 1;
	}

	listen() {
		let drag = null;
		const canvas = this.canvas;
		canvas.addEventListener("wheel", (event) => {
			const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
			if (event.ctrlKey || event.metaKey) this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.atX(event.offsetX));
			else if (sideways) this.move(this.atX(LEFT_PX + (event.deltaX || event.deltaY)));
			else if (!this.scroll(event.deltaY)) return; // At its end the page scrolls.
			event.preventDefault();
		}, { passive: false });
		const on = (what, act) => canvas.addEventListener(what, act);
		on("pointerdown", (event) => {
			drag = { x: event.offsetX, from: this.view[0], y: event.offsetY, hasMoved: false };
		});
		on("pointermove", (event) => {
			if (!drag) this.point(event);
			else if (drag.hasMoved || Math.hypot(event.offsetX - drag.x, event.offsetY - drag.y) > 4) {
				if (!drag.hasMoved) canvas.setPointerCapture(event.pointerId);
				drag.hasMoved = true;
				this.move(drag.from - (this.atX(event.offsetX) - this.atX(drag.x)));
				this.scroll(-event.movementY);
			}
		});
		on("pointerup", (event) => {
			const isClick = drag && !drag.hasMoved;
			drag = null;
			if (!isClick) return;
			const line = this.lineAt(event.offsetY);
			if (line?.group) this.onOpen(line.group.key);
			else if (line?.cells) this.onOpen(line.cells.key);
			else this.choose(this.barAt(event.offsetX, event.offsetY), { tells: true });
		});
		on("pointerleave", () => {
			drag = null;
			this.tip.hidden = true;
		});
		on("dblclick", (event) => this.zoom(0.4, this.atX(event.offsetX)));
		on("keydown", (event) => this.pressed(event));
	}

	lineAt(y) {
		const wanted = y - AXIS_PX + this.top;
		return y < AXIS_PX ? undefined : this.layout.lines.find((one) => wanted >= one.y && wanted < one.y + one.height);
	}

	barAt(x, y) {
		const line = this.lineAt(y);
		if (!line?.bars) return null;
		const at = this.atX(x), slack = this.atX(x + 3) - at;
		const bar = line.bars[firstAfter(line.bars, at - slack)];
		return bar && bar.began_at <= at + slack ? { line, bar } : null;
	}

	point(event) {
		const found = this.barAt(event.offsetX, event.offsetY);
		this.tip.hidden = !found;
		this.canvas.classList.toggle("pointing", Boolean(found) || !this.lineAt(event.offsetY)?.bars);
		if (!found) return;
		const { bar } = found;
		fill(this.tip, strong(clipped(bar.id, 80)), element("span", this.words(bar)),
			bar.error && wrong(bar.error, 300));
		const isRight = event.offsetX > this.width / 2;
		this.tip.style.left = isRight ? "auto" : `${event.offsetX + 14}px`;
		this.tip.style.right = isRight ? `${this.width - event.offsetX + 14}px` : "auto";
		this.tip.style.top = `${event.offsetY + 14}px`;
	}

	words(bar) {
		const waits = bar.ready_at && bar.ready_at < bar.began_at;
		const waited = waits ? `, after waiting ${duration(bar.began_at - bar.ready_at)}` : "";
		return `${shapeOf(bar.outcome)} ${bar.id}, attempt ${bar.attempt} on ${bar.executor}: ` +
			`${OUTCOMES[bar.outcome] ?? bar.outcome}, ` +
			`${bar.outcome === "running" ? "runs for" : "ran"} ${duration(bar.ended_at - bar.began_at)} from ${duration(bar.began_at - this.layout.from)} on${waited}`;
	}

	pressed(event) {
		if (event.altKey || event.metaKey || event.ctrlKey) return;
		const [from, to] = this.view;
		const acts = {
			"+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), 0: () => this.fit(),
			f: () => this.foldQueue(), c: () => this.markPath(),
			ArrowRight: () => event.shiftKey ? this.move(from + (to - from) / 5) : this.step(1),
			ArrowLeft: () => event.shiftKey ? this.move(from - (to - from) / 5) : this.step(-1),
			ArrowDown: () => this.step(0, 1), ArrowUp: () => this.step(0, -1),
			PageDown: () => this.scroll(this.height / 2), PageUp: () => this.scroll(-this.height / 2),
			Enter: () => this.selected && this.onSelect(this.selected),
		};
		if (!acts[event.key]) return;
		acts[event.key]();
		event.preventDefault();
		event.stopPropagation(); // These keys are not those of the page.
	}

	/** Select the bar after or before, in its row or in the one below or above. */
	step(by, rowsBy = 0) {
		const rows = this.layout.lines.filter((line) => line.bars?.length);
		const near = (list, index) => list[Math.max(0, Math.min(list.length - 1, index))];
		const line = near(rows, rows.findIndex(({ bars }) => bars.includes(this.selected)) + rowsBy);
		if (!line) return;
		const at = this.selected?.began_at ?? this.view[0];
		this.choose({ line, bar: near(line.bars, rowsBy ? firstAfter(line.bars, at) : line.bars.indexOf(this.selected) + by) });
	}
}

function keyOf() {
	const entry = (kind, word, mark) => element("li", element("span", { class: `key ${kind}` }, mark), word);
	return element("ul.legend", entry("good", "succeeded"), entry("busy", "under way"), entry("warn", "failed, ran again", "╱"),
		entry("bad", "failed for good", "✕"), entry("path", "critical path"),
		element("li.soft", "Ctrl + wheel zooms, drag moves, arrows step, Enter opens"));
}
