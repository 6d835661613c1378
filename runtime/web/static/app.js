// The page: who is there, which view is shown, and what holds for all views.

import { Api } from "./api.js";
import { button, code as typed, element, empty, failure, fill, put, say, showTheme, systemTheme } from "./dom.js";
import { clock, codeOf, counted, formatAddress, parseAddress } from "./format.js";
import { digestOf, Refresher, ValuesModel } from "./model.js";
import { Stream } from "./stream.js";
import { AlertsView } from "./views/alerts.js";
import { ConnectionsView } from "./views/connections.js";
import { EventsView } from "./views/events.js";
import { ExecutionView } from "./views/execution.js";
import { ExecutionsView } from "./views/executions.js";
import { MetricsView } from "./views/metrics.js";
import { NowView } from "./views/now.js";
import { TreeView } from "./views/tree.js";

const VIEWS = [
	["now", "Now", NowView], ["tree", "Tree", TreeView], ["executions", "Executions", ExecutionsView],
	["metrics", "Metrics", MetricsView], ["alerts", "Alerts", AlertsView], ["events", "Events", EventsView],
	["connections", "Connections", ConnectionsView],
];
const SYSTEM_EVERY_MS = 2_000;
const CHECK_EVERY_MS = 30_000;
const CHECK_AGAIN_MS = 3_000;
const HOSTS_MAX = 5_000;
const STATES = {
	connecting: ["◔", "warn", "connecting"], "catching up": ["◔", "warn", "catching up"],
	live: ["●", "good", "live"], stale: ["◌", "warn", "stale"], refused: ["✕", "bad", "signed out"],
};

/** What views use of the page. */
class Page {
	constructor() {
		this.api = new Api({ onSignedOut: () => this.signedOut() });
		this.utc = stored("utc") === "yes";
		this.system = null;
		this.model = new ValuesModel();
		this.approvals = new ValuesModel();
		this.checks = { done: 0, wrong: 0 };
		this.me = null;
		this.view = null;
		this.viewName = "";
		this.liveAt = 0;
		this.hearers = new Set();
		this.refresher = new Refresher(() => this.readSystem(), {
			everyMs: SYSTEM_EVERY_MS, isHidden: () => document.hidden,
		});
	}

	now() {
		return Date.now() / 1000;
	}

	may(scope) {
		return this.me?.scopes.includes(scope) ?? false;
	}

	go(path, query = {}) {
		location.hash = formatAddress(path, query);
	}

	/** Change the query of this place: a step that the browser goes back. */
	setQuery(change) {
		location.hash = this.changed(change);
	}

	/** Change the query of this place, and make no step of it. */
	adjust(change) {
		const hash = this.changed(change);
		if (hash === location.hash) return;
		history.replaceState(null, "", hash);
		this.route();
	}

	changed(change) {
		const { path, query } = parseAddress(location.hash);
		return formatAddress(path, { ...query, ...change });
	}

	/** Hear of each new reading of the system; the answer ends that. */
	onSystem(hear) {
		this.hearers.add(hear);
		if (this.system) hear(this.system);
		return () => this.hearers.delete(hear);
	}

	async start() {
		showTheme(stored("theme"), () => stored("theme"));
		const code = codeOf(location.hash);
		if (code) history.replaceState(null, "", location.pathname + location.search);
		try {
			if (code) await this.api.login(code);
			this.me = await this.whoAmI();
		} catch (error) {
			this.askForCode(code || error.status !== 401 ? error : undefined);
			return;
		}
		this.build();
		const address = new URL("connection/websocket", document.baseURI);
		address.protocol = address.protocol.replace("http", "ws");
		this.stream = new Stream({
			url: address.href, token: () => this.api.token(),
			onState: (state, detail) => this.showState(state, detail),
		});
		this.follow("system", this.model);
		this.follow("approvals", this.approvals);
		this.follow("executions");
		this.follow("alerts");
		this.stream.start();
		addEventListener("hashchange", () => this.route());
		addEventListener("keydown", (event) => this.pressed(event));
		for (const what of ["visibilitychange", "resume"]) document.addEventListener(what, () => !document.hidden && this.wake());
		addEventListener("pageshow", () => this.wake());
		addEventListener("online", () => this.stream.wake());
		setInterval(() => this.tick(), 1000);
		setInterval(() => this.check(), CHECK_EVERY_MS);
		this.refresher.run();
		this.route();
	}

	/** Who asks: by the session, or, where the server needs no token, without one. */
	async whoAmI() {
		try {
			await this.api.token();
		} catch (error) {
			if (error.status !== 401) throw error;
			this.api.needsToken = false;
		}
		return this.api.get("me");
	}

	/** One of the channels that every view may use has news: an event, or that it begins (again). */
	said(channel) {
		this.refresher.touch();
		this.view?.said?.(channel);
	}

	follow(channel, model) {
		this.stream.subscribe(channel, {
			onSubscribed: (snapshot) => {
				if (snapshot) model?.take(snapshot);
				this.said(channel);
			},
			onPublication: (event) => {
				model?.change(event.payload);
				this.said(channel);
			},
		});
	}

	/** What persons are asked for, the oldest first. */
	get asked() {
		return [...this.approvals.values.values()].filter(({ state }) => state === "asked").sort((a, b) => a.asked_at - b.asked_at);
	}

	async hosts() {
		const found = [];
		for (let after = ""; found.length < HOSTS_MAX; ) {
			const { items, next } = await this.api.get("hosts", { limit: 500, after });
			found.push(...items);
			if (!next) break;
			after = next;
		}
		return found;
	}

	/** Hold the model against a fresh list. Both change, so only a difference that stays is one. */
	async check({ isSecond = false } = {}) {
		if (document.hidden || !this.model.isKnown || this.stream.state !== "live") return;
		try {
			const hosts = await this.hosts();
			this.checks.done += 1;
			if (digestOf(hosts) === digestOf(this.model.hosts())) return;
		} catch {
			return; // The banner says that the server does not answer.
		}
		if (!isSecond) {
			setTimeout(() => this.check({ isSecond: true }), CHECK_AGAIN_MS);
			return;
		}
		this.checks.wrong += 1;
		this.model.isKnown = false;
		this.follow("system", this.model); // A new subscription begins with a new snapshot.
	}

	async readSystem() {
		try {
			this.system = await this.api.get("system");
		} catch (error) {
			if (this.hasEnded) return;
			this.refresher.touch();
			this.view?.systemFailed?.(error);
			return;
		}
		say(this.name, this.system.name || "Callboard");
		this.name.title = `Callboard ${this.system.version}`;
		const { executions, alerts, hosts } = this.system;
		for (const [name, count, kind, title] of [
			["executions", executions?.running, "busy", "running"], ["alerts", alerts?.firing, "bad", "firing"],
			["tree", (hosts.down ?? 0) + (hosts.silent ?? 0), "bad", "down or silent"],
		]) {
			const badge = this.links.get(name).lastChild;
			say(badge, count ? counted(count) : "");
			Object.assign(badge, { className: `count ${kind}`, title });
		}
		for (const hear of this.hearers) hear(this.system);
	}

	wake() {
		this.stream.wake();
		this.refresher.wake();
		this.view?.woke?.();
	}

	tick() {
		if (document.hidden) return;
		this.view?.tick?.();
		if (this.stream.state === "live") this.liveAt = this.now();
		this.refresher.touch();
	}

	build() {
		this.links = new Map(VIEWS.map(([name, title], index) => [name,
			element("a", { href: formatAddress([name]), title: `${title} (${index + 1})` }, title,
				element("span.count"))]));
		this.name = element("strong.system-name", "Callboard");
		this.banner = element("p.banner", { role: "status" });
		this.zone = button("", () => this.setZone(!this.utc), { class: "quiet" });
		this.main = element("main", { id: "main", tabindex: "-1" });
		this.tellZone();
		document.body.replaceChildren();
		put(document.body,
			element("a.skip", { href: "#main", onclick: (event) => {
				event.preventDefault();
				this.main.focus();
			} }, "Skip to the content"),
			element("header.top", element("img.mark", { src: new URL("icon.svg", import.meta.url).href, alt: "" }), this.name,
				this.banner, element("span.gap"), this.zone,
				button("Theme", nextTheme, { class: "quiet", title: "Dark or light (t)" }),
				button("?", showKeys, { class: "quiet", title: "Keys (?)", "aria-label": "Keys" })),
			element("nav.side", { "aria-label": "Views" }, [...this.links.values()]), this.main);
		this.showState("connecting");
	}

	showState(state, detail = "") {
		const [shape, kind, word] = STATES[state];
		const since = state === "stale" && this.liveAt ? ` since ${clock(this.liveAt, this.utc)}` : "";
		this.banner.className = `banner ${kind}`;
		this.banner.title = detail;
		fill(this.banner, element("span.shape", { "aria-hidden": "true", text: shape }),
			`${word}${since}${state === "refused" && detail ? `: ${detail}` : ""}`);
		if (state === "live") this.liveAt = this.now();
		if (state === "refused") put(this.banner, button("Sign in", () => this.signedOut(), { class: "quiet" }));
	}

	setZone(utc) {
		this.utc = utc;
		store("utc", utc ? "yes" : "no");
		this.tellZone();
		this.view?.settingsChanged?.();
	}

	tellZone() {
		say(this.zone, this.utc ? "UTC" : "Local time");
		this.zone.title = `Show ${this.utc ? "local times" : "times in UTC"} (u)`;
	}

	route() {
		const { path, query } = parseAddress(location.hash);
		const [name = "now", ...rest] = path;
		const [, title, View] = VIEWS.find(([one]) => one === name) ?? [];
		const isOne = name === "executions" && rest.length > 0;
		const wanted = isOne ? "execution" : name;
		for (const [one, link] of this.links) {
			if (one === name) link.setAttribute("aria-current", "page");
			else link.removeAttribute("aria-current");
		}
		if (wanted !== this.viewName || !this.view) {
			this.view?.end?.();
			this.viewName = wanted;
			this.view = isOne ? new ExecutionView(this) : View ? new View(this) : null;
			fill(this.main, this.view?.element
				?? empty("There is no such view", element("a", { href: "#/now" }, "Go to Now")));
			this.main.scrollTop = 0;
		}
		document.title = `${isOne ? rest[0] : title ?? "Callboard"} · ${this.system?.name ?? "Callboard"}`;
		this.view?.show(rest, query);
	}

	pressed(event) {
		const isTyping = event.target.closest("input, textarea, select, dialog[open], [contenteditable]");
		if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
		const view = VIEWS[Number(event.key) - 1];
		if (view && /^[1-9]$/.test(event.key)) this.go([view[0]]);
		else if (event.key === "/") this.main.querySelector("[data-search]")?.focus();
		else if (event.key === "t") nextTheme();
		else if (event.key === "u") this.setZone(!this.utc);
		else if (event.key === "?") showKeys();
		else if (event.key === "Escape" && this.view?.escape) this.view.escape();
		else return;
		event.preventDefault();
	}

	signedOut() {
		if (!this.me) return; // The beginning asks by itself.
		this.stream?.stop();
		this.refresher.end();
		this.hasEnded = true;
		this.view?.end?.();
		this.view = null;
		this.askForCode();
	}

	askForCode(error) {
		const input = element("input", { name: "code", id: "code", autocomplete: "off", required: true, size: "32" });
		const said = element("div");
		if (error && error.status !== 401) put(said, failure(error, () => location.reload()));
		else if (error) put(said, failure({ title: "This link has been used, or is too old" }));
		const form = element("form.sign-in",
			element("h1", "Callboard"),
			element("p", "Run ", typed("callboard ui"), " where the system runs, and open the link that it prints, or type its code here."),
			element("p", element("label", { for: "code" }, "One-time code"), input),
			element("p.actions", element("button.primary", "Sign in")), said);
		form.addEventListener("submit", async (event) => {
			event.preventDefault();
			try {
				await this.api.login(codeOf(input.value) || input.value.trim());
				location.reload();
			} catch (refused) {
				const why = refused.status === 401 ? { title: "This code has been used, or is too old" } : refused;
				fill(said, failure(why));
			}
		});
		document.body.replaceChildren(form);
		input.focus();
	}
}

function stored(name) {
	try {
		return localStorage.getItem(`callboard.${name}`);
	} catch {
		return null; // Without storage the page forgets, and works.
	}
}

function store(name, value) {
	try {
		localStorage.setItem(`callboard.${name}`, value);
	} catch {
		// See `stored`.
	}
}

function nextTheme() {
	const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
	store("theme", next === systemTheme() ? "" : next);
	showTheme(next);
}

function showKeys() {
	const keys = [
		["1 – 7", "the views"], ["/", "search"], ["↑ ↓ or k j, Page ↑ ↓, Home, End", "move in a list or a timeline"],
		["Enter", "open"], ["Esc", "close the detail"], ["+ − 0", "zoom a timeline in, out, to all of it"],
		["f, c", "waiting, critical path"], ["t", "dark and light"], ["u", "local time and UTC"],
	];
	const dialog = element("dialog", { "aria-label": "Keys" }, element("form", { method: "dialog" },
		element("h2", "Keys"),
		element("dl.keys", keys.map(([key, what]) => [element("dt", key), element("dd", what)])),
		element("p.actions", element("button.primary", "Close"))));
	dialog.addEventListener("close", () => dialog.remove());
	document.body.append(dialog);
	dialog.showModal();
}

const page = new Page();
page.start();
