// Figures, durations, times, texts and the address of the page. Pure: the clock and the zone are arguments.

const FOREIGN =
	/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** A text without characters that could move or hide others. */
export function plain(text) {
	return String(text ?? "").replace(FOREIGN, "\u00b7");
}

/** A text of at most `chars` characters; an ellipsis stands for the rest. */
export function clipped(text, chars) {
	const said = plain(text);
	return said.length <= chars ? said : `${said.slice(0, chars - 1)}…`;
}

export function counted(count) {
	return Number.isFinite(count) ? Math.round(count).toLocaleString("en-US") : "–";
}

export function nouns(count, one, many = `${one}s`) {
	return `${counted(count)} ${count === 1 ? one : many}`;
}

const SCALES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** A number in at most five characters, such as `12.3k`. */
export function brief(value) {
	if (!Number.isFinite(value)) return value === Infinity ? "∞" : value === -Infinity ? "-∞" : "–";
	const size = Math.abs(value);
	for (const [scale, letter] of SCALES) {
		if (size >= scale * 0.9995) return `${digits(value / scale)}${letter}`;
	}
	if (size === 0 || Number.isInteger(value)) return String(value);
	return size >= 0.001 ? digits(value) : value.toExponential(0);
}

function digits(value) {
	const size = Math.abs(value);
	const said = value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.0995 ? 2 : 3);
	return said.includes(".") ? said.replace(/\.?0+$/, "") : said;
}

export function bytes(value) {
	if (!Number.isFinite(value)) return "–";
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let left = value, unit = 0;
	while (Math.abs(left) >= 1024 && unit < units.length - 1) [left, unit] = [left / 1024, unit + 1];
	return `${unit ? digits(left) : Math.round(left)} ${units[unit]}`;
}

/** A duration in seconds: below a minute in the best unit, above it in the two largest units. */
export function duration(seconds) {
	if (!Number.isFinite(seconds)) return "–";
	const all = Math.max(0, seconds);
	if (all === 0) return "0 s";
	if (all < 0.0009995) return `${Math.round(all * 1e6)} µs`;
	if (all < 0.9995) return `${all < 0.00995 ? (all * 1e3).toFixed(1) : Math.round(all * 1e3)} ms`;
	if (all < 60) return all < 9.95 ? `${all.toFixed(1)} s` : `${Math.floor(all)} s`;
	const whole = Math.floor(all);
	if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
	if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
	return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export function ago(at, now) {
	if (!at) return "–";
	const seconds = now - at;
	return seconds < 1 ? "now" : `${duration(seconds < 60 ? Math.floor(seconds) : seconds)} ago`;
}

/** What clocks of the zone are ahead of UTC at a moment, in seconds. */
export function zoneOffset(at, utc) {
	return utc ? 0 : -new Date(at * 1000).getTimezoneOffset() * 60;
}

export function moment(at, utc, decimals = 0) {
	if (!Number.isFinite(at) || at <= 0) return "–";
	const said = new Date((at + zoneOffset(at, utc)) * 1000).toISOString();
	return said.replace("T", " ").slice(0, decimals ? -1 : -5);
}

/** The time of day of a moment, with `decimals` (0 or 3) of a second. */
export function clock(at, utc, decimals = 0) {
	return moment(at, utc, decimals).split(" ").at(-1);
}

export function moments(at) {
	return `${moment(at, false, 3)} local · ${moment(at, true, 3)} UTC`;
}

/** A value of a metric in its unit, which the end of the metric's name says. */
export function measured(value, metric) {
	if (/(_seconds|_s|_seconds_sum|_latency)$/.test(metric)) return duration(value);
	return /_bytes(_total)?$/.test(metric) ? `${brief(value)}B` : brief(value);
}

export function quoted(word) {
	return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

export function command(...words) {
	return words.map((word) => quoted(String(word))).join(" ");
}

/** A JSON value in indented lines, at most `chars` of them. */
export function pretty(value, chars = 20_000) {
	const said = typeof value === "string" ? value : JSON.stringify(value, null, 2) ?? "";
	const shown = said.length > chars ? `${said.slice(0, chars)}\n… ${counted(said.length - chars)} more characters` : said;
	return shown.replace(FOREIGN, "\u00b7");
}

/** `#/executions/7?status=failed` as {path: ["executions", "7"], query: {status: "failed"}}. */
export function parseAddress(hash) {
	const said = hash.startsWith("#") ? hash.slice(1) : hash;
	const [place, search = ""] = said.split(/\?(.*)/s);
	return {
		path: place.split("/").filter(Boolean).map(decoded),
		query: Object.fromEntries(new URLSearchParams(search)),
	};
}

function decoded(part) {
	try {
		return decodeURIComponent(part);
	} catch {
		return part;
	}
}

/** The fragment of a place. Values that are empty, null or undefined are left out. */
export function formatAddress(path, query = {}) {
	const kept = Object.entries(query).filter(([, value]) => value !== "" && value != null);
	const search = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
	return `#/${path.map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

/** The one-time code of a start link (`#code=…`), or "". */
export function codeOf(hash) {
	const found = /^#?(?:.*[&?])?code=([^&]+)/.exec(hash);
	return found ? decoded(found[1]) : "";
}
