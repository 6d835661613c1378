// A client of the hub in Centrifugo's JSON protocol: connect, subscribe, resume, back-off, ping.
//
// Promises: a channel with positions gives each publication once, in order, across reconnects; where
// the hub cannot resume, `onReset` says so before anything else of the channel comes. A refusal for
// good (close codes from 3500 on, not 4000 to 4499) is not tried again.

import { browserShell } from "./model.js";

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 20_000;
/** No attempt follows another within this time: two attempts within half a second are the most. */
const BACKOFF_MIN_MS = 300;
/** A connection that has lived this long was no refusal, and the back-off begins again. */
const HEALTHY_MS = 5_000;
const CONNECT_TIMEOUT_MS = 10_000;
const PONG_GRACE_MS = 10_000;
const REFRESH_EARLY_MS = 30_000;

/** How long to wait before attempt `attempt` (0 is the first after a failure): full jitter. */
export function backoffMs(attempt, random) {
	const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 10));
	return Math.max(BACKOFF_MIN_MS, random * ceiling);
}

/** Whether a close code is for good. */
export function isFinal(code) {
	return (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);
}

/** One subscription; made by `Stream.subscribe`. */
class Subscription {
	constructor(stream, channel, listener) {
		this.stream = stream;
		this.channel = channel;
		this.listener = listener;
		this.state = "waiting"; // waiting, live, refused
		this.offset = 0;
		this.epoch = "";
		this.isKnown = false; // whether offset and epoch are a position to resume from
		this.attempts = 0;
	}

	end() {
		this.stream.drop(this);
	}

	take(publication) {
		const offset = publication.offset ?? 0;
		if (offset && this.isKnown) {
			if (offset <= this.offset) return; // A repeat.
			this.offset = offset;
		}
		this.listener.onPublication?.(publication.data, publication);
	}

	answered(result) {
		this.state = "live";
		this.attempts = 0;
		const wasLost = result.was_recovering && !result.recovered;
		if (result.recoverable || result.positioned) {
			if (!result.recovered) this.offset = result.offset ?? 0;
			this.epoch = result.epoch ?? "";
			this.isKnown = true;
		}
		if (wasLost) this.listener.onReset?.();
		this.listener.onSubscribed?.(result.data, result);
		for (const publication of result.publications ?? []) this.take(publication);
	}

	refused(error) {
		if (error.code === 112) {
			this.isKnown = false;
			this.listener.onReset?.();
			return true;
		}
		if (error.temporary || error.code === 109) return true;
		this.state = "refused";
		this.listener.onRefused?.(error);
		return false;
	}

	request() {
		const fields = { channel: this.channel };
		if (this.isKnown) Object.assign(fields, { recover: true, epoch: this.epoch, offset: this.offset });
		return fields;
	}
}

/** One connection and its subscriptions. */
export class Stream {
	/**
	 * `token()` promises a fresh token. `onState(state, detail)` hears "connecting", "catching up",
	 * "live", "stale" and "refused". `shell` has the WebSocket class, the clock, and timers.
	 */
	constructor({ url, token, onState = () => {}, shell = browserShell() }) {
		Object.assign(this, { url, token, onState, shell });
		this.subscriptions = new Map();
		this.pending = new Map();
		this.socket = null;
		this.lastId = 0;
		this.attempts = 0;
		this.state = "connecting";
		this.isConnected = false;
		this.isClosed = false;
		this.timers = { retry: 0, watch: 0, refresh: 0 };
		this.pingMs = 25_000;
		this.heardAt = 0;
		this.openedAt = 0;
		this.since = 0;
	}

	start() {
		this.isClosed = false;
		this.attempts = 0;
		this.open();
	}

	stop() {
		this.isClosed = true;
		this.forget();
		this.socket?.close(1000);
		this.socket = null;
	}

	/** Look at the connection now: after sleep, a frozen tab, or a change of the network. */
	wake() {
		if (this.isClosed || this.state === "refused") return;
		const silent = this.shell.now() - this.heardAt;
		if (this.socket && silent < this.pingMs + PONG_GRACE_MS) return;
		if (this.shell.now() - this.openedAt < BACKOFF_MIN_MS) return;
		this.attempts = 0;
		this.abandon();
		this.open();
	}

	/** Subscribe; see `Subscription` for what a listener hears. */
	subscribe(channel, listener) {
		this.subscriptions.get(channel)?.end();
		const made = new Subscription(this, channel, listener);
		this.subscriptions.set(channel, made);
		if (this.isConnected) this.ask(made);
		return made;
	}

	/** Publications of a channel after a position, oldest first: {publications, offset, epoch}. */
	history(channel, { since, limit }) {
		return new Promise((resolve, reject) => {
			if (!this.isConnected) reject(new Error("the stream is not connected"));
			this.call({ history: { channel, since, limit } }, ({ error, history }) => {
				if (error) reject(new Error(error.message));
				else resolve({ publications: [], ...history });
			});
		});
	}

	drop(subscription) {
		if (this.subscriptions.get(subscription.channel) !== subscription) return;
		this.subscriptions.delete(subscription.channel);
		if (this.isConnected && subscription.state !== "refused") {
			this.call({ unsubscribe: { channel: subscription.channel } });
		}
	}

	async open() {
		this.say("connecting");
		this.openedAt = this.shell.now();
		this.forget();
		const mine = (this.turn = {}); // What an earlier attempt still brings is for nobody.
		let token;
		try {
			token = await this.token();
		} catch (error) {
			if (this.turn !== mine || this.isClosed) return;
			if (error.isFinal) this.say("refused", error.message);
			else this.retry(error.message);
			return;
		}
		if (this.turn !== mine || this.isClosed) return;
		const socket = (this.socket = new this.shell.WebSocket(this.url));
		this.timers.watch = this.shell.after(CONNECT_TIMEOUT_MS, () => this.lose(socket, "no answer"));
		socket.onopen = () => this.greet(socket, token);
		socket.onmessage = (event) => socket === this.socket && this.read(event.data);
		socket.onclose = (event) => socket === this.socket && this.closed(event);
	}

	greet(socket, token) {
		this.call({ connect: { token, name: "page", version: "1" } }, ({ error, connect }) => {
			// The hub refuses a token by its close code; an error of its own may pass.
			if (error) this.lose(socket, error.message);
			else this.connected(connect);
		});
	}

	connected(connect) {
		this.isConnected = true;
		this.since = this.shell.now();
		this.pingMs = (connect.ping || 25) * 1000;
		this.heard();
		if (connect.expires) this.expires(connect.ttl);
		this.say(this.subscriptions.size ? "catching up" : "live");
		for (const subscription of this.subscriptions.values()) {
			if (subscription.state !== "refused") this.ask(subscription);
		}
	}

	expires(ttl) {
		const wait = Math.max(1_000, ttl * 1000 - REFRESH_EARLY_MS);
		this.timers.refresh = this.shell.after(wait, async () => {
			const socket = this.socket;
			try {
				const token = await this.token();
				if (socket !== this.socket) return;
				this.call({ refresh: { token } }, ({ error, refresh }) => {
					if (error) this.lose(socket, error.message);
					else if (refresh?.expires) this.expires(refresh.ttl);
				});
			} catch (error) {
				this.lose(socket, error.message);
			}
		});
	}

	ask(subscription) {
		subscription.state = "waiting";
		this.call({ subscribe: subscription.request() }, ({ error, subscribe }) => {
			if (this.subscriptions.get(subscription.channel) !== subscription) return;
			if (!error) subscription.answered(subscribe ?? {});
			else if (subscription.refused(error)) this.askLater(subscription);
			this.settle();
		});
	}

	askLater(subscription) {
		const wait = backoffMs(subscription.attempts, this.shell.random());
		subscription.attempts += 1;
		const socket = this.socket;
		this.shell.after(wait, () => {
			const isMine = this.subscriptions.get(subscription.channel) === subscription;
			if (isMine && this.isConnected && socket === this.socket) this.ask(subscription);
		});
	}

	settle() {
		if (!this.isConnected) return;
		const waits = [...this.subscriptions.values()].some((one) => one.state === "waiting");
		this.say(waits ? "catching up" : "live");
	}

	/** Send a command. `onReply` is no promise: it runs before the pushes of the same frame. */
	call(command, onReply = () => {}) {
		this.lastId += 1;
		this.pending.set(this.lastId, onReply);
		this.write({ id: this.lastId, ...command });
	}

	write(value) {
		if (this.socket?.readyState === 1) this.socket.send(JSON.stringify(value));
	}

	read(text) {
		this.heard();
		const socket = this.socket;
		for (const line of text.split("\n")) {
			if (socket !== this.socket) return; // Lost by a line before.
			if (!line) continue;
			let reply;
			try {
				reply = JSON.parse(line);
			} catch {
				this.lose(socket, "the server sent what is no JSON");
				return;
			}
			if (reply.push) this.pushed(reply.push);
			else if (reply.id) this.replied(reply);
			else this.write({}); // A ping: the answer is a pong.
		}
	}

	replied(reply) {
		const onReply = this.pending.get(reply.id);
		this.pending.delete(reply.id);
		onReply?.(reply);
	}

	pushed(push) {
		if (push.disconnect) {
			this.lose(this.socket, push.disconnect.reason, push.disconnect.code);
			return;
		}
		const subscription = this.subscriptions.get(push.channel);
		if (!subscription) return;
		if (push.pub) subscription.take(push.pub);
		else if (push.unsubscribe) this.unsubscribed(subscription, push.unsubscribe);
	}

	unsubscribed(subscription, { code, reason }) {
		if (code >= 2500) {
			if (code === 2502) subscription.isKnown = false;
			subscription.state = "waiting";
			this.askLater(subscription);
		} else {
			subscription.state = "refused";
			subscription.listener.onRefused?.({ code, message: reason });
		}
		this.settle();
	}

	heard() {
		this.heardAt = this.shell.now();
		this.shell.cancel(this.timers.watch);
		const socket = this.socket;
		const wait = this.isConnected ? this.pingMs + PONG_GRACE_MS : CONNECT_TIMEOUT_MS;
		this.timers.watch = this.shell.after(wait, () => this.lose(socket, "the server is silent"));
	}

	lose(socket, reason, code = 0) {
		if (socket !== this.socket || !socket) return;
		this.abandon();
		this.closed({ code, reason });
	}

	abandon() {
		const socket = this.socket;
		this.socket = null;
		if (!socket) return;
		socket.onopen = socket.onmessage = socket.onclose = null;
		socket.close(1000);
	}

	closed({ code, reason }) {
		this.forget();
		this.socket = null;
		if (this.isClosed) return;
		if (isFinal(code)) {
			this.say("refused", reason || `code ${code}`);
			return;
		}
		if (this.since && this.shell.now() - this.since > HEALTHY_MS) this.attempts = 0;
		this.since = 0;
		this.retry(reason);
	}

	retry(reason) {
		const wait = backoffMs(this.attempts, this.shell.random());
		this.attempts += 1;
		this.say("stale", reason);
		this.shell.cancel(this.timers.retry);
		this.timers.retry = this.shell.after(wait, () => this.open());
	}

	forget() {
		for (const timer of Object.values(this.timers)) this.shell.cancel(timer);
		this.isConnected = false;
		this.pending.clear(); // Their replies can come no more: what they asked is asked again.
		for (const subscription of this.subscriptions.values()) {
			if (subscription.state === "live") subscription.state = "waiting";
		}
	}

	say(state, detail = "") {
		this.state = state;
		this.onState(state, detail);
	}
}
