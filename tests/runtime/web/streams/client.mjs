// One client of the npm package `centrifuge`, driven by lines of JSON on stdin, reporting on stdout.
import { createRequire } from "node:module";
import readline from "node:readline";

const [url, token, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { Centrifuge } = require("centrifuge");
const say = (kind, fields = {}) => console.log(JSON.stringify({ kind, ...fields }));
const client = new Centrifuge(url, {
  token,
  websocket: require("ws"),
  minReconnectDelay: 10,
  maxReconnectDelay: 100,
});
client.on("connected", () => say("connected"));
client.on("connecting", (context) => say("connecting", { code: context.code }));
client.on("disconnected", (context) => say("disconnected", { code: context.code, reason: context.reason }));
client.on("subscribed", (context) =>
  say("server_subscribed", { channel: context.channel, recovered: context.recovered }));
client.on("unsubscribed", (context) => say("server_unsubscribed", { channel: context.channel }));
client.on("publication", (context) =>
  say("server_publication", { channel: context.channel, data: context.data, offset: context.offset ?? 0 }));
client.on("message", (context) => say("message", { data: context.data }));
const subscriptions = new Map();
const commands = {
  connect: () => client.connect(),
  disconnect: () => client.disconnect(),
  subscribe: ({ channel, tf }) => {
    const subscription = client.newSubscription(channel, tf ? { tagsFilter: tf } : {});
    subscriptions.set(channel, subscription);
    subscription.on("subscribed", (context) =>
      say("subscribed", { recovered: context.recovered, resumed: context.wasRecovering }));
    subscription.on("unsubscribed", (context) => say("unsubscribed", { code: context.code }));
    subscription.on("publication", (context) =>
      say("publication", { data: context.data, offset: context.offset, tags: context.tags }));
    subscription.subscribe();
  },
  history: async ({ channel, since }) => {
    const found = await subscriptions.get(channel).history({ limit: 10, since });
    say("history", { offsets: found.publications.map((each) => each.offset) });
  },
  presence: async ({ channel }) => {
    const found = await subscriptions.get(channel).presence();
    say("presence", { users: Object.values(found.clients).map((each) => each.user) });
  },
  rpc: async () => client.rpc("nothing", {}).catch((error) => say("refused", { code: error.code })),
};
for await (const line of readline.createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  await commands[command.do](command);
}
process.exit(0);
