// Figures, addresses, layouts and what lists keep: plain calls.

import assert from "node:assert/strict";
import test from "node:test";

import { codeOf, formatAddress, parseAddress } from "../static/format.js";
import { queryOf } from "../static/api.js";
import { highest, labelOf, niceTicks, timeTicks } from "../static/charts.js";
import { ago, brief, bytes, clipped, clock, command, duration, moment, plain, pretty } from "../static/format.js";
import { nodesOfEach, nodesOfKinds, placesOf } from "../static/graph.js";
import { rowsInSight, scrollFor } from "../static/list.js";
import { Paging, Rate, Refresher, Tail } from "../static/model.js";
import { firstAfter, layoutOf } from "../static/timeline.js";
import { sortedAlerts, stateOfAlert } from "../static/views/alerts.js";
import { fits, OlderEvents, rowOfEvent } from "../static/views/events.js";
import { stepFor } from "../static/views/metrics.js";
import { actorRows, treeRows } from "../static/views/tree.js";

test("figures are short", () => {
  const cases = [[0, "0"], [7, "7"], [999, "999"], [1000, "1k"], [12_340, "12.3k"], [999_700, "1M"], [1.5e9, "1.5G"], [0.25, "0.25"], [NaN, "–"], [-2000, "-2k"], [1e-7, "1e-7"]];
  for (const [value, said] of cases) assert.equal(brief(value), said);
  for (const [value, said] of [[0, "0 B"], [1023, "1023 B"], [1536, "1.5 KiB"], [3 * 2 ** 30, "3 GiB"]]) assert.equal(bytes(value), said);
});

test("durations are as the command line says them", () => {
  const cases = [[0, "0 s"], [0.0003, "300 µs"], [0.0042, "4.2 ms"], [0.25, "250 ms"], [4.2, "4.2 s"], [59.9, "59 s"], [125, "2 min 5 s"], [7380, "2 h 3 min"], [200_000, "2 d 7 h"]];
  for (const [seconds, said] of cases) assert.equal(duration(seconds), said);
  assert.equal(ago(100, 100.5), "now");
  assert.equal(ago(0, 100), "–");
});

test("times are in UTC where asked, and none is a dash", () => {
  assert.equal(moment(1_700_000_000.25, true, 3), "2023-11-14 22:13:20.250");
  assert.equal(clock(1_700_000_000, true), "22:13:20");
  assert.equal(clock(0, true), "–");
  assert.equal(moment(NaN, false), "–");
});

test("no text moves or hides another, and markup stays text", () => {
  assert.equal(plain("a\u202eb\u0007c\ud800d"), "a·b·c·d");
  assert.equal(plain("😀 <b>\n"), "😀 <b>\n");
  assert.equal(clipped("abcdef", 4), "abc…");
  assert.equal(command("callboard", "show", "a b'c; rm"), `callboard show 'a b'"'"'c; rm'`);
  assert.match(pretty({ a: "x".repeat(50_000) }), /more characters$/);
});

test("an address gives back its place", () => {
  for (const [path, query] of [[["now"], {}], [["executions", "a/b c?#%"], { status: "failed", q: "a&b=c" }]]) {
    assert.deepEqual(parseAddress(formatAddress(path, query)), { path, query });
  }
  assert.deepEqual(parseAddress("#/%E0%A4%A/x"), { path: ["%E0%A4%A", "x"], query: {} });
  assert.deepEqual(parseAddress(""), { path: [], query: {} });
  assert.equal(formatAddress(["now"], { a: "", b: null, c: 0 }), "#/now?c=0");
  assert.equal(codeOf("#code=ab%2Dc"), "ab-c");
  assert.equal(codeOf("#/executions?code=x"), "x");
  assert.equal(codeOf("#/now"), "");
  assert.equal(queryOf({ status: ["a", "b"], limit: 5, after: "", no: null, off: false }), "?status=a&status=b&limit=5");
});

test("ticks are round and cover the range", () => {
  assert.deepEqual(niceTicks(0, 10, 5), [0, 2.5, 5, 7.5, 10]);
  assert.deepEqual(niceTicks(3, 3), [3]);
  assert.deepEqual(timeTicks(0, 100, 5), [0, 30, 60, 90]);
  for (const [from, to] of [[0, 1e-3], [1e9, 1e9 + 86_400 * 400], [5, 5.001]]) {
    const found = timeTicks(from, to, 8);
    assert.ok(found.length >= 1 && found.length <= 9, `${found.length}`);
  }
});

test("the highest series come first", () => {
  const series = Array.from({ length: 100 }, (_, number) => ({ label: String(number), values: [NaN, number] }));
  assert.deepEqual(highest(series, 3).map((one) => one.label), ["99", "98", "97"]);
});

test("rows in sight are few, whatever the list has", () => {
  const [first, last] = rowsInSight(15_000_000, 600, 30, 1_000_000);
  assert.ok(first <= 500_000 && last >= 500_020 && last - first < 60);
  assert.deepEqual(rowsInSight(9_999, 600, 30, 3), [3, 3]);
  assert.equal(scrollFor(0, 300, 300, 30), 0);
  assert.equal(scrollFor(40, 0, 300, 30), 930);
  assert.equal(scrollFor(5, 0, 300, 30), 0);
});

const bar = (number, row, began, ended, more = {}) => ({ number, id: `t${number}`, attempt: 1, executor: "1/1", ready_at: began - 1, began_at: began, ended_at: ended, outcome: "done", row, ...more });
const timelineOf = (groups) => ({ began_at: 0, first_run_at: 10, ended_at: 100, from_at: 0, to_at: 100, groups });

test("a timeline begins at the first run, with the queue at the beginning", () => {
  const group = { key: "k", label: "k", attempts: 2, failures: 0, bars: [bar(0, 1, 10, 20), bar(1, 0, 11, 30)], cells: [] };
  const folded = { key: "f", label: "f", attempts: 9, failures: 1, bars: [], cells: [1, 2], failed_cells: [0, 1] };
  const layout = layoutOf(timelineOf([group, folded]));
  assert.deepEqual(layout.lines.map((line) => Object.keys(line)[0]), ["group", "bars", "bars", "group", "cells"]);
  assert.equal(layout.lines[1].bars[0].id, "t1");
  assert.deepEqual([layout.from, layout.to], [10, 100]);
  assert.equal(layoutOf(timelineOf([group]), { showsQueue: true }).from, 0);
  assert.ok(layout.lines.every((line, index, all) => index === 0 || line.y === all[index - 1].y + all[index - 1].height));
});

test("an empty timeline has a length", () => {
  const layout = layoutOf({ ...timelineOf([]), first_run_at: 0, ended_at: 0 });
  assert.ok(layout.to > layout.from);
});

test("the first bar after a moment is found by halves", () => {
  const row = Array.from({ length: 100 }, (_, index) => bar(index, 0, index * 10, index * 10 + 5));
  for (const at of [-1, 0, 4.9, 5, 7, 500, 995, 2_000]) {
    const found = row.findIndex((one) => one.ended_at > at);
    assert.equal(firstAfter(row, at), found < 0 ? 100 : found);
  }
});

test("a node is right of its needs, and alone", () => {
  let seed = 3;
  const chance = (most) => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % most;
  for (let run = 0; run < 50; run += 1) {
    const rows = Array.from({ length: chance(40) }, (_, number) => ({ id: `n${number}`, kind: `k${number % 4}`, status: "done", parent: "", needs: number ? [`n${chance(number)}`, "gone"] : [] }));
    for (const nodes of [nodesOfEach(rows), nodesOfKinds(rows)]) {
      const places = placesOf(nodes);
      assert.equal(new Set(places.map(String)).size, nodes.length);
      nodes.forEach((node, number) => node.before.forEach((one) => assert.ok(places[one][0] < places[number][0])));
    }
  }
});

class Shell {
  constructor() { Object.assign(this, { time: 0, timers: [] }); }
  now() { return this.time; }
  after(ms, act) { const timer = { at: this.time + ms, act }; this.timers.push(timer); return timer; }
  cancel(timer) { this.timers = this.timers.filter((one) => one !== timer); }
  async pass(ms) {
    for (const end = this.time + ms; ; ) {
      const due = this.timers.filter((one) => one.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) return void (this.time = end);
      this.cancel(due);
      this.time = due.at;
      await due.act();
    }
  }
}

test("a thousand changes are few readings, and the last is read", async () => {
  const shell = new Shell();
  let count = 0, state = 0, read = -1;
  const refresher = new Refresher(async () => { count += 1; read = state; }, { everyMs: 1000, shell });
  for (state = 1; state <= 1000; state += 1) {
    refresher.touch();
    await shell.pass(10);
  }
  state = 1000;
  refresher.touch();
  await shell.pass(2_000);
  assert.ok(count <= 13, `${count}`);
  assert.equal(read, 1000);
});

test("a reading that is wanted at once follows the one under way", async () => {
  const shell = new Shell(), ends = [];
  const refresher = new Refresher(() => new Promise((resolve) => ends.push(resolve)), { everyMs: 15_000, shell });
  refresher.run();
  refresher.run();
  assert.equal(ends.length, 1);
  ends[0]();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ends.length, 2);
});

test("a hidden page reads nothing, and reads when it is seen", async () => {
  const shell = new Shell();
  let count = 0, isHidden = true;
  const refresher = new Refresher(async () => { count += 1; }, { shell, isHidden: () => isHidden });
  refresher.touch();
  await shell.pass(60_000);
  assert.equal(count, 0);
  isHidden = false;
  refresher.wake();
  await shell.pass(1);
  assert.equal(count, 1);
  refresher.end();
  refresher.touch();
  await shell.pass(60_000);
  assert.equal(count, 1);
});

test("pages follow each other, and a refresh keeps what was read behind the first", async () => {
  let all = Array.from({ length: 650 }, (_, id) => ({ id, version: 0 }));
  const load = async ({ limit, after }) => {
    const from = after ? Number(after) : 0;
    return { items: all.slice(from, from + limit), next: from + limit < all.length ? String(from + limit) : "" };
  };
  const paging = new Paging({ load, keyOf: (row) => row.id, onChange: () => {} });
  while (paging.next !== "") await paging.more();
  assert.deepEqual(paging.rows.map((row) => row.id), all.map((row) => row.id));
  all = [{ id: 1000, version: 1 }, ...all.map((row) => ({ ...row, version: 1 }))];
  await paging.refresh();
  assert.equal(paging.rows.length, 651);
  assert.equal(new Set(paging.rows.map((row) => row.id)).size, 651);
  assert.equal(paging.rows[0].id, 1000);
});

test("an answer to an old question is for nobody", async () => {
  const answers = [];
  const load = (query) => new Promise((resolve) => answers.push([query, resolve]));
  const paging = new Paging({ load, keyOf: (row) => row.id, onChange: () => {} });
  paging.reset({ status: "failed" });
  paging.more();
  paging.reset({ status: "running" });
  paging.more();
  answers[1][1]({ items: [{ id: 2 }], next: "" });
  answers[0][1]({ items: [{ id: 1 }], next: "x" });
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(paging.rows, [{ id: 2 }]);
  assert.equal(paging.next, "");
});

test("a tail is bounded, and counts what fell off", () => {
  const tail = new Tail(10);
  for (let at = 0; at < 25; at += 1) tail.add([at]);
  assert.deepEqual(tail.rows, [24, 23, 22, 21, 20, 19, 18, 17, 16, 15]);
  assert.equal(tail.fallen, 15);
});

test("a count that begins again gives no rate", () => {
  const rate = new Rate();
  assert.ok(Number.isNaN(rate.note(1, 100)));
  assert.equal(rate.note(3, 140), 20);
  assert.ok(Number.isNaN(rate.note(3, 150)));
  assert.ok(Number.isNaN(rate.note(5, 10)));
  assert.deepEqual(rate.past, [20]);
});

test("actors come below their hosts, by path; failed ones first where asked", () => {
  const hosts = [{ slot: 1, state: "up", deaths: 0 }, { slot: 2, state: "down", deaths: 3 }];
  const actor = (cell, path, failed = null) => ({ slot: 1, cell, path, failed_ago_s: failed });
  const actors = new Map([[1, [actor(3, "/b", 5), actor(1, "/a"), actor(2, "/a/x")]]]);
  const rows = treeRows(hosts, actors, new Set([1]));
  assert.deepEqual(rows.map((row) => row.host?.slot ?? row.actor.path), [1, "/a", "/a/x", "/b", 2]);
  assert.deepEqual(rows.slice(1, 4).map((row) => row.depth), [0, 1, 0]);
  assert.equal(treeRows(hosts, actors, new Set(), { failedFirst: true })[0].host.slot, 2);
  assert.equal(actorRows(actors.get(1), { failedFirst: true })[0].actor.path, "/b");
});

test("alerts that need a person come first", () => {
  const alert = (state, more = {}) => ({ state, severity: "", active_since: 0, ...more });
  const sorted = sortedAlerts([alert("resolved"), alert("firing", { silenced_by: "s" }), alert("pending"), alert("firing"), alert("firing", { severity: "critical" })]);
  assert.deepEqual(sorted.map(stateOfAlert), ["firing", "firing", "pending", "silenced", "resolved"]);
  assert.equal(sorted[0].severity, "critical");
});

test("an event of the stream is a row of the list", () => {
  const row = rowOfEvent({ event_id: "e", event_type: "moved", source: "execution/7", timestamp: 5, payload: { version: 3 } }, { offset: 12 });
  assert.deepEqual([row.position, row.stream, row.kind, row.version], [12, "execution/7", "moved", 3]);
  assert.ok(fits(row, "moved") && fits(row, "execution") && !fits(row, "x9"));
  const plainRow = { position: 1, stream: "s", kind: "k" };
  assert.equal(rowOfEvent(plainRow), plainRow);
});

test("older events are read backwards without holes, also when answers are short", async () => {
  const all = Array.from({ length: 1_000 }, (_, index) => ({ offset: index + 1, data: { event_id: "e", event_type: "k", source: "s" } }));
  const read = async (since, limit) => ({ publications: all.slice(since, since + Math.min(limit, 70)) });
  const older = new OlderEvents({ read, onChange: () => {}, onError: assert.fail });
  await older.begin(1_000);
  assert.equal(older.rows.length, 200);
  while (older.lowest > 1) await older.more();
  assert.deepEqual(older.rows.map((row) => row.position), Array.from({ length: 1_000 }, (_, index) => 1_000 - index));
});

test("steps give few points, and labels say tags", () => {
  for (const span of [900, 3600, 86_400, 30 * 86_400]) assert.ok(span / stepFor(span) <= 400);
  assert.equal(labelOf({ metric: "", tags: [["host", "a"]] }), "a");
  assert.equal(labelOf({ metric: "m", tags: [["host", "a"], ["job", "b"]] }), "m {host=a, job=b}");
  assert.equal(labelOf({ metric: "up", tags: [] }), "up");
});
