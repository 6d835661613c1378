// One execution, live: the panel with the API behind it, and what a person may do.

import { button, confirm, copyButton, element, failure } from "../dom.js";
import { command } from "../format.js";
import { ExecutionPanel } from "../execution_panel.js";
import { Refresher } from "../model.js";

const EVERY_MS = 1_000;
const WITHOUT_STREAM_MS = 3_000;

export class ExecutionView {
	constructor(page) {
		this.page = page;
		this.element = element("div", { class: "view-place" });
		this.id = "";
	}

	show([id], query) {
		if (id !== this.id) this.begin(id, query);
		else this.panel.show(query);
	}

	begin(id, query) {
		this.end();
		const { api, stream } = this.page;
		this.id = id;
		this.panel = new ExecutionPanel({
			page: this.page,
			source: {
				execution: () => api.execution(id), timeline: (asked) => api.timeline(id, asked),
				subTasks: (asked) => api.subTasks(id, asked), events: (asked) => api.executionEvents(id, asked),
			},
			actions: (view) => this.actions(view),
			doubtActions: (view, step) => this.doubtActions(view, step),
		});
		this.element.replaceChildren(this.panel.element);
		this.panel.show(query);
		this.refresher = new Refresher(() => this.panel.read(), { everyMs: EVERY_MS });
		this.refresher.run();
		const { panel } = this;
		api.executions({ id, limit: 1 }).then(({ items }) => items[0]?.id === id && panel.preview(items[0]), () => {});
		const touch = () => this.refresher.touch();
		this.isFollowed = false;
		this.subscription = stream.subscribe(`execution:${id}`, {
			onSubscribed: () => {
				this.isFollowed = true;
				touch();
			},
			onPublication: touch, onReset: touch, onRefused: () => (this.isFollowed = false),
		});
		this.readAt = 0;
	}

	tick() {
		const view = this.panel.view;
		if (!view || view.is_over) return;
		this.panel.showHead(); // Its duration grows.
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
		this.refresher?.end();
		this.panel?.end();
	}

	// --- what a person may do --------------------------------------------------------------------------

	actions(view) {
		const buttons = [button({ title: "One file of HTML, which needs no network", onclick: () => this.save(view) }, "Export")];
		if (!this.page.may("steer")) return buttons;
		const act = (label, asked) => button({ onclick: () => this.ask(asked) }, label);
		if (!view.is_over && view.status !== "interrupted") {
			buttons.push(act("Cancel…", { action: "cancel", title: "Cancel this execution?", danger: true, label: "Cancel it", text: "Sub-tasks that run are interrupted; results that are there stay in the journal.", line: command("callboard", "cancel", view.id) }));
		}
		if (view.status === "interrupted") {
			buttons.push(act("Resume…", { action: "resume", title: "Resume this execution?", label: "Resume it", text: "No process runs it. What is done stays done; the rest runs.", line: command("callboard", "resume", view.id) }));
		}
		buttons.push(act("Fork…", { action: "fork", title: "Fork this execution?", label: "Fork it", text: "A new execution runs again from a step on, and shares the results of the others.", line: command("callboard", "fork", view.id), fields: [["step", "From the step", this.panel.query.task ?? "", true]] }));
		return buttons;
	}

	doubtActions(view, step) {
		if (!this.page.may("approve")) return [];
		const decide = (label, runsAgain, text, flags) => element("button", { type: "button",
			onclick: () => this.ask({ action: "approve", title: `${label} ${step}?`, label, text, body: { step, runs_again: runsAgain }, danger: !runsAgain, line: command("callboard", "approve", view.id, step, ...flags) }) }, `${label}…`);
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
