// One execution, live: the panel with the API behind it, and what a person may do.

import { button, confirm, copyButton, element, failure } from "../dom.js";
import { ExecutionPanel } from "../execution_panel.js";
import { command, counted } from "../format.js";
import { Refresher } from "../model.js";

const EVERY_MS = 500;
const LINES_MAX = 1_000;
const WITHOUT_STREAM_MS = 3_000;

export class ExecutionView {
	constructor(page) {
		this.page = page;
		this.element = element("div.view-place");
		this.id = "";
	}

	show([id], query) {
		if (id !== this.id) this.begin(id, query);
		else if (this.panel.hasBegun) this.panel.show(query);
		this.query = query;
	}

	begin(id, query) {
		this.end();
		const { api, stream } = this.page;
		this.id = id;
		this.panel = new ExecutionPanel({
			page: this.page,
			source: {
				execution: () => api.execution(id), timeline: (asked) => api.execution(id, "timeline", asked),
				subTasks: (asked) => api.execution(id, "subtasks", asked), events: (asked) => api.execution(id, "events", asked),
				logs: (after) => this.readLog(id, after), partials: (after) => this.readPartials(id, after),
			},
			actions: (view) => this.actions(view),
			doubtActions: (view, step) => this.doubtActions(view, step),
		});
		this.element.replaceChildren(this.panel.element);
		this.refresher = new Refresher(() => this.panel.read(), { everyMs: EVERY_MS });
		this.query = query;
		this.beginWithRow(id, this.panel);
		const touch = () => this.refresher.touch();
		this.isFollowed = false;
		this.subscription = stream.subscribe(`execution:${id}`, {
			onSubscribed: () => {
				this.isFollowed = true;
				touch();
			},
			onPublication: touch, onReset: touch, onRefused: () => (this.isFollowed = false),
		});
		this.partials = stream.subscribe(`partials:${id}`, { onPublication: () => this.panel.partialsCame() });
		this.readAt = 0;
	}

	/** The row of the list is there at once. A long history takes time to read, and waits for it. */
	async beginWithRow(id, panel) {
		try {
			const { items } = await this.page.api.get("executions", { id, limit: 1 });
			if (items[0]?.id === id) panel.preview(items[0]);
		} catch {
			// The reading below says what is wrong.
		}
		if (panel !== this.panel) return;
		panel.show(this.query);
		this.refresher.run();
	}

	async readLog(id, after) {
		const { rows, cursor, dropped } = await this.page.api.ask("query_logs", { where: id, after, limit: LINES_MAX });
		const mine = rows.filter(({ execution }) => execution === id).map((row, number) => ({ ...row, key: `${cursor}/${number}` }));
		return { rows: mine, cursor, note: dropped ? `${counted(dropped)} lines had no room in the hosts` : "" };
	}

	async readPartials(id, after) {
		const { is_known: isKnown, partials, seen } = await this.page.api.ask("query_partials", { execution_id: id, after });
		return { rows: partials, cursor: isKnown ? seen : after, note: isKnown ? "" : "no process runs it now: what it yields while it runs is shown here" };
	}

	tick() {
		const view = this.panel.view;
		if (!view || view.is_over) return;
		this.panel.tick();
		if (!this.isFollowed && performance.now() - this.readAt > WITHOUT_STREAM_MS) {
			this.readAt = performance.now();
			this.refresher.touch();
		}
	}

	said(channel) {
		if (channel === "executions" && !this.isFollowed) this.refresher.touch();
	}

	woke() {
		this.refresher.touch();
	}

	settingsChanged() {
		this.panel.redraw();
	}

	escape() {
		this.page.adjust({ task: "", event: "" });
		this.panel.split.close();
	}

	end() {
		this.subscription?.end();
		this.partials?.end();
		this.refresher?.end();
		this.panel?.end();
	}

	actions(view) {
		const buttons = [button("Export", () => this.save(view), { title: "One file of HTML, which needs no network" })];
		if (!this.page.may("steer")) return buttons;
		const act = (verb, text, more) => {
			const action = verb.toLowerCase();
			buttons.push(button(`${verb}…`, () => this.ask({ action, title: `${verb} this execution?`, label: `${verb} it`, text, line: command("callboard", action, view.id), ...more })));
		};
		if (view.status === "interrupted") act("Resume", "No process runs it. What is done stays done; the rest runs.");
		else if (!view.is_over) act("Cancel", "Sub-tasks that run are interrupted; results that are there stay in the journal.", { danger: true });
		act("Fork", "A new execution runs again from a step on, and shares the results of the others.", { fields: [["step", "From the step", this.panel.query.task ?? "", true]] });
		return buttons;
	}

	doubtActions(view, step) {
		if (!this.page.may("approve")) return [];
		const decide = (label, runsAgain, text, flags) => button(`${label}…`, () => this.ask({ action: "approve", title: `${label} ${step}?`, label, text, body: { step, runs_again: runsAgain }, danger: !runsAgain, line: command("callboard", "approve", view.id, step, ...flags) }));
		return [decide("Run it again", true, "It may have run already: its effects may come twice.", []), decide("Fail it", false, "The step fails; what needs it is skipped.", ["--fail"])];
	}

	async save(view) {
		try {
			const address = URL.createObjectURL(await this.page.api.exported(view.id));
			element("a", { href: address, download: `${view.job}-${view.id}.html` }).click();
			setTimeout(() => URL.revokeObjectURL(address), 60_000);
		} catch (error) {
			this.panel.notice.replaceChildren(failure(error, () => this.save(view)));
		}
	}

	async ask({ action, title, text, label, danger, line, fields, body = {} }) {
		const given = await confirm({ title, text, action: label, danger, line, fields });
		if (!given) return;
		try {
			const answer = await this.page.api.steer(this.id, action, { ...body, ...given });
			if (action === "fork") this.page.go(["executions", answer.id]);
			this.refresher.touch();
		} catch (error) {
			this.panel.notice.replaceChildren(failure(error), copyButton(line));
		}
	}
}
