// A virtual list: a hundred thousand rows, of which those in sight have elements.

import { button, element, fill, Frame, put } from "./dom.js";

const MARGIN_ROWS = 8;
const GAP_PX = 12, SIDES_PX = 44;

export function rowsInSight(scrollTop, viewHeight, rowHeight, count) {
	const first = Math.max(0, Math.floor(scrollTop / rowHeight) - MARGIN_ROWS);
	const last = Math.min(count, Math.ceil((scrollTop + viewHeight) / rowHeight) + MARGIN_ROWS);
	return [Math.min(first, last), last];
}

/** Where to scroll so that a row is in sight; the present place if it is already. Pure. */
export function scrollFor(index, scrollTop, viewHeight, rowHeight) {
	const top = index * rowHeight;
	if (top < scrollTop) return top;
	return top + rowHeight > scrollTop + viewHeight ? top + rowHeight - viewHeight : scrollTop;
}

export function widthOf(columns) {
	const least = columns.map((column) => Number(/\d+/.exec(column.track)[0]));
	return least.reduce((sum, width) => sum + width, SIDES_PX + GAP_PX * (columns.length - 1));
}

/**
 * A list with a head. A column is [title, track (its least pixels, and its share of the rest if it may grow), cell(row), traits, order]:
 * the traits are `number`, and `wide` for those that narrow places leave off; the order is the name
 * by which the server sorts.
 * `onNeed` asks for more rows when the end comes into sight; `onOpen(row)` follows Enter or a click.
 */
export class VirtualList {
	constructor({ columns, label, keyOf, onOpen, onSort, onNeed, rowHeight = 28, className = "" }) {
		this.columns = columns.map(([title, track, cell, traits = "", order = ""]) => ({
			title, track, cell, order, isWide: traits.includes("wide"), className: traits.includes("number") ? "cell number" : "cell",
		}));
		Object.assign(this, { keyOf, onOpen, onSort, onNeed, rowHeight });
		this.rows = [];
		this.drawn = new Map(); // key → {row, index, element}
		this.selected = "";
		this.sorted = "";
		this.isWide = true;
		this.least = widthOf(this.columns);
		this.head = element("div.list-head", { role: "row" });
		this.sheet = element("div.list-sheet", { role: "presentation" });
		this.view = element("div.list-view", {
			tabindex: "0", role: "rowgroup", onkeydown: (event) => this.pressed(event), onclick: (event) => this.clicked(event),
		}, this.sheet);
		this.element = element("div", { class: `list ${className}`, role: "grid", "aria-label": label },
			this.head, this.view);
		this.view.addEventListener("scroll", () => this.frame.soon(), { passive: true });
		this.watcher = new ResizeObserver(() => this.resized());
		this.watcher.observe(this.element);
		this.frame = new Frame(() => this.draw());
		this.element.style.setProperty("--row", `${rowHeight}px`);
		this.drawHead();
	}

	/** Show these rows; the place stays, by the row that is on top. */
	show(rows, { sorted = this.sorted, keepsPlace = true } = {}) {
		const top = this.rows[Math.floor(this.view.scrollTop / this.rowHeight)];
		const rest = this.view.scrollTop % this.rowHeight;
		this.rows = rows;
		this.index = null;
		this.element.setAttribute("aria-rowcount", String(rows.length));
		this.sheet.style.height = `${rows.length * this.rowHeight}px`;
		if (sorted !== this.sorted) {
			this.sorted = sorted;
			this.drawHead();
		}
		if (!keepsPlace) {
			this.view.scrollTop = 0;
		} else if (top && this.view.scrollTop >= this.rowHeight) {
			const index = this.indexOf(this.keyOf(top));
			if (index >= 0) this.view.scrollTop = index * this.rowHeight + rest;
		}
		this.frame.soon();
	}

	select(key, { scrolls = true } = {}) {
		this.selected = key;
		const index = this.indexOf(key);
		if (index >= 0 && scrolls) {
			const { scrollTop, clientHeight } = this.view;
			this.view.scrollTop = scrollFor(index, scrollTop, clientHeight, this.rowHeight);
		}
		this.frame.soon();
	}

	end() {
		this.watcher.disconnect();
		this.frame.end();
	}

	indexOf(key) {
		this.index ??= new Map(this.rows.map((row, number) => [this.keyOf(row), number]));
		return this.index.get(key) ?? -1;
	}

	get shown() {
		return this.isWide ? this.columns : this.columns.filter((column) => !column.isWide);
	}

	resized() {
		const isWide = this.element.clientWidth >= this.least;
		if (isWide !== this.isWide) {
			this.isWide = isWide;
			this.drawHead();
			for (const { element: drawn } of this.drawn.values()) drawn.remove();
			this.drawn.clear();
		}
		this.frame.soon();
	}

	drawHead() {
		const tracks = this.shown.map(({ track }) => {
			const [least, share] = track.split(" ");
			return share ? `minmax(${least}px, ${share}fr)` : `${least}px`;
		}).join(" ");
		this.element.style.setProperty("--tracks", tracks);
		fill(this.head, this.shown.map((column) => {
			const name = column.order;
			const traits = { class: column.className, role: "columnheader" };
			if (!name) return element("span", traits, column.title);
			const [order, arrow, next] = this.sorted === name ? ["ascending", " ↑", `-${name}`]
				: this.sorted === `-${name}` ? ["descending", " ↓", name] : ["none", "", name];
			return element("span", { ...traits, "aria-sort": order },
				button(column.title + arrow, () => this.onSort?.(next), { class: "sort" }));
		}));
	}

	draw() {
		const { scrollTop, clientHeight } = this.view;
		const [first, last] = rowsInSight(scrollTop, clientHeight, this.rowHeight, this.rows.length);
		const kept = new Set();
		for (let index = first; index < last; index += 1) {
			const row = this.rows[index];
			const key = this.keyOf(row);
			kept.add(key);
			this.drawRow(row, key, index);
		}
		for (const [key, { element: drawn }] of this.drawn) {
			if (!kept.has(key)) {
				drawn.remove();
				this.drawn.delete(key);
			}
		}
		if (last > this.rows.length - 3 * MARGIN_ROWS) this.onNeed?.();
	}

	drawRow(row, key, index) {
		let drawn = this.drawn.get(key);
		if (!drawn) {
			drawn = { row: null, index: -1, element: element("div.list-row", { role: "row" }) };
			drawn.element.dataset.key = key;
			this.drawn.set(key, drawn);
			this.sheet.append(drawn.element);
		}
		if (drawn.row !== row) {
			drawn.row = row;
			fill(drawn.element, this.shown.map((column) =>
				put(element("span", { class: column.className, role: "gridcell" }),
					column.cell(row))));
		}
		if (drawn.index !== index) {
			drawn.index = index;
			drawn.element.style.transform = `translateY(${index * this.rowHeight}px)`;
			drawn.element.setAttribute("aria-rowindex", String(index + 1));
		}
		const isSelected = key === this.selected;
		drawn.element.classList.toggle("selected", isSelected);
		drawn.element.setAttribute("aria-selected", String(isSelected));
	}

	clicked(event) {
		const found = event.target.closest(".list-row");
		if (!found || event.target.closest("a, button")) return;
		const row = this.rows[this.indexOf(found.dataset.key)];
		this.select(found.dataset.key, { scrolls: false });
		if (row) this.onOpen?.(row);
	}

	pressed(event) {
		const page = Math.max(1, Math.floor(this.view.clientHeight / this.rowHeight) - 1);
		const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page,
										Home: -Infinity, End: Infinity };
		const here = this.indexOf(this.selected);
		if (event.key === "Enter" && here >= 0 && event.target === this.view) {
			this.onOpen?.(this.rows[here]);
		} else if (event.key in steps && this.rows.length && !event.ctrlKey && !event.metaKey) {
			const wanted = here < 0 ? 0 : here + steps[event.key];
			this.select(this.keyOf(this.rows[Math.max(0, Math.min(this.rows.length - 1, wanted))]));
		} else {
			return;
		}
		event.preventDefault();
	}
}
