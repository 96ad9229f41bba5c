// Opens a page in a headless Chromium, and does there what it is told on standard input, line by line:
//
//   until EXPRESSION                          waits until the expression is true in the page
//   type TEXT                                 types into the field that has the focus, and presses Enter
//   picture FILE WIDTH HEIGHT SCHEME          leaves pictures of what is in view and of the whole page; SCHEME is light or dark
//   report                                    tells what the console complained of, and what was asked for
//
// Each is answered by a line of JSON; a line that begins with an exclamation mark says why it could not be done. Ends with its input.
//
//   node chromium.mjs CHROMIUM URL
//
// Speaks the DevTools protocol over the browser's own pipe, so that nothing has to be installed.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const [chromium, url] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), "tidegate-browser-"));
const flags = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio", `--user-data-dir=${profile}`];
const browser = spawn(chromium, [...flags, "about:blank"], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
const [to, from] = [browser.stdio[3], browser.stdio[4]];
browser.on("error", (error) => end(1, `${chromium}: ${error.message}`));

const waiting = new Map(), errors = [], requests = [];
let next = 0, session, text = "";
from.setEncoding("utf8");
from.on("data", (data) => {
  const messages = (text + data).split("\0");
  text = messages.pop();
  messages.forEach((message) => take(JSON.parse(message)));
});
function take({ id, result, error, method, params }) {
  if (id) {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    return error ? reject(new Error(error.message)) : resolve(result);
  }
  if (method === "Network.requestWillBeSent") requests.push(params.request.url);
  if (method === "Runtime.exceptionThrown") errors.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
  if (method === "Runtime.consoleAPICalled" && ["error", "warning", "assert"].includes(params.type)) errors.push(JSON.stringify(params.args));
  if (method === "Log.entryAdded" && params.entry.level === "error") errors.push(`${params.entry.text} ${params.entry.url ?? ""}`);
}
function send(method, params = {}) {
  const id = ++next;
  to.write(JSON.stringify({ id, method, params, sessionId: session }) + "\0");
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}
function pause(millis) {
  return new Promise((resolve) => setTimeout(resolve, millis));
}
async function evaluate(expression) {
  const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, returnByValue: true });
  if (exceptionDetails) throw new Error(`${exceptionDetails.exception?.description ?? exceptionDetails.text} in ${expression}`);
  return result.value;
}
async function until(expression) {
  for (;;) {
    const value = await evaluate(expression).catch((error) => {
      // The empty page that was asked has just given way to the one that is being opened.
      if (!error.message.includes("target navigated")) throw error;
    });
    if (value) return value;
    await pause(50);
  }
}
async function type(words) {
  await send("Input.insertText", { text: words });
  for (const type of ["keyDown", "keyUp"]) await send("Input.dispatchKeyEvent", { type, key: "Enter", code: "Enter", text: "\r", windowsVirtualKeyCode: 13 });
  return true;
}
async function picture(given) {
  const [file, width, height, scheme] = given.split(" ");
  await send("Emulation.setDeviceMetricsOverride", { width: Number(width), height: Number(height), deviceScaleFactor: 1, mobile: width < 500 });
  await send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  await pause(400);
  for (const [kind, whole] of [["", false], ["-whole", true]]) {
    const tall = whole ? await evaluate("document.documentElement.scrollHeight") : Number(height);
    const clip = { x: 0, y: 0, width: Number(width), height: tall, scale: 1 };
    const { data } = await send("Page.captureScreenshot", { captureBeyondViewport: whole, clip });
    writeFileSync(`${file}${kind}.png`, Buffer.from(data, "base64"));
  }
  return true;
}
function end(code, why) {
  if (why) console.error(why);
  // Its other processes end soon after it, and write until then.
  browser.once("exit", () => setTimeout(() => {
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    process.exit(code);
  }, 300));
  if (!browser.kill("SIGKILL")) process.exit(code);
}

async function start() {
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  session = (await send("Target.attachToTarget", { targetId, flatten: true })).sessionId;
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await send(`${domain}.enable`);
  await send("Page.navigate", { url });
}

const verbs = { until, type, picture, report: async () => ({ errors, requests }) };
let before = start().catch((error) => end(1, error.message));
const lines = createInterface({ input: process.stdin });
lines.on("close", () => end(0));
lines.on("line", (line) => {
  const [verb, ...rest] = line.split(" ");
  before = before.then(() => verbs[verb](rest.join(" "))).then((value) => console.log(JSON.stringify(value)), (error) => console.log(`! ${error.message}`));
});
