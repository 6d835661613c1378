// Executions: filters and order in the address, failed ones at a click, columns that stay.

import { badge, copyButton, element, empty, failure, fill, say } from "../dom.js";
import { clipped, command, counted, duration, moment } from "../format.js";
import { VirtualList } from "../list.js";
import { Paging, Refresher } from "../model.js";
import { Choices, executionLink, listNote, searchBox, setValue, timeOf, viewHead } from "../parts.js";

const STATUSES = ["running", "pending", "failed", "interrupted", "completed", "cancelled"];
const ORDERS = { submitted: "submitted", ended: "ended", duration: "duration", job: "job", status: "status" };
const SPANS = [["", "any time"], ["3600", "last hour"], ["86400", "last day"], ["604800", "last week"]];

export class ExecutionsView {
  constructor(page) {
    this.page = page;
    this.query = {};
    this.statuses = new Choices({ label: "Status", onChoose: (status) => page.setQuery({ status }) });
    this.job = searchBox({ label: "Job", width: 16, isMain: false, onChange: (job) => page.setQuery({ job }, { isQuiet: true }) });
    this.id = searchBox({ label: "Id begins with…", onChange: (id) => page.setQuery({ id }, { isQuiet: true }) });
    this.span = element("select", { "aria-label": "Submitted", onchange: () => page.setQuery({ within: this.span.value }) },
      SPANS.map(([value, label]) => element("option", { value }, label)));
    this.around = element("button", { type: "button", hidden: true, title: "Any time", onclick: () => page.setQuery({ around: "", width: "", said: "" }) });
    this.notice = element("div");
    this.note = element("p", { class: "note" });
    this.list = new VirtualList({
      label: "Executions", keyOf: (row) => row.id, onNeed: () => this.paging.more(),
      onOpen: (row) => page.go(["executions", row.id]), onSort: (sort) => page.setQuery({ sort }),
      columns: [
        { title: "Status", sort: "status", track: "130px", cell: (row) => badge(row.status) },
        { title: "Job", sort: "job", track: "minmax(110px, 1.2fr)", cell: (row) => element("strong", { text: clipped(row.job, 60), title: row.job }) },
        { title: "Id", track: "minmax(130px, 1.4fr)", cell: (row) => [executionLink(row.id), row.fork_of && element("span", { class: "soft", text: " fork", title: `of ${row.fork_of}` })] },
        { title: "Submitted", sort: "submitted", track: "160px", isWide: true, cell: (row) => timeOf(page, row.submitted_at) },
        { title: "Took", sort: "duration", track: "100px", isNumber: true, cell: (row) => duration((row.ended_at ?? page.now()) - row.submitted_at) },
        { title: "Sub-tasks", track: "130px", isNumber: true, cell: (row) => this.progress(row) },
        { title: "Problem", track: "minmax(80px, 1fr)", isWide: true, cell: (row) => element("span", { class: "bad-text", text: clipped(row.problem, 120), title: row.problem }) },
      ],
    });
    this.paging = new Paging({
      load: (query) => page.api.executions(query), keyOf: (row) => row.id,
      onChange: () => this.draw(), onError: (error) => fill(this.notice, failure(error, () => this.refresher.run())),
    });
    this.refresher = new Refresher(() => this.paging.refresh(), { everyMs: 1_000, isHidden: () => document.hidden });
    this.element = element("div", { class: "view fills" }, viewHead("Executions", this.around, this.span, this.job, this.id),
      this.statuses.element, this.notice, this.list.element, this.note);
  }

  show(_path, query) {
    const wanted = this.asked(query);
    const isOther = JSON.stringify(wanted) !== JSON.stringify(this.wanted);
    [this.query, this.wanted] = [query, wanted];
    setValue(this.job, query.job);
    setValue(this.id, query.id);
    this.span.value = SPANS.some(([value]) => value === query.within) ? query.within : "";
    this.around.hidden = !query.around;
    say(this.around, query.around ? `around ${moment(Number(query.around), this.page.utc)} ✕` : "");
    if (!isOther) return;
    this.paging.reset(wanted);
    this.place = "top";
    this.paging.more();
  }

  asked({ status, job, id, within, around, width, sort = "-submitted" }) {
    const name = ORDERS[sort.replace("-", "")] ?? "submitted";
    // A chart leads here with a moment; otherwise the time ends now, in whole minutes.
    const from = Number(around) ? Number(around) - Number(width || 60)
      : Number(within) ? Math.floor(this.page.now() / 60) * 60 - Number(within) : null;
    return {
      status: status ? status.split(",") : [], job, id, submitted_from: from,
      submitted_to: Number(around) ? Number(around) + Number(width || 60) : null,
      sort: name, order: sort.startsWith("-") ? "desc" : "asc",
    };
  }

  said(channel) {
    if (channel === "executions") this.refresher.touch();
  }

  tick() {
    // Durations of what runs grow; the rest is left as it is.
    if (this.paging.rows.some((row) => row.status === "running")) this.draw();
  }

  woke() {
    this.refresher.touch();
  }

  settingsChanged() {
    this.draw();
  }

  end() {
    this.refresher.end();
    this.list.end();
  }

  draw() {
    fill(this.notice);
    const { counts = {}, left_off: left } = this.paging.answer;
    const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
    this.statuses.show([["", "All", all], ...STATUSES.map((status) => [status, status, counts[status] ?? 0])], this.query.status ?? "");
    const now = this.page.now();
    const rows = this.paging.rows.map((row) => (row.status === "running" ? { ...row, now } : row));
    this.list.show(rows, { sorted: this.query.sort ?? "-submitted", keepsPlace: this.place !== "top" });
    this.place = "";
    say(this.note, listNote(this.paging, { noun: "executions" }) + (left ? `; the ${counted(left)} oldest are in no list` : ""));
    if (!rows.length && !this.paging.isLoading) {
      const isFiltered = Boolean(this.query.status || this.query.job || this.query.id || this.query.within || this.query.around);
      fill(this.notice, isFiltered
        ? empty("No execution fits", element("button", { type: "button", onclick: () => this.page.go(["executions"]) }, "Show all"))
        : empty("Nothing has been submitted yet", ["A driver submits with ", element("code", {}, "await system.submit(job, request)"), ", the command line with ", copyButton(command("callboard", "run"), "callboard run"), "."]));
    }
  }

  progress({ done, sub_tasks: all, status }) {
    if (all === null || all === undefined) return element("span", { class: "soft" }, "–");
    if (done === null || done === undefined || status === "completed") return counted(all);
    const meter = element("meter", { min: "0", max: String(Math.max(1, all)), value: String(done), title: `${counted(done)} of ${counted(all)} done` });
    return [meter, ` ${counted(done)} / ${counted(all)}`];
  }
}
