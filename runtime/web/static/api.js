// The HTTP API. All addresses are relative, so the page works below any prefix.

const TIMEOUT_MS = 20_000;
/** A token lives for five minutes; a fresh one is fetched before that. */
const TOKEN_MS = 240_000;
const KEPT_MAX = 60;
/** What no form and no image of another site can send: the server asks for it where cookies count. */
const HEADERS = { "X-Callboard": "page", Accept: "application/json" };

/** A refusal, or no answer: `title` says what failed, `message` why, `advice` what to do. */
export class ApiError extends Error {
	constructor({ title, detail = "", advice = "", code = "", status = 0 }) {
		super(detail || title);
		Object.assign(this, { title, advice, code, status });
		this.isFinal = status === 401 || status === 403;
	}
}

/** The part of an address after `?`; lists become one parameter for each item. */
export function queryOf(fields) {
	const search = new URLSearchParams();
	for (const [name, value] of Object.entries(fields)) {
		for (const one of [value].flat()) {
			if (one !== "" && one != null && one !== false) search.append(name, String(one));
		}
	}
	const said = search.toString();
	return said ? `?${said}` : "";
}

const part = encodeURIComponent;

/**
 * The calls of the page. The cookie of the session gives tokens of some minutes, and those give all
 * else. `onSignedOut` hears when the session no longer counts.
 */
export class Api {
	constructor({ fetch = globalThis.fetch.bind(globalThis), base = "", onSignedOut = () => {}, now = () => performance.now() } = {}) {
		Object.assign(this, { fetch, base, onSignedOut, now });
		this.kept = new Map(); // address → {tag, value}: an unchanged answer costs a 304
		this.needsToken = true;
		this.bearer = null; // {token, until}
		this.fetching = null;
	}

	/** A token that counts for some minutes; "" where the server needs none. */
	async token() {
		if (!this.needsToken) return "";
		if (this.bearer && this.now() < this.bearer.until) return this.bearer.token;
		// Many calls at once wait for one token.
		this.fetching ??= this.newToken().finally(() => (this.fetching = null));
		return this.fetching;
	}

	async newToken() {
		const { token } = await (await this.send("token", { method: "POST" })).json();
		this.bearer = { token, until: this.now() + TOKEN_MS };
		return token;
	}

	async get(path, fields = {}) {
		const address = `${path}${queryOf(fields)}`;
		const known = this.kept.get(address);
		const answer = await this.call(address, { headers: known ? { "If-None-Match": known.tag } : {} });
		if (answer.status === 304 && known) return known.value;
		const value = await answer.json();
		const tag = answer.headers.get("ETag");
		this.kept.delete(address);
		if (tag) this.kept.set(address, { tag, value });
		if (this.kept.size > KEPT_MAX) this.kept.delete(this.kept.keys().next().value);
		return value;
	}

	async post(path, body = {}, { method = "POST", headers = {} } = {}) {
		const answer = await this.call(path, {
			method, headers: { "Content-Type": "application/json", ...headers },
			body: method === "DELETE" ? undefined : JSON.stringify(body),
		});
		return answer.status === 204 ? null : answer.json();
	}

	/** A call with a token. One that has just ended is replaced, and the call made again. */
	async call(path, { headers, ...rest }) {
		for (let isFirst = true; ; isFirst = false) {
			const token = await this.token();
			const more = token ? { Authorization: `Bearer ${token}` } : {};
			try {
				return await this.send(path, { headers: { ...headers, ...more }, ...rest });
			} catch (error) {
				if (error.status !== 401 || !isFirst || !this.needsToken) throw error;
				this.bearer = null;
			}
		}
	}

	async send(path, { headers, ...rest } = {}) {
		let answer;
		try {
			answer = await this.fetch(`${this.base}v1/${path}`, {
				credentials: "same-origin", cache: "no-store", redirect: "error",
				signal: AbortSignal.timeout(TIMEOUT_MS), headers: { ...HEADERS, ...headers }, ...rest,
			});
		} catch (error) {
			const isLate = error.name === "TimeoutError";
			throw new ApiError({
				title: isLate ? "The server did not answer in time" : "The server cannot be reached",
				advice: "The page tries again by itself. `callboard ls` says whether the system runs.",
			});
		}
		if (answer.ok || answer.status === 304) return answer;
		if (answer.status === 401 && path === "token") this.onSignedOut();
		throw await refusal(answer);
	}

	execution(id, what = "", query = {}) { return this.get(`executions/${part(id)}${what && `/${what}`}`, query); }
	story(path) { return this.get(`actors/${part(path)}/story`); }
	steer(id, action, body) { return this.post(`executions/${part(id)}/${action}`, body); }
	async exported(id) { return (await this.call(`executions/${part(id)}/export`, {})).blob(); }
	addSilence(body) { return this.post("alerts/silences", body); }
	endSilence(id) { return this.post(`alerts/silences/${part(id)}`, {}, { method: "DELETE" }); }
	decide(id, body) { return this.post(`approvals/${part(id)}/decide`, body); }
	/** A request of the admin API, as the command line sends it. */
	async ask(name, fields) {
		const { reply, error } = await this.post("admin", { admin: 1, request: `callboard.${name}`, version: 1, fields });
		if (error) throw new ApiError({ title: "The system refused", detail: error.message, advice: error.advice, code: error.code });
		return reply;
	}
	/** Trade the code of a start link for a session. */
	login(code) {
		return this.send("login", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ code }) });
	}
}

async function refusal(answer) {
	let problem = {};
	try {
		problem = await answer.json();
	} catch {
		// A proxy may answer with its own page: the status says enough.
	}
	const errors = (problem.errors ?? []).map(({ pointer, message }) => `${pointer}: ${message}`);
	return new ApiError({
		title: problem.title || `The server answered ${answer.status}`,
		detail: [problem.detail, ...errors].filter(Boolean).join(" "),
		advice: problem.advice, code: problem.code, status: answer.status,
	});
}
