// Connections: who listens to what, and who is slow. Pipelines, which feed the same hub, as well.

import { badge, element, empty, failure, fill, say } from "../dom.js";
import { bytes, clipped, counted, duration, nouns, pretty } from "../format.js";
import { VirtualList } from "../list.js";
import { Paging, Refresher } from "../model.js";
import { ageOf, Choices, facts, listNote, Split, viewHead } from "../parts.js";

const SLOW_S = 1;

export class ConnectionsView {
  constructor(page) {
    this.page = page;
    this.query = {};
    this.tabs = new Choices({ label: "What", onChoose: (tab) => page.setQuery({ tab, id: "" }) });
    this.notice = element("div");
    this.note = element("p", { class: "note" });
    this.body = element("div", { class: "fills" });
    this.split = new Split([this.body], { onClose: () => page.setQuery({ id: "" }, { isQuiet: true }) });
    this.clients = this.listOf("Connections", (row) => row.client, (query) => page.api.connections(query), [
      { title: "State", track: "100px", cell: (row) => badge(row.queue_age_s > SLOW_S ? "slow" : "connected", row.queue_age_s > SLOW_S ? "slow" : "listens") },
      { title: "Who", track: "minmax(110px, 1fr)", cell: (row) => element("strong", { text: clipped(row.user, 40), title: row.client }) },
      { title: "By", track: "130px", cell: (row) => row.way },
      { title: "From", track: "130px", isWide: true, cell: (row) => element("span", { class: "mono soft", text: row.address }) },
      { title: "Channels", track: "minmax(120px, 2fr)", cell: (row) => element("span", { class: "mono", title: row.channels.join(", "), text: clipped(row.channels.join(", "), 90) + (row.channels_left_off ? ` +${row.channels_left_off}` : "") }) },
      { title: "Waits", track: "85px", isNumber: true, cell: (row) => (row.queue_bytes ? bytes(row.queue_bytes) : "–") },
      { title: "For", track: "75px", isNumber: true, isWide: true, cell: (row) => (row.queue_bytes ? duration(row.queue_age_s) : "–") },
      { title: "Sent", track: "85px", isNumber: true, isWide: true, cell: (row) => counted(row.sent) },
      { title: "Dropped", track: "85px", isNumber: true, cell: (row) => (row.dropped ? element("span", { class: "bad-text", text: counted(row.dropped) }) : "0") },
      { title: "Since", track: "110px", isNumber: true, isWide: true, cell: (row) => ageOf(page, row.since) },
    ]);
    this.pipelines = this.listOf("Pipelines", (row) => row.name, (query) => page.api.pipelines(query), [
      { title: "State", track: "120px", cell: (row) => badge(row.state) },
      { title: "Pipeline", track: "minmax(110px, 1fr)", cell: (row) => element("strong", { text: row.name }) },
      { title: "From", track: "minmax(90px, 1fr)", isWide: true, cell: (row) => row.source },
      { title: "To", track: "minmax(90px, 1fr)", isWide: true, cell: (row) => row.sink },
      { title: "Batches", track: "90px", isNumber: true, cell: (row) => counted(row.batches) },
      { title: "Behind", track: "100px", isNumber: true, cell: (row) => (row.behind === null ? "–" : nouns(row.behind, "row")) },
      { title: "Committed", track: "120px", isNumber: true, isWide: true, cell: (row) => ageOf(page, row.committed_at) },
      { title: "Problem", track: "minmax(90px, 1.5fr)", cell: (row) => element("span", { class: "bad-text", text: clipped(row.reason || row.problems.join("; "), 120) }) },
    ]);
    this.element = element("div", { class: "view fills" }, viewHead("Connections"), this.tabs.element, this.notice, this.split.element, this.note);
    this.refresher = new Refresher(() => this.shown.paging.refresh(), { everyMs: 2_000, isHidden: () => document.hidden });
    this.subscriptions = ["connections", "pipelines"].map((channel) => page.stream.subscribe(channel, { onPublication: () => this.refresher.touch() }));
  }

  listOf(label, keyOf, load, columns) {
    const list = new VirtualList({ label, keyOf, columns, rowHeight: 28, onNeed: () => paging.more(), onOpen: (row) => this.page.setQuery({ id: keyOf(row) }, { isQuiet: true }) });
    const paging = new Paging({ load, keyOf, onChange: () => this.draw(), onError: (error) => fill(this.notice, failure(error, () => this.refresher.run())) });
    return { list, paging, keyOf };
  }

  get shown() {
    return this.query.tab === "pipelines" ? this.pipelines : this.clients;
  }

  show(_path, query) {
    const isOther = query.tab !== this.query.tab || !this.hasRead;
    this.query = query;
    this.hasRead = true;
    this.draw();
    if (isOther) this.refresher.run();
  }

  tick() {
    this.refresher.touch();
  }

  woke() {
    this.refresher.touch();
  }

  escape() {
    this.page.setQuery({ id: "" }, { isQuiet: true });
  }

  end() {
    this.refresher.end();
    for (const one of this.subscriptions) one.end();
    for (const { list } of [this.clients, this.pipelines]) list.end();
  }

  draw() {
    const { list, paging, keyOf } = this.shown;
    const isPipelines = this.query.tab === "pipelines";
    this.tabs.show([["", "Clients", this.clients.paging.answer.total], ["pipelines", "Pipelines"]], this.query.tab ?? "");
    if (this.body.firstChild !== list.element) fill(this.body, list.element);
    list.show(paging.rows);
    fill(this.notice, !paging.rows.length && paging.next !== null && (isPipelines ? empty("No pipeline runs", ["A pipeline is built in a driver, or read from a file: ", element("code", {}, "callboard pipelines"), "."]) : empty("Nobody listens", "This page should be in this list: it may read before it has connected.")));
    say(this.note, `${listNote(paging, { total: isPipelines ? undefined : paging.answer.total, noun: isPipelines ? "pipelines" : "connections" })}${isPipelines ? "" : ", the one that waits longest first"}`);
    const row = this.query.id && paging.rows.find((one) => keyOf(one) === this.query.id);
    if (!row) this.split.close();
    else if (isPipelines) this.split.open(row.name, facts([["state", badge(row.state)], ["reason", row.reason], ["from", row.source], ["to", row.sink]]), row.problems.map((one) => element("p", { class: "bad-text", text: one })), element("h3", {}, "Account"), element("pre", { text: pretty(row.account) }), element("h3", {}, "Position"), element("pre", { text: pretty(row.position) }));
    else this.split.open(row.user, facts([["client", element("span", { class: "mono", text: row.client })], ["by", row.way], ["from", row.address], ["sent", counted(row.sent)], ["dropped", counted(row.dropped)], ["waits", `${bytes(row.queue_bytes)} for ${duration(row.queue_age_s)}`]]), element("h3", {}, "Channels"), element("ul", { class: "mono" }, row.channels.map((one) => element("li", { text: one }))), row.channels_left_off ? element("p", { class: "soft", text: `and ${counted(row.channels_left_off)} more` }) : null);
  }
}
