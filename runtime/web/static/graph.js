// The graph of a plan on canvas: sub-tasks, or kinds where there are many, right of what they need.

import { sized } from "./charts.js";
import { element, kindOf, Redrawing, shapeOf } from "./dom.js";
import { clipped, nouns } from "./format.js";

export const NODES_MAX = 150;
const WIDTH = 170, HEIGHT = 36, GAP_X = 46, GAP_Y = 10;
const WORST = ["failed", "in_doubt", "running", "backing_off", "ready", "waiting", "cancelled", "skipped", "done"];

/** One node for each sub-task; nodes are {name, said, status, before: [numbers]}. */
export function nodesOfEach(rows) {
	const numbers = new Map(rows.map((row, number) => [row.id, number]));
	return rows.map((row, number) => ({
		name: row.id, said: `${shapeOf(row.status)} ${row.status.replaceAll("_", " ")}`, status: row.status,
		// A sub-task that was added may need a later one: arrows lead to the right only.
		before: [...row.needs, row.parent].map((id) => numbers.get(id)).filter((one) => one < number),
	}));
}

/** One node for each kind of sub-task, with the state of the worst of them. */
export function nodesOfKinds(rows) {
	const kinds = [...new Set(rows.map((row) => row.kind))].slice(0, NODES_MAX);
	const numbers = new Map(kinds.map((kind, number) => [kind, number]));
	const kindOfId = new Map(rows.map((row) => [row.id, row.kind]));
	return kinds.map((kind, number) => {
		const mine = rows.filter((row) => row.kind === kind);
		const status = WORST.find((one) => mine.some((row) => row.status === one)) ?? "waiting";
		const before = new Set(mine.flatMap((row) => [...row.needs, row.parent]).map((id) => numbers.get(kindOfId.get(id))));
		return { name: kind.split(".").at(-1), said: nouns(mine.length, "sub-task"), status, before: [...before].filter((one) => one < number) };
	});
}

/** A column and a row for each node: right of its needs, and near their middle. */
export function placesOf(nodes) {
	const columns = [], places = [];
	nodes.forEach((node, number) => {
		columns[number] = 1 + Math.max(-1, ...node.before.map((one) => columns[one]));
	});
	const middle = (node) => node.before.length ? node.before.reduce((sum, one) => sum + places[one][1], 0) / node.before.length : 0;
	for (let column = 0; column <= Math.max(-1, ...columns); column += 1) {
		const here = columns.flatMap((one, number) => (one === column ? [number] : []));
		here.sort((a, b) => middle(nodes[a]) - middle(nodes[b]) || a - b);
		here.forEach((number, row) => (places[number] = [column, row]));
	}
	return places;
}

export function graphOf(nodes, { onSelect = () => {} } = {}) {
	const places = placesOf(nodes);
	const at = places.map(([column, row]) => [1 + column * (WIDTH + GAP_X), 1 + row * (HEIGHT + GAP_Y)]);
	const wide = Math.max(...at.map(([x]) => x)) + WIDTH + 2, high = Math.max(...at.map(([, y]) => y)) + HEIGHT + 2;
	const canvas = element("canvas", { role: "img", tabindex: "0", "aria-label": `${nouns(nodes.length, "node")}; the table of sub-tasks names what each needs` });
	canvas.style.width = `${wide}px`;
	canvas.addEventListener("click", (event) => {
		const number = at.findIndex(([x, y]) => event.offsetX >= x && event.offsetX < x + WIDTH && event.offsetY >= y && event.offsetY < y + HEIGHT);
		if (number >= 0) onSelect(nodes[number].name);
	});
	const paint = () => {
		if (!canvas.isConnected) return redrawing.end();
		const [draw, colors] = sized(canvas, Math.min(wide, 16_000), Math.min(high, 16_000));
		draw.strokeStyle = colors.soft;
		draw.globalAlpha = 0.55;
		nodes.forEach((node, number) => node.before.forEach((one) => arrow(draw, at[one], at[number])));
		draw.globalAlpha = 1;
		nodes.forEach((node, number) => box(draw, colors, node, at[number]));
	};
	const redrawing = new Redrawing(canvas, paint);
	return element("div.graph", { tabindex: "0", role: "region", "aria-label": "Plan" }, canvas);
}

function arrow(draw, [fromX, fromY], [toX, toY]) {
	const [x, y, endY] = [fromX + WIDTH, fromY + HEIGHT / 2, toY + HEIGHT / 2];
	const bend = Math.max(GAP_X / 2, (toX - x) / 2);
	draw.beginPath();
	draw.moveTo(x, y);
	draw.bezierCurveTo(x + bend, y, toX - bend, endY, toX, endY);
	draw.stroke();
}

function box(draw, colors, node, [x, y]) {
	draw.fillStyle = colors.card;
	draw.strokeStyle = colors[kindOf(node.status)];
	draw.lineWidth = 1.5;
	draw.beginPath();
	draw.roundRect(x, y, WIDTH, HEIGHT, 5);
	draw.fill();
	draw.stroke();
	draw.fillStyle = colors.ink;
	draw.textAlign = "left";
	draw.textBaseline = "middle";
	draw.fillText(clipped(node.name, 24), x + 9, y + 12);
	draw.fillStyle = colors[kindOf(node.status)];
	draw.fillText(clipped(node.said, 26), x + 9, y + 26);
	draw.lineWidth = 1;
}
