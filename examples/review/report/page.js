"use strict";
(() => {
  const PAGE = 100;
  const PRINTED_MAX = 5000;
  const RESOLVED_BY = {
    "agreement": "agreement",
    "weighted-severity": "weighted severity",
    "exonerated": "the author’s excuse",
    "exoneration-overruled": "a more severe claim, against the author’s excuse",
  };
  const AROUND = 2;
  const LEVELS = ["info", "low", "medium", "high", "critical"];
  const byId = (id) => document.getElementById(id);
  const sources = new Map(Object.entries(JSON.parse(byId("sources").textContent)));
  // The order of a row is fixed by html.py.
  const findings = JSON.parse(byId("data").textContent).map((row, index) => {
    const [path, line, column, rank, confidence, topic, rule, message, agents, policy, why, claims,
      excuse] = row;
    const text = [path, rule, topic, message, agents.join(" ")].join("\n").toLowerCase();
    return { index, path, line, column, rank, confidence, topic, rule, message, agents, policy, why,
      claims, excuse, text };
  });
  const state = { severities: new Set(LEVELS), agent: "", topic: "", path: "", shown: PAGE };
  let visible = [];

  // Only text is set, so nothing from a source tree is parsed as markup.
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const percent = (confidence) => `${Math.round(confidence * 100)} % sure`;

  const details = (finding) => {
    const element = make("details");
    const count = finding.claims.length === 1 ? "1 claim" : `${finding.claims.length} claims`;
    element.append(make("summary", "", `${count}, resolved by ${RESOLVED_BY[finding.policy]}`));
    element.append(make("p", "", finding.why));
    const table = make("table");
    for (const [agent, rule, severity, confidence, message] of finding.claims) {
      const row = make("tr", severity);
      row.append(make("td", "", agent), make("td", "", `${severity}, ${percent(confidence)}`),
        make("td", "", rule), make("td", "", message));
      table.append(row);
    }
    element.append(table);
    return element;
  };

  const place = (finding) => {
    const column = finding.column ? `:${finding.column}` : "";
    const text = `${finding.path}:${finding.line}${column}`;
    const [link] = sources.get(finding.path) || [""];
    const element = make(link ? "a" : "span", "place", text);
    if (link) element.setAttribute("href", link);
    return element;
  };

  const excerpt = (finding) => {
    const [, lines] = sources.get(finding.path) || ["", {}];
    if (lines[finding.line] === undefined) return null;
    const element = make("pre", "excerpt");
    for (let number = finding.line - AROUND; number <= finding.line + AROUND; number += 1) {
      if (lines[number] === undefined) continue;
      const row = make("code", number === finding.line ? "here" : "");
      row.append(make("span", "number", String(number)), lines[number], "\n");
      element.append(row);
    }
    return element;
  };

  const item = (finding) => {
    const entry = make("li", LEVELS[finding.rank]);
    const top = make("div", "top");
    top.append(make("span", "severity", LEVELS[finding.rank]));
    top.append(place(finding));
    entry.append(top, make("p", "message", finding.message));
    const source = excerpt(finding);
    if (source) entry.append(source);
    const excused = finding.excuse ? ` · excused by ${finding.excuse}` : "";
    entry.append(make("div", "meta",
      `${finding.topic} · ${finding.rule} · ${finding.agents.join(", ")} · ` +
      `${percent(finding.confidence)}${excused}`));
    if (finding.policy) entry.append(details(finding));
    return entry;
  };

  const matches = (finding, words, policy) =>
    state.severities.has(LEVELS[finding.rank]) &&
    (!state.agent || finding.agents.includes(state.agent)) &&
    (!state.topic || finding.topic === state.topic) &&
    (!state.path || finding.path === state.path) &&
    (!policy || finding.policy === policy) &&
    words.every((word) => finding.text.includes(word));

  const list = byId("findings");
  const show = (from, to) => {
    const part = document.createDocumentFragment();
    for (const finding of visible.slice(from, to)) part.append(item(finding));
    list.append(part);
    state.shown = Math.min(to, visible.length);
    byId("more").hidden = state.shown >= visible.length;
    byId("shown").textContent = visible.length
      ? `${state.shown.toLocaleString("en")} of ${visible.length.toLocaleString("en")} findings`
      : "No finding matches.";
  };

  const chips = () => {
    const holder = byId("chips");
    holder.replaceChildren();
    for (const kind of ["agent", "topic", "path"]) {
      if (!state[kind]) continue;
      const chip = make("button", "", `${state[kind]} ×`);
      chip.type = "button";
      chip.setAttribute("aria-label", `Remove the filter ${state[kind]}`);
      chip.addEventListener("click", () => { state[kind] = ""; update(); });
      holder.append(chip);
    }
    for (const button of document.querySelectorAll(".bars button")) {
      const [kind] = Object.keys(button.dataset);
      button.setAttribute("aria-pressed", String(state[kind] === button.dataset[kind]));
    }
    for (const tile of document.querySelectorAll(".tile")) {
      tile.setAttribute("aria-pressed", String(state.severities.has(tile.dataset.severity)));
    }
  };

  const update = () => {
    const words = byId("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const policy = byId("policy").value;
    visible = findings.filter((finding) => matches(finding, words, policy));
    if (byId("order").value === "severity") {
      visible.sort((a, b) => b.rank - a.rank || b.confidence - a.confidence || a.index - b.index);
    }
    list.replaceChildren();
    chips();
    show(0, PAGE);
  };

  for (const tile of document.querySelectorAll(".tile")) {
    tile.addEventListener("click", () => {
      const level = tile.dataset.severity;
      const all = state.severities.size === LEVELS.length;
      // The first click selects one severity; further clicks add or remove one.
      if (all) state.severities = new Set([level]);
      else if (!state.severities.delete(level)) state.severities.add(level);
      if (!state.severities.size) state.severities = new Set(LEVELS);
      update();
    });
  }
  for (const button of document.querySelectorAll(".bars button")) {
    button.addEventListener("click", () => {
      const [kind] = Object.keys(button.dataset);
      state[kind] = state[kind] === button.dataset[kind] ? "" : button.dataset[kind];
      update();
    });
  }
  let waiting = 0;
  byId("text").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(update, 120);
  });
  byId("policy").addEventListener("change", update);
  byId("order").addEventListener("change", update);
  const form = document.querySelector(".filters");
  form.addEventListener("submit", (event) => { event.preventDefault(); update(); });
  form.addEventListener("reset", () => {
    Object.assign(state, { severities: new Set(LEVELS), agent: "", topic: "", path: "" });
    setTimeout(update, 0);
  });
  byId("more").addEventListener("click", () => show(state.shown, state.shown + PAGE));
  window.addEventListener("beforeprint", () => {
    if (state.shown < visible.length) show(state.shown, PRINTED_MAX);
  });
  update();
})();
