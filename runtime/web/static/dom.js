// Elements without markup: texts become text nodes, and nothing else does.

import { clipped, command, counted, plain } from "./format.js";

/**
 * An element: `name` may have classes, as `p.soft`. `traits`, which can be left out, are attributes;
 * `on…` are listeners, `class` and `text` as they say, and a value of false, null or undefined is
 * left out. Children are nodes or texts.
 */
export function element(name, traits, ...children) {
	const [tag, ...classes] = name.split(".");
	const made = document.createElement(tag);
	if (classes.length) made.className = classes.join(" ");
	if (traits?.constructor !== Object) return put(made, traits, ...children);
	for (const [trait, value] of Object.entries(traits)) {
		if (value === false || value == null) continue;
		if (trait.startsWith("on")) made.addEventListener(trait.slice(2), value);
		else if (trait === "class") made.className += ` ${value}`;
		else if (trait === "text") made.textContent = plain(value);
		else made.setAttribute(trait, value === true ? "" : plain(value));
	}
	put(made, ...children);
	return made;
}

export function button(label, onclick, traits = {}) {
	return element("button", { type: "button", onclick, ...traits }, label);
}

export function soft(text) {
	return element("span.soft", { text });
}

export function mono(text) {
	return element("span.mono", { text });
}

export function strong(text) {
	return element("strong", { text });
}

export function code(text) {
	return element("code", { text });
}

/** At most `chars` characters of a text, in an element; the tooltip has all. */
export function cut(text, chars, name = "span") {
	return element(name, { title: text }, clipped(text, chars));
}

/** The fields of an event in one line; without them, its size. */
export function fieldsOf({ fields, bytes }, chars) {
	const size = bytes == null ? "" : `${counted(bytes)} bytes`;
	return element("span.mono.soft", fields == null ? size : clipped(JSON.stringify(fields), chars));
}

/** What went wrong, at most `chars` characters of it. */
export function wrong(text, chars = 300) {
	return cut(text, chars, "span.bad-text");
}

export function heading(text) {
	return element("h3", { text });
}

export function hint(...children) {
	return element("p.soft", ...children);
}

export function table(titles, rows) {
	return element("table", element("thead", element("tr", titles.map((one) => element("th", { scope: "col" }, one)))),
		element("tbody", rows.map((cells) => element("tr", cells.map((one) => element("td", one))))));
}

/** Add nodes and texts to a parent; what is empty, 0, false, null or undefined is left out. */
export function put(parent, ...children) {
	for (const child of children.flat(Infinity)) {
		if (!child) continue;
		parent.append(child instanceof Node ? child : plain(child));
	}
	return parent;
}

export function fill(parent, ...children) {
	parent.replaceChildren();
	return put(parent, ...children);
}

export function say(target, text) {
	const said = plain(text);
	if (target.textContent !== said) target.textContent = said;
}

/** The shape and the kind of colour of each state. Shape and word say what the colour says. */
const STATES = new Map([
	["● good", "up connected"], ["✓ good", "done completed ok resolved given inactive"], ["▶ busy", "running"], ["◔ busy", "starting"], ["● busy", "active"],
	["✕ bad", "failed down error refused crashed dead"], ["▲ bad", "firing critical"], ["◌ warn", "silent no_data"], ["◔ warn", "pending slow stopping"],
	["▲ warn", "warning"], ["? warn", "in_doubt interrupted asked"], ["↻ warn", "backing_off restarting retried"],
	["◔ idle", "ready"], ["– idle", "skipped"], ["■ idle", "cancelled stopped ended"], ["◑ idle", "silenced inhibited"],
].flatMap(([looks, words]) => words.split(" ").map((word) => [word, looks.split(" ")])));
const OTHER = ["○", "idle"];

/** The kind of colour of a state: good, bad, warn, busy or idle. */
export function kindOf(state) {
	return (STATES.get(state) ?? OTHER)[1];
}

export function shapeOf(state) {
	return (STATES.get(state) ?? OTHER)[0];
}

/** A state by shape, colour and word. */
export function badge(state, word = state) {
	return element("span", { class: `badge ${kindOf(state)}` },
		element("span.shape", { "aria-hidden": "true", text: shapeOf(state) }),
		plain(word).replaceAll("_", " "));
}

export function card(title, ...children) {
	return element("section.card", title && element("h2", title), ...children);
}

export function empty(what, advice) {
	return element("div.empty",
		element("p.empty-what", what), advice && element("p", advice));
}

export function failure(error, retry) {
	// A part that the system does not have is no failure.
	if (error.code === "not_served" || error.code === "actor_not_found") return empty(error.message, error.advice);
	return element("div.failure", { role: "alert" },
		element("p.failure-what", badge("failed", error.title ?? "This did not work")),
		error.message && element("p", error.message),
		error.advice && element("p.soft", error.advice),
		retry && button("Try again", retry));
}

/** Copy a text; the button says that it did. */
export function copyButton(text, label = "Copy as command") {
	const made = button(label, async () => {
		const copied = await copy(text);
		say(made, copied ? "Copied" : text);
		setTimeout(() => say(made, label), 1500);
	}, { class: "quiet", title: text });
	return made;
}

/** Copy a command of `callboard` with these words. */
export function commandButton(...words) {
	return copyButton(command("callboard", ...words));
}

async function copy(text) {
	try {
		await navigator.clipboard.writeText(text);
		return true;
	} catch {
		return false; // Without the permission the text itself is shown, to be copied by hand.
	}
}

export function systemTheme() {
	return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

/** Show the page dark or light, or as the system is; `chosen` answers what a person has chosen when that changes. */
export function showTheme(name, chosen) {
	document.documentElement.dataset.theme = name || systemTheme();
	dispatchEvent(new Event("themechange"));
	if (chosen) matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => showTheme(chosen()));
}

/** Draws once in the next frame, however often it is asked to; a part that a view owns. */
export class Frame {
	constructor(draw) {
		this.draw = draw;
		this.number = 0;
	}

	soon() {
		this.number ||= requestAnimationFrame(() => {
			this.number = 0;
			this.draw();
		});
	}

	end() {
		cancelAnimationFrame(this.number);
	}
}

/** Draws again when the size of an element or the theme changes, until it ends. */
export class Redrawing extends Frame {
	constructor(watched, draw) {
		super(draw);
		this.watcher = new ResizeObserver(() => this.draw());
		this.watcher.observe(watched);
		addEventListener("themechange", this);
	}

	handleEvent() {
		this.draw();
	}

	end() {
		super.end();
		this.watcher.disconnect();
		removeEventListener("themechange", this);
	}
}

let dialogs = 0;

/**
 * Ask before something happens. `fields` are [name, label, value, whether it is needed]; the answer is an object of them,
 * or null. The dialog says the command that would do the same.
 */
export function confirm({ title, text, action, danger = false, line = "", fields = [] }) {
	dialogs += 1;
	const id = `dialog-${dialogs}`;
	const inputs = fields.map(([name, label, value = "", required = false]) => [
		name, label, element("input", { name, value, required, id: `${id}-${name}`, autocomplete: "off" }),
	]);
	return new Promise((resolve) => {
		const dialog = element("dialog", { "aria-labelledby": id },
			element("form", { method: "dialog" },
				element("h2", { id, text: title }),
				element("p", { text }),
				inputs.map(([, label, input]) =>
					element("p", element("label", { for: input.id, text: label }), input)),
				line && element("p.command", element("code", line), copyButton(line)),
				element("p.actions",
					element("button", { value: "no", formnovalidate: true }, "Keep as it is"),
					element("button", { value: "yes", class: danger ? "danger" : "primary" }, action))));
		dialog.addEventListener("close", () => {
			dialog.remove();
			const given = Object.fromEntries(inputs.map(([name, , input]) => [name, input.value.trim()]));
			resolve(dialog.returnValue === "yes" ? given : null);
		});
		document.body.append(dialog);
		dialog.returnValue = "no";
		dialog.showModal();
	});
}
