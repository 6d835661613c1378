// Charts on canvas: lines, bands where there are too many lines, and sparks.

import { element, fill, put, Redrawing } from "./dom.js";
import { brief, clipped, clock, counted, moment, zoneOffset } from "./format.js";

/** Above so many series a chart shows bands, which the server makes, and the ten worst. */
export const LINES_MAX = 20;
export const WORST = 10;
const LEFT = 56, BOTTOM = 22, TOP = 8, RIGHT = 10;
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];

/** Round numbers that cover a range, at most `most` of them. */
export function niceTicks(low, high, most = 5) {
	if (!(high > low)) return [low];
	const rough = (high - low) / Math.max(1, most - 1);
	const power = 10 ** Math.floor(Math.log10(rough));
	const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= rough * 0.999);
	const found = [];
	for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) {
		found.push(Number((index * step).toPrecision(12)));
	}
	return found;
}

const STEPS_S = [
	0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200,
	10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
];

/** Moments at whole steps of time within [from, to], at most `most` of them. */
export function timeTicks(from, to, most = 8, offset_s = 0) {
	const span = to - from;
	if (!(span > 0)) return [from];
	const step = STEPS_S.find((one) => span / one <= most) ?? Math.ceil(span / most / 604_800) * 604_800;
	const found = [];
	const first = Math.ceil((from + offset_s) / step - 1e-9);
	for (let index = first; index * step - offset_s <= to; index += 1) {
		found.push(Number((index * step - offset_s).toFixed(3)));
	}
	return found;
}

/** The series with the highest peaks, the highest first. */
export function highest(series, most) {
	const peak = ({ values }) => values.reduce((high, value) => (value > high ? value : high), -Infinity);
	const ranked = series.map((one) => [peak(one), one]).sort((a, b) => b[0] - a[0]);
	return ranked.slice(0, most).map(([, one]) => one);
}

/** A value of an answer about metrics as a number; NaN for none. */
export function numberOf(value) {
	return value === null ? NaN : value === "+Inf" ? Infinity : value === "-Inf" ? -Infinity : value;
}

export function labelOf({ metric, tags }) {
	if (tags.length === 1 && !metric) return tags[0][1];
	const said = tags.map(([name, value]) => `${name}=${value}`).join(", ");
	return said ? (metric ? `${metric} {${said}}` : said) : metric || "all";
}

export function timesOf(answer) {
	return answer.times_ns.map((at) => at / 1e9);
}

export function seriesOf(answer, prefix = "") {
	return answer.series.map((one) => ({ label: [prefix, labelOf(one)].filter((part) => part && part !== "all").join(" ") || "all", values: one.values.map(numberOf) }));
}

export function segment(draw, fromX, fromY, toX, toY) {
	draw.beginPath();
	draw.moveTo(fromX, fromY);
	draw.lineTo(toX, toY);
	draw.stroke();
}

export function clip(draw, x, y, width, height) {
	draw.beginPath();
	draw.rect(x, y, width, height);
	draw.clip();
}

/** The words of a tick below its line, within the width. */
export function tickText(draw, said, x, y, width) {
	draw.textAlign = x > width - 40 ? "right" : "center";
	draw.fillText(said, Math.min(x, width - 2), y);
}

/** The number of the first value that fulfils what all after it fulfil; the count of values for none. Pure. */
export function firstOf(values, isIt) {
	let low = 0, high = values.length;
	while (low < high) {
		const middle = (low + high) >> 1;
		if (isIt(values[middle])) high = middle;
		else low = middle + 1;
	}
	return low;
}

const COLORS = ["ink", "soft", "line", "card", "accent", "good", "bad", "warn", "busy", "idle"];

function palette(node) {
	const style = getComputedStyle(node);
	// The style has a colour for each theme, `light-dark(#…, #…)`, and a canvas needs the one of now.
	const isDark = document.documentElement.dataset.theme === "dark";
	const of = (name) => style.getPropertyValue(`--${name}`).match(/#\w+/g)?.at(isDark ? -1 : 0);
	return { ...Object.fromEntries(COLORS.map((name) => [name, of(name)])), series: [1, 2, 3, 4, 5, 6].map((number) => of(`series-${number}`)), font: `11px ${style.fontFamily}` };
}

/** Size a canvas for its place and the screen; the answer is what draws in pixels of the page, and the colours. */
export function sized(canvas, width, height) {
	canvas.style.height = `${height}px`;
	const ratio = globalThis.devicePixelRatio || 1;
	const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
	if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
	const draw = canvas.getContext("2d");
	draw.setTransform(ratio, 0, 0, ratio, 0, 0);
	draw.clearRect(0, 0, width, height);
	const colors = palette(canvas);
	draw.font = colors.font;
	return [draw, colors];
}

/** A line without axes, with its newest value marked. */
export function spark(canvas, values, { width = 120, height = 28, color = "accent" } = {}) {
	canvas.style.width = `${width}px`;
	const [draw, colors] = sized(canvas, width, height);
	const known = values.filter(Number.isFinite);
	if (known.length < 2) return;
	const low = Math.min(0, ...known), high = Math.max(...known, low + 1e-9);
	const x = (index) => 1 + (index / (values.length - 1)) * (width - 5);
	const y = (value) => height - 3 - ((value - low) / (high - low)) * (height - 6);
	draw.strokeStyle = draw.fillStyle = colors[color];
	draw.lineWidth = 1.5;
	draw.lineJoin = "round";
	line(draw, values, x, y);
	const last = values.findLastIndex(Number.isFinite);
	draw.beginPath();
	draw.arc(x(last), y(values[last]), 2, 0, 2 * Math.PI);
	draw.fill();
}

function line(draw, values, x, y) {
	let isDown = false;
	draw.beginPath();
	for (let index = 0; index < values.length; index += 1) {
		if (!Number.isFinite(values[index])) isDown = false;
		else if (isDown) draw.lineTo(x(index), y(values[index]));
		else {
			isDown = true;
			draw.moveTo(x(index), y(values[index]));
			// A point without neighbours is a dot.
			if (!Number.isFinite(values[index + 1])) draw.arc(x(index), y(values[index]), 1, 0, 2 * Math.PI);
		}
	}
	draw.stroke();
}

function styleAs(draw, { series }, number) {
	draw.strokeStyle = series[number % series.length];
	draw.setLineDash(DASHES[Math.floor(number / series.length) % DASHES.length]);
}

/** A chart over time of series {label, values}, and of bands behind them. */
export class LineChart {
	constructor({ label, height = 200, format = brief, onPick } = {}) {
		Object.assign(this, { height, format, onPick });
		this.series = [];
		this.times = [];
		this.bands = null;
		this.range = [0, 1];
		this.marked = -1;
		this.isUtc = false;
		this.canvas = element("canvas", {
			tabindex: "0", role: "img", "aria-label": label, onkeydown: (event) => this.pressed(event),
			onpointermove: (event) => this.mark(this.indexAt(event.offsetX)), onpointerleave: () => this.mark(-1),
			onclick: () => this.marked >= 0 && this.onPick?.(this.times[this.marked]),
		});
		this.legend = element("ul.legend");
		this.reading = element("p.reading", { "aria-live": "polite" });
		this.element = element("figure.chart", this.canvas, this.reading, this.legend);
		this.redrawing = new Redrawing(this.element, () => this.draw());
	}

	/** Show these series over [from, to] (seconds since 1970); `bands` of `count` series behind them. */
	show(times, series, { range, isUtc = false, bands = null, count = series.length } = {}) {
		Object.assign(this, { times, isUtc, count, series, bands });
		this.range = range ?? [times[0] ?? 0, times.at(-1) ?? 1];
		this.draw();
		this.drawLegend();
	}

	end() {
		this.redrawing.end();
	}

	scale() {
		const shown = this.series.map((one) => one.values).concat(this.bands ? [this.bands.low, this.bands.high] : []);
		let low = 0, high = -Infinity;
		for (const values of shown) {
			for (const value of values) {
				if (Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
			}
		}
		if (high === -Infinity) high = 1;
		if (high <= low) high = low + 1;
		const ticks = niceTicks(low, high + (high - low) * 0.05, 5);
		return { low, high: Math.max(high * 1.02, ticks.at(-1)), ticks };
	}

	draw() {
		const width = this.element.clientWidth;
		if (!width || !this.times.length) return;
		const [draw, colors] = sized(this.canvas, width, this.height);
		const { low, high, ticks } = this.scale();
		const [from, to] = this.range;
		const xOf = (at) => LEFT + ((at - from) / Math.max(1e-9, to - from)) * (width - LEFT - RIGHT);
		const yOf = (value) => TOP + (1 - (value - low) / (high - low)) * (this.height - TOP - BOTTOM);
		this.xOf = xOf;
		this.drawAxes(draw, colors, { ticks, xOf, yOf, width });
		draw.save();
		clip(draw, LEFT, 0, width - LEFT - RIGHT + 2, this.height - BOTTOM + 2);
		const x = (index) => xOf(this.times[index]);
		if (this.bands) this.drawBands(draw, colors, x, yOf);
		draw.lineJoin = "round";
		this.series.forEach((one, number) => {
			styleAs(draw, colors, number);
			draw.lineWidth = this.bands ? 1 : 1.5;
			line(draw, one.values, x, yOf);
		});
		draw.setLineDash([]);
		if (this.marked >= 0) {
			draw.strokeStyle = colors.soft;
			draw.lineWidth = 1;
			segment(draw, x(this.marked), TOP, x(this.marked), this.height - BOTTOM);
		}
		draw.restore();
	}

	drawAxes(draw, colors, { ticks, xOf, yOf, width }) {
		draw.lineWidth = 1;
		draw.textBaseline = "middle";
		draw.textAlign = "right";
		for (const tick of ticks) {
			const y = Math.round(yOf(tick)) + 0.5;
			draw.strokeStyle = colors.line;
			segment(draw, LEFT, y, width - RIGHT, y);
			draw.fillStyle = colors.soft;
			draw.fillText(this.format(tick), LEFT - 8, y);
		}
		const [from, to] = this.range;
		draw.textBaseline = "alphabetic";
		const most = Math.max(2, Math.floor((width - LEFT) / 90));
		for (const tick of timeTicks(from, to, most, zoneOffset(from, this.isUtc))) {
			const said = to - from > 86_400 * 2 ? moment(tick, this.isUtc).slice(5, 16) : clock(tick, this.isUtc).slice(0, to - from < 600 ? 8 : 5);
			tickText(draw, said, xOf(tick), this.height - 6, width);
		}
	}

	drawBands(draw, colors, x, y) {
		for (const [under, over, opacity] of [["low", "high", 0.14], ["p10", "p90", 0.26]]) {
			draw.fillStyle = colors.accent;
			draw.globalAlpha = opacity;
			draw.beginPath();
			const upper = this.bands[over], lower = this.bands[under];
			const known = upper.map((_, index) => index).filter((index) => Number.isFinite(upper[index]));
			known.forEach((index, number) => draw[number ? "lineTo" : "moveTo"](x(index), y(upper[index])));
			for (const index of known.reverse()) draw.lineTo(x(index), y(lower[index]));
			draw.fill();
		}
		draw.globalAlpha = 1;
		draw.strokeStyle = colors.accent;
		draw.lineWidth = 2;
		line(draw, this.bands.p50, x, y);
	}

	drawLegend() {
		const colors = palette(this.canvas);
		const entry = (number, label, value) => {
			const swatch = element("canvas.swatch", { "aria-hidden": "true" });
			const [draw] = sized(swatch, 22, 8);
			draw.strokeStyle = colors.accent;
			if (number >= 0) styleAs(draw, colors, number);
			draw.lineWidth = number < 0 ? 3 : 2;
			segment(draw, 0, 4, 22, 4);
			return element("li", { title: label }, swatch, clipped(label, 90),
				element("span.value", this.format(value)));
		};
		const at = this.marked >= 0 ? this.marked : this.times.length - 1;
		fill(this.legend,
			this.bands && entry(-1, `middle of ${counted(this.count)} series; bands: 10–90 %, lowest–highest; lines: the ${this.series.length} highest`, this.bands.p50[at] ?? NaN),
			this.series.map((one, number) => entry(number, one.label, one.values[at] ?? NaN)));
	}

	indexAt(pixel) {
		if (!this.xOf || !this.times.length || pixel < LEFT - 10) return -1;
		const low = Math.min(this.times.length - 1, firstOf(this.times, (at) => this.xOf(at) >= pixel));
		const isNearer = low > 0 && pixel - this.xOf(this.times[low - 1]) < this.xOf(this.times[low]) - pixel;
		return isNearer ? low - 1 : low;
	}

	mark(index) {
		if (index === this.marked) return;
		this.marked = index;
		fill(this.reading);
		if (index >= 0) put(this.reading, moment(this.times[index], this.isUtc));
		this.draw();
		this.drawLegend();
	}

	pressed(event) {
		const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
		if (event.key === "Enter" && this.marked >= 0) this.onPick?.(this.times[this.marked]);
		else if (event.key === "Escape") this.mark(-1);
		else if (event.key in steps && this.times.length) {
			const here = this.marked < 0 ? this.times.length : this.marked;
			this.mark(Math.max(0, Math.min(this.times.length - 1, here + steps[event.key])));
		} else return;
		event.preventDefault();
	}
}
