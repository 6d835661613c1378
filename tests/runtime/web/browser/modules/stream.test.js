// The client of the hub against a server that the test plays, on a clock that the test moves.

import assert from "node:assert/strict";
import test from "node:test";

import { backoffMs, isFinal, Stream } from "../static/stream.js";

/** A clock, timers, chance and sockets that the test holds. */
class Shell {
  constructor(random = () => 1) {
    this.time = 1_000_000;
    this.timers = new Map();
    this.sockets = [];
    this.number = 0;
    this.random = random;
    const shell = this;
    this.WebSocket = class {
      constructor(url) {
        Object.assign(this, { url, readyState: 0, sent: [], openedAt: shell.time });
        shell.sockets.push(this);
      }
      send(text) { this.sent.push(...text.split("\n").map((line) => JSON.parse(line))); }
      close() { this.readyState = 3; }
      open() { this.readyState = 1; this.onopen?.(); }
      say(...replies) { this.onmessage?.({ data: replies.map((one) => JSON.stringify(one)).join("\n") }); }
      end(code, reason = "") { this.readyState = 3; this.onclose?.({ code, reason }); }
      last(name) { return this.sent.findLast((one) => one[name]); }
    };
  }
  now() { return this.time; }
  after(ms, act) { this.timers.set(++this.number, { at: this.time + ms, act }); return this.number; }
  cancel(timer) { this.timers.delete(timer); }
  /** Move the clock, and run what is due, in its order. */
  async pass(ms) {
    const end = this.time + ms;
    for (;;) {
      await settled();
      const due = [...this.timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at)[0];
      if (!due) break;
      this.timers.delete(due[0]);
      this.time = Math.max(this.time, due[1].at);
      due[1].act();
    }
    this.time = end;
    await settled();
  }
  get socket() { return this.sockets.at(-1); }
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

async function connected(shell, subscribe = () => {}, fields = {}) {
  const states = [];
  const stream = new Stream({ url: "ws://x/", token: async () => "t", shell, onState: (state, detail) => states.push([state, detail]) });
  stream.states = states;
  subscribe(stream);
  stream.start();
  await settled();
  await greet(shell, fields);
  return stream;
}

async function greet(shell, fields = {}) {
  shell.socket.open();
  const { id } = shell.socket.last("connect");
  shell.socket.say({ id, connect: { client: "c", ping: 25, pong: true, ...fields } });
  await settled();
}

function heard(stream, channel, more = {}) {
  const seen = [];
  stream.subscribe(channel, {
    onPublication: (data) => seen.push(data), onReset: () => seen.push("reset"),
    onSubscribed: (data) => data !== undefined && seen.push({ snapshot: data }), onRefused: (error) => seen.push({ refused: error.code }), ...more,
  });
  return seen;
}

const publication = (channel, offset, data = offset) => ({ push: { channel, pub: { offset, data } } });

test("what follows the reply in one frame comes after it", async () => {
  const shell = new Shell();
  let seen;
  await connected(shell, (stream) => (seen = heard(stream, "a")));
  const { id } = shell.socket.last("subscribe");
  shell.socket.say({ id, subscribe: { recoverable: true, epoch: "e", offset: 4, data: "now" } }, publication("a", 5), publication("a", 7));
  assert.deepEqual(seen, [{ snapshot: "now" }, 5, 7]);
});

test("a cut resumes after the last offset, and repeats are left out", async () => {
  const shell = new Shell();
  let seen;
  await connected(shell, (stream) => (seen = heard(stream, "a")));
  shell.socket.say({ id: shell.socket.last("subscribe").id, subscribe: { recoverable: true, positioned: true, epoch: "e", offset: 4 } }, publication("a", 9));
  shell.socket.end(1006);
  await shell.pass(600);
  await greet(shell);
  const asked = shell.socket.last("subscribe");
  assert.deepEqual(asked.subscribe, { channel: "a", recover: true, epoch: "e", offset: 9 });
  shell.socket.say({ id: asked.id, subscribe: { recoverable: true, epoch: "e", offset: 9, was_recovering: true, recovered: true, publications: [{ offset: 9, data: 9 }, { offset: 12, data: 12 }] } }, publication("a", 12), publication("a", 13));
  assert.deepEqual(seen, [9, 12, 13]);
});

test("a channel that cannot resume says so before anything else", async () => {
  const shell = new Shell();
  let seen;
  await connected(shell, (stream) => (seen = heard(stream, "a")));
  shell.socket.say({ id: shell.socket.last("subscribe").id, subscribe: { recoverable: true, epoch: "e", offset: 4 } });
  shell.socket.end(3001);
  await shell.pass(600);
  await greet(shell);
  shell.socket.say({ id: shell.socket.last("subscribe").id, subscribe: { recoverable: true, epoch: "f", offset: 90, was_recovering: true, data: { rows: 1 } } }, publication("a", 91));
  assert.deepEqual(seen, ["reset", { snapshot: { rows: 1 } }, 91]);
  shell.socket.end(3008);
  await shell.pass(1_100);
  await greet(shell);
  assert.deepEqual(shell.socket.last("subscribe").subscribe, { channel: "a", recover: true, epoch: "f", offset: 91 });
});

test("a cut before the first event still resumes", async () => {
  const shell = new Shell();
  let seen;
  await connected(shell, (stream) => (seen = heard(stream, "a")));
  shell.socket.say({ id: shell.socket.last("subscribe").id, subscribe: { recoverable: true, epoch: "e", offset: 0 } });
  shell.socket.end(1006);
  await shell.pass(600);
  await greet(shell);
  assert.equal(shell.socket.last("subscribe").subscribe.recover, true);
  shell.socket.say({ id: shell.socket.last("subscribe").id, subscribe: { recoverable: true, epoch: "e", was_recovering: true, recovered: true, publications: [{ offset: 1, data: 1 }] } });
  assert.deepEqual(seen, [1]);
});

test("at most two attempts within half a second while the hub refuses, whatever chance says", async () => {
  for (const random of [() => 0, () => 1, Math.random]) {
    const shell = new Shell(random);
    const stream = new Stream({ url: "ws://x/", token: async () => "t", shell });
    stream.start();
    for (let step = 0; step < 50_000; step += 50) {
      await settled();
      const socket = shell.socket;
      if (socket.readyState === 0) {
        socket.open();
        socket.end(3001, "shutdown");
      }
      await shell.pass(50);
    }
    const times = shell.sockets.map((socket) => socket.openedAt);
    assert.ok(times.filter((at) => at < times[0] + 500).length <= 2);
    for (let index = 2; index < times.length; index += 1) assert.ok(times[index] - times[index - 2] >= 500, `${times}`);
    assert.ok(stream.attempts > 1);
  }
});

test("the back-off grows to 20 s and jitters over all of it", () => {
  assert.equal(backoffMs(0, 1), 500);
  assert.equal(backoffMs(3, 1), 4_000);
  assert.equal(backoffMs(30, 1), 20_000);
  assert.equal(backoffMs(30, 0.5), 10_000);
  assert.equal(backoffMs(30, 0), 300);
});

test("a token that is refused ends it, and nothing is tried again", async () => {
  const shell = new Shell();
  const stream = new Stream({ url: "ws://x/", token: async () => "bad", shell });
  stream.start();
  await settled();
  shell.socket.open();
  shell.socket.end(3500, "invalid token");
  await shell.pass(120_000);
  assert.equal(shell.sockets.length, 1);
  assert.equal(stream.state, "refused");
  stream.wake();
  await shell.pass(1_000);
  assert.equal(shell.sockets.length, 1);
});

test("close codes are final from 3500 to 3999 and from 4500 on", () => {
  for (const code of [3000, 3001, 3012, 3499, 4000, 4499, 1001, 1006, 1009, 0]) assert.equal(isFinal(code), false, String(code));
  for (const code of [3500, 3501, 3507, 3999, 4500, 4999]) assert.equal(isFinal(code), true, String(code));
});

test("a ping is answered, and silence ends the connection", async () => {
  const shell = new Shell();
  const stream = await connected(shell);
  shell.socket.say({});
  assert.deepEqual(shell.socket.sent.at(-1), {});
  await shell.pass(34_000);
  assert.equal(shell.sockets.length, 1);
  await shell.pass(2_000);
  assert.equal(shell.sockets.length, 2);
  assert.equal(stream.states.at(-1)[0], "connecting");
});

test("a page that wakes after five frozen minutes connects at once", async () => {
  const shell = new Shell();
  let seen;
  const stream = await connected(shell, (made) => (seen = heard(made, "a")));
  shell.socket.say({ id: shell.socket.last("subscribe").id, subscribe: { recoverable: true, epoch: "e", offset: 4 } });
  shell.time += 300_000; // No timer runs while it is frozen.
  stream.wake();
  await settled();
  assert.equal(shell.sockets.length, 2);
  await greet(shell);
  shell.socket.say({ id: shell.socket.last("subscribe").id, subscribe: { recoverable: true, epoch: "e", was_recovering: true, recovered: true, publications: [{ offset: 6, data: 6 }] } });
  assert.deepEqual(seen, [6]);
});

test("what an old socket still brings changes nothing", async () => {
  const shell = new Shell();
  let seen;
  const stream = await connected(shell, (made) => (seen = heard(made, "a")));
  const old = shell.socket;
  old.end(1006);
  await shell.pass(600);
  await greet(shell);
  old.say(publication("a", 5));
  old.end(3500);
  assert.deepEqual(seen, []);
  assert.notEqual(stream.state, "refused");
});

test("a token is renewed before it ends", async () => {
  const shell = new Shell();
  let tokens = 0;
  const stream = new Stream({ url: "ws://x/", token: async () => `t${(tokens += 1)}`, shell });
  stream.start();
  await settled();
  await greet(shell, { expires: true, ttl: 300 });
  for (let second = 0; second < 275; second += 25) {
    shell.socket.say({});
    await shell.pass(25_000);
  }
  const { id, refresh } = shell.socket.last("refresh");
  assert.equal(refresh.token, "t2");
  shell.socket.say({ id, refresh: { expires: true, ttl: 300 } });
  assert.equal(shell.sockets.length, 1);
  assert.equal(stream.state, "live");
});

test("a refused subscription leaves the others alone", async () => {
  const shell = new Shell();
  let denied, seen;
  const stream = await connected(shell, (made) => {
    denied = heard(made, "secret");
    seen = heard(made, "a");
  });
  const asked = shell.socket.sent.filter((one) => one.subscribe);
  shell.socket.say({ id: asked[0].id, error: { code: 103, message: "permission denied" } }, { id: asked[1].id, subscribe: {} }, { push: { channel: "a", pub: { data: 1 } } });
  assert.deepEqual([denied, seen], [[{ refused: 103 }], [1]]);
  assert.equal(stream.state, "live");
});

test("a temporary refusal and a push to subscribe again are followed", async () => {
  const shell = new Shell();
  const stream = await connected(shell, (made) => heard(made, "a"));
  shell.socket.say({ id: shell.socket.last("subscribe").id, error: { code: 111, message: "too many", temporary: true } });
  assert.equal(stream.state, "catching up");
  await shell.pass(600);
  shell.socket.say({ id: shell.socket.last("subscribe").id, subscribe: { recoverable: true, epoch: "e", offset: 3 } });
  assert.equal(stream.state, "live");
  shell.socket.say({ push: { channel: "a", unsubscribe: { code: 2502, reason: "state" } } });
  await shell.pass(600);
  assert.deepEqual(shell.socket.last("subscribe").subscribe, { channel: "a" });
});

test("what is no JSON, and pushes for nobody, break nothing", async () => {
  const shell = new Shell();
  await connected(shell, (made) => heard(made, "a"));
  shell.socket.say({ push: { channel: "other", pub: { data: 1 } } }, { push: {} }, { id: 99 });
  shell.socket.onmessage({ data: "{}\n[" });
  await shell.pass(600);
  assert.equal(shell.sockets.length, 2);
});

test("over any run of cuts a channel gives each offset once, in order", async () => {
  let seed = 7;
  const chance = () => ((seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 31);
  for (let run = 0; run < 40; run += 1) {
    const shell = new Shell(chance);
    let seen, top = 0;
    const stream = await connected(shell, (made) => (seen = heard(made, "a")));
    const answer = () => {
      const { id, subscribe } = shell.socket.last("subscribe");
      const missed = Array.from({ length: top - (subscribe.offset ?? top) }, (_, index) => ({ offset: subscribe.offset + index + 1, data: subscribe.offset + index + 1 }));
      shell.socket.say({ id, subscribe: subscribe.recover
        ? { recoverable: true, epoch: "e", offset: subscribe.offset, was_recovering: true, recovered: true, publications: missed }
        : { recoverable: true, epoch: "e", offset: top } });
    };
    answer();
    for (let step = 0; step < 60; step += 1) {
      const die = chance();
      if (die < 0.6) {
        top += 1;
        if (shell.socket.readyState === 1) shell.socket.say(publication("a", top));
      } else if (die < 0.8 && shell.socket.readyState === 1) shell.socket.end(1006);
      else {
        await shell.pass(25_000 * chance());
        if (shell.socket.readyState === 0) {
          await greet(shell);
          answer();
        }
      }
    }
    for (let second = 0; second < 60 && seen.length < top; second += 1) {
      if (shell.socket.readyState === 0) {
        await greet(shell);
        answer();
      }
      await shell.pass(1_000);
    }
    assert.deepEqual(seen, Array.from({ length: top }, (_, index) => index + 1));
    stream.stop();
  }
});
