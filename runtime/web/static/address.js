// The address of the page: its fragment holds the whole state, so it works below any prefix.

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
