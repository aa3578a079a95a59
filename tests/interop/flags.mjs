// The real OFREP provider of JavaScript: evaluates what stdin asks for, a JSON line each, and answers likewise.
import { OpenFeature } from "@openfeature/server-sdk";
import { OFREPProvider } from "@openfeature/ofrep-provider";
import { createInterface } from "node:readline";

const [url, token] = process.argv.slice(2);
const headers = [["Authorization", `Bearer ${token}`]];
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: url, headers }));
const client = OpenFeature.getClient();
const ask = {
  string: (flag, context) => client.getStringDetails(flag, "the default", context),
  object: (flag, context) => client.getObjectDetails(flag, { id: "the default" }, context),
  boolean: (flag, context) => client.getBooleanDetails(flag, true, context),
};
for await (const line of createInterface({ input: process.stdin })) {
  const { kind, flag, units } = JSON.parse(line);
  const found = [];
  for (const unit of units) found.push(await ask[kind](flag, unit === null ? {} : { targetingKey: unit }));
  console.log(JSON.stringify(found.map((each) => [each.value, each.variant, each.reason, each.errorCode])));
}
